//! What runs a pod's containers, behind one trait with two implementations: containerd and wasm.
//!
//! The agent decides, a runtime obeys: nothing here restarts, retries or knows a pod's policy. Every call is
//! idempotent where it can be (stopping what is stopped is fine). What a runtime knows of its containers
//! survives the agent: after a restart of the agent, `list` shows them all, and their exit codes.

pub mod archive;
pub mod credentials;
pub mod cri_log;
pub mod digest;
pub mod disk_usage;
pub mod error;
pub mod image_name;
pub mod log_files;
pub mod mount_table;
pub mod platform;
pub mod remote;
pub mod spec;
pub mod stream;
pub mod traits;
pub mod usage;

pub use archive::{Archive, ArchiveError, ArchiveImage, Descriptor};
pub use credentials::{Keyring, PullAuth};
pub use disk_usage::{DiskUsage, disk_usage};
pub use error::{RuntimeError, with_causes};
pub use image_name::normalise_image_name;
pub use remote::{Answer, BlobStream, Document, Found, Progress, Registries, RemoteImage, RemoteManifest, WantedImage};
pub use spec::{
    ContainerInfo, ContainerSpec, ContainerState, Device, FsUsage, ImageInfo, ImageMount, LinuxOptions, LinuxUser,
    MoreLimits, Mount, NodeCgroups, PodCgroup, Resize, Resources, RuntimeEvent, RuntimeVersion, SandboxInfo,
    SandboxSpec, SandboxState, SecurityContext,
};
pub use stream::{ExecRequest, ExecSession, StreamInput, StreamOutput, TerminalSize};
pub use traits::Runtime;
pub use usage::{ContainerUsage, MemoryUsage};
