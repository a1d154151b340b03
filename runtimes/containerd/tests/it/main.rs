//! The contract of the runtime on a real containerd. Needs root, containerd and runc.

mod failures;
mod harness;
mod life;
mod security;
mod survival;
