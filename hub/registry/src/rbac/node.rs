//! The Node authorizer: a node reads what its pods reference and writes its own Node, Lease and pods' status.
//!
//! What a pod references comes from the kinds' reference graph, the same that decides what the link brings to a
//! node. Collections of Secrets and ConfigMaps are not a node's to list: it gets its own over the link. Of pods it may list those
//! that a field selector keeps to itself, as upstream's kubelets do.

use crate::engine::Engine;
use holdfast_core::{Gvr, Object, Status, Target};
use holdfast_kinds::Reference;
use holdfast_server::{Attributes, Decision, Selected};
use std::sync::Arc;

const READ: &[&str] = &["get", "list", "watch"];

fn no(why: impl Into<String>) -> Decision {
    Decision::NoOpinion(why.into())
}

/// Judges a request of the node `node`.
pub(crate) async fn authorize(
    engine: &Engine,
    node: &str,
    attributes: &Attributes<'_>,
    selected: &Selected,
) -> Decision {
    let Some(target) = attributes.target else { return no("") };
    let (verb, sub) = (attributes.verb, target.subresource());
    let reads = READ.contains(&verb);
    let writes = matches!(verb, "create" | "update" | "patch");
    match (target.gvr.group.as_str(), target.gvr.resource.as_str()) {
        ("", "nodes") => own(node, verb, target, reads || writes),
        ("coordination.k8s.io", "leases") => {
            if target.namespace() != "kube-node-lease" {
                return no("can only access leases in the \"kube-node-lease\" system namespace");
            }
            own(node, verb, target, verb == "get" || writes || verb == "delete")
        }
        ("", "pods") => match (verb, sub) {
            ("create", "") => Decision::Allow,
            ("get" | "delete", "") | ("get" | "update" | "patch", "status") | ("create", "eviction") => {
                answer(bound(engine, node, target, true).await, "node can only access its own pods")
            }
            ("list" | "watch", "") if selected.requires("spec.nodeName", node) => Decision::Allow,
            ("list" | "watch", "") if target.name.is_some() => {
                answer(bound(engine, node, target, false).await, "node can only access its own pods")
            }
            ("list" | "watch", "") => no("can only list/watch pods with spec.nodeName field selector"),
            _ => no("nodes receive their pods over the link"),
        },
        ("", "secrets" | "configmaps" | "persistentvolumeclaims" | "persistentvolumes")
            if verb == "get" && sub.is_empty() =>
        {
            answer(referenced(engine, node, target).await, "no relationship found between node and this object")
        }
        ("", "serviceaccounts") if verb == "get" && sub.is_empty() || verb == "create" && sub == "token" => {
            answer(referenced(engine, node, target).await, "no relationship found between node and this object")
        }
        ("", "events") | ("events.k8s.io", "events") if writes => Decision::Allow,
        ("", "services") | ("discovery.k8s.io", "endpointslices") | ("node.k8s.io", "runtimeclasses")
            if reads && sub.is_empty() =>
        {
            Decision::Allow
        }
        ("authentication.k8s.io", "tokenreviews" | "selfsubjectreviews")
        | (
            "authorization.k8s.io",
            "subjectaccessreviews"
            | "localsubjectaccessreviews"
            | "selfsubjectaccessreviews"
            | "selfsubjectrulesreviews",
        ) if verb == "create" => Decision::Allow,
        _ => no(""),
    }
}

/// A node's own object; creation carries no name, NodeRestriction judges it.
fn own(node: &str, verb: &str, target: &Target, allowed: bool) -> Decision {
    let nameless = target.name.is_none() && verb == "create";
    if allowed && (nameless || target.name() == node) {
        return Decision::Allow;
    }
    no(format!("node {node:?} can only access its own {}", target.gvr.resource))
}

fn answer(found: Result<bool, Status>, why: &str) -> Decision {
    match found {
        Ok(true) => Decision::Allow,
        Ok(false) => no(why),
        Err(status) => no(format!("could not be judged: {status}")),
    }
}

/// Whether a pod is on the node. One that is gone is no secret where the answer is then 404 (`gone`); a watch would go on
/// until there is another of its name.
async fn bound(engine: &Engine, node: &str, target: &Target, gone: bool) -> Result<bool, Status> {
    let pod = engine.find(&target.gvr, target.namespace(), target.name()).await?;
    Ok(pod.map_or(gone, |pod| is_on(&pod, node)))
}

fn is_on(pod: &Arc<Object>, node: &str) -> bool {
    pod.skim_str(&["spec", "nodeName"]).is_some_and(|name| name == node)
}

/// Whether a pod on the node references the target, itself or by its claims and their volumes.
async fn referenced(engine: &Engine, node: &str, target: &Target) -> Result<bool, Status> {
    let pods = Gvr::new("", "v1", "pods");
    let kind = crate::engine::known(&pods)?;
    let wanted = Reference {
        gvr: target.gvr.clone(),
        namespace: target.namespace().to_string(),
        name: target.name().to_string(),
    };
    // A volume, and the Secret that mounting it needs, may belong to a pod of any namespace.
    let anywhere = matches!(target.gvr.resource.as_str(), "persistentvolumes" | "secrets");
    let namespace = if anywhere { "" } else { target.namespace() };
    for pod in engine.find_all(&pods, namespace).await? {
        if !is_on(&pod, node) {
            continue;
        }
        let named = (kind.references)(&pod.to_json());
        // What others have in their namespaces is no pod's to name.
        if named.contains(&wanted) || anywhere && through_claims(engine, &named, &wanted).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the claims among `named`, or the volumes that they are bound to, name `wanted`.
async fn through_claims(engine: &Engine, named: &[Reference], wanted: &Reference) -> Result<bool, Status> {
    for claim in named.iter().filter(|reference| reference.gvr.resource == "persistentvolumeclaims") {
        for volume in references_of(engine, claim).await? {
            if volume.gvr.resource != "persistentvolumes" {
                continue;
            }
            if volume == *wanted || references_of(engine, &volume).await?.contains(wanted) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

async fn references_of(engine: &Engine, reference: &Reference) -> Result<Vec<Reference>, Status> {
    let found = engine.find(&reference.gvr, &reference.namespace, &reference.name).await?;
    let kind = crate::engine::known(&reference.gvr)?;
    Ok(found.map(|object| (kind.references)(&object.to_json())).unwrap_or_default())
}
