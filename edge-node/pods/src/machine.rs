//! The machine itself: its state, and which event touches what. After each event [`PodMachine::handle`] takes every
//! step that has become possible; the steps are in `run` and `stop`.

use crate::container::{Live, Stage};
use crate::memory::{ContainerMemory, Outcome, Run};
use crate::resize::Sizing;
use crate::shutdown::Shutdown;
use crate::{Allocation, Now, ObservedUser, PodAction, PodEvent, PodMemory, limits, spec};
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use std::collections::BTreeMap;
use std::time::Duration;

/// The reason of a pod that had to go.
pub(crate) const EVICTED: &str = "Evicted";
/// How the message begins of a pod that had to go for others: the machine ran short of what is named next.
pub const NODE_LOW: &str = "The node was low on resource: ";

/// The pod's volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Volumes {
    Unknown,
    SettingUp,
    Ready,
    Failed { retry_at: Duration },
    TearingDown,
    Gone,
}

/// The pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sandbox {
    /// None is there.
    None,
    /// The driver makes it.
    Starting,
    /// It could not be made; tried again at a time.
    Failed { retry_at: Duration },
    /// It is there, since a time.
    Ready { since: Duration },
    /// It is of no use any more and has to be cleaned up.
    Lost,
    /// The driver stops it.
    Stopping,
}

/// The life of one pod.
#[derive(Clone, Debug)]
pub struct PodMachine {
    pub(crate) pod: Pod,
    /// Its ephemeral containers, as containers.
    pub(crate) ephemeral: Vec<Container>,
    pub(crate) memory: PodMemory,
    pub(crate) allocation: Allocation,
    pub(crate) sizing: Sizing,
    pub(crate) host_ips: Vec<String>,
    /// The first observation has been taken in.
    pub(crate) adopted: bool,
    pub(crate) volumes: Volumes,
    pub(crate) volume_failures: u32,
    pub(crate) sandbox: Sandbox,
    pub(crate) sandbox_failures: u32,
    pub(crate) live: BTreeMap<String, Live>,
    /// Older attempts that still run, with the time of the next attempt to stop them.
    pub(crate) strays: BTreeMap<(String, u32), Duration>,
    /// Since when all containers are being stopped.
    pub(crate) stop_began: Option<Duration>,
    /// The most time that a pod gets that has to go.
    pub(crate) eviction_grace: Duration,
    pub(crate) gone: bool,
    /// The pod must not run now, see [`PodEvent::Fenced`].
    pub(crate) fenced: bool,
    /// The node shuts down.
    pub(crate) shutdown: Option<Shutdown>,
    /// Mounts of this pod can be read-only with all that is mounted below them.
    pub(crate) recursive_read_only: bool,
    /// The status of a pod that was over before this machine knew it.
    pub(crate) frozen: Option<PodStatus>,
    /// The node does not take the pod: reason and message, until that is told.
    rejection: Option<(&'static str, String)>,
    /// When the machine was made, and how old the pod was by the wall clock.
    born: (Duration, Duration),
    /// The time of the latest event: deadlines up to it have been dealt with.
    handled_at: Duration,
    published: Option<PodStatus>,
}

impl PodMachine {
    /// A machine for `pod`; `memory` is what survived, [`PodMemory::default`] for a new pod.
    /// The first event fed to it is [`PodEvent::Observed`].
    pub fn new(pod: Pod, mut memory: PodMemory, now: Now) -> PodMachine {
        let mut frozen = None;
        if memory.start_time.is_none() {
            let status = pod.status.as_ref();
            let hubs = status.and_then(|status| status.start_time.as_ref());
            memory.start_time = Some(hubs.and_then(crate::status::from_time).unwrap_or(now.wall));
            recall(&pod, &mut memory);
            if spec::terminal_phase(&pod).is_some() {
                frozen = pod.status.clone();
            }
        }
        let age = memory.start_time.map_or(Duration::ZERO, |start| now.wall.since(start));
        let live = spec::containers(&pod).map(|(_, container)| (container.name.clone(), Live::default())).collect();
        let mut machine = PodMachine {
            ephemeral: crate::ephemeral::of(&pod),
            allocation: Allocation::recalled(&pod),
            sizing: Sizing::default(),
            pod,
            memory,
            host_ips: Vec::new(),
            adopted: false,
            volumes: Volumes::Unknown,
            volume_failures: 0,
            sandbox: Sandbox::None,
            sandbox_failures: 0,
            live,
            strays: BTreeMap::new(),
            stop_began: None,
            eviction_grace: Duration::ZERO,
            gone: false,
            fenced: false,
            shutdown: None,
            recursive_read_only: false,
            frozen,
            rejection: None,
            born: (now.mono, age),
            handled_at: now.mono,
            published: None,
        };
        machine.heed_hub_phase();
        machine
    }

    /// Takes what happened; returns what is to be done, in order.
    pub fn handle(&mut self, now: Now, event: PodEvent) -> Vec<PodAction> {
        let mut out = Vec::new();
        if self.gone {
            return out;
        }
        self.handled_at = self.handled_at.max(now.mono);
        let now = Now { mono: self.handled_at, ..now };
        self.take(now, event, &mut out);
        if self.adopted {
            self.advance(now, &mut out);
        }
        self.settle_status(now, &mut out);
        out
    }

    fn take(&mut self, now: Now, event: PodEvent, out: &mut Vec<PodAction>) {
        match event {
            PodEvent::PodChanged(pod) => self.pod_changed(*pod),
            PodEvent::DeletedAtHub => {
                if !self.memory.deleted_at_hub {
                    self.memory.deleted_at_hub = true;
                    out.push(PodAction::Remember);
                }
            }
            PodEvent::Observed { sandbox, containers } => self.observe(now, sandbox, containers, out),
            PodEvent::VolumesReady if self.volumes == Volumes::SettingUp => {
                self.volumes = Volumes::Ready;
                self.volume_failures = 0;
            }
            PodEvent::VolumesFailed(message) if self.volumes == Volumes::SettingUp => {
                let wait = backoff(limits::VOLUMES_RETRY, self.volume_failures);
                self.volume_failures = self.volume_failures.saturating_add(1);
                self.volumes = Volumes::Failed { retry_at: now.mono.saturating_add(wait) };
                out.push(self.event(true, "FailedMount", message, None));
            }
            PodEvent::SandboxReady { attempt, ips } if self.awaits_sandbox(attempt) => {
                self.sandbox = Sandbox::Ready { since: now.mono };
                self.sandbox_failures = 0;
                self.memory.ips = ips;
            }
            PodEvent::SandboxFailed { attempt, message } if self.awaits_sandbox(attempt) => {
                let wait = backoff(limits::SANDBOX_RETRY, self.sandbox_failures);
                self.sandbox_failures = self.sandbox_failures.saturating_add(1);
                self.sandbox = Sandbox::Failed { retry_at: now.mono.saturating_add(wait) };
                let message = format!("Failed to create pod sandbox: {message}");
                out.push(self.event(true, "FailedCreatePodSandBox", message, None));
            }
            PodEvent::ImagePulling { container } => self.image_pulling(now, &container, out),
            PodEvent::ImageReady { container, image_id, came } => {
                self.image_ready(now, &container, image_id, &came, out);
            }
            PodEvent::ImageFailed { container, reason, message } => {
                self.image_failed(now, &container, None, reason, message, out);
            }
            PodEvent::VolumeImageFailed { container, image, reason, message } => {
                self.image_failed(now, &container, Some(image), reason, message, out);
            }
            PodEvent::ContainerStarted { container, attempt } => self.container_started(now, &container, attempt, out),
            PodEvent::ContainerFailed { container, attempt, reason, message } => {
                self.container_failed(now, &container, attempt, reason, message, out);
            }
            PodEvent::ContainerStopped { container } => {
                if let Some(Live { stage: Stage::Stopping { returned, .. }, .. }) = self.live.get_mut(&container) {
                    returned.get_or_insert(now.mono);
                }
            }
            PodEvent::ProbeResult { container, probe, outcome, message } => {
                self.probe_result(now, &container, probe, outcome, message, out);
            }
            PodEvent::Fenced(fenced) => {
                if fenced && !self.fenced && !self.ending() {
                    let message = "Stopping: the hub was not heard for as long as this pod may run without it";
                    out.push(self.event(true, "RunLeaseExpired", message.into(), None));
                }
                self.fenced = fenced;
            }
            PodEvent::Evicted { message, grace } => {
                if !self.ending() {
                    self.eviction_grace = grace.unwrap_or_default();
                    out.push(self.event(true, EVICTED, message.clone(), None));
                    self.memory.outcome = Some(Outcome { succeeded: false, reason: EVICTED.into(), message });
                }
            }
            PodEvent::ShuttingDown { grace, ends } => self.shut_down(grace, ends),
            PodEvent::ShutdownCancelled => self.shutdown = None,
            PodEvent::SizeAnswered(answer) => self.size_answered(now, answer, out),
            PodEvent::Room => self.room(now),
            PodEvent::Resized { failed } => self.size_made(now, failed, out),
            PodEvent::SandboxStopped if self.sandbox == Sandbox::Stopping => self.sandbox = Sandbox::None,
            PodEvent::VolumesGone if self.volumes == Volumes::TearingDown => self.volumes = Volumes::Gone,
            // A late answer to what is no longer asked, or a tick: `advance` looks at the clock itself.
            PodEvent::VolumesReady
            | PodEvent::VolumesFailed(_)
            | PodEvent::SandboxReady { .. }
            | PodEvent::SandboxFailed { .. }
            | PodEvent::SandboxStopped
            | PodEvent::VolumesGone
            | PodEvent::Tick => {}
        }
    }

    /// Every step that is possible now.
    fn advance(&mut self, now: Now, out: &mut Vec<PodAction>) {
        self.heed_rejection(out);
        self.expire(now, out);
        // How containers end that the shutdown stops says nothing of the pod.
        if self.shutdown.is_none() {
            self.decide_outcome(now, out);
        }
        if self.ending() {
            self.end(now, out);
        } else if self.shutdown.is_some() {
            self.halt(now, out);
        } else if self.fenced {
            let grace = spec::grace(&self.pod);
            self.stop_containers(now, grace, out);
        } else {
            self.run(now, out);
        }
        self.drive_probes(now, out);
    }

    fn pod_changed(&mut self, pod: Pod) {
        if pod.metadata.uid == self.pod.metadata.uid {
            self.ephemeral = crate::ephemeral::of(&pod);
            self.pod = pod;
            self.heed_hub_phase();
        }
    }

    /// A phase that someone else made terminal ends the pod.
    fn heed_hub_phase(&mut self) {
        if let (None, Some(succeeded)) = (&self.memory.outcome, spec::terminal_phase(&self.pod)) {
            let text = |pick: fn(&PodStatus) -> &Option<String>| {
                self.pod.status.as_ref().and_then(|status| pick(status).clone()).unwrap_or_default()
            };
            let reason = text(|status| &status.reason);
            let message = text(|status| &status.message);
            self.memory.outcome = Some(Outcome { succeeded, reason, message });
        }
    }

    /// Says before the first event that the node does not take the pod, see [`crate::admit`]. A pod that was taken before
    /// goes on.
    pub fn reject(&mut self, reason: &'static str, message: String) {
        if self.memory.sandbox_attempt.is_none() {
            self.rejection = Some((reason, message));
        }
    }

    fn heed_rejection(&mut self, out: &mut Vec<PodAction>) {
        // A sandbox that was found says that the pod was taken once, and the memory of that is lost.
        let Some((reason, message)) = self.rejection.take().filter(|_| self.memory.sandbox_attempt.is_none()) else {
            return;
        };
        if self.ending() {
            return;
        }
        let told = format!("Pod was rejected: {message}");
        out.push(self.event(true, reason, message, None));
        self.memory.outcome = Some(Outcome { succeeded: false, reason: reason.into(), message: bounded(told) });
    }

    fn awaits_sandbox(&self, attempt: u32) -> bool {
        self.sandbox == Sandbox::Starting && self.memory.sandbox_attempt == Some(attempt)
    }

    /// The pod is to stop, for whatever reason.
    pub fn ending(&self) -> bool {
        self.deleted() || self.memory.outcome.is_some()
    }

    /// The pod is to go away altogether.
    pub(crate) fn deleted(&self) -> bool {
        self.memory.deleted_at_hub || self.pod.metadata.deletion_timestamp.is_some()
    }

    /// When `activeDeadlineSeconds` is over, in monotonic time.
    pub(crate) fn active_deadline(&self) -> Option<Duration> {
        let limit = spec::seconds(self.pod.spec.as_ref()?.active_deadline_seconds?);
        Some(self.born.0.saturating_add(limit.saturating_sub(self.born.1)))
    }

    /// The record of a container.
    pub(crate) fn mem(&mut self, name: &str) -> &mut ContainerMemory {
        self.memory.containers.entry(name.to_string()).or_default()
    }

    pub(crate) fn event(
        &self,
        warning: bool,
        reason: &'static str,
        message: String,
        container: Option<&str>,
    ) -> PodAction {
        PodAction::Event { warning, reason, message: bounded(message), container: container.map(str::to_string) }
    }

    /// Notes changed conditions and says whether the status changed.
    fn settle_status(&mut self, now: Now, out: &mut Vec<PodAction>) {
        self.note_conditions(now);
        let status = self.status(now);
        if self.published.as_ref() != Some(&status) {
            self.published = Some(status);
            // Before `Gone`: it stays the last action.
            let end = out.len() - usize::from(out.last() == Some(&PodAction::Gone));
            out.insert(end, PodAction::StatusChanged);
        }
    }

    /// When to feed [`PodEvent::Tick`], in monotonic time; `None` for no need.
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.gone || !self.adopted {
            return None;
        }
        let volumes = match self.volumes {
            Volumes::Failed { retry_at } => Some(retry_at),
            _ => None,
        };
        let sandbox = match self.sandbox {
            Sandbox::Failed { retry_at } => Some(retry_at),
            _ => None,
        };
        let active = self.active_deadline().filter(|_| !self.ending());
        [volumes, sandbox, active]
            .into_iter()
            .flatten()
            .chain(self.live.values().flat_map(Live::next_deadlines))
            .chain(self.strays.values().copied())
            .chain(self.size_deadlines().filter(|_| !self.ending()))
            // What was due by the latest event has been dealt with, or waits for another event.
            .filter(|at| *at > self.handled_at)
            .min()
    }

    /// Says before the first event whether the pod must not run, see [`PodEvent::Fenced`].
    pub fn set_fenced(&mut self, fenced: bool) {
        self.fenced = fenced;
    }

    /// Says before the first event what was written down of the pod's resources, if anything was.
    pub fn set_allocation(&mut self, allocation: Allocation) {
        self.allocation = allocation;
    }

    /// Sets the node's addresses, first the primary.
    pub fn set_host_ips(&mut self, ips: Vec<String>) {
        self.host_ips = ips;
    }

    /// Says before the first event that the node shuts down, see [`PodEvent::ShuttingDown`].
    pub fn set_shutting_down(&mut self, grace: Duration) {
        self.shut_down(grace, false);
    }

    /// Says whether mounts can be read-only with all that is mounted below them.
    pub fn set_recursive_read_only(&mut self, supported: bool) {
        self.recursive_read_only = supported;
    }

    /// Says whom the current attempt of a container runs as.
    pub fn set_user(&mut self, container: &str, user: Option<ObservedUser>) {
        self.live(container).user = user;
    }

    /// Names the runtime of a container (`containerd`, `wasm`): the scheme of its `containerID`.
    pub fn set_runtime(&mut self, container: &str, runtime: &str) {
        self.mem(container).runtime = runtime.to_string();
    }

    /// Whether the pod has ended in a way that must not happen twice: by itself, or, of what may run only once, at all.
    pub fn has_run_its_course(&self) -> bool {
        self.memory.finished
            && (!self.deleted() || (spec::restart_policy(&self.pod) == "Never" && self.memory.has_run()))
    }

    /// Whether a container is not started again once it may have run.
    pub fn runs_once(&self, name: &str) -> bool {
        spec::container(&self.pod, name)
            .is_some_and(|(role, container)| !spec::restarts(&self.pod, role, container, 137))
    }

    /// What must survive.
    pub fn memory(&self) -> &PodMemory {
        &self.memory
    }

    /// The pod as last seen.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }
}

/// The wait after one more failure than `failures`.
pub(crate) fn backoff((initial, cap): (Duration, Duration), failures: u32) -> Duration {
    let mut backoff = holdfast_core::Backoff::new(initial, cap);
    let mut wait = backoff.fail();
    for _ in 0..failures.min(31) {
        wait = backoff.fail();
    }
    wait
}

/// Cut to what a status or event may hold.
pub(crate) fn bounded(text: String) -> String {
    cut(text, limits::MESSAGE_MAX)
}

/// The first so many bytes of a text, or fewer for a letter that would be halved.
pub(crate) fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// Fills an empty memory from what the hub knows of the pod: a node that lost its disk must not start over at zero,
/// nor run a second time what may run only once.
fn recall(pod: &Pod, memory: &mut PodMemory) {
    let Some(status) = &pod.status else { return };
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    for told in lists.into_iter().flatten().flatten() {
        let state = told.state.as_ref();
        let ran = told.restart_count > 0
            || state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            || told.last_state.as_ref().is_some_and(|last| last.terminated.is_some());
        if ran {
            let container = memory.containers.entry(told.name.clone()).or_default();
            container.attempt = u32::try_from(told.restart_count).unwrap_or(0);
            container.run = Run::Started;
            container.image_id = told.image_id.clone();
            let attempt = container.attempt;
            let ended = |state: &k8s_openapi::api::core::v1::ContainerState| {
                state.terminated.as_ref().map(|ended| crate::status::recalled(attempt, ended))
            };
            let previous = told.last_state.as_ref().and_then(ended);
            if let Some(last) = state.and_then(ended) {
                container.run = Run::Ended;
                container.last = Some(last);
                container.previous = previous;
            } else {
                container.last = previous;
            }
        }
    }
}
