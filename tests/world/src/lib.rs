//! The simulated world: the other implementation of [`holdfast_env::Env`].
//!
//! A [`Universe`] runs tasks on one thread in virtual time; what runs next is drawn from its seed, so one seed is
//! one history. [`Machine`]s live in it, each with clocks that may be wrong, a [`SimDisk`] that loses what was not
//! synced, and tasks that end with the power. [`Net`] joins them by connections that behave as QUIC's do: streams
//! are reliable while the connection lives, datagrams are not, and silence ends it.
//!
//! Nothing here knows Holdfast's protocol: faults are injected, never judged. Who uses it keeps to the rule of
//! code over `Env` (`tokio::sync` only) and begins each `select!` with `biased`, as the choice is tokio's otherwise.

pub mod disk;
pub mod machine;
pub mod net;
pub mod rng;
pub mod universe;

pub use disk::SimDisk;
pub use machine::{Machine, MachineEnv};
pub use net::{Net, PathFaults, Tap, TapSide};
pub use rng::Rng;
pub use universe::{Step, Universe};
