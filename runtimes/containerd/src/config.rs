//! Where containerd is and how it is used.

use holdfast_runtime::log_files;
use std::path::PathBuf;

/// Settings of a [`crate::ContainerdRuntime`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerdConfig {
    /// containerd's gRPC socket.
    pub socket: PathBuf,
    /// containerd namespace that holds everything of ours.
    pub namespace: String,
    /// Snapshotter plug-in: `overlayfs`, or `native` where overlayfs does not work.
    pub snapshotter: String,
    /// Folder for FIFOs and pinned namespaces. On a tmpfs: its loss is how a reboot shows.
    pub state_dir: PathBuf,
    /// Folder for small programs of ours that shims run. Programs must be allowed there.
    pub programs: PathBuf,
    /// Folder of seccomp profiles that pods name (`Localhost`).
    pub seccomp_root: PathBuf,
    /// Folder of the volumes that images declare, a folder a container.
    pub volumes_dir: PathBuf,
    /// Bytes of a log file from which on it is put aside.
    pub log_max_bytes: u64,
    /// Files of a container's log with the one that is written.
    pub log_max_files: usize,
    /// Handler for pods without a RuntimeClass: `runc` or `crun`.
    pub default_handler: String,
}

impl ContainerdConfig {
    /// The usual settings for a socket and a state folder.
    pub fn new(socket: impl Into<PathBuf>, state_dir: impl Into<PathBuf>) -> ContainerdConfig {
        let state_dir = state_dir.into();
        ContainerdConfig {
            socket: socket.into(),
            namespace: "holdfast".into(),
            snapshotter: "overlayfs".into(),
            programs: state_dir.join("bin"),
            state_dir,
            seccomp_root: "/var/lib/kubelet/seccomp".into(),
            volumes_dir: "/var/lib/holdfast/volumes".into(),
            log_max_bytes: log_files::MAX_BYTES,
            log_max_files: log_files::MAX_FILES,
            default_handler: "runc".into(),
        }
    }
}
