//! `PodSpec`, of a pod or of a template.

use super::{affinity, annotations, containers, host_users, resources, security, volumes, windows};
use crate::kinds::rules::{ip_address, one_of, text};
use crate::kinds::tolerations;
use holdfast_core::json::{at, bool_at, i64_at, items_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

const NAMESERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_BYTES: usize = 2048;
const DNS_NAME: usize = 253;
/// What search paths look like, as upstream says it.
const SEARCH: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must \
start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
'_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*')";

/// Problems of a spec. Defaults have been set. `pod` is the name of the pod; a template has none.
pub(crate) fn validate(spec: &Json, pod: Option<&str>, path: &FieldPath, errors: &mut FieldErrors) {
    let volumes = volumes::validate(spec, pod, path, errors);
    resources::claims(spec, path, errors);
    containers::validate(spec, &volumes, path, errors);
    resources::of_pod(spec, path, errors);
    one_of(spec, "restartPolicy", &["Always", "OnFailure", "Never"], true, path, errors);
    one_of(spec, "dnsPolicy", &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"], true, path, errors);
    crate::meta::labels(spec.get("nodeSelector"), &path.child("nodeSelector"), errors);
    if let Some(context) = spec.get("securityContext") {
        security::pod(context, spec, &path.child("securityContext"), errors);
    }
    if bool_at(spec, &["shareProcessNamespace"]) == Some(true) && bool_at(spec, &["hostPID"]) == Some(true) {
        // Upstream keeps both within its security context.
        let path = path.child("securityContext").child("shareProcessNamespace");
        errors.invalid(&path, true, "ShareProcessNamespace and HostPID cannot both be enabled");
    }
    host_users::validate(spec, path, errors);
    let host_network = bool_at(spec, &["hostNetwork"]) == Some(true);
    if host_network {
        for (index, container) in items_at(spec, &["containers"]).iter().enumerate() {
            for (number, port) in items_at(container, &["ports"]).iter().enumerate() {
                let (own, host) = (i64_at(port, &["containerPort"]), i64_at(port, &["hostPort"]));
                if host.is_some() && own != host {
                    let path = path.child("containers").index(index).child("ports").index(number).child("hostPort");
                    errors.invalid(&path, host, "must match `containerPort` when `hostNetwork` is true");
                }
            }
        }
    }
    if let Some(wanted) = spec.get("affinity") {
        affinity::validate(wanted, &path.child("affinity"), errors);
    }
    affinity::topology_spread(spec, path, errors);
    windows::host_process(spec, path, errors);
    for (field, check) in [
        ("serviceAccountName", names::dns_subdomain as fn(&str) -> Vec<String>),
        ("nodeName", names::dns_subdomain),
        ("hostname", names::dns_label),
        ("subdomain", names::dns_label),
        ("runtimeClassName", names::dns_subdomain),
        ("priorityClassName", names::dns_subdomain),
    ] {
        let value = text(spec, field);
        if !value.is_empty() {
            errors.all_invalid(&path.child(field), value, check(value));
        }
    }
    if let Some(seconds) = i64_at(spec, &["activeDeadlineSeconds"])
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let text = "must be between 1 and 2147483647, inclusive";
        errors.invalid(&path.child("activeDeadlineSeconds"), seconds, text);
    }
    if let Some(seconds) = i64_at(spec, &["terminationGracePeriodSeconds"]).filter(|seconds| *seconds < 0) {
        let path = path.child("terminationGracePeriodSeconds");
        errors.invalid(&path, seconds, "must be greater than or equal to 0");
    }
    one_of(spec, "preemptionPolicy", &["Never", "PreemptLowerPriority"], false, path, errors);
    tolerations::validate(items_at(spec, &["tolerations"]), &path.child("tolerations"), errors);
    for (index, alias) in items_at(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.child("hostAliases").index(index);
        ip_address(text(alias, "ip"), &path.child("ip"), errors);
        for (index, host) in items_at(alias, &["hostnames"]).iter().filter_map(Json::as_str).enumerate() {
            errors.all_invalid(&path.child("hostnames").index(index), host, names::dns_subdomain(host));
        }
    }
    if let Some(overhead) = spec.get("overhead") {
        resources::overhead(overhead, &path.child("overhead"), errors);
    }
    dns_config(spec, path, errors);
    for (index, gate) in items_at(spec, &["readinessGates"]).iter().enumerate() {
        let kind = text(gate, "conditionType");
        let path = path.child("readinessGates").index(index).child("conditionType");
        errors.all_invalid(&path, kind, names::qualified_name(kind));
    }
    let mut gates = std::collections::BTreeSet::new();
    for (index, gate) in items_at(spec, &["schedulingGates"]).iter().enumerate() {
        let path = path.child("schedulingGates").index(index);
        let name = text(gate, "name");
        errors.all_invalid(&path, name, names::qualified_name(name));
        if !gates.insert(name) {
            errors.duplicate(&path, name);
        }
    }
    windows::os(spec, path, errors);
}

/// Whether this could be a search path: a DNS subdomain of labels that may begin with an underscore and have some within.
fn is_search(name: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= DNS_NAME
        && name.split('.').all(|label| {
            let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
            let within = |byte: &u8| edge(Some(byte)) || matches!(byte, b'-' | b'_');
            edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(within)
        })
}

fn dns_config(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let path = path.child("dnsConfig");
    let servers = items_at(spec, &["dnsConfig", "nameservers"]);
    if text(spec, "dnsPolicy") == "None" {
        if at(spec, &["dnsConfig"]).is_none() {
            errors.required(&path, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if servers.is_empty() {
            errors.required(
                &path.child("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
        }
    }
    if servers.len() > NAMESERVERS {
        let text = format!("must not have more than {NAMESERVERS} nameservers");
        errors.invalid(&path.child("nameservers"), servers.to_vec(), text);
    }
    for (index, server) in servers.iter().filter_map(Json::as_str).enumerate() {
        ip_address(server, &path.child("nameservers").index(index), errors);
    }
    let (searches, at_searches) = (items_at(spec, &["dnsConfig", "searches"]), path.child("searches"));
    if searches.len() > SEARCHES {
        let text = format!("must not have more than {SEARCHES} search paths");
        errors.invalid(&at_searches, searches.to_vec(), text);
    }
    // With a space between each two.
    let bytes = searches.iter().filter_map(Json::as_str).map(|search| search.len() + 1).sum::<usize>();
    if bytes > SEARCH_BYTES + 1 {
        let text = format!("must not have more than {SEARCH_BYTES} characters (including spaces) in the search list");
        errors.invalid(&at_searches, searches.to_vec(), text);
    }
    for (index, search) in searches.iter().filter_map(Json::as_str).enumerate() {
        // The root is a name to resolvers, and so is what begins with an underscore.
        let search = if search == "." { search } else { search.strip_suffix('.').unwrap_or(search) };
        if search != "." && !is_search(search) {
            errors.invalid(&at_searches.index(index), search, SEARCH);
        }
    }
    for (index, option) in items_at(spec, &["dnsConfig", "options"]).iter().enumerate() {
        if text(option, "name").is_empty() {
            errors.required(&path.child("options").index(index), "must not be empty");
        }
    }
}

/// Problems that a pod can have and a template cannot.
pub(crate) fn validate_pod_only(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let spec = doc.get("spec").unwrap_or(&Json::Null);
    let nobody = text(spec, "serviceAccountName").is_empty();
    for (index, volume) in items_at(spec, &["volumes"]).iter().enumerate().filter(|_| nobody) {
        for (number, source) in items_at(volume, &["projected", "sources"]).iter().enumerate() {
            if source.get("serviceAccountToken").is_some() {
                let path = path.child("volumes").index(index).child("projected").child("sources").index(number);
                let text = "must not be specified when serviceAccountName is not set";
                errors.forbidden(&path.child("serviceAccountToken"), text);
            }
        }
    }
    let bound = str_at(doc, &["spec", "nodeName"]).is_some_and(|node| !node.is_empty());
    if bound && !items_at(doc, &["spec", "schedulingGates"]).is_empty() {
        errors.forbidden(&path.child("nodeName"), "cannot be set until all schedulingGates have been cleared");
    }
    annotations::validate_beside_fields(doc.get("metadata").unwrap_or(&Json::Null), spec, path, errors);
}
