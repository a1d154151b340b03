//! discovery.k8s.io/v1 EndpointSlice.

use super::rules::{endpoint_range, ip_address, one_of, port_number, text};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{default, items_at, items_at_mut};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// discovery.k8s.io/v1 EndpointSlice.
pub(crate) struct EndpointSlice;

const MAX_ENDPOINTS: usize = 1000;
const MAX_PORTS: usize = 20_000;
const MAX_ADDRESSES: usize = 100;

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
        let (endpoints, ports) = (items_at(doc, &["endpoints"]), items_at(doc, &["ports"]));
        let path = root.child("endpoints");
        if endpoints.len() > MAX_ENDPOINTS {
            errors.too_many(&path, endpoints.len(), MAX_ENDPOINTS);
        }
        for (index, endpoint) in endpoints.iter().enumerate() {
            let path = path.index(index).child("addresses");
            let addresses = items_at(endpoint, &["addresses"]);
            if addresses.is_empty() {
                errors.required(&path, "must contain at least 1 address");
            }
            if addresses.len() > MAX_ADDRESSES {
                errors.too_many(&path, addresses.len(), MAX_ADDRESSES);
            }
            for (index, address) in addresses.iter().filter_map(Json::as_str).enumerate() {
                let path = path.index(index);
                match text(doc, "addressType") {
                    "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
                        errors.invalid(&path, address, "must be an IPv4 address");
                    }
                    "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
                        errors.invalid(&path, address, "must be an IPv6 address");
                    }
                    "FQDN" => errors.all_invalid(&path, address, names::dns_subdomain(address)),
                    "IPv4" | "IPv6" => {
                        ip_address(address, &path, errors);
                        endpoint_range(address, &path, errors);
                    }
                    _ => {}
                }
            }
        }
        let path = root.child("ports");
        if ports.len() > MAX_PORTS {
            errors.too_many(&path, ports.len(), MAX_PORTS);
        }
        let mut seen = std::collections::BTreeSet::new();
        for (index, port) in ports.iter().enumerate() {
            let (path, name) = (path.index(index), text(port, "name"));
            if !name.is_empty() {
                errors.all_invalid(&path.child("name"), name, names::dns_label(name));
            }
            if !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
            one_of(port, "protocol", &["SCTP", "TCP", "UDP"], true, &path, errors);
            if let Some(number) = port.get("port").and_then(Json::as_i64) {
                port_number(number, &path.child("port"), errors);
            }
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["addressType"], &FieldPath::new("addressType"), errors);
    }
}
