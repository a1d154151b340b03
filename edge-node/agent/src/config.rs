//! The agent's settings: file, then environment, then flag; checked whole before anything starts.

mod limits;

use crate::cli::AgentFlags;
use crate::docker::engine;
use crate::local::api;
use anyhow::{Context, bail};
use holdfast_core::Span;
use holdfast_link::HubAddress;
use holdfast_node::{Eviction, EvictionFlags, NodeResources, PullVerification, ShutdownPeriods};
use ipnet::Ipv4Net;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of a file, spelled as the flags are; earlier releases wrote `_` for `-`. Unknown keys are refused with their line.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
struct File {
    hub: Vec<String>,
    token: Option<String>,
    #[serde(alias = "node_name")]
    node_name: Option<String>,
    #[serde(alias = "data_dir")]
    data_dir: Option<PathBuf>,
    #[serde(alias = "node_ip")]
    node_ip: Option<String>,
    #[serde(alias = "containerd_socket")]
    containerd_socket: Option<PathBuf>,
    #[serde(alias = "wasm_socket")]
    wasm_socket: Option<PathBuf>,
    #[serde(alias = "cgroup_parent")]
    cgroup_parent: Option<String>,
    #[serde(alias = "eviction_hard")]
    eviction_hard: Option<String>,
    eviction_soft: Option<String>,
    eviction_soft_grace_period: Option<String>,
    eviction_max_pod_grace_period: Option<u64>,
    eviction_minimum_reclaim: Option<String>,
    eviction_pressure_transition_period: Option<Span>,
    #[serde(alias = "clock_offset_file")]
    clock_offset_file: Option<PathBuf>,
    #[serde(alias = "cluster_cidr")]
    cluster_cidr: Option<String>,
    #[serde(alias = "service_cidr")]
    service_cidr: Option<String>,
    #[serde(alias = "local_api")]
    local_api: Option<String>,
    registry_hosts_dir: Option<PathBuf>,
    parallel_pulls: Option<usize>,
    static_pod_path: Option<PathBuf>,
    shutdown_grace_period: Option<Span>,
    shutdown_grace_period_critical_pods: Option<Span>,
    shutdown_grace_period_by_pod_priority: Option<String>,
    docker_socket: Option<PathBuf>,
    image_credential_provider_config: Option<PathBuf>,
    image_credential_provider_bin_dir: Option<PathBuf>,
    image_pull_credentials_verification_policy: Option<String>,
    preloaded_images_verification_allowlist: Vec<String>,
    system_reserved: Option<String>,
    kube_reserved: Option<String>,
    pod_max_pids: Option<u32>,
    fail_swap_on: Option<bool>,
    memory_swap_behavior: Option<String>,
    allowed_unsafe_sysctls: Vec<String>,
    container_log_max_size: Option<String>,
    container_log_max_files: Option<usize>,
}

/// Settings, complete.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) hubs: Vec<String>,
    pub(crate) token: Option<String>,
    pub(crate) node_name: String,
    pub(crate) data_dir: PathBuf,
    pub(crate) node_ip: Option<String>,
    pub(crate) containerd_socket: PathBuf,
    pub(crate) wasm_socket: PathBuf,
    pub(crate) cgroup_parent: String,
    pub(crate) eviction: Eviction,
    pub(crate) clock_offset_file: Option<PathBuf>,
    pub(crate) registry_hosts_dir: PathBuf,
    /// Images that are pulled at one time.
    pub(crate) parallel_pulls: usize,
    /// Manifests of static pods.
    pub(crate) static_pod_path: Option<PathBuf>,
    /// How long pods may take to stop when the node shuts down.
    pub(crate) shutdown: ShutdownPeriods,
    /// Settings of the kubelet's credential provider plugins, and the folder of the programs.
    pub(crate) credential_providers: Option<(PathBuf, PathBuf)>,
    /// Which images that are here a pod may use without asking their registry.
    pub(crate) pull_verification: PullVerification,
    /// Docker Engine's socket, should there be one.
    pub(crate) docker_socket: PathBuf,
    /// CPU, memory, processes, sysctls.
    pub(crate) resources: NodeResources,
    /// Bytes of a container's log file, and how many there are of them.
    pub(crate) log_bounds: (u64, usize),
    /// Where the node's own API listens; `None` for nowhere.
    pub(crate) local_api: Option<SocketAddr>,
    pub(crate) cluster_cidr: Ipv4Net,
    /// Address of the cluster's DNS.
    pub(crate) dns_ip: Ipv4Addr,
}

/// The offset of the DNS address in the network of Services, as everywhere in the field.
const DNS_HOST: u32 = 10;

/// Each pull has some megabytes in its hands.
const MAX_PARALLEL_PULLS: usize = 16;

impl Config {
    /// Reads and checks the settings.
    pub(crate) fn read(flags: AgentFlags) -> anyhow::Result<Config> {
        let file = match &flags.config {
            Some(path) => read_file(path)?,
            None => File::default(),
        };
        let hubs = if flags.hub.is_empty() { file.hub } else { flags.hub };
        if hubs.is_empty() {
            bail!("no hub is given: use --hub HOST:PORT[/TCPPORT]");
        }
        for hub in &hubs {
            hub.parse::<HubAddress>().context("in --hub")?;
        }
        let node_name = match flags.node_name.or(file.node_name) {
            Some(name) => name,
            None => host_name()?,
        };
        if let Some(problem) = holdfast_core::names::dns_subdomain(&node_name).first() {
            bail!("--node-name {node_name:?} is invalid: {problem}");
        }
        let node_ip = flags.node_ip.or(file.node_ip);
        if let Some(ip) = &node_ip {
            ip.parse::<std::net::IpAddr>().with_context(|| format!("--node-ip {ip:?} is no IP address"))?;
        }
        let network = |name: &str, given: Option<String>, default: &str| -> anyhow::Result<Ipv4Net> {
            let text = given.unwrap_or_else(|| default.to_string());
            text.parse().with_context(|| format!("--{name} {text:?} is no IPv4 network"))
        };
        let cluster_cidr = network("cluster-cidr", flags.cluster_cidr.or(file.cluster_cidr), "10.42.0.0/16")?;
        let services = network("service-cidr", flags.service_cidr.or(file.service_cidr), "10.43.0.0/16")?;
        let local_api = match flags.local_api.or(file.local_api) {
            Some(text) => {
                api::parse_address(&text).map_err(|why| anyhow::anyhow!("--local-api {text:?} is invalid: {why}"))?
            }
            None => Some(api::DEFAULT),
        };
        let eviction = Eviction::read(&EvictionFlags {
            hard: flags.eviction_hard.or(file.eviction_hard),
            soft: flags.eviction_soft.or(file.eviction_soft),
            soft_grace_period: flags.eviction_soft_grace_period.or(file.eviction_soft_grace_period),
            minimum_reclaim: flags.eviction_minimum_reclaim.or(file.eviction_minimum_reclaim),
            max_pod_grace_period: flags.eviction_max_pod_grace_period.or(file.eviction_max_pod_grace_period),
            pressure_transition_period: flags
                .eviction_pressure_transition_period
                .or(file.eviction_pressure_transition_period),
        })
        .map_err(|why| anyhow::anyhow!(why))?;
        let parallel_pulls = flags.parallel_pulls.or(file.parallel_pulls).unwrap_or(1);
        if !(1..=MAX_PARALLEL_PULLS).contains(&parallel_pulls) {
            bail!("--parallel-pulls {parallel_pulls} is invalid: it must be 1 to {MAX_PARALLEL_PULLS}");
        }
        let total = flags.shutdown_grace_period.or(file.shutdown_grace_period);
        let critical = flags.shutdown_grace_period_critical_pods.or(file.shutdown_grace_period_critical_pods);
        let by_priority = flags.shutdown_grace_period_by_pod_priority.or(file.shutdown_grace_period_by_pod_priority);
        let shutdown = match (by_priority, total, critical) {
            (Some(text), None, None) => ShutdownPeriods::parse(&text)
                .map_err(|why| anyhow::anyhow!("--shutdown-grace-period-by-pod-priority is invalid: {why}"))?,
            (Some(_), ..) => bail!(
                "--shutdown-grace-period-by-pod-priority stands in place of --shutdown-grace-period and \
                 --shutdown-grace-period-critical-pods: give one or the other"
            ),
            (None, total, critical) => {
                let time = |span: Option<Span>| span.map_or(Duration::ZERO, |span| span.0);
                ShutdownPeriods::of(time(total), time(critical))
                    .map_err(|why| anyhow::anyhow!("--shutdown-grace-period-critical-pods is invalid: {why}"))?
            }
        };
        let static_pod_path = flags.static_pod_path.or(file.static_pod_path);
        if let Some(path) = static_pod_path.as_ref().filter(|path| !path.is_absolute()) {
            bail!("--static-pod-path {path:?} is invalid: it must be an absolute path");
        }
        let providers = flags.image_credential_provider_config.or(file.image_credential_provider_config);
        let programs = flags.image_credential_provider_bin_dir.or(file.image_credential_provider_bin_dir);
        let credential_providers = match (providers, programs) {
            (Some(config), Some(dir)) => Some((config, dir)),
            (None, None) => None,
            _ => bail!("--image-credential-provider-config and --image-credential-provider-bin-dir go together"),
        };
        let policy =
            flags.image_pull_credentials_verification_policy.or(file.image_pull_credentials_verification_policy);
        let allowed = match flags.preloaded_images_verification_allowlist {
            flag if flag.is_empty() => file.preloaded_images_verification_allowlist,
            flag => flag,
        };
        let pull_verification =
            PullVerification::parse(policy.as_deref().unwrap_or("NeverVerifyPreloadedImages"), &allowed)
                .map_err(|why| anyhow::anyhow!("--image-pull-credentials-verification-policy is invalid: {why}"))?;
        let resources = NodeResources {
            reserved: limits::reserved(&[
                ("--system-reserved", flags.system_reserved.or(file.system_reserved)),
                ("--kube-reserved", flags.kube_reserved.or(file.kube_reserved)),
            ])?,
            pod_pids_limit: flags.pod_max_pids.or(file.pod_max_pids).map_or(0, i64::from),
            swap: limits::swap(flags.memory_swap_behavior.or(file.memory_swap_behavior).as_deref())?,
            unsafe_sysctls: limits::sysctls(match flags.allowed_unsafe_sysctls.is_empty() {
                true => file.allowed_unsafe_sysctls,
                false => flags.allowed_unsafe_sysctls,
            })?,
        };
        if flags.fail_swap_on.or(file.fail_swap_on).unwrap_or(false) {
            limits::no_swap(&std::fs::read_to_string("/proc/swaps").unwrap_or_default())?;
        }
        let log_bounds = limits::logs(
            flags.container_log_max_size.or(file.container_log_max_size).as_deref(),
            flags.container_log_max_files.or(file.container_log_max_files),
        )?;
        let path = |flag: Option<PathBuf>, file: Option<PathBuf>, default: &str| {
            flag.or(file).unwrap_or_else(|| PathBuf::from(default))
        };
        Ok(Config {
            hubs,
            token: flags.token.or(file.token),
            node_name,
            data_dir: path(flags.data_dir, file.data_dir, "/var/lib/holdfast"),
            node_ip,
            containerd_socket: path(flags.containerd_socket, file.containerd_socket, "/run/containerd/containerd.sock"),
            wasm_socket: path(flags.wasm_socket, file.wasm_socket, "/run/holdfast/wasm.sock"),
            registry_hosts_dir: path(flags.registry_hosts_dir, file.registry_hosts_dir, "/etc/containerd/certs.d"),
            parallel_pulls,
            static_pod_path,
            shutdown,
            credential_providers,
            pull_verification,
            docker_socket: path(flags.docker_socket, file.docker_socket, engine::SOCKET),
            resources,
            log_bounds,
            cgroup_parent: flags.cgroup_parent.or(file.cgroup_parent).unwrap_or_else(|| "/holdfast".into()),
            eviction,
            clock_offset_file: flags.clock_offset_file.or(file.clock_offset_file),
            local_api,
            cluster_cidr,
            dns_ip: Ipv4Addr::from(u32::from(services.network()).saturating_add(DNS_HOST)),
        })
    }
}

fn read_file(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).map_err(|err| {
        let start = err.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        anyhow::anyhow!("{}:{line}: {}", path.display(), err.message())
    })
}

fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host name")?;
    Ok(name.trim().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    fn read(flags: AgentFlags) -> Result<Config, String> {
        Config::read(flags).map_err(|err| format!("{err:#}"))
    }

    fn flags() -> AgentFlags {
        AgentFlags { hub: vec!["hub:6444".into()], node_name: Some("edge-1".into()), ..AgentFlags::default() }
    }

    #[test]
    fn settings_are_checked_at_the_edge() {
        let config = read(flags()).unwrap();
        assert_eq!(config.dns_ip, Ipv4Addr::new(10, 43, 0, 10));
        let hub = AgentFlags { hub: vec!["hub".into()], ..flags() };
        assert_eq!(read(hub).unwrap_err(), "in --hub: \"hub\" must have the form HOST:PORT or HOST:PORT/TCPPORT");
        let hub = AgentFlags { hub: vec!["hub:6444/443".into()], ..flags() };
        assert_eq!(read(hub).unwrap().hubs, ["hub:6444/443"]);
        let name = AgentFlags { node_name: Some("Edge_1".into()), ..flags() };
        assert!(read(name).unwrap_err().contains("--node-name"));
        assert_eq!(config.local_api, Some(api::DEFAULT));
        let local_api = |text: &str| read(AgentFlags { local_api: Some(text.into()), ..flags() });
        assert_eq!(local_api("none").unwrap().local_api, None);
        assert_eq!(local_api("127.0.0.1:7000").unwrap().local_api.unwrap().port(), 7000);
        assert!(local_api("0.0.0.0:7000").unwrap_err().contains("loopback"));
        assert!(local_api("7000").unwrap_err().contains("ADDR:PORT"));
        let eviction = AgentFlags { eviction_hard: Some("memory<1Gi".into()), ..flags() };
        assert!(read(eviction).unwrap_err().starts_with("--eviction-hard is invalid: \"memory\" is no signal"));
        let eviction = AgentFlags { eviction_soft: Some("memory.available<1Gi".into()), ..flags() };
        assert!(read(eviction).unwrap_err().starts_with("--eviction-soft names memory.available, which has no time"));
        assert_eq!(config.parallel_pulls, 1);
        let pulls = AgentFlags { parallel_pulls: Some(0), ..flags() };
        assert_eq!(read(pulls).unwrap_err(), "--parallel-pulls 0 is invalid: it must be 1 to 16");
        assert!(config.shutdown.is_empty());
        let span = |seconds: u64| Some(Span(Duration::from_secs(seconds)));
        let shutdown = |total: Option<Span>, critical: Option<Span>, by_priority: Option<&str>| {
            read(AgentFlags {
                shutdown_grace_period: total,
                shutdown_grace_period_critical_pods: critical,
                shutdown_grace_period_by_pod_priority: by_priority.map(str::to_string),
                ..flags()
            })
        };
        assert_eq!(shutdown(span(30), span(10), None).unwrap().shutdown.total(), Duration::from_secs(30));
        assert_eq!(shutdown(None, None, Some("0=20s,1000=5s")).unwrap().shutdown.total(), Duration::from_secs(25));
        assert!(shutdown(span(30), None, Some("0=20s")).unwrap_err().contains("give one or the other"));
        assert!(shutdown(None, span(1), None).unwrap_err().ends_with("critical pods cannot have 1s of 0s"));
        let relative = AgentFlags { static_pod_path: Some("pods".into()), ..flags() };
        assert!(read(relative).unwrap_err().ends_with("it must be an absolute path"));
        let alone = AgentFlags { image_credential_provider_config: Some("/etc/providers.yaml".into()), ..flags() };
        assert!(read(alone).unwrap_err().ends_with("go together"));
        let policy = |name: &str| AgentFlags {
            image_pull_credentials_verification_policy: Some(name.into()),
            preloaded_images_verification_allowlist: vec!["r.example/*".into()],
            ..flags()
        };
        let list = PullVerification::NeverVerifyAllowlistedImages(vec!["r.example/*".into()]);
        assert_eq!(read(policy("NeverVerifyAllowlistedImages")).unwrap().pull_verification, list);
        let said = read(policy("AlwaysVerify")).unwrap_err();
        assert!(said.starts_with("--image-pull-credentials-verification-policy is invalid: "), "{said}");
        let ip = AgentFlags { node_ip: Some("nowhere".into()), ..flags() };
        assert!(read(ip).unwrap_err().contains("no IP address"));
    }

    /// A file with this text; kept while it is read.
    fn file(text: &str) -> (AgentFlags, tempfile::NamedTempFile) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        (AgentFlags { config: Some(file.path().into()), ..flags() }, file)
    }

    #[test]
    fn a_wrong_file_is_one_line_with_its_place() {
        for (text, expected) in [
            ("node-name = \"a\"\nnod-ip = \"1.2.3.4\"\n", ":2: unknown field `nod-ip`, expected one of "),
            ("\n\nhub = 7\n", ":3: invalid type: integer `7`, expected a sequence"),
            ("token = \"a\n", ":1: invalid basic string"),
        ] {
            let (flags, file) = file(text);
            let said = read(flags).unwrap_err();
            let rest = said.strip_prefix(&file.path().display().to_string());
            assert!(rest.is_some_and(|rest| rest.starts_with(expected)) && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn keys_are_spelled_as_flags_and_as_before() {
        for text in ["cgroup-parent = \"/x\"", "cgroup_parent = \"/x\""] {
            let (flags, _file) = file(text);
            assert_eq!(read(flags).unwrap().cgroup_parent, "/x");
        }
        let (flags, _file) = file("cgroup-parent = \"/x\"\ncgroup_parent = \"/y\"");
        assert!(read(flags).unwrap_err().contains("duplicate field"));
    }

    const FLAGS: &str = "HOLDFAST_TEST_FLAGS";

    #[test]
    #[ignore = "the child of `file_then_environment_then_flag`: only a process of its own may have an environment"]
    fn tell_what_was_resolved() {
        let words = std::env::var(FLAGS).unwrap();
        let command = AgentFlags::augment_args(clap::Command::new("agent"));
        let matches = command.try_get_matches_from(["agent"].into_iter().chain(words.split_whitespace())).unwrap();
        println!("{:#?}", Config::read(AgentFlags::from_arg_matches(&matches).unwrap()).unwrap());
    }

    #[test]
    fn file_then_environment_then_flag() {
        for key in ["node-name", "data-dir", "cgroup-parent", "node-ip"] {
            let [in_file, in_environment, by_flag] = match key {
                "node-ip" => ["10.0.0.1", "10.0.0.2", "10.0.0.3"],
                _ => ["one", "two", "three"],
            };
            let (flags, _file) = file(&format!("hub = [\"hub:6444\"]\n{key} = \"{in_file}\"\n"));
            let config = format!("--config {}", flags.config.unwrap().display());
            let variable = format!("HOLDFAST_{}", key.replace('-', "_").to_uppercase());
            let resolved = |flags: &str, environment: Option<&str>| {
                let mut child = std::process::Command::new(std::env::current_exe().unwrap());
                child.args(["--exact", "config::tests::tell_what_was_resolved", "--ignored", "--nocapture"]);
                child.env(FLAGS, format!("{config} {flags}")).env_remove(&variable);
                let output = child.envs(environment.map(|value| (&variable, value))).output().unwrap();
                let told = String::from_utf8_lossy(&output.stdout).into_owned();
                let field = format!("    {}: ", key.replace('-', "_"));
                let at = told.find(&field).unwrap_or_else(|| panic!("{key}: {told}{output:?}"));
                // An option spreads over lines; the value is what stands in the next quotes.
                told[at..].split('"').nth(1).unwrap().to_owned()
            };
            assert_eq!(resolved("", None), in_file, "{key} of the file");
            assert_eq!(resolved("", Some(in_environment)), in_environment, "{key} of the environment");
            assert_eq!(resolved(&format!("--{key} {by_flag}"), Some(in_environment)), by_flag, "{key} of the flag");
        }
    }
}
