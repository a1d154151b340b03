//! core/v1 Service. Addresses and node ports are given by `services_ip`.

use super::rules::{default_text, ip_address, one_of, port_number, port_number_or_name, text};
use crate::strategy::Strategy;
use holdfast_core::json::{at, bool_at, copy, default, items_at, items_at_mut, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;
use std::collections::BTreeSet;

/// core/v1 Service.
pub(crate) struct Service;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

fn kind_of(doc: &Json) -> &str {
    str_at(doc, &["spec", "type"]).unwrap_or_default()
}

impl Strategy for Service {
    fn default(&self, doc: &mut Json) {
        default_text(doc, &["spec", "sessionAffinity"], "None");
        default_text(doc, &["spec", "type"], "ClusterIP");
        let kind = kind_of(doc).to_string();
        if str_at(doc, &["spec", "sessionAffinity"]) == Some("ClientIP") {
            default(doc, &["spec", "sessionAffinityConfig", "clientIP", "timeoutSeconds"], 10_800);
        } else {
            remove(doc, &["spec", "sessionAffinityConfig"]);
        }
        for port in items_at_mut(doc, &["spec", "ports"]) {
            default_text(port, &["protocol"], "TCP");
            let target = port.get("targetPort");
            if target.is_none_or(|target| target == &json!(0) || target == &json!(""))
                && let Some(number) = port.get("port").cloned()
            {
                set(port, &["targetPort"], number);
            }
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            default_text(doc, &["spec", "externalTrafficPolicy"], "Cluster");
        }
        if kind == "LoadBalancer" {
            default(doc, &["spec", "allocateLoadBalancerNodePorts"], true);
        }
        if kind != "ExternalName" {
            default_text(doc, &["spec", "internalTrafficPolicy"], "Cluster");
            if items_at(doc, &["spec", "ipFamilies"]).is_empty() {
                set(doc, &["spec", "ipFamilies"], json!(["IPv4"]));
            }
            default_text(doc, &["spec", "ipFamilyPolicy"], "SingleStack");
            // Either of the two may be given.
            let first = at(doc, &["spec", "clusterIPs"]).and_then(|list| list.get(0)).and_then(Json::as_str);
            match (str_at(doc, &["spec", "clusterIP"]).unwrap_or_default().to_string(), first.map(str::to_string)) {
                (single, Some(first)) if single.is_empty() => set(doc, &["spec", "clusterIP"], first),
                (single, None) if !single.is_empty() => set(doc, &["spec", "clusterIPs"], vec![single]),
                _ => {}
            }
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        names::dns_label(name)
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({ "loadBalancer": {} }));
    }

    /// Keeps what the server gave and the client left out, and drops what the new type has no use for.
    fn prepare_for_update(&self, doc: &mut Json, old: &Json) {
        let (new_kind, old_kind) = (kind_of(doc).to_string(), kind_of(old).to_string());
        if new_kind == "ExternalName" {
            if str_at(doc, &["spec", "clusterIP"]) == str_at(old, &["spec", "clusterIP"]) {
                for field in ["clusterIP", "clusterIPs"] {
                    remove(doc, &["spec", field]);
                }
            }
            for field in ["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
                remove(doc, &["spec", field]);
            }
        } else if old_kind != "ExternalName" && str_at(doc, &["spec", "clusterIP"]).is_none_or(str::is_empty) {
            copy(old, doc, &["spec", "clusterIP"]);
            copy(old, doc, &["spec", "clusterIPs"]);
        } else if at(doc, &["spec", "clusterIPs"]) == at(old, &["spec", "clusterIPs"])
            && let Some(ip) = str_at(doc, &["spec", "clusterIP"]).map(str::to_string)
        {
            // A client that knows only the older field changed it.
            set(doc, &["spec", "clusterIPs"], vec![ip]);
        }
        let old_ports = items_at(old, &["spec", "ports"]);
        let wants = matches!(new_kind.as_str(), "NodePort" | "LoadBalancer");
        for port in items_at_mut(doc, &["spec", "ports"]) {
            let same = old_ports.iter().find(|before| {
                before.get("port") == port.get("port") && before.get("protocol") == port.get("protocol")
            });
            let given = port.get("nodePort").and_then(Json::as_u64).unwrap_or(0);
            if wants && given == 0 {
                if let Some(number) = same.and_then(|before| before.get("nodePort")).cloned() {
                    set(port, &["nodePort"], number);
                }
            } else if !wants && same.and_then(|before| before.get("nodePort")).and_then(Json::as_u64) == Some(given) {
                remove(port, &["nodePort"]);
            }
        }
        if !wants && str_at(doc, &["spec", "externalTrafficPolicy"]) == str_at(old, &["spec", "externalTrafficPolicy"])
        {
            remove(doc, &["spec", "externalTrafficPolicy"]);
        }
        if new_kind != "LoadBalancer" {
            remove(doc, &["spec", "allocateLoadBalancerNodePorts"]);
            set(doc, &["status", "loadBalancer"], json!({}));
        }
    }

    /// Zero and empty mean "not set", and Go does not serve them.
    fn canonicalise(&self, doc: &mut Json) {
        for port in items_at_mut(doc, &["spec", "ports"]) {
            if port.get("nodePort") == Some(&json!(0)) {
                remove(port, &["nodePort"]);
            }
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (spec, path) = (doc.get("spec").unwrap_or(&Json::Null), FieldPath::new("spec"));
        let (kind, ip) = (kind_of(doc), text(spec, "clusterIP"));
        let headless = ip == "None";
        let ports = items_at(spec, &["ports"]);
        if ports.is_empty() && !headless && kind != "ExternalName" {
            errors.required(&path.child("ports"), "");
        }
        if !TYPES.contains(&kind) {
            errors.not_supported(&path.child("type"), kind, TYPES);
        }
        if matches!(kind, "NodePort" | "LoadBalancer") && headless {
            errors.invalid(
                &path.child("clusterIPs").index(0),
                "None",
                format!("may not be set to 'None' for {kind} services"),
            );
        }
        if kind == "ExternalName" {
            external_name(spec, &path, errors);
        } else if !ip.is_empty() && !headless {
            ip_address(ip, &path.child("clusterIPs").index(0), errors);
        }
        if let Some(first) = items_at(spec, &["clusterIPs"]).first().and_then(Json::as_str)
            && first != ip
        {
            errors.invalid(
                &path.child("clusterIPs"),
                items_at(spec, &["clusterIPs"]).to_vec(),
                "first value must match `clusterIP`",
            );
        }
        validate_ports(ports, headless, &path.child("ports"), errors);
        crate::meta::labels(spec.get("selector"), &path.child("selector"), errors);
        one_of(spec, "sessionAffinity", &["ClientIP", "None"], true, &path, errors);
        if let Some(seconds) = at(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).and_then(Json::as_i64)
            && !(1..=86_400).contains(&seconds)
        {
            let path = path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
            errors.invalid(&path, seconds, "must be greater than 0 and less than 86400");
        }
        one_of(spec, "internalTrafficPolicy", &["Cluster", "Local"], false, &path, errors);
        one_of(spec, "externalTrafficPolicy", &["Cluster", "Local"], false, &path, errors);
        if !text(spec, "externalTrafficPolicy").is_empty()
            && !matches!(kind, "NodePort" | "LoadBalancer")
            && items_at(spec, &["externalIPs"]).is_empty()
        {
            errors.invalid(
                &path.child("externalTrafficPolicy"),
                text(spec, "externalTrafficPolicy"),
                "may only be set for externally-accessible services",
            );
        }
        for (index, address) in items_at(spec, &["externalIPs"]).iter().filter_map(Json::as_str).enumerate() {
            ip_address(address, &path.child("externalIPs").index(index), errors);
        }
        for (index, family) in items_at(spec, &["ipFamilies"]).iter().enumerate() {
            if family != "IPv4" {
                errors.invalid(
                    &path.child("ipFamilies").index(index),
                    family.clone(),
                    "not configured on this cluster",
                );
            }
        }
        one_of(spec, "ipFamilyPolicy", &["PreferDualStack", "RequireDualStack", "SingleStack"], false, &path, errors);
        if text(spec, "ipFamilyPolicy") == "RequireDualStack" {
            errors.invalid(
                &path.child("ipFamilyPolicy"),
                "RequireDualStack",
                "this cluster is not configured for dual-stack services",
            );
        }
        if bool_at(spec, &["allocateLoadBalancerNodePorts"]).is_some() && kind != "LoadBalancer" {
            errors.forbidden(
                &path.child("allocateLoadBalancerNodePorts"),
                "may only be used when `type` is 'LoadBalancer'",
            );
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        if kind_of(doc) == "ExternalName" || kind_of(old) == "ExternalName" {
            return;
        }
        let before = str_at(old, &["spec", "clusterIP"]).unwrap_or_default();
        let now = str_at(doc, &["spec", "clusterIP"]).unwrap_or_default();
        if !before.is_empty() && before != now {
            let shown = items_at(doc, &["spec", "clusterIPs"]).to_vec();
            errors.invalid(&FieldPath::new("spec.clusterIPs").index(0), shown, "may not change once set");
        }
    }
}

fn external_name(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let name = text(spec, "externalName").trim_end_matches('.');
    if name.is_empty() {
        errors.required(&path.child("externalName"), "");
    } else {
        errors.all_invalid(&path.child("externalName"), name, names::dns_subdomain(name));
    }
    if !text(spec, "clusterIP").is_empty() {
        errors.forbidden(&path.child("clusterIPs"), "may not be set for ExternalName services");
    }
}

fn validate_ports(ports: &[Json], headless: bool, path: &FieldPath, errors: &mut FieldErrors) {
    let (mut names_seen, mut numbers_seen) = (BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let (path, name) = (path.index(index), text(port, "name"));
        if name.is_empty() {
            if ports.len() > 1 {
                errors.required(&path.child("name"), "");
            }
        } else {
            errors.all_invalid(&path.child("name"), name, names::dns_label(name));
            if !names_seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        let number = port.get("port").and_then(Json::as_i64).unwrap_or(0);
        port_number(number, &path.child("port"), errors);
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], true, &path, errors);
        port_number_or_name(port.get("targetPort"), &path.child("targetPort"), errors);
        if headless && port.get("nodePort").and_then(Json::as_i64).unwrap_or(0) != 0 {
            errors.forbidden(&path.child("nodePort"), "may not be used when `clusterIP` is 'None'");
        }
        if !numbers_seen.insert((number, text(port, "protocol"))) {
            errors.duplicate(&path, serde_json::json!({ "port": number, "protocol": text(port, "protocol") }));
        }
    }
}
