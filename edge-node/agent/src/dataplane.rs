//! Services, routes to other nodes, and DNS, from one snapshot.

use async_trait::async_trait;
use holdfast_cni::sync_routes;
use holdfast_dns::{DnsConfig, DnsServer, Zone};
use holdfast_node::{Dataplane, DataplaneSnapshot};
use holdfast_proxy::{Proxy, render, table};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Stdio;
use std::sync::Arc;
use tokio::process::Command;
use tokio::sync::Mutex;

const DNS_PORT: u16 = 53;

/// The machine's data plane.
pub(crate) struct LinuxDataplane {
    proxy: Proxy,
    cluster_cidr: String,
    dns_ip: Ipv4Addr,
    domain: String,
    dns: Mutex<Option<DnsServer>>,
}

impl LinuxDataplane {
    /// A data plane that has done nothing yet.
    pub(crate) fn new(cluster_cidr: String, dns_ip: Ipv4Addr, domain: &str) -> LinuxDataplane {
        LinuxDataplane { proxy: Proxy::default(), cluster_cidr, dns_ip, domain: domain.into(), dns: Mutex::new(None) }
    }

    async fn resolve_names(&self, snapshot: &DataplaneSnapshot) -> Result<(), String> {
        let mut dns = self.dns.lock().await;
        if dns.is_none() {
            ensure_dns_address(self.dns_ip).await?;
            let config = DnsConfig { listen: (self.dns_ip, DNS_PORT).into(), resolv_conf: "/etc/resolv.conf".into() };
            let server = DnsServer::start(config).await;
            *dns = Some(server.map_err(|err| format!("DNS cannot listen on {}: {err}", self.dns_ip))?);
        }
        if let Some(server) = &*dns {
            server.set_zone(Zone::new(&self.domain, &snapshot.services, &snapshot.slices));
        }
        Ok(())
    }
}

#[async_trait]
impl Dataplane for LinuxDataplane {
    async fn apply(&self, snapshot: Arc<DataplaneSnapshot>) -> Result<(), String> {
        let services = table(&snapshot.services, &snapshot.slices, &snapshot.node_name, &snapshot.local_ready);
        self.proxy.apply(&render(&services, &self.cluster_cidr)).await.map_err(|err| err.to_string())?;
        let routes = sync_routes(&routes(&snapshot)).await.map_err(|err| err.to_string())?;
        for (network, err) in &routes.failed {
            tracing::warn!(network = network.to_string(), err, "A route to another node could not be set");
        }
        self.resolve_names(&snapshot).await
    }
}

/// Pod networks of the other nodes, through their addresses.
fn routes(snapshot: &DataplaneSnapshot) -> Vec<(IpNet, IpAddr)> {
    let others = snapshot.nodes.iter().filter(|node| node.metadata.name.as_deref() != Some(&snapshot.node_name));
    others.filter_map(|node| Some((pod_network(node)?, address(node)?))).collect()
}

fn pod_network(node: &Node) -> Option<IpNet> {
    node.spec.as_ref()?.pod_cidr.as_ref()?.parse().ok()
}

fn address(node: &Node) -> Option<IpAddr> {
    let addresses = node.status.as_ref()?.addresses.as_ref()?;
    addresses.iter().find(|address| address.type_ == "InternalIP")?.address.parse().ok()
}

/// Puts the DNS address on the loopback interface, so that traffic to it never leaves the node; fine when it is
/// there.
async fn ensure_dns_address(ip: Ipv4Addr) -> Result<(), String> {
    let run = Command::new("ip")
        .args(["addr", "replace", &format!("{ip}/32"), "dev", "lo"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(10), run).await;
    let output = output.map_err(|_| "ip did not finish in time".to_string())?;
    let output = output.map_err(|err| format!("ip cannot be run; install iproute2: {err}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("the DNS address {ip} could not be set: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
