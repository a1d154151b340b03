//! Bounds of priority and fairness, each with its reason. Those that are not ours are upstream's.

use std::time::Duration;

/// Requests of one level that wait at once, whatever its queues may hold: each holds its connection's request in memory. The
/// default levels hold 6,400 at most.
pub(super) const WAITING: usize = 10_000;
/// A request waits for this share of its time at most.
pub(super) const WAIT_SHARE: u32 = 4;
/// … and never longer than this.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// How long a request is taken to last until it is known.
pub(super) const GUESS: Duration = Duration::from_millis(3);
/// Time between two shifts of seats between levels.
pub(super) const ADJUST: Duration = Duration::from_secs(10);
/// What remains of a demand for seats after that time; half of it is gone after five minutes.
pub(super) const DEMAND_KEPT: f64 = 0.977;
/// A level without any demand is taken to want this many seats, so that nothing is divided by zero.
pub(super) const LEAST_TARGET: f64 = 0.001;
/// The part of a level's seats that one request takes at most.
pub(super) const WIDEST_SHARE: f64 = 0.15;
/// Seats that a list takes at most.
pub(super) const LIST_SEATS: u64 = 100;
/// Seats that a write keeps at most for those who watch.
pub(super) const WRITE_SEATS: u64 = 10;
/// Bytes of a list that a seat stands for.
pub(super) const BYTES_PER_SEAT: u64 = 100_000;
/// A list is written piece by piece: so many bytes of it are there at once.
pub(super) const LIST_BYTES: u64 = 1_000_000;
/// Watches whose events a seat stands for.
pub(super) const WATCHES_PER_SEAT: usize = 10;
/// How long the events of a write take these.
pub(super) const EVENT_TIME: Duration = Duration::from_millis(5);
/// How long the measure of what is stored of a resource is believed.
pub(super) const MEASURED_FOR: Duration = Duration::from_secs(60);
/// Time between two writes of one schema's status: hubs that see different things must not write against each other all day.
pub(super) const STATUS_PAUSE: Duration = Duration::from_secs(10);
/// Cards in a hand, and bits of a hash from which hands are dealt: validation keeps hands within.
pub(super) const HAND: usize = 15;

const _: () = assert!(WAITING >= 128 * 50 && ADJUST.as_secs() > 0 && WATCHES_PER_SEAT > 0);
