//! From the text of a manifest to a pod, by the kubelet's rules, and from that to its mirror. Pure.

use super::{FILE, HASH, MIRROR, SEEN, SOURCE};
use holdfast_core::json::{at, items_at, remove, set, str_at};
use holdfast_core::names::{dns_label, dns_subdomain};
use holdfast_core::{Json, Timestamp};
use holdfast_pods::typed;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;

/// What the hub says of an object, and what a manifest does not.
const OF_THE_HUB: [&str; 10] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "finalizers",
    "generation",
    "generateName",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
];
/// The priorities of the classes that every cluster has, as the hub's admission would fill them in.
const CLASSES: &[(&str, i32)] = &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

/// The pod of a manifest, YAML or JSON.
///
/// # Errors
/// Why there is none, for people.
pub(super) fn read(text: &[u8], node: &str, path: &str, seen: Timestamp) -> Result<Json, String> {
    let text = std::str::from_utf8(text).map_err(|err| err.to_string())?;
    let doc: Json = match serde_json::from_str(text) {
        Ok(doc) => doc,
        Err(_) => serde_saphyr::from_str(text)
            .map_err(|err| err.to_string().lines().next().unwrap_or_default().to_string())?,
    };
    let kind = (str_at(&doc, &["apiVersion"]).unwrap_or_default(), str_at(&doc, &["kind"]).unwrap_or_default());
    if kind != ("v1", "Pod") {
        return Err(format!("it holds no Pod of v1, but kind {:?} of {:?}", kind.1, kind.0));
    }
    // What is no field of a pod goes, and the order of fields does not count.
    let mut pod = typed::document(&typed::pod(doc).map_err(|err| format!("it is no pod: {err}"))?);
    remove(&mut pod, &["status"]);
    for field in OF_THE_HUB {
        remove(&mut pod, &["metadata", field]);
    }
    for key in [SOURCE, HASH, SEEN, MIRROR] {
        remove(&mut pod, &["metadata", "annotations", key]);
    }
    if at(&pod, &["metadata", "annotations"]).and_then(Json::as_object).is_some_and(serde_json::Map::is_empty) {
        remove(&mut pod, &["metadata", "annotations"]);
    }
    check(&pod, node)?;
    let mut hash = Sha256::new();
    hash.update(format!("host:{node}\0file:{path}\0{pod}"));
    // As long as the kubelet's, and of the same letters.
    let uid: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let name = name_on(&pod, node);
    set(&mut pod, &["apiVersion"], "v1");
    set(&mut pod, &["kind"], "Pod");
    set(&mut pod, &["metadata", "name"], name);
    if str_at(&pod, &["metadata", "namespace"]).is_none_or(str::is_empty) {
        set(&mut pod, &["metadata", "namespace"], "default");
    }
    set(&mut pod, &["metadata", "uid"], uid.clone());
    set(&mut pod, &["metadata", "creationTimestamp"], seen.to_string());
    for (key, value) in [(SOURCE, FILE.to_string()), (HASH, uid), (SEEN, seen.to_string())] {
        set(&mut pod, &["metadata", "annotations", key], value);
    }
    set(&mut pod, &["spec", "nodeName"], node);
    let class =
        str_at(&pod, &["spec", "priorityClassName"]).and_then(|name| CLASSES.iter().find(|(of, _)| *of == name));
    if let Some((_, priority)) = class
        && at(&pod, &["spec", "priority"]).is_none()
    {
        set(&mut pod, &["spec", "priority"], *priority);
    }
    tolerate(&mut pod);
    Ok(pod)
}

fn name_on(pod: &Json, node: &str) -> String {
    format!("{}-{}", str_at(pod, &["metadata", "name"]).unwrap_or_default(), node.to_lowercase())
}

/// Trouble of the node does not evict what only the node runs.
fn tolerate(pod: &mut Json) {
    let mut all = items_at(pod, &["spec", "tolerations"]).to_vec();
    let mine = json!({"operator": "Exists", "effect": "NoExecute"});
    if !all.contains(&mine) {
        all.push(mine);
        set(pod, &["spec", "tolerations"], all);
    }
}

fn check(pod: &Json, node: &str) -> Result<(), String> {
    if str_at(pod, &["metadata", "name"]).is_none_or(str::is_empty) {
        return Err("metadata.name is missing".into());
    }
    let name = name_on(pod, node);
    if let Some(problem) = dns_subdomain(&name).first() {
        return Err(format!("metadata.name {name:?} is invalid: {problem}"));
    }
    if let Some(namespace) = str_at(pod, &["metadata", "namespace"]).filter(|namespace| !namespace.is_empty())
        && let Some(problem) = dns_label(namespace).first()
    {
        return Err(format!("metadata.namespace {namespace:?} is invalid: {problem}"));
    }
    if items_at(pod, &["spec", "containers"]).is_empty() {
        return Err("spec.containers is empty".into());
    }
    let mut seen = BTreeSet::new();
    for list in ["initContainers", "containers"] {
        for container in items_at(pod, &["spec", list]) {
            let name = str_at(container, &["name"]).unwrap_or_default();
            if let Some(problem) = dns_label(name).first() {
                return Err(format!("a name in spec.{list}, {name:?}, is invalid: {problem}"));
            }
            if !seen.insert(name) {
                return Err(format!("two containers are called {name:?}"));
            }
            if str_at(container, &["image"]).is_none_or(str::is_empty) {
                return Err(format!("container {name:?} has no image"));
            }
        }
    }
    if !items_at(pod, &["spec", "ephemeralContainers"]).is_empty() {
        return Err("static pods do not support ephemeral containers".into());
    }
    match named(pod) {
        Some(resource) => Err(format!("static pods may not reference {resource}")),
        None => Ok(()),
    }
}

/// What of the API the pod names, which a node without a hub does not have, and must not get by naming it.
fn named(pod: &Json) -> Option<&'static str> {
    const NAMED: [&str; 4] = ["secrets", "configmaps", "persistentvolumeclaims", "resourceclaims"];
    let text = |field: &str| str_at(pod, &["spec", field]).is_some_and(|name| !name.is_empty());
    if text("serviceAccountName") || text("serviceAccount") {
        return Some("serviceaccounts");
    }
    if !items_at(pod, &["spec", "resourceClaims"]).is_empty() {
        return Some("resourceclaims");
    }
    for volume in items_at(pod, &["spec", "volumes"]) {
        for source in items_at(volume, &["projected", "sources"]) {
            let of = [
                ("serviceAccountToken", "serviceaccounts"),
                ("clusterTrustBundle", "clustertrustbundles"),
                ("podCertificate", "podcertificaterequests"),
            ];
            if let Some((_, resource)) = of.iter().find(|(field, _)| at(source, &[field]).is_some()) {
                return Some(*resource);
            }
        }
    }
    let references = holdfast_kinds::by_gvr("", "v1", "pods").map(|kind| (kind.references)(pod)).unwrap_or_default();
    NAMED.into_iter().find(|plural| references.iter().any(|reference| reference.gvr.resource == *plural))
}

/// The mirror of a static pod, as the node asks the hub for it.
pub(crate) fn mirror_of(pod: &Json, node_name: &str, node_uid: &str) -> Json {
    let mut mirror = pod.clone();
    let hash = str_at(pod, &["metadata", "uid"]).unwrap_or_default().to_string();
    for field in ["uid", "creationTimestamp"] {
        remove(&mut mirror, &["metadata", field]);
    }
    set(&mut mirror, &["metadata", "annotations", MIRROR], hash);
    let owner = json!({"apiVersion": "v1", "kind": "Node", "name": node_name, "uid": node_uid, "controller": true});
    set(&mut mirror, &["metadata", "ownerReferences"], vec![owner]);
    mirror
}
