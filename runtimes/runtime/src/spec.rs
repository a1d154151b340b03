//! What the agent tells a runtime, and what it hears back. Plain data, independent of Kubernetes' types:
//! names are resolved, variables expanded, volumes mounted on the host.

use holdfast_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A pod's shared surroundings: namespaces, network, cgroup parent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Chosen by the agent, unique over time: `<pod uid>-<attempt>`.
    pub id: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// The pod's name.
    pub pod_name: String,
    /// The pod's namespace.
    pub pod_namespace: String,
    /// Host name inside.
    pub hostname: String,
    /// RuntimeClass handler; empty for the default (`runc`; `wasmtime` for Wasm).
    pub handler: String,
    /// Path of the network namespace that CNI has set up; empty for the host's network.
    pub netns_path: String,
    /// The pod's addresses, first the primary.
    pub ips: Vec<String>,
    /// Share the host's PID namespace.
    pub host_pid: bool,
    /// Share the host's IPC namespace.
    pub host_ipc: bool,
    /// One PID namespace for all containers.
    pub share_process_namespace: bool,
    /// cgroup of the pod, relative to the hierarchy's root, for example `/holdfast/edge-1/burstable/pod<uid>`.
    pub cgroup_parent: String,
    /// Namespaced sysctls.
    pub sysctls: BTreeMap<String, String>,
    /// Labels of the pod, kept by the runtime for whoever looks.
    pub labels: BTreeMap<String, String>,
    /// What all its containers may use together. For processes of Linux: it does not travel to the Wasm host, whose records
    /// never change.
    #[serde(skip)]
    pub cgroup: PodCgroup,
}

/// What the containers of a pod may use together; 0 is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodCgroup {
    /// cgroup v1 `cpu.shares` (2..262144); converted to `cpu.weight` on v2. 0 leaves it alone.
    pub cpu_shares: u64,
    /// CPU quota in microseconds per period.
    pub cpu_quota_us: i64,
    /// CPU period in microseconds.
    pub cpu_period_us: u64,
    /// Memory limit in bytes.
    pub memory_limit_bytes: i64,
    /// Most processes and threads.
    pub pids_limit: i64,
}

/// The cgroups above those of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeCgroups {
    /// cgroup of all pods, relative to the hierarchy's root.
    pub root: String,
    /// What all pods may use together.
    pub all: PodCgroup,
    /// `cpu.shares` of the classes below it, by folder.
    pub classes: BTreeMap<String, u64>,
}

/// Other limits for a pod that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resize {
    /// cgroup of the pod, as in [`SandboxSpec::cgroup_parent`].
    pub cgroup_parent: String,
    /// What its containers may use together.
    pub pod: PodCgroup,
    /// Ids of containers that run, and what each may use.
    pub containers: Vec<(String, Resources, MoreLimits)>,
}

/// State of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SandboxState {
    /// Its namespaces exist.
    Ready,
    /// It must be made anew.
    NotReady,
}

/// A sandbox that the runtime knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxInfo {
    /// As given.
    pub id: String,
    /// The pod's UID.
    pub pod_uid: String,
    /// State.
    pub state: SandboxState,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A bind mount, or a tmpfs when `host_path` is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path on the host.
    pub host_path: String,
    /// Absolute path inside.
    pub container_path: String,
    /// No writing.
    pub read_only: bool,
    /// `private`, `rslave` or `rshared`; empty for private.
    pub propagation: String,
    /// No writing to what is mounted below it either. It does not travel to the Wasm host, whose records never change.
    #[serde(skip)]
    pub recursive_read_only: bool,
    /// Nothing in it can be run. It does not travel to the Wasm host, whose records never change and whose guests run nothing.
    #[serde(skip)]
    pub no_exec: bool,
}

/// A device node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Path on the host.
    pub host_path: String,
    /// Path inside.
    pub container_path: String,
    /// Of `rwm`.
    pub permissions: String,
}

/// Limits; 0 is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// cgroup v1 `cpu.shares` (2..262144); converted to `cpu.weight` on v2.
    pub cpu_shares: u64,
    /// CPU quota in microseconds per period.
    pub cpu_quota_us: i64,
    /// CPU period in microseconds.
    pub cpu_period_us: u64,
    /// Memory limit in bytes.
    pub memory_limit_bytes: i64,
    /// `oom_score_adj`.
    pub oom_score_adj: i32,
}

/// Limits that only processes of Linux have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MoreLimits {
    /// Bytes that may be swapped out; `None` leaves that to the kernel.
    pub swap_bytes: Option<i64>,
    /// Bytes of huge pages by their size in bytes. Sizes of the node that are missing here are forbidden as soon as there is
    /// one.
    pub huge_pages: BTreeMap<u64, u64>,
}

/// Who the container is and what it may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityContext {
    /// UID; `None` for the image's.
    pub run_as_user: Option<i64>,
    /// GID; `None` for the image's.
    pub run_as_group: Option<i64>,
    /// Refuse UID 0.
    pub run_as_non_root: bool,
    /// Further groups, `fsGroup` included.
    pub supplemental_groups: Vec<i64>,
    /// All capabilities, all devices, no seccomp.
    pub privileged: bool,
    /// No writing to the root file system.
    pub read_only_rootfs: bool,
    /// Sets `no_new_privs` when false.
    pub allow_privilege_escalation: bool,
    /// Capabilities to add, without `CAP_`.
    pub add_capabilities: Vec<String>,
    /// Capabilities to drop, without `CAP_`; `ALL` drops all.
    pub drop_capabilities: Vec<String>,
    /// `RuntimeDefault`, `Unconfined` or `Localhost/<profile>`; empty for unconfined.
    pub seccomp: String,
}

/// What only processes of Linux have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinuxOptions {
    /// Id of the container whose PID namespace this one joins; empty for one of its own. Where a pod shares one, that counts.
    pub target_id: String,
    /// The signal that asks it to end; empty for the image's.
    pub stop_signal: String,
    /// AppArmor profile: `RuntimeDefault`, `Unconfined` or `Localhost/<profile>`; empty for none.
    pub apparmor: String,
    /// Nothing of `/proc` is hidden or kept from being written.
    pub unmasked_proc: bool,
    /// The groups that the image names for its user are not added.
    pub strict_groups: bool,
    /// Further limits.
    pub limits: MoreLimits,
}

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Chosen by the agent, unique over time: `<pod uid>-<name>-<attempt>`.
    pub id: String,
    /// Its name in the pod.
    pub name: String,
    /// Counts restarts from 0.
    pub attempt: u32,
    /// Image reference, normalised.
    pub image: String,
    /// `command`; replaces the image's ENTRYPOINT (and its CMD).
    pub command: Vec<String>,
    /// `args`; replaces the image's CMD.
    pub args: Vec<String>,
    /// Working directory; empty for the image's.
    pub working_dir: String,
    /// Environment, over the image's.
    pub env: Vec<(String, String)>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// Devices.
    pub devices: Vec<Device>,
    /// Limits.
    pub resources: Resources,
    /// Security.
    pub security: SecurityContext,
    /// Where the log goes, in the CRI format; the folder exists.
    pub log_path: String,
    /// Allocate a terminal.
    pub tty: bool,
    /// Keep standard input open for attach.
    pub stdin: bool,
    /// Close it after the first attach.
    pub stdin_once: bool,
    /// Ports that the spec declares: (name, port, protocol); hints for Wasm guests.
    pub ports: Vec<(String, u16, String)>,
    /// For processes of Linux. It does not travel to the Wasm host, whose records never change.
    #[serde(skip)]
    pub linux: LinuxOptions,
}

/// Whom the first process of a container runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinuxUser {
    /// UID.
    pub uid: i64,
    /// GID.
    pub gid: i64,
    /// Further groups.
    pub groups: Vec<i64>,
}

/// State of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Made, not started.
    Created,
    /// Running since.
    Running {
        /// Start.
        started_at: Timestamp,
    },
    /// Ended.
    Exited {
        /// Start.
        started_at: Timestamp,
        /// End.
        finished_at: Timestamp,
        /// Exit code; 128 + n when ended by signal n.
        exit_code: i32,
        /// `Completed`, `Error` or `OOMKilled`.
        reason: String,
        /// Anything that the runtime has to say.
        message: String,
    },
    /// The runtime lost it, as after a power cut.
    Unknown,
}

/// A container that the runtime knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerInfo {
    /// As given.
    pub id: String,
    /// Its sandbox.
    pub sandbox_id: String,
    /// Its name in the pod.
    pub name: String,
    /// As given.
    pub attempt: u32,
    /// Image reference as given.
    pub image: String,
    /// Image digest reference, for `imageID`.
    pub image_id: String,
    /// State.
    pub state: ContainerState,
}

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageInfo {
    /// Digest of its manifest or configuration.
    pub id: String,
    /// Names: tags and digests.
    pub names: Vec<String>,
    /// Size on disk in bytes.
    pub size_bytes: u64,
    /// A Wasm module or component instead of layers for Linux.
    pub is_wasm: bool,
    /// User of the image configuration, if any.
    pub user: String,
}

/// How full the file system of a runtime's images is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FsUsage {
    /// All of it.
    pub capacity_bytes: u64,
    /// What may still be written.
    pub available_bytes: u64,
    /// What is written.
    pub used_bytes: u64,
    /// Inodes, a count; 0 where a file system makes them as it needs them.
    pub inodes: u64,
    /// Free inodes, a count.
    pub inodes_free: u64,
    /// Which file system it is (`st_dev`).
    pub device: u64,
}

/// An image whose files a pod sees as a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageMount {
    /// The pod's UID.
    pub pod_uid: String,
    /// Name of the volume in the pod.
    pub volume: String,
    /// Image reference, normalised.
    pub image: String,
    /// Folder of the host where the files appear; made when it is missing.
    pub target: std::path::PathBuf,
}

/// Something happened to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// It ended; `list_containers` has the details.
    Exited {
        /// The container.
        container_id: String,
    },
    /// The runtime came back, or events may have been lost: list all again.
    Resync,
}

/// Who the runtime is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeVersion {
    /// For example `containerd`.
    pub name: String,
    /// For example `1.6.20`.
    pub version: String,
}
