//! Errors: of the plugin as the CNI specification numbers them, and of the agent's side.

use std::io;
use std::path::PathBuf;

/// The configuration's version is not supported.
pub const INCOMPATIBLE_VERSION: u32 = 1;
/// DEL or CHECK of a container that is not there.
pub const UNKNOWN_CONTAINER: u32 = 3;
/// An environment variable is missing or malformed.
pub const INVALID_ENVIRONMENT: u32 = 4;
/// Reading or writing failed.
pub const IO_FAILURE: u32 = 5;
/// The configuration is not JSON.
pub const DECODING_FAILURE: u32 = 6;
/// The configuration makes no sense.
pub const INVALID_CONFIG: u32 = 7;
/// STATUS: ADD cannot be served.
pub const NOT_AVAILABLE: u32 = 50;
/// Ours: no address is free.
pub const NO_ADDRESS: u32 = 100;
/// Ours: the kernel refused.
pub const KERNEL: u32 = 101;
/// Ours: CHECK found a difference.
pub const CHECK_FAILED: u32 = 102;

/// An error as a plugin prints it (CNI specification 1.1, "Error").
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { ": " })]
pub struct CniError {
    /// Number.
    pub code: u32,
    /// Short text.
    pub msg: String,
    /// Long text.
    #[serde(default)]
    pub details: String,
}

impl CniError {
    pub(crate) fn new(code: u32, msg: impl Into<String>) -> CniError {
        CniError { code, msg: msg.into(), details: String::new() }
    }

    pub(crate) fn with(code: u32, msg: impl Into<String>, details: impl std::fmt::Display) -> CniError {
        CniError { code, msg: msg.into(), details: details.to_string() }
    }
}

/// What went wrong when a pod was to be attached or detached.
#[derive(Debug, thiserror::Error)]
pub enum PodNetworkError {
    /// A plugin said no.
    #[error("plugin type={plugin:?} failed ({verb}): {source}")]
    Plugin {
        /// Type of the plugin.
        plugin: String,
        /// `ADD`, `DEL`, `CHECK`, `GC`.
        verb: &'static str,
        /// Its words.
        #[source]
        source: CniError,
    },
    /// No usable configuration list.
    #[error("network is not ready: {0}")]
    Config(String),
    /// A file or a namespace.
    #[error("{what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The kernel refused.
    #[error("{0}")]
    Net(#[from] crate::netns::NetError),
}

impl PodNetworkError {
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> PodNetworkError {
        let path = path.into();
        move |source| PodNetworkError::Io { what, path, source }
    }
}
