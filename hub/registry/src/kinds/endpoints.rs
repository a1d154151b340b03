//! core/v1 Endpoints.

use super::rules::{default_text, endpoint_range, ip_address, port_number, text};
use crate::strategy::Strategy;
use holdfast_core::json::{items_at, items_at_mut};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// core/v1 Endpoints.
pub(crate) struct Endpoints;

impl Strategy for Endpoints {
    fn default(&self, doc: &mut Json) {
        for subset in items_at_mut(doc, &["subsets"]) {
            for port in items_at_mut(subset, &["ports"]) {
                default_text(port, &["protocol"], "TCP");
            }
        }
    }

    fn creates_on_update(&self) -> bool {
        true
    }

    fn validate_new(&self, doc: &Json, errors: &mut FieldErrors) {
        subsets(doc, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        // What stands there already may stay, whatever the rules were when it came.
        if doc.get("subsets") != old.get("subsets") {
            subsets(doc, errors);
        }
    }
}

fn subsets(doc: &Json, errors: &mut FieldErrors) {
    for (index, subset) in items_at(doc, &["subsets"]).iter().enumerate() {
        let path = FieldPath::new("subsets").index(index);
        let lists = ["addresses", "notReadyAddresses"];
        if lists.iter().all(|list| items_at(subset, &[list]).is_empty()) {
            errors.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for list in lists {
            for (index, address) in items_at(subset, &[list]).iter().enumerate() {
                one(address, &path.child(list).index(index), errors);
            }
        }
        let ports = items_at(subset, &["ports"]);
        for (index, port) in ports.iter().enumerate() {
            validate_port(port, ports.len() > 1, &path.child("ports").index(index), errors);
        }
    }
}

fn one(address: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for (field, check) in
        [("hostname", names::dns_label as fn(&str) -> Vec<String>), ("nodeName", names::dns_subdomain)]
    {
        let value = text(address, field);
        if !value.is_empty() {
            errors.all_invalid(&path.child(field), value, check(value));
        }
    }
    let (ip, path) = (text(address, "ip"), path.child("ip"));
    ip_address(ip, &path, errors);
    if ip.parse::<std::net::IpAddr>().is_err() {
        // Upstream asks twice.
        errors.invalid(&path, ip, "must be a valid IP address");
    }
    endpoint_range(ip, &path, errors);
}

fn validate_port(port: &Json, named: bool, path: &FieldPath, errors: &mut FieldErrors) {
    match text(port, "name") {
        "" if named => errors.required(&path.child("name"), ""),
        "" => {}
        name => errors.all_invalid(&path.child("name"), name, names::dns_label(name)),
    }
    port_number(port.get("port").and_then(Json::as_i64).unwrap_or(0), &path.child("port"), errors);
    match text(port, "protocol") {
        "" => errors.required(&path.child("protocol"), ""),
        "SCTP" | "TCP" | "UDP" => {}
        other => errors.not_supported(&path.child("protocol"), other, &["SCTP", "TCP", "UDP"]),
    }
    if let Some(protocol) = port.get("appProtocol").and_then(Json::as_str) {
        errors.all_invalid(&path.child("appProtocol"), protocol, names::qualified_name(protocol));
    }
}
