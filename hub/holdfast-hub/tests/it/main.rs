//! The hub's program as its users run it: real processes, real kubectl where there is one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod backup;
mod custom;
mod hub;
mod identity;
mod kubectl;
mod life;
mod links;
mod tokens;
mod verbs;
