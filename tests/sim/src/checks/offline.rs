//! Invariant 4 and agreement: at the end every node runs what its journal says, linked or not, and hub and linked
//! nodes say the same.

use super::{Check, End, PODS, fails_over, is_deleting, is_terminal, runs_for_ever, text, uids};
use crate::ledger::{Report, Seen, json};
use std::collections::{BTreeMap, BTreeSet};

/// Looks at the end, and remembers what a restore made the hub forget.
#[derive(Default)]
pub struct OfflineLife {
    /// Pods that the hub had, by UID.
    known: BTreeSet<String>,
    /// Those of them that a later restore may have lost: a node keeps them.
    forgotten: BTreeSet<String>,
}

impl Check for OfflineLife {
    fn name(&self) -> &'static str {
        "offline-life"
    }

    fn see(&mut self, what: &Seen<'_>, _report: &mut Report<'_>) {
        match what {
            Seen::Commit(entries) => {
                let bodies =
                    entries.iter().filter(|entry| entry.key.starts_with(PODS)).filter_map(|e| e.value.as_ref());
                self.known.extend(bodies.map(|body| text(&json(body), &["metadata", "uid"]).to_string()));
            }
            Seen::Restored(_) => self.forgotten.append(&mut self.known),
            _ => {}
        }
    }

    fn settled(&mut self, end: &End, report: &mut Report<'_>) {
        for node in &end.machines {
            let name = &node.name;
            for (uid, pod) in &node.pods {
                let pod_name = text(pod, &["metadata", "name"]);
                let status = node.statuses.get(uid).cloned().unwrap_or_default();
                // The power may have ended what may not be started again.
                let spent = text(pod, &["spec", "restartPolicy"]) == "Never" && text(&status, &["phase"]) == "Failed";
                let fenced = node.cut && fails_over(pod);
                let ought = !is_deleting(pod) && !is_terminal(pod) && runs_for_ever(pod) && !spent && !fenced;
                if fenced && node.running.contains_key(uid) {
                    report.violation(format!("{name}: pod {pod_name} ({uid}) runs, and its lease is long over"));
                }
                if ought && !node.running.contains_key(uid) {
                    report.violation(format!("{name}: pod {pod_name} ({uid}) of its journal does not run: {status}"));
                }
            }
            for uid in node.running.keys().filter(|uid| !node.pods.contains_key(*uid)) {
                report.violation(format!("{name}: pod {uid} runs and is not in its journal"));
            }
            if node.cut {
                continue;
            }
            let assigned = end.pods.iter().filter(|(_, pod)| text(pod, &["spec", "nodeName"]) == name.as_str());
            let assigned: BTreeMap<_, _> = assigned.map(|(uid, pod)| (uid.clone(), pod.clone())).collect();
            let mut held = uids(&node.pods);
            held.retain(|uid| assigned.contains_key(*uid) || !self.forgotten.contains(*uid));
            if uids(&assigned) != held {
                report.violation(format!("{name}: the hub assigns {:?}, the journal holds {held:?}", uids(&assigned)));
            }
            for (uid, pod) in &assigned {
                let Some(status) = node.statuses.get(uid) else { continue };
                let (there, here) = (text(pod, &["status", "phase"]), text(status, &["phase"]));
                if there != here {
                    report.violation(format!("{name}: pod {uid} is {here}, and the hub says {there}"));
                }
            }
            let ready =
                end.nodes.get(name).and_then(|doc| doc["status"]["conditions"].as_array()).into_iter().flatten();
            if !ready.clone().any(|condition| condition["type"] == "Ready" && condition["status"] == "True") {
                report.violation(format!("{name} is linked and not Ready: {:?}", ready.collect::<Vec<_>>()));
            }
        }
    }
}
