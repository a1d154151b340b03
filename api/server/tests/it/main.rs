//! The server over loopback TLS, with a small registry in memory behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail the test")]

mod client;
mod fake;
mod kubectl;
mod metrics;
mod objects;
mod protobuf;
mod proxy;
mod sessions;
mod spdy;
mod wire;
