//! Scenarios that once failed, or that the design names, as plain tests on the simulator.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod bookmarks;
mod drill;
mod each_write;
mod fencing;
mod flips;
mod found;
mod gone;
mod ninety_days;
mod restore;
mod seeds;
mod site;
mod stage;
mod webhooks;
