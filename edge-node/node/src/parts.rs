//! What the node is made of: its settings, and the traits through which it touches the machine.

use crate::identity::Identities;
use crate::pods::PullVerification;
use crate::pressure::Eviction;
use crate::shutdown::ShutdownPeriods;
use crate::time::NodeClock;
use crate::tokens::TokenKey;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::Seq;
use holdfast_env::{BiStream, Connection, World};
use holdfast_link::NodeIdentity;
use holdfast_runtime::{Registries, Runtime};
use holdfast_volumes::VolumeManager;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What of the node pods cannot have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// CPU, thousandths.
    pub cpu_milli: i64,
    /// Memory, bytes.
    pub memory_bytes: i64,
    /// Disk, bytes.
    pub disk_bytes: i64,
}

/// Whether containers may be swapped out, where the machine has swap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SwapBehaviour {
    /// None of them (`NoSwap`).
    #[default]
    None,
    /// Those of burstable pods, by the share that their request is of the memory (`LimitedSwap`).
    Limited,
}

/// How the node deals with its resources, and with what pods may set of its kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeResources {
    /// Kept for the system and for ourselves.
    pub reserved: Reserved,
    /// Most processes and threads of a pod; 0 for no such limit.
    pub pod_pids_limit: i64,
    /// Swap.
    pub swap: SwapBehaviour,
    /// Sysctls that pods may set although they are not safe: names, or their beginning with `*` behind it.
    pub unsafe_sysctls: Vec<String>,
}

/// Settings.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// The node's name.
    pub node_name: String,
    /// The node's UID, from its certificate.
    pub node_uid: String,
    /// The node's own addresses, first the primary.
    pub node_ips: Vec<String>,
    /// Hubs as the connector names them, tried in order.
    pub hubs: Vec<String>,
    /// Where pod logs go: `<dir>/<namespace>_<pod>_<uid>/<container>/<attempt>.log`.
    pub log_dir: PathBuf,
    /// cgroup under which pods live, relative to the hierarchy's root.
    pub cgroup_root: String,
    /// Address of the cluster's DNS.
    pub dns_ip: String,
    /// Cluster domain.
    pub cluster_domain: String,
    /// A silence of the link after which the hub may have written the node's pods off.
    pub grace: Duration,
    /// Most pods that the node takes.
    pub max_pods: u32,
    /// When memory, disks or processes of the machine run short.
    pub eviction: Eviction,
    /// Images that are pulled at one time.
    pub parallel_pulls: usize,
    /// Manifests of static pods: a folder, or one file.
    pub static_pods: Option<PathBuf>,
    /// How long pods may take to stop when the node shuts down; empty for no care.
    pub shutdown: ShutdownPeriods,
    /// Which images that are here a pod may use without asking their registry.
    pub pull_verification: PullVerification,
    /// CPU, memory, processes, and what pods may set of the kernel.
    pub resources: NodeResources,
}

/// Which pod a network attachment is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// UID.
    pub uid: String,
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
}

/// A pod's place in the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// Path of the network namespace.
    pub netns_path: String,
    /// Addresses, first the primary.
    pub ips: Vec<String>,
}

/// Where a pod listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PodPlace {
    /// In the node's own network.
    Host,
    /// In a network namespace of its own: also what listens only on its loopback is reached.
    Own(PodRef),
    /// At this address, in the namespace that dense pods share.
    Shared(String),
}

/// Joins pods to the network. `dense` pods share one namespace. All calls are idempotent.
#[async_trait]
pub trait PodNet: Send + Sync + 'static {
    /// The node's pod network is known, or has changed.
    async fn configure(&self, pod_cidr: &str) -> Result<(), String>;
    /// Attaches a pod; the same pod gets the same addresses.
    async fn attach(&self, pod: &PodRef, dense: bool) -> Result<Attachment, String>;
    /// Detaches a pod.
    async fn detach(&self, pod: &PodRef, dense: bool) -> Result<(), String>;
    /// Connects to a TCP port of a pod. The error is for people: where it was tried, and the kernel's words.
    async fn connect(&self, place: &PodPlace, port: u16) -> Result<BiStream, String>;
    /// Releases what belongs to none of these pods.
    async fn gc(&self, live: &[PodRef]) -> Result<(), String>;
    /// The interfaces of those of these pods that have a network namespace of their own, by UIDs. What cannot be looked at is
    /// left out.
    async fn interfaces(&self, _pods: Vec<PodRef>) -> BTreeMap<String, Interfaces> {
        BTreeMap::new()
    }
}

/// What Services, routes and DNS are made from.
#[derive(Clone, Debug, Default)]
pub struct DataplaneSnapshot {
    /// This node's name.
    pub node_name: String,
    /// Services.
    pub services: Vec<Service>,
    /// Their endpoints.
    pub slices: Vec<EndpointSlice>,
    /// All nodes, with addresses and pod networks.
    pub nodes: Vec<Node>,
    /// Readiness of this node's own pods by address: newer than what the hub knows when the link is down.
    pub local_ready: BTreeMap<String, bool>,
}

/// Makes the machine's network fit a snapshot.
#[async_trait]
pub trait Dataplane: Send + Sync + 'static {
    /// Applies it whole; an error is tried again.
    async fn apply(&self, snapshot: Arc<DataplaneSnapshot>) -> Result<(), String>;
}

/// Asks containers over the network how they are.
#[async_trait]
pub trait Prober: Send + Sync + 'static {
    /// GET; the answer after redirects within the host, or why there is none.
    async fn http(&self, request: HttpProbe, timeout: Duration) -> Result<HttpAnswer, String>;
    /// Connect; why it did not work.
    async fn tcp(&self, host: &str, port: u16, timeout: Duration) -> Result<(), String>;
    /// The gRPC health check of a service (empty: of the server as a whole); why it is not known to be healthy.
    async fn grpc(&self, host: &str, port: u16, service: &str, timeout: Duration) -> Result<(), String>;
}

/// What an HTTP probe was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status code; a redirect only if it leads to another host, or nowhere.
    pub status: u16,
    /// The beginning of the body.
    pub body: String,
}

/// An HTTP probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// `http` or `https` (any certificate is taken).
    pub scheme: String,
    /// Address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Path with query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
}

/// The node's identity towards hubs: opens connections with it.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// Connects to one of the hub's addresses.
    async fn connect(&self, hub: &str) -> Result<Arc<dyn Connection>, holdfast_env::NetError>;
    /// Connects without showing an identity, to a hub that proves the CA with this hash, whatever the time
    /// ([`holdfast_link::tls::join_config`]).
    async fn connect_bare(&self, hub: &str, ca_hash: &str) -> Result<Arc<dyn Connection>, holdfast_env::NetError>;
    /// From the next connection on, shows this identity.
    ///
    /// # Errors
    /// Why it cannot; then it goes on with the old one.
    fn use_identity(&self, identity: &NodeIdentity) -> Result<(), String>;
}

/// What the machine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInfo {
    /// Architecture as Go names it (`amd64`, `arm64`, `arm`).
    pub architecture: String,
    /// For example `Debian GNU/Linux 12 (bookworm)`.
    pub os_image: String,
    /// Kernel release.
    pub kernel: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
    /// DMI product UUID, where there is one.
    pub system_uuid: String,
    /// Boot id of this boot, from a marker on `/run` (namespaces share the kernel's).
    pub boot_id: String,
    /// CPUs.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Swap in bytes.
    pub swap_bytes: u64,
    /// Huge pages that there are, by their size in bytes.
    pub huge_pages: BTreeMap<u64, u64>,
    /// Bytes of the data folder's file system.
    pub disk_bytes: u64,
    /// Version of the agent.
    pub agent_version: String,
}

/// Network interfaces other than the loopback: name, bytes and errors in, bytes and errors out.
pub type Interfaces = Vec<(String, [u64; 4])>;

/// What the machine uses of itself. Bytes and counts; a field is `None` where the kernel does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostUsage {
    /// Busy time of all CPUs since the boot, in nanoseconds.
    pub cpu_nanos: Option<u64>,
    /// Memory.
    pub memory: Option<HostMemory>,
    /// The file system of the data folder, where logs and volumes are.
    pub disk: Option<FileSystemUsage>,
    /// Network interfaces.
    pub interfaces: Interfaces,
    /// Processes and threads, and the most that there may be.
    pub pids: Option<(u64, u64)>,
}

/// Memory of the machine, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostMemory {
    /// All there is.
    pub total: u64,
    /// What could be had without swapping (`MemAvailable`).
    pub available: u64,
    /// All but what is free.
    pub usage: u64,
    /// Anonymous memory.
    pub rss: u64,
}

/// A file system. Bytes, and counts of inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystemUsage {
    /// Size.
    pub capacity: u64,
    /// Free for us.
    pub available: u64,
    /// In use.
    pub used: u64,
    /// Inodes.
    pub inodes: u64,
    /// Free inodes.
    pub inodes_free: u64,
    /// Which file system it is (`st_dev`).
    pub device: u64,
}

/// Reads the machine.
pub trait HostFacts: Send + Sync + 'static {
    /// What the machine is now.
    fn read(&self) -> HostInfo;
    /// What it uses now.
    fn usage(&self) -> HostUsage;
    /// Keeps a small value where it outlives the agent and not the boot (`/run`), and costs the disk nothing.
    fn remember(&self, name: &str, value: &[u8]);
    /// Such a value, if it was kept since the boot.
    fn recall(&self, name: &str) -> Option<Vec<u8>>;
    /// Names of the AppArmor profiles that the kernel has; `None` where it has no AppArmor.
    fn apparmor(&self) -> Option<Vec<String>> {
        None
    }
}

/// What happened on this node, also after the hub has it and the outbox has let go of it.
#[async_trait]
pub trait EventIndex: Send + Sync + 'static {
    /// Takes Events (JSON) with the numbers of their log facts; the same ones may come again. Does not wait, and
    /// may lose them: they are a view, and the outbox holds what the hub is still owed.
    fn record(&self, events: Vec<(Seq, Bytes)>);
    /// The Events of a namespace, or about one pod by its name; all when neither is given. The oldest first.
    ///
    /// # Errors
    /// Why the index cannot be asked now.
    async fn find(&self, namespace: Option<String>, pod: Option<String>) -> Result<Vec<Value>, String>;
}

/// Everything that `node_main` works with.
#[derive(Clone)]
pub struct NodeParts {
    /// Clocks, randomness, tasks, disk: the world of `clock`.
    pub env: World,
    /// The node's time.
    pub clock: Arc<NodeClock>,
    /// What the node proves itself with.
    pub identity: Arc<Identities>,
    /// The node's key for tokens that it signs while the link is cut; without one it signs none.
    pub token_key: Option<Arc<dyn TokenKey>>,
    /// Settings.
    pub config: NodeConfig,
    /// Runs OCI containers.
    pub oci: Arc<dyn Runtime>,
    /// Runs Wasm containers.
    pub wasm: Arc<dyn Runtime>,
    /// Where images come from.
    pub registries: Arc<dyn Registries>,
    /// Pods' network.
    pub network: Arc<dyn PodNet>,
    /// Pods' volumes.
    pub volumes: Arc<VolumeManager>,
    /// Services, routes, DNS.
    pub dataplane: Arc<dyn Dataplane>,
    /// Probes over the network.
    pub prober: Arc<dyn Prober>,
    /// The way to the hub.
    pub connector: Arc<dyn Connector>,
    /// The machine.
    pub host: Arc<dyn HostFacts>,
    /// What happened here.
    pub events: Arc<dyn EventIndex>,
}
