//! Invariants 5 and 6: what runs as it should is left alone. A container is told to stop only when its pod was
//! deleted, or fails over, whatever agent, hub, link and clocks go through.

use super::{Check, PODS, fails_over, is_deleting, is_terminal, text};
use crate::ledger::{NodeNo, Report, Seen, json};
use std::collections::{BTreeMap, BTreeSet};

/// Which pods were ever told to go.
#[derive(Default)]
pub struct Adopted {
    /// UID by key.
    pods: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
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
            Seen::Commit(entries) => {
                for entry in entries.iter().filter(|entry| entry.key.starts_with(PODS)) {
                    match &entry.value {
                        Some(value) => {
                            let pod = json(value);
                            let uid = text(&pod, &["metadata", "uid"]).to_string();
                            if is_deleting(&pod) || fails_over(&pod) {
                                self.deleted.insert(uid.clone());
                            }
                            if is_terminal(&pod) {
                                self.ended.insert(uid.clone());
                            }
                            // Another pod of this name takes the place of one that a restore forgot.
                            let old = self.pods.insert(entry.key.to_string(), uid.clone());
                            self.deleted.extend(old.filter(|old| *old != uid));
                        }
                        None => {
                            self.deleted.extend(self.pods.remove(&*entry.key));
                        }
                    }
                }
            }
            Seen::Flipped { node } => {
                self.flipped.insert(*node);
            }
            Seen::Restored(pods) => {
                let left: BTreeSet<String> =
                    pods.iter().map(|(_, value)| text(&json(value), &["metadata", "uid"]).to_string()).collect();
                self.forgotten.extend(self.pods.values().filter(|uid| !left.contains(*uid)).cloned());
                for (key, value) in *pods {
                    let uid = text(&json(value), &["metadata", "uid"]).to_string();
                    let old = self.pods.insert(key.to_string(), uid.clone());
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
