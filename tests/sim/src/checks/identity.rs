//! Invariant 1: no two nodes run the same pod at the same instant.

use super::Check;
use crate::ledger::{NodeNo, Report, Seen};
use std::collections::BTreeMap;

/// Where each pod runs.
#[derive(Default)]
pub struct OneIdentity {
    running: BTreeMap<String, BTreeMap<(NodeNo, String), u32>>,
}

impl Check for OneIdentity {
    fn name(&self) -> &'static str {
        "one-identity"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Started { node, pod_uid, container, attempt } => {
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
