//! The real process with real guests, driven through the client that the agent uses.
//!
//! Needs root (network namespaces), `ip`, and the Rust target `wasm32-wasip2`; says so when one is missing.

mod command;
mod http;
mod images;
mod restart;
mod support;
