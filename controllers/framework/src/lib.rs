//! What every controller stands on: the client, informers, the work queue and the reconcile loop.
//!
//! A reconciler takes no input but the state that it looks at, so start-up, repair and change are one path.
//! Everything runs over [`holdfast_env::Env`]: no controller asks the machine for the time.
//!
//! Tasks: an [`Informer`] runs one (it lists and watches one resource and writes its [`Cache`]); a controller runs
//! one (its workers take keys from a [`WorkQueue`]); an [`EventRecorder`] runs one (it writes Events). Each is owned
//! by the [`holdfast_env::Task`] that starting it returns, and ends when that is dropped.
//!
//! What is deliberately absent: any knowledge of a kind but the Lease that [`election`] is about.

pub mod cache;
pub mod client;
pub mod election;
pub mod events;
pub mod expectations;
pub mod informer;
pub mod key;
pub mod limits;
pub mod project;
pub mod queue;
pub mod runner;
pub mod scope;
pub mod testing;

pub use cache::{Cache, Change, Item};
pub use client::{Client, TypedClient, TypedResource};
pub use election::{Candidacy, Candidate, Lead, Term, Timing};
pub use events::{EventRecorder, EventType, Involved};
pub use expectations::Expectations;
pub use informer::Informer;
pub use key::{Key, ResourceKind};
pub use project::{Project, decode};
pub use queue::WorkQueue;
pub use runner::{Outcome, ReconcileError, Reconciler, run_controller};
pub use scope::Scope;
