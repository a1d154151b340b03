//! When probes run and what their results mean. How they run is the driver's.

use crate::limits::PROBE_SLACK;
use crate::{ProbeKind, ProbeOutcome};
use k8s_openapi::api::core::v1::{Container, Probe};
use std::time::Duration;

/// One probe of one running container.
#[derive(Clone, Debug)]
struct Worker {
    kind: ProbeKind,
    period: Duration,
    timeout: Duration,
    success_threshold: u32,
    failure_threshold: u32,
    due: Duration,
    /// Until when the answer is waited for.
    in_flight: Option<Duration>,
    successes: u32,
    failures: u32,
    result: Option<bool>,
}

/// The probes of one running container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probes {
    workers: Vec<Worker>,
    /// The container is being stopped.
    winding_down: bool,
}

/// What a result leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Nothing,
    /// Stop the container; its policy says what follows.
    Kill,
}

/// The spec of a probe.
pub(crate) fn spec_of(container: &Container, kind: ProbeKind) -> Option<&Probe> {
    match kind {
        ProbeKind::Startup => container.startup_probe.as_ref(),
        ProbeKind::Liveness => container.liveness_probe.as_ref(),
        ProbeKind::Readiness => container.readiness_probe.as_ref(),
    }
}

/// The word of upstream's `Unhealthy` events.
pub(crate) fn word(kind: ProbeKind) -> &'static str {
    match kind {
        ProbeKind::Startup => "Startup",
        ProbeKind::Liveness => "Liveness",
        ProbeKind::Readiness => "Readiness",
    }
}

fn at_least(value: Option<i32>, default: u32, least: u32) -> u32 {
    value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default).max(least)
}

impl Probes {
    /// The probes of a container that started at `since`.
    pub(crate) fn start(container: &Container, since: Duration) -> Probes {
        let kinds = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness];
        let workers = kinds.into_iter().filter_map(|kind| {
            let probe = spec_of(container, kind)?;
            let secs = |value, default, least| Duration::from_secs(u64::from(at_least(value, default, least)));
            let initial_delay = secs(probe.initial_delay_seconds, 0, 0);
            Some(Worker {
                kind,
                period: secs(probe.period_seconds, 10, 1),
                timeout: secs(probe.timeout_seconds, 1, 1),
                success_threshold: at_least(probe.success_threshold, 1, 1),
                failure_threshold: at_least(probe.failure_threshold, 3, 1),
                due: since.saturating_add(initial_delay),
                in_flight: None,
                successes: 0,
                failures: 0,
                result: None,
            })
        });
        Probes { workers: workers.collect(), winding_down: false }
    }

    /// The container is on its way down: whether it is ready is asked to its end, as upstream does, and nothing else any more.
    pub(crate) fn wind_down(&mut self) {
        self.winding_down = true;
        for worker in self.workers.iter_mut().filter(|worker| worker.kind != ProbeKind::Readiness) {
            worker.in_flight = None;
        }
    }

    /// Takes over what an earlier life of the machine had found, so that a restart of the agent shows nowhere.
    pub(crate) fn assume(&mut self, started: bool, ready: bool) {
        for worker in &mut self.workers {
            match worker.kind {
                ProbeKind::Startup => worker.result = started.then_some(true),
                ProbeKind::Readiness => worker.result = Some(ready),
                ProbeKind::Liveness => {}
            }
        }
    }

    fn get(&self, kind: ProbeKind) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.kind == kind)
    }

    /// The startup probe passed, or there is none.
    pub(crate) fn started(&self) -> bool {
        self.get(ProbeKind::Startup).is_none_or(|worker| worker.result == Some(true))
    }

    /// Started, and the readiness probe passes, or there is none.
    pub(crate) fn ready(&self) -> bool {
        self.started() && self.get(ProbeKind::Readiness).is_none_or(|worker| worker.result == Some(true))
    }

    /// Whether this probe runs in the present phase of the container.
    fn active(&self, worker: &Worker) -> bool {
        match worker.kind {
            ProbeKind::Startup => !self.winding_down && worker.result != Some(true),
            ProbeKind::Liveness => !self.winding_down && self.started(),
            ProbeKind::Readiness => self.started(),
        }
    }

    /// The probes to run now; they count as under way.
    pub(crate) fn due(&mut self, now: Duration) -> Vec<ProbeKind> {
        let ripe: Vec<ProbeKind> = self
            .workers
            .iter()
            .filter(|worker| self.active(worker) && worker.in_flight.is_none() && worker.due <= now)
            .map(|worker| worker.kind)
            .collect();
        for worker in self.workers.iter_mut().filter(|worker| ripe.contains(&worker.kind)) {
            worker.in_flight = Some(now.saturating_add(worker.timeout).saturating_add(PROBE_SLACK));
        }
        ripe
    }

    /// The probes whose answer never came.
    pub(crate) fn overdue(&self, now: Duration) -> Vec<ProbeKind> {
        self.workers.iter().filter(|worker| worker.in_flight.is_some_and(|at| at <= now)).map(|w| w.kind).collect()
    }

    /// Takes a result; `None` when none was waited for.
    pub(crate) fn result(&mut self, now: Duration, kind: ProbeKind, outcome: ProbeOutcome) -> Option<Verdict> {
        let worker = self.workers.iter_mut().find(|worker| worker.kind == kind)?;
        worker.in_flight.take()?;
        let next = worker.due.saturating_add(worker.period);
        worker.due = if next > now { next } else { now.saturating_add(worker.period) };
        match outcome {
            ProbeOutcome::Success | ProbeOutcome::Warning => {
                worker.failures = 0;
                worker.successes = worker.successes.saturating_add(1);
                if worker.successes >= worker.success_threshold {
                    worker.result = Some(true);
                }
            }
            ProbeOutcome::Failure => {
                worker.successes = 0;
                worker.failures = worker.failures.saturating_add(1);
                if worker.failures >= worker.failure_threshold {
                    worker.result = Some(false);
                }
            }
            ProbeOutcome::Error => return Some(Verdict::Nothing),
        }
        let failed = worker.result == Some(false);
        if kind == ProbeKind::Startup && worker.result == Some(true) {
            for other in self.workers.iter_mut().filter(|other| other.kind != ProbeKind::Startup) {
                other.due = other.due.max(now);
            }
        }
        Some(if failed && kind != ProbeKind::Readiness { Verdict::Kill } else { Verdict::Nothing })
    }

    /// When something is due next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.workers
            .iter()
            .filter(|worker| self.active(worker))
            .map(|worker| worker.in_flight.unwrap_or(worker.due))
            .min()
    }
}
