//! Bounds of the registry, with unit and reason.

use std::time::Duration;

/// Tries of an update or patch that names no `resourceVersion`, before 409 (upstream's patch retries as often).
pub(crate) const CONFLICT_RETRIES: usize = 16;
/// Bytes of a patch, or of what it made, that a refusal shows.
pub(crate) const PATCH_SHOWN_BYTES: usize = 64 << 10;
/// Names tried for one `generateName`, as upstream.
pub(crate) const NAME_RETRIES: usize = 8;
/// Records read from the store at once while a selector filters a limited list.
pub(crate) const FILTER_PAGE: usize = 500;
/// Objects of a resource by which the size of all is judged.
pub(crate) const MEASURED_OBJECTS: usize = 100;
/// Time between two looks at the flow schemas and priority levels that every cluster has, as upstream.
pub(crate) const FLOW_CONTROL_PERIOD: Duration = Duration::from_secs(60);
/// Time between bookmarks of a watch, as upstream.
pub(crate) const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// Bytes of all annotations of an object (upstream's `TotalAnnotationSizeLimitB`).
pub(crate) const ANNOTATIONS_BYTES: usize = 256 << 10;
/// Bytes of `managedFields`. Appliers are as many as choose to apply; beyond this an apply is refused, and other writes
/// go on with none, as upstream does when an object grows too large.
pub(crate) const MANAGED_FIELDS_BYTES: usize = 1 << 20;
/// Bytes of the values of a ConfigMap or Secret.
pub(crate) const DATA_BYTES: usize = 1 << 20;
/// Tries to allocate a free address or port before the create is refused.
pub(crate) const ALLOCATION_RETRIES: usize = 32;
/// Places in which charges to quotas wait for one another, each for its share of the namespaces.
pub(crate) const QUOTA_TURNS: usize = 64;
/// Pods of a namespace that are held against a new level of the Pod Security Standards, as upstream.
pub(crate) const PODS_HELD_AGAINST_LEVEL: usize = 3000;
/// How long that may take, as upstream.
pub(crate) const LEVEL_CHECK: Duration = Duration::from_secs(1);
/// How often the `default` ServiceAccount of a fresh namespace is looked for, as upstream.
pub(crate) const SERVICE_ACCOUNT_TRIES: usize = 10;
/// Pause between two of these tries.
pub(crate) const SERVICE_ACCOUNT_PAUSE: Duration = Duration::from_millis(100);
/// Time between two sweeps of old Events.
pub(crate) const EVENT_SWEEP: Duration = Duration::from_secs(60);
/// Pause before a failed cache of RBAC objects is read again.
pub(crate) const CACHE_RETRY: Duration = Duration::from_millis(250);
/// Bytes of the PEM of a certificate request: room for the largest keys and a hundred names.
pub(crate) const CERTIFICATE_REQUEST_BYTES: usize = 64 << 10;
/// Entries of `status.disruptedPods` beyond which nothing more is evicted, as upstream: so many evictions that the disruption
/// controller has not seen mean that it does not run.
pub(crate) const DISRUPTED_PODS: usize = 2000;
/// Tries of an eviction that meets other evictions of the same budget (upstream's).
pub(crate) const EVICTION_TRIES: usize = 20;
/// Longest pause between two of these tries; it is drawn, so that those who met once do not meet again.
pub(crate) const EVICTION_PAUSE: Duration = Duration::from_millis(50);
/// How long a webhook may take to convert objects, as upstream.
pub(crate) const CONVERSION_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects that a webhook converts in one call: a page of clients that ask for pages.
pub(crate) const CONVERTED_OBJECTS: usize = 500;
/// Bytes of these objects, unless one alone is larger. The answer, which is bounded too, may be three times as long.
pub(crate) const CONVERTED_BYTES: usize = 1 << 20;
/// Rounds in which documents are converted for the managers of fields, of which each may name a version of its own.
pub(crate) const CONVERSION_ROUNDS: usize = 16;
/// Bytes of what reads of custom kinds made of stored objects, kept for the next read.
pub(crate) const VIEWS_BYTES: usize = 16 << 20;
