//! Every bound of this crate, with its reason.

use std::time::Duration;

/// Keys that a queue holds. A key is queued once, so this bounds the objects of one kind; beyond it a key is
/// dropped, logged, and offered again by the next [`RESYNC`].
pub const QUEUE_KEYS: usize = 1 << 20;

/// How often an informer offers every key again, in case an event was lost on the way to a reconciler.
pub const RESYNC: Duration = Duration::from_secs(30 * 60);

/// Wait after the first failure of a key; doubles with each one.
pub const RETRY_INITIAL: Duration = Duration::from_millis(5);

/// Longest wait between two tries of a key.
pub const RETRY_CAP: Duration = Duration::from_secs(300);

/// How long one reconcile may take; then it is dropped and tried again.
pub const RECONCILE_LIMIT: Duration = Duration::from_secs(120);

/// Wait after the first failed list or watch; doubles with each one.
pub const RELIST_INITIAL: Duration = Duration::from_millis(800);

/// Longest wait between two lists or watches.
pub const RELIST_CAP: Duration = Duration::from_secs(30);

/// How long a list, or the opening of a watch, may take.
pub const CALL_LIMIT: Duration = Duration::from_secs(60);

/// A watch is asked to end after this long, plus up to as much again, so that watches do not end all at once.
pub const WATCH_SPAN: Duration = Duration::from_secs(300);

/// A watch that says nothing for so long after it should have ended is taken for dead.
pub const WATCH_SLACK: Duration = Duration::from_secs(30);

/// Events waiting to be written; when full, the newest is dropped and counted.
pub const EVENTS_QUEUED: usize = 1024;

/// Events whose counts are remembered; the least recently used is forgotten first.
pub const EVENTS_REMEMBERED: usize = 4096;

/// Events that one object may have at once; then one every [`EVENT_REFILL`] (upstream's spam filter).
pub const EVENT_BURST: u32 = 25;

/// How often an object earns one more Event.
pub const EVENT_REFILL: Duration = Duration::from_secs(300);

/// Creations or deletions that were not seen by then are taken to be lost.
pub const EXPECTATION_LIMIT: Duration = Duration::from_secs(300);

/// How long a Lease of an election is left alone after its last change (client-go's defaults, as those of the next two).
pub const LEASE_DURATION: Duration = Duration::from_secs(15);

/// A leader that could not renew its Lease for so long stops; what is left of [`LEASE_DURATION`] is for its work to end.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// Between two tries to take or to renew a Lease.
pub const LEASE_RETRY: Duration = Duration::from_secs(2);

const _: () = assert!(LEASE_RETRY.as_secs() < RENEW_DEADLINE.as_secs());
const _: () = assert!(RENEW_DEADLINE.as_secs() < LEASE_DURATION.as_secs());
const _: () = assert!(RETRY_INITIAL.as_millis() < RETRY_CAP.as_millis());
const _: () = assert!(CALL_LIMIT.as_secs() <= RECONCILE_LIMIT.as_secs());
