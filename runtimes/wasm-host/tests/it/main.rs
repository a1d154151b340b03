//! The host's records, images and what it makes of a container's spec. Beside the crate: built into it a second time,
//! wasmtime's generic code would cost a minute of each build.

#![allow(clippy::unwrap_used, reason = "tests")]

mod container;
mod images;
mod records;
