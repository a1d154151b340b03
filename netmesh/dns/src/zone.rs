//! The cluster's names.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// Data of an answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    /// An address.
    A(Ipv4Addr),
    /// Another name, to be looked up in turn.
    Cname(String),
    /// Port and host.
    Srv(u16, String),
    /// The name of an address.
    Ptr(String),
}

/// What the zone knows of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The name is the cluster's: its data of all types.
    Records(Vec<Data>),
    /// The name is the cluster's and does not exist.
    NoSuchName,
    /// The name is not the cluster's.
    NotOurs,
}

/// All names of the cluster; lower case, without a final dot.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    domain: String,
    names: BTreeMap<String, BTreeSet<Data>>,
    /// Names that exist only as the parent of others.
    parents: BTreeSet<String>,
}

impl Zone {
    /// Builds the zone of `domain` (`cluster.local`).
    pub fn new(domain: &str, services: &[Service], slices: &[EndpointSlice]) -> Zone {
        let mut zone = Zone { domain: domain.to_lowercase(), ..Zone::default() };
        for service in services {
            zone.service(service, slices);
        }
        zone.put(format!("dns-version.{}", zone.domain), None);
        let mut parents = BTreeSet::new();
        for name in zone.names.keys() {
            let mut rest = name.as_str();
            while let Some((_, parent)) = rest.split_once('.') {
                parents.insert(parent.to_string());
                rest = parent;
            }
        }
        zone.parents = parents;
        zone
    }

    fn put(&mut self, name: String, data: Option<Data>) {
        self.names.entry(name.to_lowercase()).or_default().extend(data);
    }

    fn service(&mut self, service: &Service, slices: &[EndpointSlice]) {
        let (Some(name), Some(namespace)) = (&service.metadata.name, &service.metadata.namespace) else { return };
        let Some(spec) = &service.spec else { return };
        let host = format!("{name}.{namespace}.svc.{}", self.domain);
        if spec.type_.as_deref() == Some("ExternalName") {
            self.put(host, spec.external_name.clone().map(|target| Data::Cname(target.to_lowercase())));
            return;
        }
        match spec.cluster_ip.as_deref() {
            Some("None") => self.headless(&host, service, slices),
            Some(ip) => {
                let Ok(ip) = ip.parse::<Ipv4Addr>() else { return };
                self.put(host.clone(), Some(Data::A(ip)));
                self.put(reverse(ip), Some(Data::Ptr(host.clone())));
                for port in spec.ports.iter().flatten() {
                    let (Some(port_name), Ok(number)) = (&port.name, u16::try_from(port.port)) else { continue };
                    let protocol = port.protocol.as_deref().unwrap_or("TCP");
                    self.put(format!("_{port_name}._{protocol}.{host}"), Some(Data::Srv(number, host.clone())));
                }
            }
            None => {}
        }
    }

    fn headless(&mut self, host: &str, service: &Service, slices: &[EndpointSlice]) {
        let all = service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false);
        self.put(host.to_string(), None);
        let ours = |slice: &&EndpointSlice| {
            let labels = slice.metadata.labels.as_ref();
            slice.metadata.namespace == service.metadata.namespace
                && labels.and_then(|labels| labels.get("kubernetes.io/service-name")) == service.metadata.name.as_ref()
        };
        for slice in slices.iter().filter(ours) {
            for endpoint in slice.endpoints.iter().flatten() {
                let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true);
                if !ready && !all {
                    continue;
                }
                for ip in endpoint.addresses.iter().filter_map(|address| address.parse::<Ipv4Addr>().ok()) {
                    let label = endpoint.hostname.clone().unwrap_or_else(|| ip.to_string().replace('.', "-"));
                    let own = format!("{label}.{host}");
                    self.put(host.to_string(), Some(Data::A(ip)));
                    self.put(own.clone(), Some(Data::A(ip)));
                    self.put(reverse(ip), Some(Data::Ptr(own.clone())));
                    for port in slice.ports.iter().flatten() {
                        let number = port.port.and_then(|number| u16::try_from(number).ok());
                        if let (Some(port_name), Some(number)) = (port.name.as_ref().filter(|n| !n.is_empty()), number)
                        {
                            let protocol = port.protocol.as_deref().unwrap_or("TCP");
                            let name = format!("_{port_name}._{protocol}.{host}");
                            self.put(name, Some(Data::Srv(number, own.clone())));
                        }
                    }
                }
            }
        }
    }

    /// What is known of `name` (any case, with or without the final dot).
    pub fn look_up(&self, name: &str) -> Answer {
        let name = name.trim_end_matches('.').to_lowercase();
        if let Some(data) = self.names.get(&name) {
            return Answer::Records(data.iter().cloned().collect());
        }
        if let Some(ip) = self.pod_address(&name) {
            return Answer::Records(vec![Data::A(ip)]);
        }
        let inside = name == self.domain || name.ends_with(&format!(".{}", self.domain));
        match (inside, self.parents.contains(&name) || name == self.domain) {
            (true, true) => Answer::Records(Vec::new()),
            (true, false) => Answer::NoSuchName,
            // Reverse names of the cluster are in `names`; others may be known upstream.
            (false, _) => Answer::NotOurs,
        }
    }

    /// `a-b-c-d.namespace.pod.<domain>`
    fn pod_address(&self, name: &str) -> Option<Ipv4Addr> {
        let rest = name.strip_suffix(&format!(".pod.{}", self.domain))?;
        let (ip, namespace) = rest.split_once('.')?;
        if namespace.contains('.') || ip.matches('-').count() != 3 {
            return None;
        }
        ip.replace('-', ".").parse().ok()
    }
}

fn reverse(ip: Ipv4Addr) -> String {
    let [a, b, c, d] = ip.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn zone() -> Zone {
        let services: Vec<Service> = serde_json::from_value(json!([
            {"metadata": {"name": "web", "namespace": "demo"},
             "spec": {"clusterIP": "10.43.0.5", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}},
            {"metadata": {"name": "db", "namespace": "demo"}, "spec": {"clusterIP": "None"}},
            {"metadata": {"name": "out", "namespace": "demo"},
             "spec": {"type": "ExternalName", "externalName": "Example.com"}},
        ]))
        .unwrap();
        let slices: Vec<EndpointSlice> = serde_json::from_value(json!([{
            "metadata": {"name": "db-1", "namespace": "demo", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.42.0.2"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.42.0.3"], "conditions": {"ready": false}},
            ],
        }]))
        .unwrap();
        Zone::new("cluster.local", &services, &slices)
    }

    #[test]
    fn names_resolve_by_the_specification() {
        let zone = zone();
        let a = |ip: &str| Data::A(ip.parse().unwrap());
        let known = |name: &str| match zone.look_up(name) {
            Answer::Records(data) => data,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(known("WEB.demo.svc.cluster.local."), [a("10.43.0.5")]);
        let host = "web.demo.svc.cluster.local".to_string();
        assert_eq!(known("_http._tcp.web.demo.svc.cluster.local"), [Data::Srv(80, host.clone())]);
        assert_eq!(known("5.0.43.10.in-addr.arpa"), [Data::Ptr(host)]);
        assert_eq!(known("db.demo.svc.cluster.local"), [a("10.42.0.2")], "only what is ready");
        assert_eq!(known("db-0.db.demo.svc.cluster.local"), [a("10.42.0.2")]);
        assert_eq!(known("out.demo.svc.cluster.local"), [Data::Cname("example.com".into())]);
        assert_eq!(known("10-42-0-9.demo.pod.cluster.local"), [a("10.42.0.9")]);
        assert_eq!(known("demo.svc.cluster.local"), []);
        assert_eq!(zone.look_up("gone.demo.svc.cluster.local"), Answer::NoSuchName);
        assert_eq!(zone.look_up("example.com"), Answer::NotOurs);
        assert_eq!(zone.look_up("xcluster.local"), Answer::NotOurs);
    }
}
