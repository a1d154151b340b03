//! The contract of the pod machine: scripts with their transcripts, and random runs against the laws.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod ending;
mod life;
mod random;
mod resize;
mod script;
