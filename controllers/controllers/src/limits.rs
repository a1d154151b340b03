//! Every bound of the controllers, with its reason.

use std::time::Duration;

/// Workers of each controller that works on many objects: enough to hide the latency of writes.
pub const WORKERS: usize = 4;

/// Most pods that one reconcile of a ReplicaSet creates or deletes (upstream's burst).
pub const REPLICA_BURST: usize = 500;

/// Most endpoints of an EndpointSlice (upstream's default).
pub const SLICE_ENDPOINTS: usize = 100;

/// Most addresses of an Endpoints object (upstream's `maxCapacity`).
pub const ENDPOINTS_ADDRESSES: usize = 1000;

/// Most endpoints of a slice that mirrors hand-made Endpoints (upstream's default).
pub const MIRRORED_ENDPOINTS: usize = 1000;

/// How long a ServiceCIDR that is deleted stays, so that nobody takes it for usable any more (upstream's grace).
pub const SERVICE_CIDR_GRACE: Duration = Duration::from_secs(10);

/// How often pods are looked at for garbage (upstream's `gcCheckPeriod`).
pub const POD_GC_PERIOD: Duration = Duration::from_secs(20);

/// How soon the garbage collector looks again while it has not read all kinds.
pub const UNSYNCED_RETRY: Duration = Duration::from_millis(100);

/// How often a quota is counted although nothing seems to have changed (upstream's `resource-quota-sync-period`).
pub const QUOTA_RESYNC: Duration = Duration::from_secs(300);

/// How often a quota that is charged meanwhile is counted again before it waits for its back-off.
pub const QUOTA_ROUNDS: usize = 8;

/// How long counting waits for the watch of a kind that a quota has just begun to count.
pub const QUOTA_WATCH_WAIT: Duration = Duration::from_secs(10);

/// Objects of a namespace that are deleted at once.
pub const NAMESPACE_DELETES: usize = 16;

/// How soon a namespace with content that takes its time is looked at again.
pub const NAMESPACE_RETRY: Duration = Duration::from_secs(5);

/// How long a pod that was evicted counts as going (upstream's `DeletionTimeout`).
pub const DISRUPTED_FOR: Duration = Duration::from_secs(2 * 60);

/// Longest life of a certificate of the API's signers (upstream's `--cluster-signing-duration`).
pub const CERTIFICATE_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

/// Shortest life of one, whatever is asked for.
pub const CERTIFICATE_TTL_MIN: Duration = Duration::from_secs(600);

/// How often certificate requests are looked at for old ones, as upstream.
pub const REQUESTS_PERIOD: Duration = Duration::from_secs(3600);

/// How long a request stays that was signed, denied or failed, as upstream.
pub const REQUEST_DONE: Duration = Duration::from_secs(3600);

/// How long a request stays that nobody looked at or signed, as upstream.
pub const REQUEST_PENDING: Duration = Duration::from_secs(24 * 3600);
