//! The hub's program as its users run it: real processes, real kubectl where there is one.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod audit;
mod backup;
mod clients;
mod commands;
mod custom;
mod etcd;
mod fairness;
mod hub;
mod hubs;
mod identity;
mod kubectl;
mod life;
mod links;
mod tokens;
mod verbs;
