//! The way down: containers in parallel, sidecars last and in reverse order, then sandbox and volumes.

use crate::container::Stage;
use crate::machine::{EVICTED, Sandbox, Volumes};
use crate::memory::{Outcome, Run};
use crate::spec::{self, Role};
use crate::{Now, PodAction, PodMachine, limits};
use std::time::Duration;

impl PodMachine {
    /// Every step towards a pod that has ended.
    pub(crate) fn end(&mut self, now: Now, out: &mut Vec<PodAction>) {
        if !self.memory.finished {
            let deleting = self.pod.metadata.deletion_timestamp.is_some();
            let grace = match &self.memory.outcome {
                _ if deleting => spec::deletion_grace(&self.pod),
                Some(outcome) if outcome.reason == EVICTED => spec::grace(&self.pod).min(self.eviction_grace),
                _ => spec::grace(&self.pod),
            };
            let grace = self.shutdown.as_ref().map_or(grace, |shutdown| grace.min(shutdown.grace));
            if !self.stop_containers(now, grace, out) {
                return;
            }
            let succeeded = self.all_succeeded();
            self.memory.outcome.get_or_insert(Outcome { succeeded, reason: String::new(), message: String::new() });
            self.memory.finished = true;
            out.push(PodAction::Remember);
        }
        match self.sandbox {
            Sandbox::Starting | Sandbox::Stopping => return,
            Sandbox::Failed { .. } | Sandbox::Ready { .. } | Sandbox::Lost => {
                self.sandbox = Sandbox::Stopping;
                let attempt = self.memory.sandbox_attempt.unwrap_or(0);
                out.push(PodAction::StopSandbox { attempt });
                return;
            }
            Sandbox::None => {}
        }
        match self.volumes {
            Volumes::SettingUp | Volumes::TearingDown => return,
            Volumes::Unknown | Volumes::Ready | Volumes::Failed { .. } => {
                self.volumes = Volumes::TearingDown;
                out.push(PodAction::TearDownVolumes);
                return;
            }
            Volumes::Gone => {}
        }
        if self.deleted() {
            self.gone = true;
            out.push(PodAction::Gone);
        }
    }

    fn all_succeeded(&self) -> bool {
        let apps = spec::names(&self.pod, |role| role == Role::App);
        !apps.is_empty()
            && apps.iter().all(|name| {
                self.memory.containers.get(name).is_some_and(|memory| {
                    memory.run == Run::Ended && memory.last.as_ref().is_some_and(|last| last.exit_code == 0)
                })
            })
    }

    /// Stops all containers, sidecars after the others; whether none is left.
    pub(crate) fn stop_containers(&mut self, now: Now, grace: Duration, out: &mut Vec<PodAction>) -> bool {
        let began = *self.stop_began.get_or_insert(now.mono);
        let left = began.saturating_add(grace).saturating_sub(now.mono);
        let mut settled = true;
        for name in self.names(|role| role != Role::Sidecar) {
            settled &= self.settle(now, &name, left.max(limits::GRACE_MIN), out);
        }
        let mut sidecars = spec::names(&self.pod, |role| role == Role::Sidecar);
        while let Some(name) = sidecars.pop().filter(|_| settled) {
            settled &= self.settle(now, &name, left.max(limits::SIDECAR_GRACE_MIN), out);
        }
        settled && self.strays.is_empty()
    }

    /// Brings one container to rest; whether it is.
    fn settle(&mut self, now: Now, name: &str, grace: Duration, out: &mut Vec<PodAction>) -> bool {
        let until = now.mono.saturating_add(grace);
        let memory = self.mem(name);
        let (run, attempt) = (memory.run, memory.attempt);
        let live = self.live(name);
        match &mut live.stage {
            Stage::Idle | Stage::Ended { .. } => true,
            Stage::Pulling { .. } | Stage::Failed { .. } => {
                live.stage = match run {
                    Run::Ended => Stage::Ended { backoff: Duration::ZERO, retry_at: now.mono },
                    Run::No | Run::Asked | Run::Started => Stage::Idle,
                };
                true
            }
            Stage::Starting { .. } => false,
            Stage::Running { .. } => {
                self.stop_one(now, name, grace, format!("Stopping container {name}"), out);
                false
            }
            Stage::Stopping { until: before, .. } => {
                if *before > until {
                    *before = until;
                    let reason = "the grace period became shorter".to_string();
                    out.push(PodAction::StopContainer { container: name.to_string(), attempt, grace, reason });
                }
                false
            }
        }
    }

    /// Stops one running container.
    pub(crate) fn stop_one(&mut self, now: Now, name: &str, grace: Duration, why: String, out: &mut Vec<PodAction>) {
        let attempt = self.mem(name).attempt;
        let live = self.live(name);
        let Stage::Running { since } = live.stage else { return };
        live.stage = Stage::Stopping { since, until: now.mono.saturating_add(grace), returned: None };
        live.probes.wind_down();
        out.push(self.event(false, "Killing", why.clone(), Some(name)));
        out.push(PodAction::StopContainer { container: name.to_string(), attempt, grace, reason: why });
    }
}
