//! The WIT package of Wasm plugins.
