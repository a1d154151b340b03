//! Pods as OCI containers, through containerd's gRPC services alone: no `ctr`, no CRI plugin.
//!
//! It owns the mapping of sandboxes and containers onto containerd's objects, the OCI runtime specification,
//! the pod's pinned namespaces, log files and exec streams. It never decides what should run.
//! containerd and its shims are the truth: nothing here needs to survive a restart of the agent.
//!
//! Tasks, all owned by [`ContainerdRuntime`] and ended when it is dropped:
//! one event subscription ([`events`]), one log pump per output stream of a running container ([`logs`]),
//! one driver per exec or attach session ([`exec`], [`attach`]).

mod apparmor;
mod attach;
mod capabilities;
mod cgroup;
mod cgroup_usage;
mod client;
mod config;
mod containers;
mod content;
mod declared_volumes;
mod devices;
mod disk;
mod events;
mod exec;
mod gvisor;
mod holder;
mod image_config;
mod image_volumes;
mod images;
mod labels;
mod logs;
mod mounts;
mod pull;
mod resize;
mod runtime;
mod sandbox;
mod seccomp;
mod signals;
mod snapshots;
mod spec;
mod users;

pub use config::ContainerdConfig;
pub use image_config::ImageConfig;
pub use runtime::ContainerdRuntime;
pub use spec::{Confinement, ResolvedDevice, SandboxPaths, SpecInput, runtime_spec};
pub use users::ResolvedUser;
