//! The hub replaces nothing that is delegated: from when it handed a pod over until a coordinator's word that all up to
//! that number is over has reached it.

use super::Check;
use crate::site::ledger::{Seen, Violations};
use std::collections::BTreeMap;

/// The last number under which each pod was handed over.
#[derive(Default)]
pub struct NothingDelegatedReplaced {
    handed: BTreeMap<String, u64>,
    released: u64,
}

impl Check for NothingDelegatedReplaced {
    fn name(&self) -> &'static str {
        "delegated"
    }

    fn see(&mut self, what: &Seen<'_>, violations: &mut Violations<'_>) {
        match what {
            Seen::Delegated(record) => {
                self.handed.extend(record.pods.iter().map(|pod| (pod.uid.0.clone(), record.number)));
            }
            Seen::Reported(report) => self.released = self.released.max(report.released),
            Seen::Replaced(pod) => {
                if let Some(number) = self.handed.get(&pod.0).filter(|number| **number > self.released) {
                    violations.violation(format!("{pod} is replaced while delegation {number} stands"));
                }
            }
            _ => {}
        }
    }
}
