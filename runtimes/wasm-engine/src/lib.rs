//! wasmtime's configuration, the AOT cache and its limits.
