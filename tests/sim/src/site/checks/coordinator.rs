//! At no instant do two boxes act as coordinator of one site.

use super::Check;
use crate::site::ledger::{Seen, Violations};

/// What is seen at an instant is judged at once: nothing to remember.
pub struct OneCoordinator;

impl Check for OneCoordinator {
    fn name(&self) -> &'static str {
        "one-coordinator"
    }

    fn see(&mut self, what: &Seen<'_>, violations: &mut Violations<'_>) {
        if let Seen::Acting(boxes) = what
            && boxes.len() > 1
        {
            violations.violation(format!("boxes {boxes:?} act as coordinators"));
        }
    }
}
