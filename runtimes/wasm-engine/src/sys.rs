//! The one unsafe act: mapping machine code from a file.
//!
//! The file must come from our own compiler with the same fingerprint, be unchanged since, and stay so while it
//! is mapped. [`crate::AotCache`] sees to it: its folder is the host's own (0700), files are replaced by rename
//! and never written in place, and the sum of the content is checked just before.
#![allow(unsafe_code)]

use std::path::Path;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// Maps a compiled component.
pub(crate) fn map_component(engine: &Engine, path: &Path) -> wasmtime::Result<Component> {
    // SAFETY: see the module's text; the caller is AotCache, after its check.
    unsafe { Component::deserialize_file(engine, path) }
}

/// Maps a compiled core module.
pub(crate) fn map_module(engine: &Engine, path: &Path) -> wasmtime::Result<Module> {
    // SAFETY: as above.
    unsafe { Module::deserialize_file(engine, path) }
}
