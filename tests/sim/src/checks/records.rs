//! What the hub keeps of a node by its UID ends with the Node: no record is made of a node that is not there, none outlives
//! it, and so no word of it takes effect any more.

use super::{Check, MARKS, NODES, text};
use crate::ledger::{Report, Seen, json};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Prefixes of the records in the hub's log: sessions, marks, certificates.
const RECORDS: [&str; 3] = ["/links/", MARKS, "/certs/"];

/// What is there.
#[derive(Default)]
pub struct NodeRecords {
    /// UIDs of Nodes, by key.
    nodes: BTreeMap<String, String>,
    /// UIDs that the records are of, by key.
    records: BTreeMap<String, String>,
}

impl NodeRecords {
    /// Whether it is about nodes.
    fn note(&mut self, key: &str, value: Option<&Bytes>) -> bool {
        let record = RECORDS.iter().find_map(|prefix| key.strip_prefix(prefix));
        let (all, uid) = match (record, value) {
            (Some(uid), _) => (&mut self.records, uid.to_string()),
            (None, _) if !key.starts_with(NODES) => return false,
            (None, Some(node)) => (&mut self.nodes, text(&json(node), &["metadata", "uid"]).to_string()),
            (None, None) => (&mut self.nodes, String::new()),
        };
        match value {
            Some(_) => all.insert(key.to_string(), uid),
            None => all.remove(key),
        };
        true
    }

    fn judge(&self, report: &mut Report<'_>) {
        let nodes: BTreeSet<&String> = self.nodes.values().collect();
        for (key, _) in self.records.iter().filter(|(_, uid)| !nodes.contains(uid)) {
            report.violation(format!("{key} is the record of a node that is not there"));
        }
    }
}

impl Check for NodeRecords {
    fn name(&self) -> &'static str {
        "node-records"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Commit(commit) => {
                let noted: Vec<bool> =
                    commit.entries.iter().map(|entry| self.note(&entry.key, entry.value.as_ref())).collect();
                if noted.contains(&true) {
                    self.judge(report);
                }
            }
            Seen::Restored(records) => {
                *self = NodeRecords::default();
                for (key, value) in *records {
                    self.note(key, Some(value));
                }
                self.judge(report);
            }
            _ => {}
        }
    }
}
