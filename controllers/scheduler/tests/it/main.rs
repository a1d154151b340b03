//! The scheduler's contract: where pods go and what is said when they go nowhere.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

mod placement;
mod running;
