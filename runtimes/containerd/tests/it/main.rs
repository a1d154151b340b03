//! The contract of the runtime on a real containerd. Needs root, containerd and runc.

// A helper that cannot go on ends its test.
#![allow(clippy::unwrap_used)]

mod confinement;
mod dockerfiles;
mod failures;
mod harness;
mod life;
mod logs;
mod processes;
mod pull;
mod security;
mod survival;
