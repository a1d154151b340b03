//! What may run only once runs once: a container of a pod that is never restarted does not start again, nor does any
//! container of a pod that has said how it ended, through cuts, power and restored backups. A node whose store was
//! damaged may have lost its record of that.

use super::{Check, is_deleting, is_terminal, text};
use crate::ledger::{NodeNo, Report, Seen};
use std::collections::BTreeSet;

/// What has run.
#[derive(Default)]
pub struct Once {
    /// UIDs of pods that are never restarted.
    never: BTreeSet<String>,
    /// UIDs of pods that ended by themselves, as their node told.
    over: BTreeSet<String>,
    /// Containers that have started, by UID and name.
    started: BTreeSet<(String, String)>,
    flipped: BTreeSet<NodeNo>,
}

impl Check for Once {
    fn name(&self) -> &'static str {
        "once"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Commit(commit) => {
                for pod in commit.pods().filter_map(|(_, pod)| pod) {
                    let uid = text(pod, &["metadata", "uid"]).to_string();
                    // One that was told to go may be wanted again by a backup from before.
                    if commit.is_of_node() && is_terminal(pod) && !is_deleting(pod) {
                        self.over.insert(uid.clone());
                    }
                    if text(pod, &["spec", "restartPolicy"]) == "Never" {
                        self.never.insert(uid);
                    }
                }
            }
            Seen::Flipped { node } => {
                self.flipped.insert(*node);
            }
            Seen::Started { node, pod_uid, container, .. } => {
                let again = !self.started.insert((pod_uid.to_string(), container.to_string()));
                if self.flipped.contains(node) {
                    return;
                }
                if self.over.contains(*pod_uid) {
                    report.violation(format!("edge-{node} starts {container} of pod {pod_uid}, which has ended"));
                } else if again && self.never.contains(*pod_uid) {
                    report.violation(format!("edge-{node} starts {container} of pod {pod_uid} once more"));
                }
            }
            _ => {}
        }
    }
}
