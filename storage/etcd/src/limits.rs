//! Bounds of the etcd store.

use std::time::Duration;

/// Transactions that are with etcd at once; a further one waits in its task.
pub const CALLS: usize = 512;
/// How long etcd may take for an answer, unless the configuration says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may take, TLS included.
pub const CONNECT: Duration = Duration::from_secs(3);
/// Pings of a connection, and how long one may go unanswered. etcd ends connections that ping more often than every 5 s.
pub const PING: Duration = Duration::from_secs(10);
/// The largest answer. etcd bounds what is written, and sends a thousand revisions at once to a watch that lags.
pub const ANSWER_BYTES: usize = i32::MAX as usize;
/// Keys in one answer while the store is loaded.
pub const LOAD_PAGE: i64 = 1000;
/// The least time between two requests for the watch's progress.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(10);
/// After so long without an answer the watch's progress is asked for again: etcd keeps quiet while the watch lags.
pub const PROGRESS_AGAIN: Duration = Duration::from_millis(100);
/// Requests to the watch that wait to be sent.
pub const WATCH_REQUESTS: usize = 16;
/// The first wait after etcd was lost, and the longest.
pub const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

const _: () = assert!(PROGRESS_EVERY.as_millis() < PROGRESS_AGAIN.as_millis(), "a request is repeated, not doubled");
