//! The agent's side of the Wasm host process: wire records, and a [`Runtime`] that speaks them. No wasmtime here.
//!
//! Wasm pods live in `holdfast-wasm`, so that they survive the agent. One control connection carries calls and
//! pushed events; each exec session has a connection of its own. This crate decides nothing and starts nothing.
//!
//! Tasks: one keeps the control connection ([`client`]), one reads it, two pump each exec session; all are owned
//! by [`WasmRuntime`] and end with it.
//!
//! [`Runtime`]: holdfast_runtime::Runtime

pub mod client;
mod connection;
mod exec;
pub mod frame;
mod pull;
pub mod wire;

pub use client::{WasmConfig, WasmRuntime};
