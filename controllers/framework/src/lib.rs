//! What every controller stands on: the client, informers, the work queue and the reconcile loop.
//!
//! A reconciler takes no input but the state that it looks at, so start-up, repair and change are one path.
//! Everything runs over [`holdfast_env::Env`]: no controller asks the machine for the time.

pub mod client;

pub use client::{Client, TypedClient, TypedResource};
