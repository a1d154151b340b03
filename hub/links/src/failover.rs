//! Replacing pods whose run lease is over: those that say `FailOverAfter` on a node that has been silent for longer than
//! they may run without the hub.
//!
//! The hub counts from when it last heard the node, which is later than when the node sent that word; the node counts
//! from there. By [`fencing::replace_after`] the node has stopped the pod for certain, so its object may go without the
//! node's confirmation. After a start of the hub every node counts as heard just now; where there are several, see
//! [`crate::hubs`] for when one of them was heard by another.

use crate::hub_links::{Shared, as_hub};
use holdfast_core::json::str_at;
use holdfast_core::verbs::Preconditions;
use holdfast_core::{DeleteOptions, Gvr, Json, ListOptions, Object, Reason, Status, Target, Timestamp};
use holdfast_kinds::fencing::{self, Fencing};
use holdfast_mutation::broken;
use holdfast_registry::is_stale_session;
use holdfast_server::{Operation, Reply};
use holdfast_store::Check;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How a node is silent.
pub(crate) struct Silent {
    /// For how long.
    pub(crate) silence: Duration,
    /// What has to hold for anything that is written because of it.
    pub(crate) checks: Vec<Check>,
}

/// Replaces what may be replaced of nodes, by how long each has been silent.
///
/// # Errors
/// The API's when pods cannot be listed; what could not be deleted is tried again at the next look.
pub(crate) async fn replace(shared: &Shared, silent: &BTreeMap<String, Silent>) -> Result<(), Status> {
    if silent.values().all(|silent| silent.silence < fencing::FAIL_OVER_MIN) {
        return Ok(());
    }
    let pods = Target::collection(Gvr::new("", "v1", "pods"), "");
    let Reply::List(list) = shared.call(pods, Operation::List(ListOptions::default())).await? else {
        return Err(Status::internal("list gave no list"));
    };
    // The annotation alone says so, and is read without the rest: most pods do not carry it.
    for pod in list.items.iter().filter(|pod| pod.meta.annotations.contains_key(fencing::ANNOTATION)) {
        let node = pod.skim_str(&["spec", "nodeName"]).unwrap_or_default();
        let node = node.as_str();
        let silent = silent.get(node).filter(|silent| silent.silence >= fencing::FAIL_OVER_MIN);
        let Some(Silent { silence, checks }) = silent else { continue };
        let doc = pod.to_json();
        let Fencing::FailOverAfter(after) = fencing::of(&doc) else { continue };
        let wait = if broken("replaced-too-early") { after / 2 } else { fencing::replace_after(&doc, after) };
        if *silence < wait || matches!(str_at(&doc, &["status", "phase"]), Some("Succeeded" | "Failed")) {
            continue;
        }
        let name = format!("{}/{}", pod.meta.namespace, pod.meta.name);
        if let Err(err) = delete(shared, pod, checks).await {
            tracing::warn!(node, pod = name, %err, "Could not replace a pod of a silent node");
            continue;
        }
        tracing::info!(node, pod = name, "Replaced a pod of a silent node");
        tell(shared, pod, node).await;
    }
    Ok(())
}

async fn delete(shared: &Shared, pod: &Object, checks: &[Check]) -> Result<(), Status> {
    let target = Target::object(Gvr::new("", "v1", "pods"), &pod.meta.namespace, &pod.meta.name);
    let preconditions = Preconditions { uid: Some(pod.meta.uid.clone()), resource_version: None };
    let options =
        DeleteOptions { grace_period_seconds: Some(0), preconditions: Some(preconditions), ..DeleteOptions::default() };
    match shared.call_if(target, Operation::Delete(options), checks).await {
        Ok(_) => Ok(()),
        Err(status) if is_stale_session(&status) => Err(status),
        // Somebody else was faster, or another pod has the name by now.
        Err(status) if status.is(Reason::NotFound) || status.is(Reason::Conflict) => Ok(()),
        Err(status) => Err(status),
    }
}

async fn tell(shared: &Shared, pod: &Object, node: &str) {
    let now = Timestamp::from_wall(shared.env.wall().0);
    let (namespace, name) = (&pod.meta.namespace, &pod.meta.name);
    let body: Json = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("{name}.{:016x}", shared.env.random_u64()), "namespace": namespace},
        "involvedObject": {
            "kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": name, "uid": pod.meta.uid,
        },
        "type": "Warning",
        "reason": "FailedOver",
        "message": format!("Deleted: node {node} was not heard for longer than this pod may run without the hub"),
        "source": {"component": "holdfast-links"},
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    });
    let target = Target::collection(Gvr::new("", "v1", "events"), namespace);
    if let Err(err) = shared.call(target, Operation::Create { body, options: as_hub() }).await {
        tracing::warn!(pod = format!("{namespace}/{name}"), %err, "Could not record an event");
    }
}
