//! The node's truth: what it was told to run, what it owes the hub, and its own notes.
//!
//! [`EdgeStore`] keeps everything in memory and in a journal over [`holdfast_env::Disk`]: checksummed frames
//! in preallocated, recycled segments, one data sync a batch, and a double-buffered snapshot. What was
//! committed with [`Durability::Synced`] survives a power cut at any instruction; a batch is there whole or
//! not at all. A failed sync is fatal: the caller stops, and the next start recovers.
//!
//! Memory cards flip bits. Damage costs what stands behind it and never the start: the damaged files are put aside, what
//! is whole before the damage is taken, and [`Doubt`] says until the node has the hub's whole view that something may be
//! missing. What must not go back with the journal (session, outbox's name, numbers) has a file of its own, [`vitals`].
//!
//! Absent on purpose: sled (that is `edge-views`, rebuilt from here), threads, clocks, decisions.

pub mod file;
pub mod frame;
pub mod journal;
pub mod limits;
pub mod outbox;
mod quarantine;
pub mod record;
pub mod state;
pub mod store;
pub mod vitals;

pub use outbox::{Fact, FactKind, Gap, Outbox};
pub use record::{Item, Record};
pub use state::State;
pub use store::{Durability, EdgeStore, OpenReport, Purpose, StoreError, Written};
pub use vitals::{Doubt, Vitals};
