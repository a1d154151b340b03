//! Every bound of the scheduler, with its reason.

use std::time::Duration;

/// Wait after a pod's first failed try; doubles with each one (upstream's `podInitialBackoffSeconds`).
pub const POD_BACKOFF_INITIAL: Duration = Duration::from_secs(1);

/// Longest wait between two tries of a pod that something changed for (upstream's `podMaxBackoffSeconds`).
pub const POD_BACKOFF_CAP: Duration = Duration::from_secs(10);

/// A pod that nothing changed for is tried again after this long, in case an event was lost.
pub const UNSCHEDULABLE_LIMIT: Duration = Duration::from_secs(300);

/// Bindings and status writes under way at once; a further pod waits in the queue.
pub const WRITES_IN_FLIGHT: usize = 64;

/// How long a binding or a status write may take.
pub const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// The best score of a plugin, before its weight.
pub const MAX_SCORE: i64 = 100;
