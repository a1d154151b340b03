//! The command line.

use crate::docker::engine;
use clap::{Args, Parser, Subcommand};
use holdfast_core::Span;
use std::path::PathBuf;

/// Where the running agent listens for local commands.
pub(crate) const SOCKET: &str = "/run/holdfast/edge.sock";

/// The Holdfast edge agent and its local commands.
#[derive(Debug, Parser)]
#[command(name = "holdfast-edge", version)]
pub(crate) struct Cli {
    /// Socket of the running agent
    #[arg(long, global = true, env = "HOLDFAST_SOCKET", default_value = SOCKET)]
    pub(crate) socket: PathBuf,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the agent
    Agent(Box<AgentFlags>),
    /// What the agent has changed in Docker Engine's firewall
    Docker {
        #[command(subcommand)]
        command: DockerCommand,
    },
    #[command(flatten)]
    Local(LocalCommand),
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DockerCommand {
    /// Take the rules for pods out of it again, when the agent is uninstalled and does not run any more
    Forget,
}

/// Settings of the agent; each may also stand in the file (`node-name = "…"`) or as HOLDFAST_NODE_NAME.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct AgentFlags {
    /// TOML file with settings; flags and environment stand over it
    #[arg(long, env = "HOLDFAST_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Hubs, HOST:PORT[/TCPPORT], tried in order: PORT (UDP) is the hub's --link-listen, TCPPORT that of its API, where
    /// the link goes while UDP is blocked [default: 6443]
    #[arg(long, env = "HOLDFAST_HUB", value_delimiter = ',')]
    pub(crate) hub: Vec<String>,
    /// Join token ID.SECRET.CAHASH; needed only until the node has joined
    #[arg(long, env = "HOLDFAST_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Name of the node [default: the host name]
    #[arg(long, env = "HOLDFAST_NODE_NAME")]
    pub(crate) node_name: Option<String>,
    /// Folder of the node's state [default: /var/lib/holdfast]
    #[arg(long, env = "HOLDFAST_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The node's own address [default: the address that the route to the hub uses]
    #[arg(long, env = "HOLDFAST_NODE_IP")]
    pub(crate) node_ip: Option<String>,
    /// containerd's socket [default: /run/containerd/containerd.sock]
    #[arg(long, env = "HOLDFAST_CONTAINERD_SOCKET")]
    pub(crate) containerd_socket: Option<PathBuf>,
    /// Socket of holdfast-wasm [default: /run/holdfast/wasm.sock]
    #[arg(long, env = "HOLDFAST_WASM_SOCKET")]
    pub(crate) wasm_socket: Option<PathBuf>,
    /// cgroup under which pods live [default: /holdfast]
    #[arg(long, env = "HOLDFAST_CGROUP_PARENT")]
    pub(crate) cgroup_parent: Option<String>,
    /// When the machine runs short, as the kubelet's flag: conditions say so, the node frees what nobody needs, and a pod has to
    /// go [default: memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%]
    #[arg(long, env = "HOLDFAST_EVICTION_HARD")]
    pub(crate) eviction_hard: Option<String>,
    /// The same for what may be short for a while, which --eviction-soft-grace-period says [default: none]
    #[arg(long, env = "HOLDFAST_EVICTION_SOFT")]
    pub(crate) eviction_soft: Option<String>,
    /// How long, for example memory.available=1m30s
    #[arg(long, env = "HOLDFAST_EVICTION_SOFT_GRACE_PERIOD")]
    pub(crate) eviction_soft_grace_period: Option<String>,
    /// Seconds that a pod gets at most that goes for a soft threshold; 0 for its own grace [default: 0]
    #[arg(long, env = "HOLDFAST_EVICTION_MAX_POD_GRACE_PERIOD")]
    pub(crate) eviction_max_pod_grace_period: Option<u64>,
    /// What there has to be beyond a threshold before all is well again, for example nodefs.available=500Mi [default: none]
    #[arg(long, env = "HOLDFAST_EVICTION_MINIMUM_RECLAIM")]
    pub(crate) eviction_minimum_reclaim: Option<String>,
    /// How long a condition stays after what it speaks of is over [default: 5m]
    #[arg(long, env = "HOLDFAST_EVICTION_PRESSURE_TRANSITION_PERIOD")]
    pub(crate) eviction_pressure_transition_period: Option<Span>,
    /// File with seconds to add to the wall clock, for tests
    #[arg(long, env = "HOLDFAST_CLOCK_OFFSET_FILE")]
    pub(crate) clock_offset_file: Option<PathBuf>,
    /// Folder with <registry>/hosts.toml: mirrors, certificates and headers of registries, as containerd has them
    /// [default: /etc/containerd/certs.d]
    #[arg(long, env = "HOLDFAST_REGISTRY_HOSTS_DIR")]
    pub(crate) registry_hosts_dir: Option<PathBuf>,
    /// Images that are pulled at one time, 1 to 16 [default: 1]
    #[arg(long, env = "HOLDFAST_PARALLEL_PULLS")]
    pub(crate) parallel_pulls: Option<usize>,
    /// Manifests of static pods, a folder or one file: pods that run without the hub, one a file; names that begin with a dot
    /// are skipped
    #[arg(long, env = "HOLDFAST_STATIC_POD_PATH")]
    pub(crate) static_pod_path: Option<PathBuf>,
    /// How long pods may take to stop when `holdfast-edge shutdown` asks for it, for example 30s [default: 0s, no care]
    #[arg(long, env = "HOLDFAST_SHUTDOWN_GRACE_PERIOD")]
    pub(crate) shutdown_grace_period: Option<Span>,
    /// The part of it that is kept for critical pods, which are stopped last [default: 0s]
    #[arg(long, env = "HOLDFAST_SHUTDOWN_GRACE_PERIOD_CRITICAL_PODS")]
    pub(crate) shutdown_grace_period_critical_pods: Option<Span>,
    /// In place of both: PRIORITY=TIME,…, for pods of that priority and above; the lowest are stopped first
    #[arg(long, env = "HOLDFAST_SHUTDOWN_GRACE_PERIOD_BY_POD_PRIORITY")]
    pub(crate) shutdown_grace_period_by_pod_priority: Option<String>,
    /// File or folder with the settings of the kubelet's image credential provider plugins
    #[arg(long, env = "HOLDFAST_IMAGE_CREDENTIAL_PROVIDER_CONFIG", value_name = "PATH")]
    pub(crate) image_credential_provider_config: Option<PathBuf>,
    /// Folder with the programs of these plugins
    #[arg(long, env = "HOLDFAST_IMAGE_CREDENTIAL_PROVIDER_BIN_DIR", value_name = "DIR")]
    pub(crate) image_credential_provider_bin_dir: Option<PathBuf>,
    /// Which images that are here a pod may use without showing their registry credentials, as the kubelet's setting:
    /// NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages or AlwaysVerify
    /// [default: NeverVerifyPreloadedImages]
    #[arg(long, env = "HOLDFAST_IMAGE_PULL_CREDENTIALS_VERIFICATION_POLICY", value_name = "POLICY")]
    pub(crate) image_pull_credentials_verification_policy: Option<String>,
    /// Repositories for NeverVerifyAllowlistedImages; a beginning ends with /*
    #[arg(
        long,
        env = "HOLDFAST_PRELOADED_IMAGES_VERIFICATION_ALLOWLIST",
        value_delimiter = ',',
        value_name = "REPOSITORIES"
    )]
    pub(crate) preloaded_images_verification_allowlist: Vec<String>,
    /// Docker Engine's socket: where it is, its firewall is told to let the traffic of pods through
    /// [default: /var/run/docker.sock]
    #[arg(long, env = "HOLDFAST_DOCKER_SOCKET")]
    pub(crate) docker_socket: Option<PathBuf>,
    /// What is kept for the system, as the kubelet's flag: cpu, memory, ephemeral-storage, for example cpu=100m,memory=100Mi
    #[arg(long, env = "HOLDFAST_SYSTEM_RESERVED")]
    pub(crate) system_reserved: Option<String>,
    /// What is kept for the agent and its containerd; pods get what is left of both
    #[arg(long, env = "HOLDFAST_KUBE_RESERVED")]
    pub(crate) kube_reserved: Option<String>,
    /// Most processes and threads of a pod [default: no such limit]
    #[arg(long, env = "HOLDFAST_POD_MAX_PIDS")]
    pub(crate) pod_max_pids: Option<u32>,
    /// Whether not to start on a machine with swap [default: false]
    #[arg(long, env = "HOLDFAST_FAIL_SWAP_ON", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) fail_swap_on: Option<bool>,
    /// Whether containers may be swapped out where the machine has swap: NoSwap, or LimitedSwap for burstable pods, by the
    /// share of the memory that they ask for [default: NoSwap]
    #[arg(long, env = "HOLDFAST_MEMORY_SWAP_BEHAVIOR")]
    pub(crate) memory_swap_behavior: Option<String>,
    /// Sysctls that pods may set beyond the safe ones: names, or their beginning with * behind it
    #[arg(long, env = "HOLDFAST_ALLOWED_UNSAFE_SYSCTLS", value_delimiter = ',')]
    pub(crate) allowed_unsafe_sysctls: Vec<String>,
    /// Size from which on a container's log file is put aside [default: 10Mi]
    #[arg(long, env = "HOLDFAST_CONTAINER_LOG_MAX_SIZE")]
    pub(crate) container_log_max_size: Option<String>,
    /// Files of a container's log, 2 or more [default: 5]
    #[arg(long, env = "HOLDFAST_CONTAINER_LOG_MAX_FILES")]
    pub(crate) container_log_max_files: Option<usize>,
    /// Network of all pods [default: 10.42.0.0/16]
    #[arg(long, env = "HOLDFAST_CLUSTER_CIDR")]
    pub(crate) cluster_cidr: Option<String>,
    /// Where the node's own read-only API listens, ADDR:PORT on this machine, or none; a port that is taken is replaced
    /// by a free one, and <data-dir>/local.kubeconfig always names the right one [default: 127.0.0.1:6445]
    #[arg(long, env = "HOLDFAST_LOCAL_API")]
    pub(crate) local_api: Option<String>,
    /// Network of Services; its tenth address is the cluster's DNS [default: 10.43.0.0/16]
    #[arg(long, env = "HOLDFAST_SERVICE_CIDR")]
    pub(crate) service_cidr: Option<String>,
}

/// What the running agent answers, with or without a hub.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum LocalCommand {
    /// The pods of this node
    Pods {
        /// Output format: json, or a table when left out
        #[arg(short, long, value_parser = ["json"])]
        output: Option<String>,
    },
    /// How the node and its link are
    Status {
        /// Output format: json, or text when left out
        #[arg(short, long, value_parser = ["json"])]
        output: Option<String>,
    },
    /// What happened on this node: its Events, also those that the hub has
    Events {
        /// Only about this pod
        pod: Option<String>,
        /// Only of this namespace [default: all]
        #[arg(short, long)]
        namespace: Option<String>,
        /// Output format: json, or a table when left out
        #[arg(short, long, value_parser = ["json"])]
        output: Option<String>,
    },
    /// The log of a container
    Logs {
        /// Pod
        pod: String,
        /// Namespace of the pod
        #[arg(short, long, default_value = "default")]
        namespace: String,
        /// Container [default: the pod's first]
        #[arg(short, long)]
        container: Option<String>,
        /// Stay and show what comes
        #[arg(short, long)]
        follow: bool,
        /// The container before the current one
        #[arg(short, long)]
        previous: bool,
        /// Only the last lines
        #[arg(long)]
        tail: Option<u64>,
        /// Show the time of each line
        #[arg(long)]
        timestamps: bool,
    },
    /// Run a command in a container
    Exec {
        /// Pod
        pod: String,
        /// Namespace of the pod
        #[arg(short, long, default_value = "default")]
        namespace: String,
        /// Container [default: the pod's first]
        #[arg(short, long)]
        container: Option<String>,
        /// Pass standard input
        #[arg(short = 'i', long)]
        stdin: bool,
        /// The command, after --
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Cut the link for a while, and tell what would not have come back; fails when anything was found
    Drill {
        /// How long, for example 10m or 1h30m; Ctrl-C ends it early
        #[arg(long)]
        offline: Span,
        /// Output format: json, or text when left out
        #[arg(short, long, value_parser = ["json"])]
        output: Option<String>,
    },
    /// Stop this node's pods, in order of their priorities, before the machine goes down; fails when some do not stop in their time
    Shutdown {
        /// The machine stays up after all: let pods run again
        #[arg(long)]
        cancel: bool,
    },
    /// Images of this node
    Images {
        #[command(subcommand)]
        command: ImagesCommand,
    },
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ImagesCommand {
    /// Import an OCI layout, a docker archive or a Wasm artefact (a tar file), or an image of Docker Engine
    Import {
        /// The files
        #[arg(required_unless_present = "from_docker", conflicts_with = "from_docker")]
        files: Vec<PathBuf>,
        /// Take an image out of Docker Engine's own store, such as `docker build` made it
        #[arg(long, value_name = "NAME")]
        from_docker: Option<String>,
        /// Docker Engine's socket
        #[arg(long, default_value = engine::SOCKET)]
        docker_socket: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    #[test]
    fn images_come_from_files_or_from_docker() {
        Cli::command().debug_assert();
        let read = |words: &str| {
            let words = ["holdfast-edge", "images", "import"].into_iter().chain(words.split_whitespace());
            match Cli::try_parse_from(words).map_err(|err| err.kind())?.command {
                Command::Local(LocalCommand::Images { command: ImagesCommand::Import { files, from_docker, .. } }) => {
                    Ok((files.len(), from_docker))
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(read("a.tar b.tar"), Ok((2, None)));
        assert_eq!(read("--from-docker app:v1 --docker-socket /run/d.sock"), Ok((0, Some("app:v1".into()))));
        assert_eq!(read(""), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(read("a.tar --from-docker app"), Err(ErrorKind::ArgumentConflict));
    }
}
