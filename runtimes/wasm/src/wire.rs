//! The records between agent and host, version 1, encoded by postcard.
//!
//! Records never change: new variants go to the end of an enum, and whatever changes a record's bytes takes a new
//! [`VERSION`]. The golden bytes in `tests/golden.rs` hold this to account, also for the specifications of
//! `holdfast_runtime` that travel inside.

use bytes::Bytes;
use holdfast_runtime::{
    ContainerInfo, ContainerSpec, ImageInfo, RuntimeError, RuntimeEvent, RuntimeVersion, SandboxInfo, SandboxSpec,
};
use serde::{Deserialize, Serialize};

/// Version of these records.
pub const VERSION: u16 = 1;
/// First word of every connection.
pub const PROTOCOL: &str = "holdfast-wasm";
/// Name of the runtime in errors.
pub const RUNTIME: &str = "wasm";

/// What the client says first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: String,
    /// The client's [`VERSION`].
    pub version: u16,
    /// What the connection is for.
    pub purpose: Purpose,
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// Calls and events.
    Control,
    /// One exec session.
    Exec {
        /// In which container.
        container_id: String,
        /// Command and arguments.
        command: Vec<String>,
        /// A terminal is wanted.
        tty: bool,
        /// Standard input will be sent.
        stdin: bool,
    },
}

/// What the host answers to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Welcome {
    /// Go on.
    Ready {
        /// The host's [`VERSION`].
        version: u16,
    },
    /// The host closes the connection.
    Refused(WireError),
}

/// From the client on a control connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Chosen by the client, unique on the connection.
    pub id: u64,
    /// What to do.
    pub request: Request,
}

/// From the host on a control connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostFrame {
    /// Answers a [`Call`].
    Reply {
        /// The call's.
        id: u64,
        /// Its outcome.
        result: Result<Reply, WireError>,
    },
    /// A container ended.
    Exited {
        /// Which.
        container_id: String,
    },
    /// Events were lost: list again.
    Resync,
}

/// The calls of the `Runtime` trait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Request {
    Version,
    RunSandbox(Box<SandboxSpec>),
    StopSandbox { id: String },
    RemoveSandbox { id: String },
    ListSandboxes,
    Image { reference: String },
    PullImage { reference: String },
    ListImages,
    ImportImage { path: String },
    CreateContainer { sandbox: Box<SandboxSpec>, container: Box<ContainerSpec> },
    StartContainer { id: String },
    StopContainer { id: String, signal: Option<String>, grace_millis: u64 },
    RemoveContainer { id: String },
    ListContainers,
    Usage,
    PulledImages,
    TakeImage { path: String },
    RemoveImage { id: String },
    ImageFs,
}

/// What a call brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Reply {
    Done,
    Version(RuntimeVersion),
    Sandbox(SandboxInfo),
    Sandboxes(Vec<SandboxInfo>),
    Image(Option<ImageInfo>),
    Images(Vec<ImageInfo>),
    Names(Vec<String>),
    Containers(Vec<ContainerInfo>),
    Usages(Vec<GuestUsage>),
    FileSystem(FileSystem),
}

/// What the instances of a running container use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestUsage {
    /// The container.
    pub id: String,
    /// Time on CPUs since its start, in nanoseconds.
    pub cpu_nanos: u64,
    /// Linear memory of the instances that there are now, in bytes.
    pub memory_bytes: u64,
}

/// The file system of the images; bytes, and counts of inodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FileSystem {
    pub capacity_bytes: u64,
    pub available_bytes: u64,
    pub used_bytes: u64,
    pub inodes: u64,
    pub inodes_free: u64,
    /// `st_dev`
    pub device: u64,
}

/// From the client in an exec session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ExecIn {
    Stdin(Bytes),
    StdinClosed,
    Resize { width: u16, height: u16 },
}

/// From the host in an exec session; `Exited` or `Failed` is the last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ExecOut {
    Stdout(Bytes),
    Stderr(Bytes),
    Exited(i32),
    Failed(String),
}

/// A [`RuntimeError`] on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum WireError {
    ImagePull { image: String, reason: String },
    ImageNeverPull(String),
    InvalidImageName { image: String, reason: String },
    BadImage { image: String, reason: String },
    Config(String),
    NotFound(String),
    Unavailable { reason: String },
    Failed { operation: String, reason: String },
    NotImplemented(String),
}

/// Operations that the host names in errors: `RuntimeError` holds them as static text.
const OPERATIONS: [&str; 8] = [
    "create sandbox",
    "create container",
    "start container",
    "stop container",
    "import image",
    "exec",
    "remove image",
    "look at the images' disk",
];
/// What the host says it has not.
pub const NOT_EXEC: &str = "exec in Wasm containers that are no wasi:cli command";

fn known(words: &[&'static str], word: &str) -> Option<&'static str> {
    words.iter().find(|known| **known == word).copied()
}

impl From<RuntimeError> for WireError {
    fn from(err: RuntimeError) -> WireError {
        match err {
            // The host asks no registry.
            RuntimeError::ImagePull { image, reason } | RuntimeError::RegistryUnreachable { image, reason } => {
                WireError::ImagePull { image, reason }
            }
            RuntimeError::ImageNeverPull(image) => WireError::ImageNeverPull(image),
            RuntimeError::InvalidImageName { image, reason } => WireError::InvalidImageName { image, reason },
            RuntimeError::BadImage { image, reason } => WireError::BadImage { image, reason },
            RuntimeError::Config(text) => WireError::Config(text),
            RuntimeError::NotFound(what) => WireError::NotFound(what),
            RuntimeError::Unavailable { reason, .. } => WireError::Unavailable { reason },
            RuntimeError::Failed { operation, reason } => {
                WireError::Failed { operation: operation.to_string(), reason }
            }
            RuntimeError::NotImplemented(what) => WireError::NotImplemented(what.to_string()),
        }
    }
}

impl From<WireError> for RuntimeError {
    fn from(err: WireError) -> RuntimeError {
        match err {
            WireError::ImagePull { image, reason } => RuntimeError::ImagePull { image, reason },
            WireError::ImageNeverPull(image) => RuntimeError::ImageNeverPull(image),
            WireError::InvalidImageName { image, reason } => RuntimeError::InvalidImageName { image, reason },
            WireError::BadImage { image, reason } => RuntimeError::BadImage { image, reason },
            WireError::Config(text) => RuntimeError::Config(text),
            WireError::NotFound(what) => RuntimeError::NotFound(what),
            WireError::Unavailable { reason } => RuntimeError::Unavailable { runtime: RUNTIME, reason },
            WireError::Failed { operation, reason } => match known(&OPERATIONS, &operation) {
                Some(operation) => RuntimeError::Failed { operation, reason },
                // A newer host names an operation that this agent does not know.
                None => RuntimeError::Failed { operation: RUNTIME, reason: format!("{operation}: {reason}") },
            },
            WireError::NotImplemented(what) => match known(&[NOT_EXEC], &what) {
                Some(what) => RuntimeError::NotImplemented(what),
                None => RuntimeError::Failed { operation: RUNTIME, reason: format!("not implemented: {what}") },
            },
        }
    }
}

impl From<RuntimeEvent> for HostFrame {
    fn from(event: RuntimeEvent) -> HostFrame {
        match event {
            RuntimeEvent::Exited { container_id } => HostFrame::Exited { container_id },
            RuntimeEvent::Resync => HostFrame::Resync,
        }
    }
}
