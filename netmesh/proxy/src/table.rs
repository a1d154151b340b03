//! From Services and EndpointSlices to frontends and backends.

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Where a packet is going before it is translated.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frontend {
    /// An address of the Service: ClusterIP, external or LoadBalancer address.
    Address(Ipv4Addr),
    /// A port of every node.
    NodePort,
}

/// One port of one Service behind one frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `namespace/name:port`, for people.
    pub label: String,
    /// Where packets are going.
    pub frontend: Frontend,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Port of the frontend.
    pub port: u16,
    /// Where they are to go; none means that they are refused.
    pub backends: Vec<(Ipv4Addr, u16)>,
    /// The same client goes to the same backend.
    pub sticky: bool,
}

/// All that the rule set says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTable {
    /// In order of frontend, protocol and port.
    pub entries: Vec<Entry>,
}

impl ServiceTable {
    /// Every backend address.
    pub fn backends(&self) -> BTreeSet<Ipv4Addr> {
        self.entries.iter().flat_map(|entry| entry.backends.iter().map(|(ip, _)| *ip)).collect()
    }
}

/// Builds the table. `local_ready` says of this node's own pods, by address, whether they are ready; it stands
/// over what the slices say. `node` is this node's name, for `internalTrafficPolicy: Local` and
/// `externalTrafficPolicy: Local`.
pub fn table(
    services: &[Service],
    slices: &[EndpointSlice],
    node: &str,
    local_ready: &BTreeMap<String, bool>,
) -> ServiceTable {
    let mut entries = Vec::new();
    let mut taken = BTreeSet::new();
    let mut sorted: Vec<&Service> = services.iter().collect();
    // Two Services that claim one frontend: the older name wins, on every node alike.
    sorted.sort_by_key(|service| (service.metadata.namespace.clone(), service.metadata.name.clone()));
    for service in sorted {
        for entry in of_service(service, slices, node, local_ready) {
            if taken.insert((entry.frontend.clone(), entry.protocol.clone(), entry.port)) {
                entries.push(entry);
            }
        }
    }
    entries.sort_by(|a, b| (&a.frontend, &a.protocol, a.port).cmp(&(&b.frontend, &b.protocol, b.port)));
    ServiceTable { entries }
}

fn of_service(
    service: &Service,
    slices: &[EndpointSlice],
    node: &str,
    local_ready: &BTreeMap<String, bool>,
) -> Vec<Entry> {
    let Some(spec) = &service.spec else { return Vec::new() };
    if spec.type_.as_deref() == Some("ExternalName") {
        return Vec::new();
    }
    let of_cluster = spec.cluster_ip.iter();
    let of_load_balancer = service.status.iter().flat_map(|status| {
        status.load_balancer.iter().flat_map(|lb| lb.ingress.iter().flatten().filter_map(|ingress| ingress.ip.as_ref()))
    });
    let internal: Vec<Ipv4Addr> = of_cluster.filter_map(|ip| ip.parse().ok()).collect();
    let external: Vec<Ipv4Addr> =
        spec.external_ips.iter().flatten().chain(of_load_balancer).filter_map(|ip| ip.parse().ok()).collect();
    let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
    let local_inside = spec.internal_traffic_policy.as_deref() == Some("Local");
    let local_outside = spec.external_traffic_policy.as_deref() == Some("Local");
    let name = service.metadata.name.clone().unwrap_or_default();
    let namespace = service.metadata.namespace.clone().unwrap_or_default();
    let mut entries = Vec::new();
    for port in spec.ports.iter().flatten() {
        let backends = |only_local| backends(&namespace, &name, port, slices, node, only_local, local_ready);
        let entry = |frontend, number: i32, backends| Entry {
            label: format!("{namespace}/{name}:{}", port.name.as_deref().unwrap_or_default()),
            frontend,
            protocol: port.protocol.as_deref().unwrap_or("TCP").to_lowercase(),
            port: u16::try_from(number).unwrap_or(0),
            backends,
            sticky,
        };
        for ip in &internal {
            entries.push(entry(Frontend::Address(*ip), port.port, backends(local_inside)));
        }
        for ip in &external {
            entries.push(entry(Frontend::Address(*ip), port.port, backends(local_outside)));
        }
        if let Some(node_port) = port.node_port.filter(|number| *number > 0) {
            entries.push(entry(Frontend::NodePort, node_port, backends(local_outside)));
        }
    }
    entries.retain(|entry| entry.port > 0);
    entries
}

fn backends(
    namespace: &str,
    service: &str,
    port: &ServicePort,
    slices: &[EndpointSlice],
    node: &str,
    only_local: bool,
    local_ready: &BTreeMap<String, bool>,
) -> Vec<(Ipv4Addr, u16)> {
    let (mut ready, mut serving) = (BTreeSet::new(), BTreeSet::new());
    let of_service = slices.iter().filter(|slice| {
        let labels = slice.metadata.labels.as_ref();
        slice.metadata.namespace.as_deref() == Some(namespace)
            && labels.and_then(|labels| labels.get("kubernetes.io/service-name")).map(String::as_str) == Some(service)
    });
    for slice in of_service {
        let number = slice
            .ports
            .iter()
            .flatten()
            .find(|candidate| candidate.name.as_deref().unwrap_or("") == port.name.as_deref().unwrap_or(""))
            .and_then(|candidate| u16::try_from(candidate.port?).ok());
        let Some(number) = number else { continue };
        for endpoint in slice.endpoints.iter().flatten() {
            if only_local && endpoint.node_name.as_deref() != Some(node) {
                continue;
            }
            let conditions = endpoint.conditions.clone().unwrap_or_default();
            for address in &endpoint.addresses {
                let Ok(ip) = address.parse::<Ipv4Addr>() else { continue };
                let known = local_ready.get(address).copied();
                // A local pod that came back while the hub counts its node out is ready all the same.
                if known.unwrap_or(conditions.ready.unwrap_or(true)) {
                    ready.insert((ip, number));
                } else if known.is_none() && conditions.serving.unwrap_or(false) {
                    serving.insert((ip, number));
                }
            }
        }
    }
    // Terminating endpoints that still serve are better than none (KEP-1669).
    if ready.is_empty() { serving } else { ready }.into_iter().collect()
}
