//! What one object uses.

use super::{Amounts, DEVICES, OF_CLASS, amounts, is_ignored};
use crate::show::{or, text};
use holdfast_core::json::{at, bool_at, i64_at, items_at, str_at};
use holdfast_core::{Json, Quantity, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Devices of a request for all that fit: upstream charges the most that one claim can be given.
const ALL_DEVICES: i64 = 32;

const MEASURED: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// What an object uses, by the names of quotas.
pub fn usage(group: &str, plural: &str, doc: &Json, now: Timestamp) -> Amounts {
    let mut used = Amounts::new();
    if is_ignored(group, plural) {
        return used;
    }
    let mut count = |name: String| used.insert(name, Quantity::from_units(1));
    count(if group.is_empty() { format!("count/{plural}") } else { format!("count/{plural}.{group}") });
    match (group, plural) {
        ("", "pods") => pod(doc, now, &mut used),
        ("", "services") => service(doc, &mut used),
        ("", "persistentvolumeclaims") => claim(doc, &mut used),
        ("resource.k8s.io", "resourceclaims") => devices(doc, &mut used),
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => {
            count(plural.to_string());
        }
        _ => {}
    }
    used
}

/// When a pod stops counting if nothing more is heard of it: its grace after it should have been gone. A node that is silent
/// does not keep its successors out.
pub fn expires(pod: &Json) -> Option<Timestamp> {
    let deletion = Timestamp::parse(str_at(pod, &["metadata", "deletionTimestamp"])?)?;
    let grace = i64_at(pod, &["metadata", "deletionGracePeriodSeconds"])?;
    Some(deletion.after(Duration::from_secs(u64::try_from(grace).unwrap_or(0))))
}

/// Adds amounts to amounts.
pub fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let before = sum.get(name).copied().unwrap_or(Quantity::ZERO);
        sum.insert(name.clone(), before.plus(*amount));
    }
}

/// Whether a resource is not Kubernetes' own.
pub(super) fn is_foreign(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

fn pod(doc: &Json, now: Timestamp, used: &mut Amounts) {
    let ended = matches!(text(doc, &["status", "phase"]), "Succeeded" | "Failed");
    if ended || expires(doc).is_some_and(|end| now > end) {
        return;
    }
    used.insert("pods".into(), Quantity::from_units(1));
    let spec = doc.get("spec").unwrap_or(&Json::Null);
    let (mut requests, mut limits) = (asked(spec, "requests"), asked(spec, "limits"));
    let overhead = amounts(spec.get("overhead"));
    add(&mut requests, &overhead);
    for (name, limit) in &mut limits {
        if let Some(more) = overhead.get(name).filter(|_| limit.exact_milli() != 0) {
            *limit = limit.plus(*more);
        }
    }
    used.extend(compute(&requests, &limits));
}

/// Requests and limits under the names of quotas.
fn compute(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::new();
    for name in MEASURED {
        if let Some(request) = requests.get(name) {
            used.insert(name.into(), *request);
            used.insert(format!("requests.{name}"), *request);
        }
        if let Some(limit) = limits.get(name) {
            used.insert(format!("limits.{name}"), *limit);
        }
    }
    for (name, request) in requests {
        let huge = name.starts_with("hugepages-");
        if huge {
            used.insert(name.clone(), *request);
        }
        if huge || (is_foreign(name) && !name.starts_with("requests.")) {
            used.insert(format!("requests.{name}"), *request);
        }
    }
    used
}

/// What a pod asks for: its containers and sidecars together, or the largest moment of its start, whichever is more. What is
/// asked for the whole pod counts in their place.
fn asked(spec: &Json, which: &str) -> Amounts {
    let of = |asking: &Json| amounts(at(asking, &["resources", which]));
    let mut total = Amounts::new();
    items_at(spec, &["containers"]).iter().for_each(|container| add(&mut total, &of(container)));
    let (mut sidecars, mut start) = (Amounts::new(), Amounts::new());
    for container in items_at(spec, &["initContainers"]) {
        let mut moment = of(container);
        if text(container, &["restartPolicy"]) == "Always" {
            add(&mut sidecars, &moment);
            moment.clone_from(&sidecars);
        } else {
            add(&mut moment, &sidecars);
        }
        raise(&mut start, moment);
    }
    add(&mut total, &sidecars);
    raise(&mut total, start);
    let whole = of(spec).into_iter();
    total.extend(whole.filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-")));
    total
}

fn raise(to: &mut Amounts, other: Amounts) {
    for (name, amount) in other {
        if to.get(&name).is_none_or(|now| now.exact_milli() < amount.exact_milli()) {
            to.insert(name, amount);
        }
    }
}

/// Which of the names a container has to say something of, and does not: `limits.cpu for: main; memory for: a,b`. Only CPU and
/// memory are asked for, and not of a pod that says so as a whole.
pub(super) fn unnamed(names: &[&str], pod: &Json) -> Option<String> {
    let spec = pod.get("spec").unwrap_or(&Json::Null);
    let asked = |asking: &Json, which: &str| amounts(at(asking, &["resources", which]));
    if ["requests", "limits"].iter().any(|which| !asked(spec, which).is_empty()) {
        return None;
    }
    let must = |name: &&str| {
        let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
        matches!(bare, "cpu" | "memory")
    };
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in ["containers", "initContainers"].into_iter().flat_map(|list| items_at(spec, &[list])) {
        let said = compute(&asked(container, "requests"), &asked(container, "limits"));
        for name in names.iter().filter(|name| must(name) && !said.contains_key(**name)) {
            missing.entry(name).or_default().insert(text(container, &["name"]));
        }
    }
    let told = |(name, containers): (&str, BTreeSet<&str>)| {
        format!("{name} for: {}", containers.into_iter().collect::<Vec<_>>().join(","))
    };
    (!missing.is_empty()).then(|| missing.into_iter().map(told).collect::<Vec<_>>().join("; "))
}

/// Node ports are not given out yet when a Service is charged, so what it will get is counted.
fn service(doc: &Json, used: &mut Amounts) {
    let ports = items_at(doc, &["spec", "ports"]);
    let given = ports.iter().filter(|port| i64_at(port, &["nodePort"]).is_some_and(|port| port != 0)).count();
    let allocates = bool_at(doc, &["spec", "allocateLoadBalancerNodePorts"]) != Some(false);
    let (node_ports, balancers) = match text(doc, &["spec", "type"]) {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" => (if allocates { ports.len() } else { given }, 1),
        _ => (0, 0),
    };
    let units = |count: usize| Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX));
    used.insert("services".into(), units(1));
    used.insert("services.nodeports".into(), units(node_ports));
    used.insert("services.loadbalancers".into(), units(balancers));
}

fn claim(doc: &Json, used: &mut Amounts) {
    let old = at(doc, &["metadata", "annotations", "volume.beta.kubernetes.io/storage-class"]).and_then(Json::as_str);
    let class = or(old.unwrap_or_default(), text(doc, &["spec", "storageClassName"]));
    let storage = |path: &[&str]| amounts(at(doc, path)).get("storage").map(|amount| amount.rounded_up());
    let mut counted = vec![("persistentvolumeclaims", Quantity::from_units(1))];
    if let Some(asked) = storage(&["spec", "resources", "requests"]) {
        // A claim that shrinks again after it failed to grow may have been given more than it asks for.
        let given =
            storage(&["status", "allocatedResources"]).filter(|given| given.exact_milli() > asked.exact_milli());
        counted.push(("requests.storage", given.unwrap_or(asked)));
    }
    for (name, amount) in counted {
        used.insert(name.into(), amount);
        if !class.is_empty() {
            used.insert(format!("{class}{OF_CLASS}{name}"), amount);
        }
    }
}

/// Devices by their class; of alternatives the one that asks for most of a class counts for it.
fn devices(doc: &Json, used: &mut Amounts) {
    let wanted = |request: &Json| match text(request, &["allocationMode"]) {
        "All" => ALL_DEVICES,
        "" | "ExactCount" => i64_at(request, &["count"]).unwrap_or(1),
        _ => 0,
    };
    for request in items_at(doc, &["spec", "devices", "requests"]) {
        let mut most: BTreeMap<&str, i64> = BTreeMap::new();
        for one in request.get("exactly").into_iter().chain(items_at(request, &["firstAvailable"])) {
            let class = most.entry(text(one, &["deviceClassName"])).or_default();
            *class = (*class).max(wanted(one));
        }
        let amounts = most.into_iter().map(|(class, count)| (format!("{class}{DEVICES}"), Quantity::from_units(count)));
        add(used, &amounts.collect());
    }
}
