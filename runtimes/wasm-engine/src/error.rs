//! What goes wrong between a file of bytes and code that can run.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bytes are no Wasm.
    #[error("not a WebAssembly module: {0}")]
    NotWasm(String),
    /// The Wasm is one that this host does not run.
    #[error("unsupported WebAssembly: {0}")]
    Unsupported(String),
    /// The code generator refused it, or ran out of its limits.
    #[error("cannot compile the WebAssembly: {0}")]
    Compile(String),
    /// The engine cannot be made with these settings on this machine.
    #[error("cannot set up the WebAssembly engine: {0}")]
    Setup(String),
    /// A file cannot be read or written.
    #[error("{what} {}: {cause}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        cause: std::io::Error,
    },
}

impl EngineError {
    /// Whether the module is at fault (and not this machine): trying again is of no use.
    pub fn is_permanent(&self) -> bool {
        matches!(self, EngineError::NotWasm(_) | EngineError::Unsupported(_) | EngineError::Compile(_))
    }

    pub(crate) fn file(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> EngineError {
        let path = path.to_path_buf();
        move |cause| EngineError::File { what, path, cause }
    }
}
