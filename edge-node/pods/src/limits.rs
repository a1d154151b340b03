//! Times and bounds of a pod's life, with their reasons.

use std::time::Duration;

/// First wait after a container ended twice, or an image could not be had (the kubelet's).
pub const BACKOFF_INITIAL: Duration = Duration::from_secs(10);
/// Longest such wait.
pub const BACKOFF_CAP: Duration = Duration::from_secs(300);
/// A container that ran this long starts afresh: twice the longest wait, as upstream.
pub const BACKOFF_RESET: Duration = Duration::from_secs(600);
/// How long `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
pub const PULL_ERROR_SHOWN: Duration = Duration::from_secs(2);
/// First and longest wait before a container that could not be made is tried again; each try costs a durable write.
pub const START_RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// First and longest wait before a sandbox is tried again: short, since containerd may just be restarting.
pub const SANDBOX_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// First and longest wait before volumes are tried again: what is missing often comes with the next sync.
pub const VOLUMES_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long an observation may miss what has only just been reported: it was listed before.
pub const OBSERVATION_LAG: Duration = Duration::from_secs(5);
/// How long the exit code of a stopped container is waited for.
pub const EXIT_WAIT: Duration = Duration::from_secs(10);
/// How long after its time-out the answer of a probe is waited for.
pub const PROBE_SLACK: Duration = Duration::from_secs(5);
/// How long after a refusal the node is asked again for more CPU and memory, should nothing ring before (the kubelet's).
pub const RESIZE_RETRY: Duration = Duration::from_secs(180);
/// First and longest wait before a running pod is tried to be resized again, as when it still uses what it shall give back.
pub const RESIZE_FAILED: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// `terminationGracePeriodSeconds` when it is not set.
pub const GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// Shortest grace of a deletion, as upstream.
pub const GRACE_MIN: Duration = Duration::from_secs(1);
/// Shortest grace of a sidecar when the others used it up, as upstream.
pub const SIDECAR_GRACE_MIN: Duration = Duration::from_secs(2);
/// Bytes of the termination messages of all containers of a pod, of which each may have its share, as upstream.
pub const LAST_WORDS_MAX: usize = 12 << 10;
/// Longest text of a status or event, in bytes.
pub const MESSAGE_MAX: usize = 4096;

const _: () = assert!(BACKOFF_RESET.as_secs() == 2 * BACKOFF_CAP.as_secs());
