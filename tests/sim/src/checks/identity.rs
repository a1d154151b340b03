//! Invariant 1: no two nodes run the same identity at the same instant: a pod by its UID, and what replaces a pod that
//! is to fail over only when that one has stopped for certain.

use super::{Check, fails_over, is_deleting, text};
use crate::ledger::{NodeNo, Report, Seen};
use std::collections::{BTreeMap, BTreeSet};

/// Where each pod runs.
#[derive(Default)]
pub struct OneIdentity {
    running: BTreeMap<String, BTreeMap<(NodeNo, String), u32>>,
    /// Pods that fail over: UID by key.
    failing_over: BTreeMap<String, String>,
    /// Pods that the hub has replaced although their node had not confirmed their end.
    replaced: BTreeSet<String>,
}

impl OneIdentity {
    fn committed(&mut self, key: &str, value: Option<&serde_json::Value>, report: &mut Report<'_>) {
        match value {
            Some(pod) => {
                if fails_over(pod) && !is_deleting(pod) {
                    self.failing_over.insert(key.to_string(), text(pod, &["metadata", "uid"]).to_string());
                } else {
                    self.failing_over.remove(key);
                }
            }
            None => {
                let Some(uid) = self.failing_over.remove(key) else { return };
                if let Some((node, _)) = self.running.get(&uid).and_then(|places| places.keys().next()) {
                    report.violation(format!("pod {uid} is replaced while it runs on edge-{node}"));
                }
                self.replaced.insert(uid);
            }
        }
    }
}

impl Check for OneIdentity {
    fn name(&self) -> &'static str {
        "one-identity"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Commit(commit) => commit.pods().for_each(|(entry, pod)| self.committed(&entry.key, pod, report)),
            // What was replaced may be back in a backup.
            Seen::Restored(_) => {
                self.failing_over.clear();
                self.replaced.clear();
            }
            Seen::Started { node, pod_uid, container, attempt } => {
                if self.replaced.contains(*pod_uid) {
                    report.violation(format!("pod {pod_uid} starts on edge-{node} after it was replaced"));
                }
                let places = self.running.entry((*pod_uid).to_string()).or_default();
                if let Some((other, _)) = places.keys().find(|(other, _)| other != node) {
                    report.violation(format!("pod {pod_uid} starts on edge-{node} and runs on edge-{other}"));
                }
                if let Some(earlier) = places.insert((*node, (*container).to_string()), *attempt) {
                    report.violation(format!(
                        "container {container} of {pod_uid} starts as attempt {attempt} while attempt {earlier} runs"
                    ));
                }
            }
            Seen::Stopped { node, pod_uid, container, .. } => {
                if let Some(places) = self.running.get_mut(*pod_uid) {
                    places.remove(&(*node, (*container).to_string()));
                }
            }
            _ => {}
        }
    }
}
