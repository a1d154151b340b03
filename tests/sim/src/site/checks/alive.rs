//! Once a majority can talk and faults have stopped, a coordinator is there, and each pod runs somewhere.

use super::{Check, End};
use crate::site::ledger::{BoxNo, Seen, Violations};
use std::collections::{BTreeMap, BTreeSet};

/// Who acts, and what runs.
#[derive(Default)]
pub struct Alive {
    acting: Vec<BoxNo>,
    running: BTreeMap<String, BTreeSet<BoxNo>>,
}

impl Check for Alive {
    fn name(&self) -> &'static str {
        "alive"
    }

    fn see(&mut self, what: &Seen<'_>, _violations: &mut Violations<'_>) {
        match what {
            Seen::Acting(boxes) => self.acting = boxes.to_vec(),
            Seen::Started { no, pod } => {
                self.running.entry(pod.0.clone()).or_default().insert(*no);
            }
            Seen::Stopped { no, pod } => {
                self.running.entry(pod.0.clone()).or_default().remove(no);
            }
            _ => {}
        }
    }

    fn settled(&mut self, end: &End, violations: &mut Violations<'_>) {
        if self.acting.is_empty() {
            violations.violation(format!("nobody coordinates; on are {:?}", end.on));
        }
        if end.pods.is_empty() {
            violations.violation("the hub has handed nothing over");
        }
        for pod in &end.pods {
            if self.running.get(&pod.0).is_none_or(BTreeSet::is_empty) {
                violations.violation(format!("{pod} runs nowhere"));
            }
        }
    }
}
