//! What a pod machine hears and what it answers. Plain data.

use holdfast_core::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::time::Duration;

/// The clocks, read by the driver when an event reaches the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic; all waiting is measured with it.
    pub mono: Duration,
    /// What goes into statuses. It may be wrong or jump.
    pub wall: Timestamp,
}

/// A sandbox that the runtime knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedSandbox {
    /// Its id.
    pub id: String,
    /// The attempt in its id.
    pub attempt: u32,
    /// Whether containers can run in it.
    pub ready: bool,
    /// The pod's addresses in it, first the primary; empty when the driver does not know (those of memory stay).
    pub ips: Vec<String>,
}

/// A container that the runtime knows, dead ones included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedContainer {
    /// Its id.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// Its attempt.
    pub attempt: u32,
    /// Image reference.
    pub image: String,
    /// Image digest reference.
    pub image_id: String,
    /// The runtime that has it: the scheme of `containerID`.
    pub runtime: String,
    /// Whom it runs as, where the runtime knows.
    pub user: Option<ObservedUser>,
    /// State.
    pub state: ObservedState,
}

/// Whom the first process of a container runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObservedUser {
    /// UID.
    pub uid: i64,
    /// GID.
    pub gid: i64,
    /// Further groups.
    pub groups: Vec<i64>,
}

/// State of an observed container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedState {
    /// Made, not started.
    Created,
    /// Running.
    Running {
        /// Since.
        started_at: Timestamp,
    },
    /// Ended.
    Exited {
        /// Start.
        started_at: Timestamp,
        /// End.
        finished_at: Timestamp,
        /// Exit code; 128 + n when ended by signal n.
        exit_code: i32,
        /// `Completed`, `Error`, `OOMKilled`; empty to have it derived from the exit code.
        reason: String,
        /// The termination message.
        message: String,
    },
    /// The runtime lost it, as after a power cut.
    Unknown,
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    /// `startupProbe`.
    Startup,
    /// `livenessProbe`.
    Liveness,
    /// `readinessProbe`.
    Readiness,
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// It passed.
    Success,
    /// It passed, and the message says what is odd.
    Warning,
    /// It failed.
    Failure,
    /// It could not be carried out. That says nothing of the container, and does not count.
    Error,
}

/// Why an image is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageFailure {
    /// It could not be fetched: `ErrImagePull`.
    Pull,
    /// It may not be fetched: `ErrImageNeverPull`.
    NeverPull,
    /// Its name is malformed: `InvalidImageName`.
    InvalidName,
    /// The runtime did not say whether it is here: `ImageInspectError`.
    Inspect,
}

/// How an image came to be here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageCame {
    /// It was here, and that is enough.
    Present,
    /// It was here, and no registry could be asked whether it still is the right one.
    Unchecked {
        /// Why not.
        reason: String,
    },
    /// A registry had it.
    Pulled {
        /// How long that took, without the wait for other pulls.
        took: Duration,
        /// Its size, as it travels.
        size_bytes: u64,
    },
}

/// Why a container did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartFailure {
    /// Its configuration cannot be resolved: `CreateContainerConfigError`. Nothing was made.
    Config,
    /// It could not be made: `CreateContainerError`. The driver left nothing behind.
    Create,
    /// It was made and did not start: `RunContainerError`; counts as a run that ended with 128.
    Run,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum PodEvent {
    /// The hub's object changed: spec, labels, status of others, `deletionTimestamp`.
    PodChanged(Box<Pod>),
    /// The hub's object is gone: stop with the grace of the spec, then [`PodAction::Gone`].
    DeletedAtHub,
    /// What the runtime lists for this pod. A level, not an edge: fed first of all, after each exit or resync of the
    /// runtime, and every now and then. It must have been listed after the latest event that was fed.
    Observed {
        /// The newest sandbox of the pod.
        sandbox: Option<ObservedSandbox>,
        /// All its containers, dead ones and older attempts included.
        containers: Vec<ObservedContainer>,
    },
    /// The pod has to go: the machine runs short of something, or the pod has used more than it may.
    Evicted {
        /// Of what, for people.
        message: String,
        /// The most time that it gets, if its own grace is longer; `None` for as little as can be.
        grace: Option<Duration>,
    },
    /// The node shuts down.
    ShuttingDown {
        /// How long the pod may take to stop; it takes its own grace if that is shorter.
        grace: Duration,
        /// Others may replace it: it ends here as failed. Else it is stopped, and starts again after the boot.
        ends: bool,
    },
    /// The node goes on after all.
    ShutdownCancelled,
    /// [`PodAction::SetUpVolumes`] is done.
    VolumesReady,
    /// [`PodAction::SetUpVolumes`] failed; the text is that of a `FailedMount` event.
    VolumesFailed(String),
    /// [`PodAction::RunSandbox`] is done.
    SandboxReady {
        /// Which.
        attempt: u32,
        /// The pod's addresses, first the primary.
        ips: Vec<String>,
    },
    /// [`PodAction::RunSandbox`] failed and left nothing behind.
    SandboxFailed {
        /// Which.
        attempt: u32,
        /// Why.
        message: String,
    },
    /// Optional: the image of a [`PodAction::PullImage`] is not here and is being fetched (gives the `Pulling` event).
    ImagePulling {
        /// Whose.
        container: String,
    },
    /// [`PodAction::PullImage`] is done.
    ImageReady {
        /// Whose.
        container: String,
        /// Digest reference, for `imageID`.
        image_id: String,
        /// How it came.
        came: ImageCame,
    },
    /// [`PodAction::PullImage`] failed.
    ImageFailed {
        /// Whose.
        container: String,
        /// Kind of failure.
        reason: ImageFailure,
        /// Why.
        message: String,
    },
    /// [`PodAction::PullImage`] failed: not the container's image, but that of a volume that it mounts.
    VolumeImageFailed {
        /// Whose.
        container: String,
        /// The volume's image.
        image: String,
        /// Kind of failure.
        reason: ImageFailure,
        /// Why.
        message: String,
    },
    /// [`PodAction::StartContainer`] is done, its `postStart` hook included.
    ContainerStarted {
        /// Which.
        container: String,
        /// Its attempt.
        attempt: u32,
    },
    /// [`PodAction::StartContainer`] failed.
    ContainerFailed {
        /// Which.
        container: String,
        /// Its attempt.
        attempt: u32,
        /// Kind of failure.
        reason: StartFailure,
        /// Why.
        message: String,
    },
    /// A [`PodAction::StopContainer`] returned, successful or not; [`PodEvent::Observed`] has the exit code.
    ContainerStopped {
        /// Which.
        container: String,
    },
    /// A [`PodAction::RunProbe`] returned.
    ProbeResult {
        /// Of which container.
        container: String,
        /// Which probe.
        probe: ProbeKind,
        /// What it found.
        outcome: ProbeOutcome,
        /// Its output.
        message: String,
    },
    /// The node's run lease does not cover the pod any more (or, `false`, does so again): it must not run, as the hub
    /// may have replaced it.
    Fenced(bool),
    /// The node's answer to [`PodAction::AskForSize`]: yes, or reason and message ([`crate::ledger`]).
    SizeAnswered(Result<(), (&'static str, String)>),
    /// Others have given CPU or memory back: worth asking again.
    Room,
    /// [`PodAction::Resize`] is done, or why not.
    Resized {
        /// Nothing when it is done. It is tried again.
        failed: Option<String>,
    },
    /// [`PodAction::StopSandbox`] is done.
    SandboxStopped,
    /// [`PodAction::TearDownVolumes`] is done.
    VolumesGone,
    /// [`crate::PodMachine::next_deadline`] has come.
    Tick,
}

/// What to do. Each action with an answer is answered by exactly one event, after at most the driver's own deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodAction {
    /// Make the pod's volumes; idempotent. Answer: `VolumesReady` or `VolumesFailed`.
    SetUpVolumes,
    /// Make a sandbox. Answer: `SandboxReady` or `SandboxFailed`.
    RunSandbox {
        /// Its attempt.
        attempt: u32,
    },
    /// See that a container's image is here, and those of the volumes that it mounts. Answer: `ImageReady`, `ImageFailed` or
    /// `VolumeImageFailed`.
    PullImage {
        /// Whose.
        container: String,
        /// Ask the registry even when it is here, if it can be asked.
        always: bool,
        /// Never ask the registry.
        never: bool,
    },
    /// Resolve, create and start a container with [`crate::container_id`], then run `postStart`.
    /// Answer: `ContainerStarted` or `ContainerFailed`.
    StartContainer {
        /// Which.
        container: String,
        /// Its attempt.
        attempt: u32,
    },
    /// Run `preStop` within the grace, then stop. Given a second time with a shorter grace when that changes.
    /// Answer: `ContainerStopped`.
    StopContainer {
        /// Which.
        container: String,
        /// Its attempt.
        attempt: u32,
        /// How long it may take, `preStop` included.
        grace: Duration,
        /// Why, for the log.
        reason: String,
    },
    /// Run a probe once, within its `timeoutSeconds`. Answer: `ProbeResult`.
    RunProbe {
        /// Of which container.
        container: String,
        /// Its attempt.
        attempt: u32,
        /// Which probe.
        probe: ProbeKind,
    },
    /// Forget a dead container. The newest dead one before the current is kept for `logs --previous`. No answer.
    RemoveContainer {
        /// Which.
        container: String,
        /// Its attempt.
        attempt: u32,
    },
    /// Stop a sandbox; fine when it is gone. Answer: `SandboxStopped`.
    StopSandbox {
        /// Its attempt.
        attempt: u32,
    },
    /// Ask the node whether the pod as it is written now ([`crate::PodMachine::pod`]) may have its resources. Answer:
    /// `SizeAnswered`.
    AskForSize,
    /// Hold the pod's cgroup and these running containers to [`crate::PodMachine::granted_pod`]; may be repeated. Answer:
    /// `Resized`.
    Resize {
        /// Names and attempts.
        containers: Vec<(String, u32)>,
    },
    /// Remove the pod's volumes. Answer: `VolumesGone`.
    TearDownVolumes,
    /// Record a Kubernetes Event about the pod. No answer.
    Event {
        /// `Warning` rather than `Normal`.
        warning: bool,
        /// Reason.
        reason: &'static str,
        /// Text.
        message: String,
        /// The container that it is about (`involvedObject.fieldPath`).
        container: Option<String>,
    },
    /// Make [`crate::PodMachine::memory`] and [`crate::PodMachine::allocation`] durable before the following actions of this batch. No answer.
    Remember,
    /// [`crate::PodMachine::status`] changed. No answer.
    StatusChanged,
    /// All is torn down after a deletion; the hub may forget the pod. The last action of a machine.
    Gone,
}
