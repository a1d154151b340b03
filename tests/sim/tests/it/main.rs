//! Scenarios that once failed, or that the design names, as plain tests on the simulator.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod drill;
mod fencing;
mod flips;
mod found;
mod restore;
mod seeds;
mod stage;
