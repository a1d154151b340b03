//! Times of the simulated world.

use std::time::Duration;

/// How often nodes send heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// Silence after which the hub counts a node out.
pub const GRACE: Duration = Duration::from_secs(40);
/// How long a node's certificate lives, unless a seed says otherwise.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long after its end a certificate may be renewed.
pub const CERTIFICATE_GRACE: Duration = Duration::from_secs(90 * 24 * 3600);
/// A node's oscillator gains or loses one second in so many at most.
pub const MAX_DRIFT: u32 = 10_000;
/// A node's time floor may be ahead of true time by so much, beside what its oscillator gains.
pub const FLOOR_SLACK: Duration = Duration::from_secs(60);
/// How long the world may take to agree once the faults have stopped. The longest waits on the way: a silent
/// connection (60 s), the wait after a refusal (30 s and a quarter), a container's back-off (300 s at most; programs
/// of the simulation fail too seldom to reach it), a pod's grace.
pub const SETTLE: Duration = Duration::from_secs(240);
/// The hub's address as nodes know it.
pub const HUB_ADDRESS: &str = "hub:6444";
/// 2026-01-01T00:00:00Z: true wall time when the world begins.
pub const EPOCH: Duration = Duration::from_secs(1_767_225_600);
/// Polls after which a seed is given up: something spins.
pub const MAX_POLLS: u64 = 2_000_000;
