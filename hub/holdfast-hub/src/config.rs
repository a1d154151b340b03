//! The configuration: file, then environment, then flag; checked whole before anything is bound or written.

mod requests;
mod store;

pub(crate) use requests::RequestConfig;
pub(crate) use store::StoreConfig;

use crate::audit::{AuditArguments, AuditConfig};
use anyhow::{Context, bail};
use clap::Args;
use holdfast_core::Span;
use holdfast_link_engine::heartbeat::longest_for;
use holdfast_link_engine::limits::LONGEST_HEARTBEAT;
use holdfast_registry::EVICTION_AFTER;
use ipnet::Ipv4Net;
use requests::RequestArguments;
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::StoreArguments;

/// What `serve` was told, by flag or environment.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ServeArguments {
    /// Folder of the hub: store, keys, admin.kubeconfig. Made if missing.
    #[arg(long, env = "HOLDFAST_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the Kubernetes API listens (HTTPS), and the link for nodes without UDP.
    #[arg(long, env = "HOLDFAST_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Where nodes dial in (QUIC over UDP).
    #[arg(long, env = "HOLDFAST_LINK_LISTEN", value_name = "ADDR:PORT")]
    link_listen: Option<SocketAddr>,
    /// A TOML file with the same keys; environment and flags win over it.
    #[arg(long, env = "HOLDFAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A name or address by which clients and nodes reach the hub; goes into its certificate. May be repeated. Of several hubs
    /// on one etcd each names an address of its own first: by it the others reach it.
    #[arg(long, env = "HOLDFAST_ADVERTISE", value_name = "ADDR", value_delimiter = ',')]
    advertise: Vec<String>,
    /// Addresses of pods [default: 10.42.0.0/16].
    #[arg(long, env = "HOLDFAST_CLUSTER_CIDR", value_name = "CIDR")]
    cluster_cidr: Option<String>,
    /// Addresses of Services [default: 10.43.0.0/16].
    #[arg(long, env = "HOLDFAST_SERVICE_CIDR", value_name = "CIDR")]
    service_cidr: Option<String>,
    /// Silence after which a node counts as gone [default: 40s].
    #[arg(long, env = "HOLDFAST_NODE_MONITOR_GRACE", value_name = "DURATION")]
    node_monitor_grace: Option<Span>,
    /// How often nodes send heartbeats to begin with [default: 10s].
    #[arg(long, env = "HOLDFAST_HEARTBEAT", value_name = "DURATION")]
    heartbeat: Option<Span>,
    /// How seldom heartbeats may come once a node has found that its network lets it [default: three quarters of
    /// --node-monitor-grace, which is as much as costs nothing: beyond that a silent node is noticed later].
    #[arg(long, env = "HOLDFAST_LONGEST_HEARTBEAT", value_name = "DURATION")]
    longest_heartbeat: Option<Span>,
    /// Life of nodes' certificates [default: 365d].
    #[arg(long, env = "HOLDFAST_NODE_CERTIFICATE_TTL", value_name = "DURATION")]
    node_certificate_ttl: Option<Span>,
    /// How long after its end a node's certificate may still be renewed [default: 90d].
    #[arg(long, env = "HOLDFAST_NODE_CERTIFICATE_GRACE", value_name = "DURATION")]
    node_certificate_grace: Option<Span>,
    /// How long history is kept for watches and continue tokens [default: 5m].
    #[arg(long, env = "HOLDFAST_HISTORY", value_name = "DURATION")]
    history: Option<Span>,
    /// How long a pod stays on a node that is not ready or unreachable, unless its own tolerations say; whole seconds, and
    /// pods that there are keep theirs [default: 300s].
    #[arg(long, env = "HOLDFAST_EVICTION_AFTER", value_name = "DURATION")]
    eviction_after: Option<Span>,
    #[command(flatten)]
    requests: RequestArguments,
    #[command(flatten)]
    audit: AuditArguments,
    #[command(flatten)]
    store: StoreArguments,
}

/// The file's keys.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct FileConfig {
    data_dir: Option<PathBuf>,
    listen: Option<SocketAddr>,
    link_listen: Option<SocketAddr>,
    advertise: Vec<String>,
    cluster_cidr: Option<String>,
    service_cidr: Option<String>,
    node_monitor_grace: Option<Span>,
    heartbeat: Option<Span>,
    longest_heartbeat: Option<Span>,
    node_certificate_ttl: Option<Span>,
    node_certificate_grace: Option<Span>,
    history: Option<Span>,
    eviction_after: Option<Span>,
    store: Option<String>,
    etcd_prefix: Option<String>,
    etcd_ca: Option<PathBuf>,
    etcd_cert: Option<PathBuf>,
    etcd_key: Option<PathBuf>,
    audit_policy_file: Option<PathBuf>,
    audit_log_path: Option<PathBuf>,
    audit_log_maxsize: Option<u64>,
    audit_log_maxbackup: Option<usize>,
    audit_log_maxage: Option<u64>,
    anonymous_auth: Option<bool>,
    authentication_config: Option<PathBuf>,
    enable_priority_and_fairness: Option<bool>,
    max_requests_inflight: Option<usize>,
    max_mutating_requests_inflight: Option<usize>,
}

impl FileConfig {
    fn audit(&mut self) -> AuditArguments {
        AuditArguments {
            audit_policy_file: self.audit_policy_file.take(),
            audit_log_path: self.audit_log_path.take(),
            audit_log_maxsize: self.audit_log_maxsize.take(),
            audit_log_maxbackup: self.audit_log_maxbackup.take(),
            audit_log_maxage: self.audit_log_maxage.take(),
        }
    }

    fn requests(&mut self) -> RequestArguments {
        RequestArguments {
            anonymous_auth: self.anonymous_auth.take(),
            authentication_config: self.authentication_config.take(),
            enable_priority_and_fairness: self.enable_priority_and_fairness.take(),
            max_requests_inflight: self.max_requests_inflight.take(),
            max_mutating_requests_inflight: self.max_mutating_requests_inflight.take(),
        }
    }

    fn store(&mut self) -> StoreArguments {
        StoreArguments {
            store: self.store.take(),
            etcd_prefix: self.etcd_prefix.take(),
            etcd_ca: self.etcd_ca.take(),
            etcd_cert: self.etcd_cert.take(),
            etcd_key: self.etcd_key.take(),
        }
    }
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) link_listen: SocketAddr,
    pub(crate) advertise_names: Vec<String>,
    pub(crate) advertise_addresses: Vec<IpAddr>,
    pub(crate) cluster_cidr: Ipv4Net,
    pub(crate) service_cidr: Ipv4Net,
    pub(crate) node_monitor_grace: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) longest_heartbeat: Duration,
    pub(crate) node_certificate_ttl: Duration,
    pub(crate) node_certificate_grace: Duration,
    pub(crate) history: Duration,
    pub(crate) eviction_after: Duration,
    pub(crate) requests: RequestConfig,
    /// `None`: no audit log.
    pub(crate) audit: Option<AuditConfig>,
    pub(crate) store: StoreConfig,
}

const DEFAULT_CLUSTER_CIDR: &str = "10.42.0.0/16";
const DEFAULT_SERVICE_CIDR: &str = "10.43.0.0/16";
const DEFAULT_GRACE: Duration = Duration::from_secs(40);
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(10);
const DEFAULT_CERTIFICATE_TTL: Duration = Duration::from_secs(365 * 24 * 3600);
const DEFAULT_CERTIFICATE_GRACE: Duration = Duration::from_secs(90 * 24 * 3600);
const DEFAULT_HISTORY: Duration = Duration::from_secs(300);

impl ServeArguments {
    /// Reads the file, lays environment and flags over it, and checks the whole.
    pub(crate) fn resolve(self) -> anyhow::Result<Config> {
        let mut file = match &self.config {
            Some(path) => read_file(path)?,
            None => FileConfig::default(),
        };
        let needed = |flag: &str| format!("--{flag} is missing (or {flag} in the file, or its environment variable)");
        let span = |flag: Option<Span>, file: Option<Span>, default| flag.or(file).map_or(default, |span| span.0);
        let store = self.store.or(file.store()).resolve()?;
        let audit = self.audit.or(file.audit()).resolve()?;
        let requests = self.requests.or(file.requests()).resolve()?;
        let advertise = if self.advertise.is_empty() { file.advertise } else { self.advertise };
        let (advertise_names, advertise_addresses) = split_advertise(advertise)?;
        let node_monitor_grace = span(self.node_monitor_grace, file.node_monitor_grace, DEFAULT_GRACE);
        let heartbeat = span(self.heartbeat, file.heartbeat, DEFAULT_HEARTBEAT);
        let longest = longest_for(node_monitor_grace, heartbeat).min(LONGEST_HEARTBEAT);
        let config = Config {
            data_dir: self.data_dir.or(file.data_dir).with_context(|| needed("data-dir"))?,
            listen: self.listen.or(file.listen).with_context(|| needed("listen"))?,
            link_listen: self.link_listen.or(file.link_listen).with_context(|| needed("link-listen"))?,
            advertise_names,
            advertise_addresses,
            cluster_cidr: cidr("cluster-cidr", self.cluster_cidr.or(file.cluster_cidr), DEFAULT_CLUSTER_CIDR)?,
            service_cidr: cidr("service-cidr", self.service_cidr.or(file.service_cidr), DEFAULT_SERVICE_CIDR)?,
            node_monitor_grace,
            heartbeat,
            longest_heartbeat: span(self.longest_heartbeat, file.longest_heartbeat, longest),
            node_certificate_ttl: span(self.node_certificate_ttl, file.node_certificate_ttl, DEFAULT_CERTIFICATE_TTL),
            node_certificate_grace: span(
                self.node_certificate_grace,
                file.node_certificate_grace,
                DEFAULT_CERTIFICATE_GRACE,
            ),
            history: span(self.history, file.history, DEFAULT_HISTORY),
            eviction_after: span(self.eviction_after, file.eviction_after, EVICTION_AFTER),
            requests,
            audit,
            store,
        };
        config.check()?;
        Ok(config)
    }
}

fn read_file(path: &Path) -> anyhow::Result<FileConfig> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read --config {}", path.display()))?;
    toml::from_str(&text).map_err(|err| {
        let start = err.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
        anyhow::anyhow!("{}:{line}: {}", path.display(), err.message())
    })
}

fn cidr(flag: &str, text: Option<String>, default: &str) -> anyhow::Result<Ipv4Net> {
    let text = text.unwrap_or_else(|| default.to_string());
    let net: Ipv4Net = text
        .parse()
        .map_err(|_| anyhow::anyhow!("--{flag} {text:?} is no IPv4 network; write for example {default}"))?;
    if net.network() != net.addr() {
        bail!("--{flag} {text}: the address has bits outside the network; did you mean {}?", net.trunc());
    }
    Ok(net)
}

fn split_advertise(values: Vec<String>) -> anyhow::Result<(Vec<String>, Vec<IpAddr>)> {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    for value in values {
        match value.parse::<IpAddr>() {
            Ok(address) => addresses.push(address),
            Err(_) if holdfast_core::names::dns_subdomain(&value).is_empty() => names.push(value),
            Err(_) => bail!("--advertise {value:?} is neither an IP address nor a DNS name"),
        }
    }
    Ok((names, addresses))
}

impl Config {
    fn check(&self) -> anyhow::Result<()> {
        let overlap = self.cluster_cidr.contains(&self.service_cidr) || self.service_cidr.contains(&self.cluster_cidr);
        if overlap {
            bail!("--cluster-cidr {} and --service-cidr {} overlap", self.cluster_cidr, self.service_cidr);
        }
        if self.service_cidr.prefix_len() > 29 {
            bail!("--service-cidr {} is too small: at most /29", self.service_cidr);
        }
        if self.heartbeat.is_zero() || self.node_monitor_grace <= self.heartbeat {
            bail!("--node-monitor-grace must be longer than --heartbeat, and --heartbeat longer than 0");
        }
        if self.longest_heartbeat < self.heartbeat || self.longest_heartbeat > LONGEST_HEARTBEAT {
            let most = LONGEST_HEARTBEAT.as_secs();
            bail!("--longest-heartbeat must be no shorter than --heartbeat, and at most {most}s");
        }
        if self.node_certificate_ttl < Duration::from_secs(1) || self.history < Duration::from_secs(1) {
            bail!("--node-certificate-ttl and --history must be at least 1s");
        }
        if self.eviction_after.subsec_nanos() != 0 {
            bail!("--eviction-after must be whole seconds: that is what a toleration says");
        }
        Ok(())
    }

    /// The Service `kubernetes`: the first address of the range.
    pub(crate) fn first_service_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.service_cidr.network()).wrapping_add(1))
    }

    /// How a client on this machine reaches the API at `address`.
    pub(crate) fn local_server(address: SocketAddr) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
            IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from(([127, 0, 0, 1], address.port())),
            _ => address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches;
    use std::io::Write;

    fn arguments(file: &str) -> (ServeArguments, tempfile::NamedTempFile) {
        let mut written = tempfile::NamedTempFile::new().unwrap();
        written.write_all(file.as_bytes()).unwrap();
        let arguments = ServeArguments { config: Some(written.path().into()), ..ServeArguments::default() };
        (arguments, written)
    }

    const BASE: &str = "data-dir = \"/d\"\nlisten = \"0.0.0.0:6443\"\nlink-listen = \"0.0.0.0:6444\"\n";

    #[test]
    fn flags_win_over_the_file() {
        let (mut arguments, _file) = arguments(&format!("{BASE}heartbeat = \"5s\"\nadvertise = [\"hub.example\"]\n"));
        arguments.heartbeat = Some("7s".parse().unwrap());
        let config = arguments.resolve().unwrap();
        assert_eq!(config.heartbeat, Duration::from_secs(7));
        assert_eq!(config.node_monitor_grace, DEFAULT_GRACE);
        assert_eq!(config.longest_heartbeat, Duration::from_secs(30));
        assert_eq!(config.advertise_names, ["hub.example"]);
        assert_eq!(config.store, StoreConfig::Embedded);
        assert_eq!(config.first_service_ip(), Ipv4Addr::new(10, 43, 0, 1));
        assert_eq!(Config::local_server(config.listen).to_string(), "127.0.0.1:6443");
    }

    #[test]
    fn the_store_is_read_from_the_file() {
        let etcd = "store = \"etcd=http://127.0.0.1:2379\"\netcd-prefix = \"/site\"\n";
        let config = arguments(&format!("{BASE}{etcd}")).0.resolve().unwrap();
        let StoreConfig::Etcd { endpoints, prefix, .. } = config.store else { panic!("{:?}", config.store) };
        assert_eq!((endpoints, prefix.as_str()), (vec!["http://127.0.0.1:2379".to_string()], "/site"));
    }

    /// Every duration: key, and three values that hold together with the others' defaults.
    const DURATIONS: [(&str, [&str; 3]); 7] = [
        ("node-monitor-grace", ["41s", "42s", "43s"]),
        ("heartbeat", ["3s", "5s", "7s"]),
        ("longest-heartbeat", ["11s", "12s", "13s"]),
        ("node-certificate-ttl", ["1d", "2d", "3d"]),
        ("node-certificate-grace", ["1d", "2d", "3d"]),
        ("history", ["1s", "2s", "3s"]),
        ("eviction-after", ["0s", "5s", "6s"]),
    ];
    const FLAGS: &str = "HOLDFAST_TEST_FLAGS";

    fn variable(key: &str) -> String {
        format!("HOLDFAST_{}", key.replace('-', "_").to_uppercase())
    }

    #[test]
    #[ignore = "the child of `file_then_environment_then_flag`: only a process of its own may have an environment"]
    fn tell_what_was_resolved() {
        let flags = std::env::var(FLAGS).unwrap();
        let command = ServeArguments::augment_args(clap::Command::new("serve"));
        let matches = command.try_get_matches_from(["serve"].into_iter().chain(flags.split_whitespace())).unwrap();
        println!("{:#?}", ServeArguments::from_arg_matches(&matches).unwrap().resolve().unwrap());
    }

    #[test]
    fn file_then_environment_then_flag() {
        for (key, [in_file, in_environment, by_flag]) in DURATIONS {
            let (arguments, _file) = arguments(&format!("{BASE}{key} = \"{in_file}\"\n"));
            let config = format!("--config {}", arguments.config.unwrap().display());
            let resolved = |flags: &str, environment: Option<&str>| {
                let mut child = std::process::Command::new(std::env::current_exe().unwrap());
                child.args(["--exact", "config::tests::tell_what_was_resolved", "--ignored", "--nocapture"]);
                child.env(FLAGS, format!("{config} {flags}")).env_remove(variable(key));
                child.envs(environment.map(|value| (variable(key), value)));
                let output = child.output().unwrap();
                let told = String::from_utf8_lossy(&output.stdout).into_owned();
                let field = format!("{}: ", key.replace('-', "_"));
                let line = told.lines().find_map(|line| line.trim().strip_prefix(&field));
                line.unwrap_or_else(|| panic!("{key}: {told}{output:?}")).trim_end_matches(',').to_owned()
            };
            let shown = |text: &str| format!("{:?}", text.parse::<Span>().unwrap().0);
            let flag = format!("--{key} {by_flag}");
            assert_eq!(resolved("", None), shown(in_file), "{key} of the file");
            assert_eq!(resolved("", Some(in_environment)), shown(in_environment), "{key} of the environment");
            assert_eq!(resolved(&flag, Some(in_environment)), shown(by_flag), "{key} of the flag");
        }
    }

    #[test]
    fn every_duration_is_in_the_manual() {
        let manual = include_str!("../../../docs/durations.md");
        for (key, _) in DURATIONS {
            let row = format!("| `{key}` | `{}` | `--{key}` |", variable(key));
            assert!(manual.contains(&row), "docs/durations.md has no row that begins {row}");
        }
        let command = ServeArguments::augment_args(clap::Command::new("serve"));
        let spans = command.get_arguments().filter(|argument| {
            argument.get_value_names().is_some_and(|names| names.iter().any(|name| name == "DURATION"))
        });
        let named: Vec<_> = spans.filter_map(clap::Arg::get_long).collect();
        assert_eq!(named, DURATIONS.map(|(key, _)| key), "DURATIONS lists every duration, in the order of --help");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let ask = |file: &str| {
            let (arguments, file) = arguments(file);
            let text = format!("{:#}", arguments.resolve().unwrap_err());
            text.replace(&file.path().display().to_string(), "FILE")
        };
        assert!(ask(&format!("{BASE}\nheart-beat = \"5s\"\n")).starts_with("FILE:5: unknown field `heart-beat`"));
        assert!(ask(&format!("{BASE}heartbeat = \"soon\"\n")).starts_with("FILE:4: \"soon\" is no duration"));
        assert!(ask("listen = 7").starts_with("FILE:1: "));
        assert!(ask("").contains("--data-dir is missing"));
        for (line, text) in [
            ("cluster-cidr = \"x\"", "--cluster-cidr \"x\" is no IPv4 network"),
            ("cluster-cidr = \"10.42.0.1/16\"", "did you mean 10.42.0.0/16?"),
            ("service-cidr = \"10.42.1.0/24\"", "overlap"),
            ("service-cidr = \"10.9.0.0/30\"", "too small"),
            ("heartbeat = \"60s\"", "must be longer than --heartbeat"),
            ("longest-heartbeat = \"9s\"", "no shorter than --heartbeat, and at most 3600s"),
            ("longest-heartbeat = \"2h\"", "no shorter than --heartbeat, and at most 3600s"),
            ("advertise = [\"a b\"]", "neither an IP address nor a DNS name"),
            ("eviction-after = \"1500ms\"", "--eviction-after must be whole seconds"),
            ("store = \"etcd=x\"", "is no endpoint of etcd"),
        ] {
            let said = ask(&format!("{BASE}{line}\n"));
            assert!(said.contains(text), "{line}: {said}");
        }
    }
}
