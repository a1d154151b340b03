//! Invariants 5 and 6: what runs as it should is left alone. A container is told to stop only when its pod was
//! deleted, or fails over, whatever agent, hub, link and clocks go through. What a restore made the hub forget comes back
//! under its UID, and what was deleted does not.

use super::{Check, PODS, fails_over, is_deleting, is_terminal, text};
use crate::ledger::{NodeNo, Report, Seen, json};
use std::collections::{BTreeMap, BTreeSet};

/// Which pods were ever told to go.
#[derive(Default)]
pub struct Adopted {
    /// UID by key.
    pods: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
    /// Pods that the hub ever had.
    had: BTreeSet<String>,
    /// Pods that this history of the hub has removed.
    removed: BTreeSet<String>,
    /// Pods that a restore made the hub forget: a node keeps them, unless its own store is damaged as well.
    forgotten: BTreeSet<String>,
    /// Pods that have run to their end: a node whose record of that is lost begins them again, until the hub says so.
    ended: BTreeSet<String>,
    flipped: BTreeSet<NodeNo>,
}

impl Check for Adopted {
    fn name(&self) -> &'static str {
        "adopted"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Commit(commit) => {
                for (entry, pod) in commit.pods() {
                    let Some(pod) = pod else {
                        let gone = self.pods.remove(&*entry.key);
                        self.removed.extend(gone.clone());
                        self.deleted.extend(gone);
                        continue;
                    };
                    let uid = text(pod, &["metadata", "uid"]).to_string();
                    if commit.is_of_node() && entry.created == entry.revision {
                        if !self.had.contains(&uid) {
                            report.violation(format!("{} comes back as {uid}, which never was", entry.key));
                        }
                        if self.removed.contains(&uid) {
                            report.violation(format!("{} ({uid}) comes back after its deletion", entry.key));
                        }
                    }
                    self.had.insert(uid.clone());
                    if is_deleting(pod) || fails_over(pod) {
                        self.deleted.insert(uid.clone());
                    }
                    if is_terminal(pod) {
                        self.ended.insert(uid.clone());
                    }
                    // Another pod of this name takes the place of one that a restore forgot.
                    let old = self.pods.insert(entry.key.to_string(), uid.clone());
                    self.deleted.extend(old.filter(|old| *old != uid));
                }
            }
            Seen::Flipped { node } => {
                self.flipped.insert(*node);
            }
            Seen::Restored(records) => {
                self.removed.clear();
                let pods = records.iter().filter(|(key, _)| key.starts_with(PODS));
                let left: BTreeMap<String, String> = pods
                    .map(|(key, value)| (key.to_string(), text(&json(value), &["metadata", "uid"]).to_string()))
                    .collect();
                let is_left = |uid: &String| left.values().any(|other| other == uid);
                self.forgotten.extend(self.pods.values().filter(|uid| !is_left(uid)).cloned());
                for (key, uid) in left {
                    let old = self.pods.insert(key, uid.clone());
                    self.deleted.extend(old.filter(|old| *old != uid));
                }
            }
            Seen::Stopped { node, pod_uid, container, told: true, .. } if !self.deleted.contains(*pod_uid) => {
                let is_unknown = self.forgotten.contains(*pod_uid) || self.ended.contains(*pod_uid);
                if self.flipped.contains(node) && is_unknown {
                    return;
                }
                report.violation(format!("edge-{node} stops {container} of pod {pod_uid}, which nobody deleted"));
            }
            _ => {}
        }
    }
}
