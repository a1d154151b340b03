//! Scenarios that once failed, or that the design names, as plain tests on the simulator.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may unwrap")]

mod fencing;
mod found;
mod seeds;
mod stage;
