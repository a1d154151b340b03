//! core/v1 Service. Addresses and node ports are given by `services_ip`.

use super::rules::{default_text, endpoint_range, ip_address, one_of, port_number, port_number_or_name, text};
use crate::strategy::Strategy;
use holdfast_core::json::{at, bool_at, copy, default, items_at, items_at_mut, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;
use std::collections::BTreeSet;

/// core/v1 Service.
pub(crate) struct Service;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";

fn kind_of(doc: &Json) -> &str {
    str_at(doc, &["spec", "type"]).unwrap_or_default()
}

/// Whether what is outside the cluster reaches it.
fn is_external(doc: &Json) -> bool {
    match kind_of(doc) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !items_at(doc, &["spec", "externalIPs"]).is_empty(),
        _ => false,
    }
}

/// Whether a balancer asks nodes for which of them have endpoints.
pub(crate) fn needs_health_check(doc: &Json) -> bool {
    kind_of(doc) == "LoadBalancer" && str_at(doc, &["spec", "externalTrafficPolicy"]) == Some("Local")
}

fn health_check(doc: &Json) -> i64 {
    at(doc, &["spec", "healthCheckNodePort"]).and_then(Json::as_i64).unwrap_or(0)
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
        if is_external(doc) {
            default_text(doc, &["spec", "externalTrafficPolicy"], "Cluster");
        }
        if kind == "LoadBalancer" {
            default(doc, &["spec", "allocateLoadBalancerNodePorts"], true);
            for ingress in items_at_mut(doc, &["status", "loadBalancer", "ingress"]) {
                if !text(ingress, "ip").is_empty() {
                    default(ingress, &["ipMode"], "VIP");
                }
            }
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
        let same = |doc: &Json, field: &str| at(doc, &["spec", field]) == at(old, &["spec", field]);
        if !is_external(doc) && same(doc, "externalTrafficPolicy") {
            remove(doc, &["spec", "externalTrafficPolicy"]);
        }
        match (needs_health_check(old), needs_health_check(doc)) {
            (true, true) if health_check(doc) == 0 => copy(old, doc, &["spec", "healthCheckNodePort"]),
            (true, false) if same(doc, "healthCheckNodePort") => {
                remove(doc, &["spec", "healthCheckNodePort"]);
            }
            _ => {}
        }
        if new_kind != "LoadBalancer" {
            for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
                if old_kind == "LoadBalancer" && same(doc, field) {
                    remove(doc, &["spec", field]);
                }
            }
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
        if health_check(doc) == 0 {
            remove(doc, &["spec", "healthCheckNodePort"]);
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
        validate_ports(ports, kind, &path.child("ports"), errors);
        crate::meta::labels(spec.get("selector"), &path.child("selector"), errors);
        one_of(spec, "sessionAffinity", &["ClientIP", "None"], true, &path, errors);
        if let Some(seconds) = at(spec, &["sessionAffinityConfig", "clientIP", "timeoutSeconds"]).and_then(Json::as_i64)
            && !(1..=86_400).contains(&seconds)
        {
            let path = path.child("sessionAffinityConfig").child("clientIP").child("timeoutSeconds");
            errors.invalid(&path, seconds, "must be greater than 0 and less than 86400");
        }
        one_of(spec, "internalTrafficPolicy", &["Cluster", "Local"], false, &path, errors);
        let policy = text(spec, "externalTrafficPolicy");
        if is_external(doc) {
            one_of(spec, "externalTrafficPolicy", &["Cluster", "Local"], true, &path, errors);
        } else if !policy.is_empty() {
            let why = "may only be set for externally-accessible services";
            errors.invalid(&path.child("externalTrafficPolicy"), policy, why);
        }
        let number = health_check(doc);
        if number != 0 {
            let path = path.child("healthCheckNodePort");
            if needs_health_check(doc) {
                port_number(number, &path, errors);
            } else {
                let why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
                errors.invalid(&path, number, why);
            }
        }
        for (index, address) in items_at(spec, &["externalIPs"]).iter().filter_map(Json::as_str).enumerate() {
            let path = path.child("externalIPs").index(index);
            ip_address(address, &path, errors);
            endpoint_range(address, &path, errors);
        }
        validate_balancer(doc, spec, errors);
        const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
        if let Some(wanted) = str_at(spec, &["trafficDistribution"]).filter(|wanted| !DISTRIBUTIONS.contains(wanted)) {
            errors.not_supported(&path.child("trafficDistribution"), wanted, DISTRIBUTIONS);
        }
        let annotation = |name: &str| str_at(doc, &["metadata", "annotations", name]);
        if let (Some(mode), Some(hints)) = (annotation(TOPOLOGY_MODE), annotation(TOPOLOGY_HINTS))
            && mode != hints
        {
            let path = FieldPath::new("metadata.annotations").key(TOPOLOGY_MODE);
            errors.invalid(&path, mode, format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified"));
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
            errors.forbidden(&path.child("allocateLoadBalancerNodePorts"), ONLY_BALANCED);
        }
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("status.loadBalancer.ingress");
        let all = items_at(doc, &["status", "loadBalancer", "ingress"]);
        if kind_of(doc) != "LoadBalancer" && !all.is_empty() {
            return errors.forbidden(&path, "may only be used when `spec.type` is 'LoadBalancer'");
        }
        for (index, ingress) in all.iter().enumerate() {
            let path = path.index(index);
            let (ip, mode, host) = (text(ingress, "ip"), text(ingress, "ipMode"), text(ingress, "hostname"));
            if !ip.is_empty() {
                ip_address(ip, &path.child("ip"), errors);
            }
            match (ip, mode) {
                ("", "") | (_, "Proxy" | "VIP") if !ip.is_empty() || mode.is_empty() => {}
                (_, "") => errors.required(&path.child("ipMode"), "must be specified when `ip` is set"),
                ("", _) => errors.forbidden(&path.child("ipMode"), "may not be specified when `ip` is not set"),
                (_, other) => errors.not_supported(&path.child("ipMode"), other, &["Proxy", "VIP"]),
            }
            if !host.is_empty() {
                let path = path.child("hostname");
                errors.all_invalid(&path, host, names::dns_subdomain(host));
                if host.parse::<std::net::IpAddr>().is_ok() {
                    errors.invalid(&path, host, "must be a DNS name, not an IP address");
                }
            }
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut warn = |told: bool, text: &str| warnings.extend(told.then(|| text.to_string()));
        let spec = doc.get("spec").unwrap_or(&Json::Null);
        let addressed = !items_at(spec, &["externalIPs"]).is_empty();
        let hints = format!("annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead");
        warn(str_at(doc, &["metadata", "annotations", TOPOLOGY_HINTS]).is_some(), &hints);
        if text(spec, "clusterIP") == "None" {
            warn(!text(spec, "loadBalancerIP").is_empty(), "spec.loadBalancerIP is ignored for headless services");
            warn(addressed, "spec.externalIPs is ignored for headless services");
            let sticks = text(spec, "sessionAffinity") != "None";
            warn(sticks, "spec.SessionAffinity is ignored for headless services");
        }
        let named = kind_of(doc) == "ExternalName";
        warn(named && addressed, "spec.externalIPs is ignored when type is \"ExternalName\"");
        warnings
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let class = |doc: &Json| at(doc, &["spec", "loadBalancerClass"]).cloned();
        if kind_of(doc) == "LoadBalancer" && kind_of(old) == "LoadBalancer" && class(doc) != class(old) {
            let path = FieldPath::new("spec.loadBalancerClass");
            errors.invalid(&path, class(doc).unwrap_or_default(), "may not change once set");
        }
        if needs_health_check(old) && needs_health_check(doc) && health_check(old) != health_check(doc) {
            errors.forbidden(&FieldPath::new("spec.healthCheckNodePort"), "field is immutable");
        }
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

/// Problems of what is said to a balancer.
fn validate_balancer(doc: &Json, spec: &Json, errors: &mut FieldErrors) {
    let balanced = kind_of(doc) == "LoadBalancer";
    if let Some(class) = str_at(spec, &["loadBalancerClass"]) {
        let path = FieldPath::new("spec.loadBalancerClass");
        match balanced {
            true => errors.all_invalid(&path, class, names::qualified_name(class)),
            false => errors.forbidden(&path, ONLY_BALANCED),
        }
    }
    let ranges = items_at(spec, &["loadBalancerSourceRanges"]);
    let (path, ranges): (FieldPath, Vec<(FieldPath, &str)>) = if ranges.is_empty() {
        let path = FieldPath::new("metadata.annotations").key(SOURCE_RANGES);
        let Some(text) = str_at(doc, &["metadata", "annotations", SOURCE_RANGES]) else { return };
        let parts = text.split(',').map(|part| (path.clone(), part)).filter(|_| !text.trim().is_empty()).collect();
        (path, parts)
    } else {
        // Upstream's name of it.
        let path = FieldPath::new("spec.LoadBalancerSourceRanges");
        let parts = ranges.iter().filter_map(Json::as_str).enumerate().map(|(index, part)| (path.index(index), part));
        (path.clone(), parts.collect())
    };
    if !balanced {
        errors.forbidden(&path, ONLY_BALANCED);
    }
    for (path, range) in ranges {
        let range = range.trim();
        if range.parse::<ipnet::IpNet>().is_err() {
            errors.invalid(&path, range, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
    }
}

fn external_name(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let name = text(spec, "externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.required(&path.child("externalName"), "");
    } else {
        errors.all_invalid(&path.child("externalName"), name, names::dns_subdomain(name));
    }
    if !text(spec, "clusterIP").is_empty() {
        errors.forbidden(&path.child("clusterIPs"), "may not be set for ExternalName services");
    }
    if !items_at(spec, &["ipFamilies"]).is_empty() {
        errors.forbidden(&path.child("ipFamilies"), "may not be set for ExternalName services");
    }
    if spec.get("ipFamilyPolicy").is_some() {
        errors.forbidden(&path.child("ipFamilyPolicy"), "may not be set for ExternalName services");
    }
}

fn validate_ports(ports: &[Json], kind: &str, path: &FieldPath, errors: &mut FieldErrors) {
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
        if let Some(protocol) = str_at(port, &["appProtocol"]) {
            errors.all_invalid(&path.child("appProtocol"), protocol, names::qualified_name(protocol));
        }
        if kind == "ClusterIP" && port.get("nodePort").and_then(Json::as_i64).unwrap_or(0) != 0 {
            errors.forbidden(&path.child("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
        if !numbers_seen.insert((number, text(port, "protocol"))) {
            errors.duplicate(&path, serde_json::json!({ "port": number, "protocol": text(port, "protocol") }));
        }
    }
}
