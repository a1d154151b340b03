//! The node's time: a floor that is surely past, and a best estimate of now.
//!
//! A box may boot without a battery behind its clock (RTC in 1970) or with one that is decades ahead, and must
//! reach the hub and run its pods all the same. So the RTC is a hint only: [`floor`] decides, without I/O, what is
//! believed; [`clock`] is that decision as an [`Env`](holdfast_env::Env) whose wall clock is the estimate, which
//! is how everything else on the node, TLS included, comes to use it without knowing.
//!
//! Never here: the RTC written to disk, or taken as proof that a certificate has ended.

pub mod clock;
pub mod floor;

pub use clock::NodeClock;
pub use floor::TimeFloor;
