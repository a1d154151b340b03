//! One container of a running machine: where it is between waiting and ended. What must survive is in
//! [`crate::memory::ContainerMemory`]; this is rebuilt from it and from what the runtime lists.

use crate::ObservedUser;
use crate::memory::Termination;
use crate::probes::Probes;
use std::time::Duration;

/// Where a container is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Stage {
    /// Nothing is under way.
    #[default]
    Idle,
    /// Its image is being seen to.
    Pulling {
        /// Since when it is fetched, once that is known.
        fetching: Option<Duration>,
    },
    /// It could not be started; tried again at a time.
    Failed {
        /// When `ErrImagePull` becomes `ImagePullBackOff`.
        turns_at: Option<Duration>,
        /// When to try again.
        retry_at: Duration,
    },
    /// The driver starts it.
    Starting {
        /// It was seen to have ended before the driver answered.
        early: Option<Termination>,
    },
    /// It runs.
    Running {
        /// Since when, in monotonic time.
        since: Duration,
    },
    /// The driver stops it.
    Stopping {
        /// When it started, in monotonic time.
        since: Duration,
        /// When it will be killed.
        until: Duration,
        /// When the driver said that it had stopped; the exit code is still to come.
        returned: Option<Duration>,
    },
    /// It ended; started again at a time, if at all.
    Ended {
        /// The back-off.
        backoff: Duration,
        /// When it is over.
        retry_at: Duration,
    },
}

/// The volatile side of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// Where it is.
    pub(crate) stage: Stage,
    /// Its probes while it runs.
    pub(crate) probes: Probes,
    /// Why it waits, as its status shows it.
    pub(crate) waiting: Option<(&'static str, String)>,
    /// Start it again whatever the policy says: its definition changed.
    pub(crate) force: bool,
    /// The image that could not be had: its own, or that of a volume.
    pub(crate) failed_image: String,
    /// Starts that failed in a row without a run.
    pub(crate) start_failures: u32,
    /// Whom it runs as, once that is known.
    pub(crate) user: Option<ObservedUser>,
}

impl Live {
    /// Whether a process of it may be alive.
    pub(crate) fn may_live(&self) -> bool {
        matches!(self.stage, Stage::Starting { .. } | Stage::Running { .. } | Stage::Stopping { .. })
    }

    /// When it wants attention next.
    pub(crate) fn next_deadlines(&self) -> impl Iterator<Item = Duration> {
        let (one, two) = match &self.stage {
            Stage::Failed { turns_at, retry_at } => (*turns_at, Some(*retry_at)),
            Stage::Running { .. } => (self.probes.next_deadline(), None),
            Stage::Stopping { returned, .. } => {
                let exit = returned.map(|at| at.saturating_add(crate::limits::EXIT_WAIT));
                (exit, self.probes.next_deadline())
            }
            Stage::Ended { retry_at, .. } => (Some(*retry_at), None),
            Stage::Idle | Stage::Pulling { .. } | Stage::Starting { .. } => (None, None),
        };
        one.into_iter().chain(two)
    }
}
