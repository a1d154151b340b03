//! At no instant do two boxes run one pod, and none runs a pod that the hub has replaced.

use super::Check;
use crate::site::ledger::{BoxNo, Seen, Violations};
use std::collections::{BTreeMap, BTreeSet};

/// Where each pod runs.
#[derive(Default)]
pub struct OneIdentity {
    running: BTreeMap<String, BTreeSet<BoxNo>>,
    replaced: BTreeSet<String>,
}

impl Check for OneIdentity {
    fn name(&self) -> &'static str {
        "one-identity"
    }

    fn see(&mut self, what: &Seen<'_>, violations: &mut Violations<'_>) {
        match what {
            Seen::Started { no, pod } => {
                if self.replaced.contains(&pod.0) {
                    violations.violation(format!("{pod} starts on box {no} after it was replaced"));
                }
                let places = self.running.entry(pod.0.clone()).or_default();
                if !places.is_empty() {
                    violations.violation(format!("{pod} starts on box {no} and runs on {places:?}"));
                }
                places.insert(*no);
            }
            Seen::Stopped { no, pod } => {
                let ran = self.running.entry(pod.0.clone()).or_default().remove(no);
                if !ran {
                    violations.violation(format!("{pod} stops on box {no}, where it did not run"));
                }
            }
            Seen::Replaced(pod) => {
                if let Some(places) = self.running.get(&pod.0).filter(|places| !places.is_empty()) {
                    violations.violation(format!("{pod} is replaced while it runs on {places:?}"));
                }
                self.replaced.insert(pod.0.clone());
            }
            _ => {}
        }
    }
}
