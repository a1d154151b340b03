//! The contract of the runtime on a real containerd. Needs root, containerd, runc, crun and runsc.

// A helper that cannot go on ends its test.
#![allow(clippy::unwrap_used)]

mod confinement;
mod disk;
mod dockerfiles;
mod failures;
mod gvisor;
mod harness;
mod life;
mod logs;
mod processes;
mod pull;
mod resize;
mod security;
mod survival;
