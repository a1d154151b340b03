//! How long the parts of a run take.

use std::time::Duration;

/// Times and counts of one run.
pub(super) struct Pace {
    /// Starts of the hub that a median stands on.
    pub(super) starts: usize,
    /// Objects in the store of the second row of starts.
    pub(super) objects: usize,
    /// How long each row of creates runs.
    pub(super) writes: Duration,
    /// How long the disk alone is measured beside it.
    pub(super) syncs: Duration,
    /// How long the agent may take to close its view of Events, which it does after a minute of quiet.
    pub(super) quiet: Duration,
    /// How long wake-ups are counted.
    pub(super) wakes: Duration,
    /// How long memory may take to come to rest; then it is taken as it is.
    pub(super) settle: Duration,
}

impl Pace {
    /// Figures that say something: about two minutes.
    pub(super) const FULL: Pace = Pace {
        starts: 5,
        objects: 1000,
        writes: Duration::from_secs(5),
        syncs: Duration::from_secs(3),
        quiet: Duration::from_secs(90),
        wakes: Duration::from_secs(20),
        settle: Duration::from_secs(8),
    };
    /// Shows that the bench works; its figures mean nothing.
    pub(super) const QUICK: Pace = Pace {
        starts: 1,
        objects: 64,
        writes: Duration::from_millis(500),
        syncs: Duration::from_millis(300),
        quiet: Duration::ZERO,
        wakes: Duration::from_secs(1),
        settle: Duration::from_secs(2),
    };
}
