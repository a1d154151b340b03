//! Times of the simulated site.

use std::time::Duration;

/// How fast or slow a box's oscillator is at most, in millionths: two of them then differ by less than one in a hundred.
pub const DRIFT_PPM: i64 = 4_900;
/// How long a box may take to stop a pod, by its own clock.
pub const STOP: Duration = Duration::from_secs(8);
/// How often the hub says what it has to say, and a box tells the hub.
pub const SAY: Duration = Duration::from_secs(3);
/// How often a coordinator looks for pods to place.
pub const PLACE: Duration = Duration::from_secs(2);
/// How long a box is off at least, when it was not meant to be.
pub const REPAIR: Duration = Duration::from_secs(1);
/// How long after the last fault the hub, which is there then, may take until a set is closed and the pods are handed
/// over: a promise to wait for, elections, a few letters.
pub const HAND_OVER: Duration = Duration::from_secs(90);
/// How long after that, and after the loss of a box and of the hub, until a coordinator is there and each pod runs: a
/// promise, an election, all that an earlier coordinator may have granted, a few claims.
pub const SETTLE: Duration = Duration::from_secs(110);
