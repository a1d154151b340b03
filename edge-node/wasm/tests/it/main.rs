//! The real process with real guests, driven through the client that the agent uses.
//!
//! Needs root (network namespaces), `ip`, and the Rust target `wasm32-wasip2`; says so when one is missing.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod command;
mod http;
mod images;
mod restart;
mod support;
