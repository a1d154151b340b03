//! Client and wire records of the Wasm host process; no wasmtime here.
