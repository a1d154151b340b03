//! Runs the containers of Wasm pods.
