//! The pod machine: the life of one pod, by the kubelet's rules, without I/O.
//!
//! `handle(now, event)` takes what happened and returns what is to be done; `next_deadline()` says when to tick.
//! The driver (`holdfast-node`) does what it is told and reports back; it decides nothing.
//!
//! Owned here: the order of volumes, sandbox, init containers, sidecars and containers; restarts and back-off;
//! probes (when, not how); termination; phase, conditions and container states as upstream writes them.
//! Never here: clocks, tasks, randomness, files, sockets, unordered maps.
//!
//! Not implemented: restart of all containers.

pub mod admission;
pub mod allocation;
mod container;
mod ephemeral;
pub mod events;
pub mod ids;
pub mod ledger;
pub mod limits;
pub mod machine;
pub mod memory;
mod mounts;
mod observe;
mod probes;
pub mod qos;
mod reported;
mod resize;
mod run;
pub mod shutdown;
mod spec;
mod status;
mod stop;
pub mod typed;

pub use admission::admit;
pub use allocation::Allocation;
pub use ephemeral::{container_named, target};
pub use events::{
    ImageCame, ImageFailure, Now, ObservedContainer, ObservedSandbox, ObservedState, ObservedUser, PodAction, PodEvent,
    ProbeKind, ProbeOutcome, StartFailure,
};
pub use ids::{container_id, sandbox_id};
pub use ledger::{Ask, Ledger, Needs};
pub use machine::{NODE_LOW, PodMachine};
pub use memory::PodMemory;
pub use mounts::recursive_read_only;
pub use qos::qos_class;
pub use spec::pull_policy;
