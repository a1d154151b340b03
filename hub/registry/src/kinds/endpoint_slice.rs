//! discovery.k8s.io/v1 EndpointSlice.

use super::rules::{endpoint_range, ip_address, one_of, port_number, text};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{default, items_at, items_at_mut};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use std::collections::BTreeSet;

/// discovery.k8s.io/v1 EndpointSlice.
pub(crate) struct EndpointSlice;

const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;
const MAX_ADDRESSES: usize = 100;
const MAX_TOPOLOGY: usize = 16;
const MAX_HINTS: usize = 8;

impl Strategy for EndpointSlice {
    fn default(&self, doc: &mut Json) {
        for port in items_at_mut(doc, &["ports"]) {
            default(port, &["name"], "");
            default(port, &["protocol"], "TCP");
        }
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let root = FieldPath::default();
        one_of(doc, "addressType", &["FQDN", "IPv4", "IPv6"], true, &root, errors);
        let (endpoints, path) = (items_at(doc, &["endpoints"]), root.child("endpoints"));
        if endpoints.len() > MAX_ENDPOINTS {
            errors.too_many(&path, endpoints.len(), MAX_ENDPOINTS);
        } else {
            for (index, endpoint) in endpoints.iter().enumerate() {
                one_endpoint(text(doc, "addressType"), endpoint, &path.index(index), errors);
            }
        }
        validate_ports(items_at(doc, &["ports"]), &root.child("ports"), errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["addressType"], &FieldPath::new("addressType"), errors);
    }
}

fn one_endpoint(address_type: &str, endpoint: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let (addresses, at) = (items_at(endpoint, &["addresses"]), path.child("addresses"));
    if addresses.is_empty() {
        errors.required(&at, "must contain at least 1 address");
    } else if addresses.len() > MAX_ADDRESSES {
        errors.too_many(&at, addresses.len(), MAX_ADDRESSES);
    }
    for (index, address) in addresses.iter().filter_map(Json::as_str).enumerate() {
        one_address(address_type, address, &at.index(index), errors);
    }
    if let Some(node) = endpoint.get("nodeName").and_then(Json::as_str) {
        errors.all_invalid(&path.child("nodeName"), node, names::dns_subdomain(node));
    }
    let (topology, at) = (endpoint.get("deprecatedTopology"), path.child("deprecatedTopology"));
    let count = topology.and_then(Json::as_object).map_or(0, serde_json::Map::len);
    if count > MAX_TOPOLOGY {
        errors.too_many(&at, count, MAX_TOPOLOGY);
    }
    crate::meta::labels(topology, &at, errors);
    if let Some(name) = endpoint.get("hostname").and_then(Json::as_str) {
        errors.all_invalid(&path.child("hostname"), name, names::dns_label(name));
    }
    let path = path.child("hints");
    for (field, problems) in
        [("forZones", names::label_value as fn(&str) -> Vec<String>), ("forNodes", names::dns_subdomain)]
    {
        let (hints, path) = (items_at(endpoint, &["hints", field]), path.child(field));
        if hints.len() > MAX_HINTS {
            return errors.too_many(&path, hints.len(), MAX_HINTS);
        }
        let mut seen = BTreeSet::new();
        for (index, hint) in hints.iter().enumerate() {
            let (path, name) = (path.index(index).child("name"), text(hint, "name"));
            if !seen.insert(name) {
                errors.duplicate(&path, name);
            }
            errors.all_invalid(&path, name, problems(name));
        }
    }
}

fn one_address(address_type: &str, address: &str, path: &FieldPath, errors: &mut FieldErrors) {
    match address_type {
        "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
            errors.invalid(path, address, "must be an IPv4 address");
        }
        "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
            errors.invalid(path, address, "must be an IPv6 address");
        }
        "IPv4" | "IPv6" => {
            ip_address(address, path, errors);
            endpoint_range(address, path, errors);
        }
        "FQDN" if address.is_empty() => errors.required(path, ""),
        "FQDN" => {
            let name = address.strip_suffix('.').unwrap_or(address);
            let problems = names::dns_subdomain(name);
            if !problems.is_empty() {
                errors.invalid(path, name, problems.join(","));
            } else if !name.contains('.') {
                errors.invalid(path, name, "should be a domain with at least two segments separated by dots");
            }
        }
        _ => {}
    }
}

fn validate_ports(ports: &[Json], path: &FieldPath, errors: &mut FieldErrors) {
    if ports.len() > MAX_PORTS {
        return errors.too_many(path, ports.len(), MAX_PORTS);
    }
    let mut seen = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(index), text(port, "name"));
        if !name.is_empty() {
            errors.all_invalid(&path.child("name"), name, names::dns_label(name));
        }
        if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], true, &path, errors);
        // Upstream takes any number here; no node could send anything to such a port.
        if let Some(number) = port.get("port").and_then(Json::as_i64) {
            port_number(number, &path.child("port"), errors);
        }
        if let Some(protocol) = port.get("appProtocol").and_then(Json::as_str) {
            errors.all_invalid(&path.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
    }
}
