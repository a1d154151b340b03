//! Node.

use super::{proxy_of, status_of};
use crate::Kind;
use crate::show::{AGE, NAME, NONE, UNKNOWN, age, column, condition, name, or, text, wide};
use holdfast_core::json::{bool_at, items_at};
use holdfast_core::{Json, Timestamp};
use std::collections::BTreeSet;

const ROLE_PREFIX: &str = "node-role.kubernetes.io/";
const ROLE_LABEL: &str = "kubernetes.io/role";

/// core/v1 Node.
pub(crate) const NODE: Kind = Kind {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    subresources: &[proxy_of("NodeProxyOptions"), status_of("Node")],
    schema: "io.k8s.api.core.v1.Node",
    columns: &[
        NAME,
        column("Status", "string", "Whether it is ready, and whether pods may be placed on it."),
        column("Roles", "string", "Roles that its labels give it."),
        AGE,
        column("Version", "string", "Version of the agent."),
        wide("Internal-IP", "string", "First address inside the cluster."),
        wide("External-IP", "string", "First address that is reachable from outside."),
        wide("OS-Image", "string", "Operating system."),
        wide("Kernel-Version", "string", "Version of the kernel."),
        wide("Container-Runtime", "string", "What runs its containers."),
    ],
    row,
    field_selectors: &["spec.unschedulable"],
    field: |doc, field| match field {
        "spec.unschedulable" => bool_at(doc, &["spec", "unschedulable"]).unwrap_or(false).to_string(),
        _ => String::new(),
    },
    ..Kind::BASE
};

fn row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let info = |field: &str| text(doc, &["status", "nodeInfo", field]);
    vec![
        name(doc),
        status(doc).into(),
        roles(doc).into(),
        age(doc, now),
        info("kubeletVersion").into(),
        address(doc, "InternalIP").into(),
        address(doc, "ExternalIP").into(),
        or(info("osImage"), UNKNOWN).into(),
        or(info("kernelVersion"), UNKNOWN).into(),
        or(info("containerRuntimeVersion"), UNKNOWN).into(),
    ]
}

fn status(doc: &Json) -> String {
    let ready = match condition(doc, "Ready") {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    match bool_at(doc, &["spec", "unschedulable"]) {
        Some(true) => format!("{ready},SchedulingDisabled"),
        _ => ready.to_string(),
    }
}

fn roles(doc: &Json) -> String {
    let labels = doc.get("metadata").and_then(|meta| meta.get("labels")).and_then(Json::as_object);
    let roles: BTreeSet<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE_PREFIX) {
            Some(role) => Some(role),
            None if key == ROLE_LABEL => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    or(&roles.into_iter().collect::<Vec<_>>().join(","), NONE).to_string()
}

fn address<'a>(doc: &'a Json, address_type: &str) -> &'a str {
    items_at(doc, &["status", "addresses"])
        .iter()
        .find(|address| text(address, &["type"]) == address_type)
        .map_or(NONE, |address| text(address, &["address"]))
}
