//! Taking in what the runtime lists: once to adopt what an earlier life left running, later to see what ended.

use crate::container::{Live, Stage};
use crate::machine::{Sandbox, backoff};
use crate::memory::{Run, Termination};
use crate::probes::Probes;
use crate::spec;
use crate::{Now, ObservedContainer, ObservedSandbox, ObservedState, PodAction, PodMachine, limits};
use holdfast_core::Timestamp;
use std::time::Duration;

/// Upstream's text for a container that was lost.
const LOST: &str = "The container could not be located when the pod was deleted.  The container used to be Running";

/// The end of a container of which no end was seen.
pub(crate) fn lost(attempt: u32, started_at: Option<Timestamp>, now: Now) -> Termination {
    Termination {
        attempt,
        started_at,
        finished_at: Some(now.wall),
        exit_code: 137,
        reason: "ContainerStatusUnknown".into(),
        message: LOST.into(),
    }
}

fn exit_of(attempt: u32, state: &ObservedState) -> Option<Termination> {
    let ObservedState::Exited { started_at, finished_at, exit_code, reason, message } = state else { return None };
    let derived = if *exit_code == 0 { "Completed" } else { "Error" };
    Some(Termination {
        attempt,
        started_at: Some(*started_at),
        finished_at: Some(*finished_at),
        exit_code: *exit_code,
        reason: if reason.is_empty() { derived.into() } else { reason.clone() },
        message: crate::machine::bounded(message.clone()),
    })
}

impl PodMachine {
    pub(crate) fn observe(
        &mut self,
        now: Now,
        sandbox: Option<ObservedSandbox>,
        containers: Vec<ObservedContainer>,
        out: &mut Vec<PodAction>,
    ) {
        let first = !self.adopted;
        self.adopted = true;
        if first {
            self.adopt_sandbox(now, sandbox);
            self.resume_sandbox_size();
        } else {
            self.check_sandbox(now, sandbox.as_ref(), out);
        }
        for name in self.names(|_| true) {
            let mine = containers.iter().filter(|container| container.name == name);
            let newest = mine.clone().max_by_key(|container| container.attempt);
            if first {
                self.adopt_container(now, &name, newest);
            } else {
                let attempt = self.memory.containers.get(&name).map_or(0, |memory| memory.attempt);
                self.check_container(now, &name, mine.clone().find(|seen| seen.attempt == attempt), out);
            }
            self.sweep(now, &name, mine, out);
        }
    }

    fn adopt_sandbox(&mut self, now: Now, seen: Option<ObservedSandbox>) {
        let known = self.memory.sandbox_attempt;
        let newest = seen.as_ref().map(|seen| seen.attempt).max(known);
        self.memory.sandbox_attempt = newest;
        let alive = seen.filter(|seen| seen.ready && Some(seen.attempt) == newest);
        let ips = match alive {
            Some(seen) if !seen.ips.is_empty() => seen.ips,
            Some(_) => std::mem::take(&mut self.memory.ips),
            None => Vec::new(),
        };
        self.sandbox = match newest {
            None => Sandbox::None,
            // Without an address nothing can be said of the pod: it is made anew.
            Some(_) if ips.is_empty() => Sandbox::Lost,
            Some(_) => Sandbox::Ready { since: now.mono },
        };
        self.memory.ips = ips;
    }

    fn check_sandbox(&mut self, now: Now, seen: Option<&ObservedSandbox>, out: &mut Vec<PodAction>) {
        let Sandbox::Ready { since } = self.sandbox else { return };
        let alive = seen.is_some_and(|seen| seen.ready && Some(seen.attempt) == self.memory.sandbox_attempt);
        if !alive && now.mono.saturating_sub(since) >= limits::OBSERVATION_LAG && !self.ending() {
            self.sandbox = Sandbox::Lost;
            let message = "Pod sandbox changed, it will be killed and re-created.".to_string();
            out.push(self.event(false, "SandboxChanged", message, None));
        }
    }

    fn adopt_container(&mut self, now: Now, name: &str, seen: Option<&ObservedContainer>) {
        let sandbox_lives = matches!(self.sandbox, Sandbox::Ready { .. });
        let sandbox = self.memory.sandbox_attempt;
        let told = self.readiness_at_hub(name);
        let memory = self.mem(name);
        let seen = seen.filter(|seen| seen.attempt >= memory.attempt);
        if let Some(seen) = seen.filter(|seen| seen.attempt > memory.attempt) {
            // The memory is older than the runtime: believe what is there.
            memory.attempt = seen.attempt;
            memory.run = Run::Asked;
        }
        let attempt = memory.attempt;
        if let Some(seen) = seen {
            memory.image_id = seen.image_id.clone();
            memory.runtime = seen.runtime.clone();
            self.live(name).user = seen.user.clone();
        }
        let memory = self.mem(name);
        match seen.map(|seen| &seen.state) {
            Some(ObservedState::Running { started_at }) if memory.run != Run::Ended => {
                memory.run = Run::Started;
                memory.started_at = Some(*started_at);
                // A record that was lost: what runs in this sandbox began in it.
                memory.passed_in = memory.passed_in.or(sandbox.filter(|_| sandbox_lives));
                let since = now.mono.saturating_sub(now.wall.since(*started_at));
                self.begin_probes(name, since, Some(told));
                self.resume_size(name);
            }
            Some(ObservedState::Created) if matches!(memory.run, Run::No | Run::Asked) => memory.run = Run::No,
            Some(state @ ObservedState::Exited { .. }) if memory.run != Run::Ended => {
                if let Some(end) = exit_of(attempt, state) {
                    memory.started_at = end.started_at;
                    self.ended(now, name, end);
                }
            }
            None if memory.run == Run::Asked && sandbox_lives => memory.run = Run::No,
            _ => match memory.run {
                Run::No => {}
                Run::Asked | Run::Started => {
                    let end = lost(attempt, memory.started_at, now);
                    self.ended(now, name, end);
                }
                Run::Ended => self.resume_backoff(now, name),
            },
        }
    }

    /// The readiness that the hub knows for the running attempt: (started, ready).
    fn readiness_at_hub(&self, name: &str) -> (bool, bool) {
        let status = self.pod.status.as_ref();
        let lists = status.map(|status| [&status.init_container_statuses, &status.container_statuses]);
        let attempt = self.memory.containers.get(name).map(|memory| memory.attempt);
        lists
            .into_iter()
            .flatten()
            .flatten()
            .flatten()
            .find(|told| told.name == name && u32::try_from(told.restart_count).ok() == attempt)
            .map_or((false, false), |told| (told.started == Some(true), told.ready))
    }

    fn begin_probes(&mut self, name: &str, since: Duration, told: Option<(bool, bool)>) {
        let Some((_, container)) = self.container(name) else { return };
        let mut probes = Probes::start(container, since);
        if let Some((started, ready)) = told {
            probes.assume(started, ready);
        }
        let live = self.live.entry(name.to_string()).or_default();
        live.probes = probes;
        live.stage = Stage::Running { since };
        live.waiting = None;
        live.start_failures = 0;
    }

    /// A container runs since now.
    pub(crate) fn running(&mut self, now: Now, name: &str) {
        self.begin_probes(name, now.mono, None);
    }

    /// The machine starts beside a container that had ended: what is left of its back-off still holds.
    fn resume_backoff(&mut self, now: Now, name: &str) {
        let memory = self.mem(name);
        let finished = memory.last.as_ref().and_then(|last| last.finished_at);
        let wait = match (memory.last.as_ref(), memory.crashes) {
            (Some(last), crashes) if crashes > 0 && last.reason != "ContainerStatusUnknown" => {
                backoff((limits::BACKOFF_INITIAL, limits::BACKOFF_CAP), crashes - 1)
            }
            _ => Duration::ZERO,
        };
        let passed = finished.map_or(Duration::ZERO, |at| now.wall.since(at));
        let retry_at = now.mono.saturating_add(wait.saturating_sub(passed));
        let live = self.live.entry(name.to_string()).or_default();
        live.stage = Stage::Ended { backoff: wait, retry_at };
    }

    fn check_container(&mut self, now: Now, name: &str, seen: Option<&ObservedContainer>, out: &mut Vec<PodAction>) {
        let Some(live) = self.live.get_mut(name) else { return };
        let memory = self.memory.containers.entry(name.to_string()).or_default();
        if let Some(seen) = seen.filter(|seen| !seen.image_id.is_empty()) {
            memory.image_id = seen.image_id.clone();
        }
        if let Some(user) = seen.and_then(|seen| seen.user.clone()) {
            live.user = Some(user);
        }
        let attempt = memory.attempt;
        let end = seen.and_then(|seen| exit_of(attempt, &seen.state));
        match (&mut live.stage, end, seen.map(|seen| &seen.state)) {
            (Stage::Starting { early }, Some(end), _) => *early = Some(end),
            (Stage::Running { .. } | Stage::Stopping { .. }, Some(end), _) => {
                memory.started_at = end.started_at.or(memory.started_at);
                self.ended(now, name, end);
            }
            (Stage::Running { .. }, None, Some(ObservedState::Running { started_at })) => {
                memory.started_at = Some(*started_at);
            }
            (Stage::Stopping { returned, until, .. }, None, Some(ObservedState::Running { .. }))
                if returned.is_some_and(|at| now.mono.saturating_sub(at) >= limits::OBSERVATION_LAG) =>
            {
                *returned = None;
                out.push(PodAction::StopContainer {
                    container: name.to_string(),
                    attempt,
                    grace: until.saturating_sub(now.mono).max(limits::GRACE_MIN),
                    reason: "it still runs after it was stopped".into(),
                });
            }
            (Stage::Running { since } | Stage::Stopping { since, .. }, None, None | Some(ObservedState::Unknown))
                if now.mono.saturating_sub(*since) >= limits::OBSERVATION_LAG =>
            {
                let end = lost(attempt, memory.started_at, now);
                self.ended(now, name, end);
            }
            _ => {}
        }
    }

    /// A container ended: remembers how, and until when it must wait.
    pub(crate) fn ended(&mut self, now: Now, name: &str, end: Termination) {
        let live = self.live.entry(name.to_string()).or_default();
        let memory = self.memory.containers.entry(name.to_string()).or_default();
        let ran = match (&live.stage, end.started_at, end.finished_at) {
            (Stage::Running { since } | Stage::Stopping { since, .. }, ..) => now.mono.saturating_sub(*since),
            (_, Some(start), Some(finish)) => finish.since(start),
            _ => Duration::ZERO,
        };
        if ran >= limits::BACKOFF_RESET {
            memory.crashes = 0;
        }
        let unknown = end.reason == "ContainerStatusUnknown";
        // What would not be started again after a power cut is not after a shutdown either.
        let again = spec::container(&self.pod, name)
            .is_some_and(|(role, container)| spec::restarts(&self.pod, role, container, 137));
        let halted = again && self.shutdown.is_some() && matches!(live.stage, Stage::Stopping { .. });
        let wait = match memory.crashes {
            0 => Duration::ZERO,
            _ if unknown => Duration::ZERO,
            crashes => backoff((limits::BACKOFF_INITIAL, limits::BACKOFF_CAP), crashes - 1),
        };
        let init = spec::container(&self.pod, name).is_some_and(|(role, _)| role == spec::Role::Init);
        if init && end.exit_code == 0 {
            memory.passed_in = self.memory.sandbox_attempt;
        }
        memory.previous = memory.last.take();
        memory.last = Some(end);
        if halted {
            // It did not end by itself: after the boot it starts anew, whatever its policy says of its exit code.
            memory.attempt = memory.attempt.saturating_add(1);
            memory.run = Run::No;
            live.stage = Stage::Idle;
        } else {
            memory.run = Run::Ended;
            live.stage = Stage::Ended { backoff: wait, retry_at: now.mono.saturating_add(wait) };
        }
        live.probes = Probes::default();
        live.waiting = None;
    }

    /// Notes older attempts that still run, and removes the dead ones that nobody reads any more.
    fn sweep<'a>(
        &mut self,
        now: Now,
        name: &str,
        seen: impl Iterator<Item = &'a ObservedContainer>,
        out: &mut Vec<PodAction>,
    ) {
        let memory = self.mem(name);
        let (current, run) = (memory.attempt, memory.run);
        let mut before = std::mem::take(&mut self.strays);
        let mut known =
            before.extract_if(.., |(stray, _), _| stray == name).collect::<std::collections::BTreeMap<_, _>>();
        self.strays = before;
        for container in seen {
            let alive = matches!(container.state, ObservedState::Running { .. });
            let attempt = container.attempt;
            if alive && (attempt < current || (attempt == current && run == Run::Ended)) {
                let key = (name.to_string(), attempt);
                let stop_at = known.remove(&key).unwrap_or(now.mono);
                self.strays.insert(key, stop_at);
            } else if !alive && attempt.saturating_add(1) < current {
                out.push(PodAction::RemoveContainer { container: name.to_string(), attempt });
            }
        }
    }

    /// Whether an older attempt of this container still runs.
    pub(crate) fn has_stray(&self, name: &str) -> bool {
        self.strays.keys().any(|(stray, _)| stray == name)
    }

    /// The live side of a container.
    pub(crate) fn live(&mut self, name: &str) -> &mut Live {
        self.live.entry(name.to_string()).or_default()
    }
}
