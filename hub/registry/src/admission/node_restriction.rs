//! NodeRestriction: a node's identity writes only that node's objects (invariant 7 of the design).

use super::Admission;
use super::service_account::MIRROR;
use crate::generic::commit::adopts;
use crate::generic::update::Part;
use holdfast_core::json::{at, bool_at, items_at, str_at};
use holdfast_core::meta::{REVOKED, TOKEN_KEY};
use holdfast_core::{Gvr, Json, Status};

const RESTRICTED: &str = "node-restriction.kubernetes.io/";
/// Labels in Kubernetes' own domains that a node may set on itself.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/arch",
    "kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
const LEASES: &str = "kube-node-lease";

fn name_of(doc: &Json) -> &str {
    str_at(doc, &["metadata", "name"]).unwrap_or_default()
}

fn node_of(pod: &Json) -> &str {
    str_at(pod, &["spec", "nodeName"]).unwrap_or_default()
}

fn lease(cx: &Admission<'_>, node: &str, doc: &Json) -> Result<(), Status> {
    if cx.namespace != LEASES {
        return Err(cx.forbidden(doc, format!("can only access leases in the {LEASES:?} system namespace")));
    }
    if name_of(doc) != node {
        return Err(cx.forbidden(doc, "can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}

/// The key of a node's tokens speaks for all accounts of its pods: it is the node's alone to set.
fn token_key(cx: &Admission<'_>, doc: &Json, old: Option<&Json>) -> Result<(), Status> {
    let key = |doc: &Json| str_at(doc, &["metadata", "annotations", TOKEN_KEY]).map(str::to_string);
    let is_node = cx.kind.group.is_empty() && cx.kind.kind == "Node";
    if !is_node || key(doc) == old.and_then(key) || cx.cx.user.node_name() == Some(name_of(doc)) {
        return Ok(());
    }
    Err(cx.forbidden(doc, format!("annotation {TOKEN_KEY:?} is set by the node itself")))
}

/// A pod that a node makes by itself is the node's own, and names nothing that the node would see because of it.
async fn mirror(cx: &Admission<'_>, node: &str, doc: &Json) -> Result<(), Status> {
    let refuse = |why: String| Err(cx.forbidden(doc, format!("node {node:?} {why}")));
    let owner = match items_at(doc, &["metadata", "ownerReferences"]) {
        [owner] => owner,
        [] => return refuse("can only create pods with an owner reference set to itself".into()),
        _ => return refuse("can only create pods with a single owner reference set to itself".into()),
    };
    let text = |field: &str| str_at(owner, &[field]).unwrap_or_default();
    if (text("apiVersion"), text("kind"), text("name")) != ("v1", "Node", node) {
        return refuse("can only create pods with an owner reference set to itself".into());
    }
    if bool_at(owner, &["controller"]) != Some(true) {
        return refuse("can only create pods with a controller owner reference set to itself".into());
    }
    if bool_at(owner, &["blockOwnerDeletion"]) == Some(true) {
        return refuse("must not set blockOwnerDeletion on an owner reference".into());
    }
    let nodes = Gvr::new("", "v1", "nodes");
    let found = cx.engine.find(&nodes, "", node).await?.ok_or_else(|| Status::not_found(&nodes, node))?;
    if found.meta.uid != text("uid") {
        let why = format!("node {node} UID mismatch: expected {} got {}", found.meta.uid, text("uid"));
        return Err(cx.forbidden(doc, why));
    }
    // The Node authorizer lets a node read what its pods name.
    const SECRET: [&str; 4] = ["secrets", "configmaps", "persistentvolumeclaims", "resourceclaims"];
    let named = (cx.kind.references)(doc);
    match SECRET.iter().find(|plural| named.iter().any(|reference| reference.gvr.resource == **plural)) {
        Some(plural) => refuse(format!("can not create pods that reference {plural}")),
        None => Ok(()),
    }
}

pub(crate) async fn create(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    token_key(cx, doc, None)?;
    let Some(node) = cx.cx.user.node_name() else { return Ok(()) };
    match (cx.kind.group, cx.kind.kind) {
        ("", "Pod") => {
            if at(doc, &["metadata", "annotations", MIRROR]).is_none() && !adopts(cx.cx) {
                let why = format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods");
                return Err(cx.forbidden(doc, why));
            }
            if node_of(doc) != node {
                let why = format!("node {node:?} can only create pods with spec.nodeName set to itself");
                return Err(cx.forbidden(doc, why));
            }
            if adopts(cx.cx) { Ok(()) } else { mirror(cx, node, doc).await }
        }
        ("", "Node") => {
            if name_of(doc) != node {
                let why = format!("node {node:?} is not allowed to modify node {:?}", name_of(doc));
                return Err(cx.forbidden(doc, why));
            }
            labels(cx, node, doc, None)
        }
        ("coordination.k8s.io", "Lease") => lease(cx, node, doc),
        _ => Ok(()),
    }
}

pub(crate) fn update(cx: &Admission<'_>, part: Part, doc: &Json, old: &Json) -> Result<(), Status> {
    token_key(cx, doc, Some(old))?;
    let Some(node) = cx.cx.user.node_name() else { return Ok(()) };
    match (cx.kind.group, cx.kind.kind) {
        ("", "Pod") => {
            if part != Part::Status {
                return Err(cx.forbidden(
                    doc,
                    format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"),
                ));
            }
            if node_of(old) != node {
                let why = format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself");
                return Err(cx.forbidden(doc, why));
            }
            if at(doc, &["metadata", "labels"]) != at(old, &["metadata", "labels"]) {
                let why = format!("node {node:?} cannot update labels through pod status");
                return Err(cx.forbidden(doc, why));
            }
            Ok(())
        }
        ("", "Node") => {
            if name_of(doc) != node {
                let why = format!("node {node:?} is not allowed to modify node {:?}", name_of(doc));
                return Err(cx.forbidden(doc, why));
            }
            if items_at(doc, &["spec", "taints"]) != items_at(old, &["spec", "taints"]) {
                return Err(cx.forbidden(doc, format!("node {node:?} is not allowed to modify taints")));
            }
            let owners = ["metadata", "ownerReferences"];
            if items_at(doc, &owners) != items_at(old, &owners) {
                return Err(cx.forbidden(doc, format!("node {node:?} is not allowed to modify ownerReferences")));
            }
            let revoked = ["metadata", "annotations", REVOKED];
            if at(doc, &revoked) != at(old, &revoked) {
                return Err(cx.forbidden(doc, format!("node {node:?} is not allowed to modify annotation {REVOKED:?}")));
            }
            labels(cx, node, doc, Some(old))
        }
        ("coordination.k8s.io", "Lease") => lease(cx, node, doc),
        _ => Ok(()),
    }
}

pub(crate) fn delete(cx: &Admission<'_>, old: &Json) -> Result<(), Status> {
    let Some(node) = cx.cx.user.node_name() else { return Ok(()) };
    match (cx.kind.group, cx.kind.kind) {
        ("", "Pod") if node_of(old) != node => {
            Err(cx.forbidden(old, format!("node {node:?} can only delete pods with spec.nodeName set to itself")))
        }
        ("", "Node") => {
            Err(cx.forbidden(old, format!("node {node:?} is not allowed to delete node {:?}", name_of(old))))
        }
        ("coordination.k8s.io", "Lease") => lease(cx, node, old),
        _ => Ok(()),
    }
}

/// Labels that decide where others' pods go are not the node's to set.
fn labels(cx: &Admission<'_>, node: &str, doc: &Json, old: Option<&Json>) -> Result<(), Status> {
    let get = |doc: Option<&Json>, key: &str| doc.and_then(|doc| at(doc, &["metadata", "labels", key])).cloned();
    let keys = [Some(doc), old]
        .into_iter()
        .flatten()
        .filter_map(|doc| at(doc, &["metadata", "labels"]).and_then(Json::as_object))
        .flat_map(|map| map.keys());
    let mut denied: Vec<&str> = keys
        .filter(|key| get(Some(doc), key) != get(old, key))
        .filter(|key| is_denied(key))
        .map(String::as_str)
        .collect();
    denied.sort_unstable();
    denied.dedup();
    if denied.is_empty() {
        return Ok(());
    }
    let denied = denied.join(", ");
    Err(cx.forbidden(
        doc,
        match old {
            None => format!("node {node:?} is not allowed to set the following labels: {denied}"),
            Some(_) => format!("is not allowed to modify labels: {denied}"),
        },
    ))
}

fn is_denied(key: &str) -> bool {
    let Some((domain, _)) = key.split_once('/') else { return false };
    if key.starts_with(RESTRICTED) || domain.ends_with(".node-restriction.kubernetes.io") {
        return true;
    }
    let reserved = |root: &str| domain == root || domain.ends_with(&format!(".{root}"));
    if !reserved("kubernetes.io") && !reserved("k8s.io") {
        return false;
    }
    let kubelets = ["kubelet.kubernetes.io", "node.kubernetes.io"];
    !OWN_LABELS.contains(&key) && !kubelets.iter().any(|root| domain == *root || domain.ends_with(&format!(".{root}")))
}
