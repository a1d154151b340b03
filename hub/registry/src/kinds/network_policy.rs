//! networking.k8s.io/v1 NetworkPolicy.

use super::rules::{cidr, default_text, port_number, port_number_or_name, text};
use super::selectors;
use crate::strategy::Strategy;
use holdfast_core::json::{at, items_at, items_at_mut, set};
use holdfast_core::{FieldErrors, FieldPath, Json};
use ipnet::IpNet;
use serde_json::json;

/// networking.k8s.io/v1 NetworkPolicy.
pub(crate) struct NetworkPolicy;

const DIRECTIONS: &[(&str, &str)] = &[("ingress", "from"), ("egress", "to")];

impl Strategy for NetworkPolicy {
    fn default(&self, doc: &mut Json) {
        for (direction, _) in DIRECTIONS {
            for rule in items_at_mut(doc, &["spec", direction]) {
                for port in items_at_mut(rule, &["ports"]) {
                    default_text(port, &["protocol"], "TCP");
                }
            }
        }
        if at(doc, &["spec"]).is_some() && items_at(doc, &["spec", "policyTypes"]).is_empty() {
            let out = !items_at(doc, &["spec", "egress"]).is_empty();
            set(doc, &["spec", "policyTypes"], if out { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
        }
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        if let Some(selector) = spec.get("podSelector") {
            selectors::validate(selector, &path.child("podSelector"), errors);
        }
        for (direction, peers) in DIRECTIONS {
            for (index, rule) in items_at(spec, &[direction]).iter().enumerate() {
                let path = path.child(direction).index(index);
                for (index, port) in items_at(rule, &["ports"]).iter().enumerate() {
                    one_port(port, &path.child("ports").index(index), errors);
                }
                for (index, peer) in items_at(rule, &[peers]).iter().enumerate() {
                    one_peer(peer, &path.child(peers).index(index), errors);
                }
            }
        }
        let types = items_at(spec, &["policyTypes"]);
        if types.len() > DIRECTIONS.len() {
            let text = "may not specify more than two policyTypes";
            return errors.invalid(&path.child("policyTypes"), types.to_vec(), text);
        }
        for (index, kind) in types.iter().enumerate() {
            let kind = kind.as_str().unwrap_or_default();
            if !matches!(kind, "Ingress" | "Egress") {
                errors.not_supported(&path.child("policyTypes").index(index), kind, &["Ingress", "Egress"]);
            }
        }
    }
}

fn one_port(port: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(protocol) = port.get("protocol").and_then(Json::as_str)
        && !matches!(protocol, "TCP" | "UDP" | "SCTP")
    {
        errors.not_supported(&path.child("protocol"), protocol, &["TCP", "UDP", "SCTP"]);
    }
    let (number, end) = (port.get("port"), port.get("endPort").and_then(Json::as_i64));
    let at_end = path.child("endPort");
    match (number, end) {
        (None, Some(end)) => errors.invalid(&at_end, end, "may not be specified when `port` is not specified"),
        (None, None) => {}
        (Some(number @ Json::String(_)), end) => {
            if let Some(end) = end {
                errors.invalid(&at_end, end, "may not be specified when `port` is non-numeric");
            }
            port_number_or_name(Some(number), &path.child("port"), errors);
        }
        (Some(number), end) => {
            port_number_or_name(Some(number), &path.child("port"), errors);
            let Some(end) = end else { return };
            if number.as_i64().is_some_and(|number| end < number) {
                errors.invalid(&at_end, number.clone(), "must be greater than or equal to `port`");
            }
            port_number(end, &at_end, errors);
        }
    }
}

fn one_peer(peer: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let mut peers = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if let Some(selector) = peer.get(field) {
            peers += 1;
            selectors::validate(selector, &path.child(field), errors);
        }
    }
    let block = peer.get("ipBlock");
    if let Some(block) = block {
        peers += 1;
        ip_block(block, &path.child("ipBlock"), errors);
    }
    if peers == 0 {
        errors.required(path, "must specify a peer");
    } else if peers > 1 && block.is_some() {
        errors.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

fn ip_block(block: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let whole = text(block, "cidr");
    if whole.is_empty() {
        return errors.required(&path.child("cidr"), "");
    }
    cidr(whole, &path.child("cidr"), errors);
    let Ok(whole) = whole.parse::<IpNet>() else { return };
    for (index, except) in items_at(block, &["except"]).iter().filter_map(Json::as_str).enumerate() {
        let path = path.child("except").index(index);
        cidr(except, &path, errors);
        let Ok(part) = except.parse::<IpNet>() else { continue };
        if !whole.contains(&part.addr()) || whole.prefix_len() >= part.prefix_len() {
            errors.invalid(&path, except, "must be a strict subset of `cidr`");
        }
    }
}
