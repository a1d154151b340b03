//! How wasmtime is configured here, and the cache of ahead-of-time compiled modules.
//!
//! One engine a process, with a pool of explicit size; every guest runs under an epoch deadline and a memory
//! limit. Code is compiled in a short-lived child with a memory limit, kept on disk under its digest and the
//! engine's fingerprint, and checked before it is mapped. This crate knows nothing of pods, WASI or sockets.

pub mod cache;
pub mod compile;
pub mod config;
pub mod engine;
pub mod error;
pub mod shape;
mod sys;
mod ticker;

pub use cache::AotCache;
pub use compile::{Compiler, compile_in_this_process, run_compile_child};
pub use config::EngineConfig;
pub use engine::WasmEngine;
pub use error::EngineError;
pub use shape::{Code, Form, Shape, form_of};
pub use ticker::Running;
