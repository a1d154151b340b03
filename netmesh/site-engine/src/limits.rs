//! Times and bounds of a site, and how they hang together.
//!
//! All boxes of a site must agree on the times. A release that changes one has to carry the greater of both values in
//! whatever waits, until no box of the release before is left.

use std::time::Duration;

/// The boot clocks of two boxes differ in rate by less than one part in this many. Crystals do by one in ten thousand.
pub const RATE: u32 = 100;
/// How much later than it should a driver may look at the clock.
pub const LOOK: Duration = Duration::from_secs(1);
/// How long after it sent the last renewal that majorities answered a coordinator acts.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long after it answered a renewal a voter votes for no other.
pub const PROMISE: Duration = longest(LEASE).saturating_add(LOOK);
/// How often a coordinator renews.
pub const RENEW: Duration = Duration::from_secs(3);
/// How long a candidate waits for answers.
pub const CAMPAIGN: Duration = Duration::from_secs(4);
/// How long it waits before it tries again.
pub const RETRY: Duration = Duration::from_secs(2);
/// How much later than the one before it in the set a box stands, so that they rarely stand at once.
pub const STAGGER: Duration = Duration::from_secs(2);
/// How long after it sent the last claim that was answered with it a box runs a pod.
pub const RUN_LEASE: Duration = Duration::from_secs(30);
/// How often a box claims.
pub const CLAIM: Duration = Duration::from_secs(5);
/// Renewals, or claims, that wait for their answers; older ones are forgotten.
pub const PENDING: usize = 8;

/// Seats of a set.
pub const MAX_SEATS: usize = 7;
/// Pods of a site.
pub const MAX_PODS: usize = 1024;
/// Writes that may wait for the disk; until it is done with one of them messages are lost.
pub const MAX_WRITES: usize = 16;
/// Answers that may wait for a write; further ones are lost.
pub const MAX_ANSWERS: usize = 64;
/// How far a term may be above the one that a box knows: nobody can use terms up.
pub const TERM_JUMP: u64 = 1 << 32;

/// What `time` on one box's clock may be at most on another's.
pub const fn longest(time: Duration) -> Duration {
    time.saturating_add(match time.checked_div(RATE) {
        Some(part) => part,
        None => time,
    })
}

/// How long after a coordinator last answered a box with a pod it may give the pod to another: by then the box has begun
/// to stop it and has taken `stop` for that.
pub const fn run_wait(stop: Duration) -> Duration {
    longest(RUN_LEASE.saturating_add(stop)).saturating_add(LOOK)
}

// A renewal, or a claim, may be lost four times.
const _: () = assert!(RENEW.as_millis() * 5 <= LEASE.as_millis() && CLAIM.as_millis() * 5 <= RUN_LEASE.as_millis());
// A round that is still waited for is younger than the lease that it would give.
const _: () = assert!(RENEW.as_millis() * (PENDING as u128) >= LEASE.as_millis());
const _: () = assert!(PROMISE.as_millis() * 100 >= LEASE.as_millis() * 101);
