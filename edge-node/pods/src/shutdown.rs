//! The node shuts down. A pod that others may replace ends as failed, as the kubelet has it; one that only this node runs is
//! stopped, with nothing decided about it, and starts again after the boot.

use crate::machine::Sandbox;
use crate::memory::{Outcome, Run};
use crate::{Now, PodAction, PodMachine, spec};
use std::time::Duration;

/// The reason of a pod that a shutdown has ended.
pub const TERMINATED: &str = "Terminated";
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";
/// Reason and message of a pod that comes during a shutdown.
pub const REJECTED: (&str, &str) = ("NodeShutdown", "Pod was rejected as the node is shutting down.");

/// A shutdown that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown {
    /// How long the pod may take to stop.
    pub(crate) grace: Duration,
    /// That it is stopped is durable.
    noted: bool,
}

impl PodMachine {
    pub(crate) fn shut_down(&mut self, grace: Duration, ends: bool) {
        self.shutdown = Some(Shutdown { grace: grace.min(spec::grace(&self.pod)), noted: false });
        // What may run once cannot go on after the boot.
        let begun = self.memory.containers.values().any(|memory| memory.run != Run::No);
        let ends = ends || (begun && spec::restart_policy(&self.pod) == "Never");
        if ends && !self.ending() {
            let (reason, message) = (TERMINATED.into(), MESSAGE.into());
            self.memory.outcome = Some(Outcome { succeeded: false, reason, message });
        }
    }

    /// Every step towards a pod of which nothing runs, and of which nothing is decided.
    pub(crate) fn halt(&mut self, now: Now, out: &mut Vec<PodAction>) {
        let grace = self.shutdown.as_ref().map_or(Duration::ZERO, |shutdown| shutdown.grace);
        if !self.stop_containers(now, grace, out) {
            return;
        }
        if self.shutdown.as_mut().is_some_and(|shutdown| !std::mem::replace(&mut shutdown.noted, true)) {
            out.push(PodAction::Remember);
        }
        if matches!(self.sandbox, Sandbox::Failed { .. } | Sandbox::Ready { .. } | Sandbox::Lost) {
            self.sandbox = Sandbox::Stopping;
            let attempt = self.memory.sandbox_attempt.unwrap_or(0);
            out.push(PodAction::StopSandbox { attempt });
        }
    }

    /// Whether nothing of the pod runs: no container, and no sandbox.
    pub fn is_down(&self) -> bool {
        let runs = self.live.values().any(crate::container::Live::may_live) || !self.strays.is_empty();
        self.adopted && !runs && self.sandbox == Sandbox::None
    }
}
