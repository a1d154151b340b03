//! The agent's settings: file, then environment, then flag; checked whole before anything starts.

use crate::cli::AgentFlags;
use crate::local::api;
use anyhow::{Context, bail};
use holdfast_link::HubAddress;
use ipnet::Ipv4Net;
use serde::Deserialize;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Settings of a file. Unknown keys are refused with their line.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    hub: Vec<String>,
    token: Option<String>,
    node_name: Option<String>,
    data_dir: Option<PathBuf>,
    node_ip: Option<String>,
    containerd_socket: Option<PathBuf>,
    wasm_socket: Option<PathBuf>,
    cgroup_parent: Option<String>,
    clock_offset_file: Option<PathBuf>,
    cluster_cidr: Option<String>,
    service_cidr: Option<String>,
    local_api: Option<String>,
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
    pub(crate) clock_offset_file: Option<PathBuf>,
    /// Where the node's own API listens; `None` for nowhere.
    pub(crate) local_api: Option<SocketAddr>,
    pub(crate) cluster_cidr: Ipv4Net,
    /// Address of the cluster's DNS.
    pub(crate) dns_ip: Ipv4Addr,
}

/// The offset of the DNS address in the network of Services, as everywhere in the field.
const DNS_HOST: u32 = 10;

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
            cgroup_parent: flags.cgroup_parent.or(file.cgroup_parent).unwrap_or_else(|| "/holdfast".into()),
            clock_offset_file: flags.clock_offset_file.or(file.clock_offset_file),
            local_api,
            cluster_cidr,
            dns_ip: Ipv4Addr::from(u32::from(services.network()).saturating_add(DNS_HOST)),
        })
    }
}

fn read_file(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("in {}", path.display()))
}

fn host_name() -> anyhow::Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").context("cannot read the host name")?;
    Ok(name.trim().to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let ip = AgentFlags { node_ip: Some("nowhere".into()), ..flags() };
        assert!(read(ip).unwrap_err().contains("no IP address"));
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "node_name = \"a\"\nnod_ip = \"1.2.3.4\"\n").unwrap();
        let err = read(AgentFlags { config: Some(file.path().into()), ..flags() }).unwrap_err();
        assert!(err.contains("line 2") && err.contains("nod_ip"), "{err}");
    }
}
