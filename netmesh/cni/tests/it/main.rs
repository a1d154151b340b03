//! Plugin, runner, shared namespace and routes in the kernel. Needs root, `ip` and `nft`.

// A helper that cannot go on ends its test.
#![allow(clippy::unwrap_used)]

mod harness;
mod plugin;
mod routes;
mod runner;
mod shared;
