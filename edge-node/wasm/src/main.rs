//! The Wasm host process of a node.

fn main() {}
