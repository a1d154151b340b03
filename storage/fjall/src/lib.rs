//! The embedded log backend on fjall.
//!
//! Owns the hub's durable log: what a write is on disk, when it is durable, and what a full or damaged disk
//! means. It never decides what is written (that is [`holdfast_store::CachedStore`]) and never serves a read
//! after the start. fjall runs one worker thread of its own, which flushes and compacts.
//!
//! Three keyspaces: `log` (revision, key → what was written), `idx` (key → revision of its newest version) and
//! `meta` (small values by name). A transaction's keys are distinct, so revision and key name an entry.

#![forbid(unsafe_code)]

mod backend;
mod engine;
mod failure;
mod format;
mod journal;
mod space;

pub use backend::FjallBackend;
