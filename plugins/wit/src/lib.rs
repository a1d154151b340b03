//! The contract between Holdfast and its Wasm plugins: the WIT package `holdfast:plugin`.
//!
//! Only text lives here. Hosts and SDKs generate their bindings from it; what is in these files is what any
//! language can rely on. A released version never changes; a new one is a new package version.

/// Name and version of the package.
pub const PACKAGE: &str = "holdfast:plugin@0.1.0";

/// The files of the package: name and text.
pub const FILES: [(&str, &str); 3] = [
    ("types.wit", include_str!("../wit/types.wit")),
    ("client.wit", include_str!("../wit/client.wit")),
    ("worlds.wit", include_str!("../wit/worlds.wit")),
];

/// World of controllers.
pub const CONTROLLER: &str = "controller";
/// World of admission plugins.
pub const ADMISSION: &str = "admission";
/// World of scheduler plugins.
pub const SCHEDULER: &str = "scheduler";
