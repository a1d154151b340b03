//! Writes to pods that more than one controller needs.

use holdfast_controller::{Client, Key};
use holdfast_core::verbs::Preconditions;
use holdfast_core::{DeleteOptions, Json, Patch, PatchType, Reason, Status, Timestamp, json as path};
use serde_json::json;
use std::sync::Arc;

/// Sets a condition of a pod, unless it has that status already. Nothing happens when the pod is gone or another.
/// `phase` is set too, where given.
pub(crate) async fn set_condition(
    client: &Arc<dyn Client>,
    now: Timestamp,
    pod: (&Key, &str),
    condition: (&str, &str, &str, &str),
    phase: Option<&str>,
) -> Result<(), Status> {
    let ((key, uid), (kind, status, reason, message)) = (pod, condition);
    let at = key.target(crate::shared::core("pods"));
    let current = match client.get(&at).await {
        Ok(object) if object.meta.uid == uid => object.to_json(),
        Ok(_) => return Ok(()),
        Err(status) if status.is(Reason::NotFound) => return Ok(()),
        Err(status) => return Err(status),
    };
    let mut conditions: Vec<Json> = path::items_at(&current, &["status", "conditions"]).to_vec();
    let old = conditions.iter().position(|c| path::str_at(c, &["type"]) == Some(kind));
    let same = old.is_some_and(|at| path::str_at(&conditions[at], &["status"]) == Some(status));
    if same && phase.is_none_or(|phase| path::str_at(&current, &["status", "phase"]) == Some(phase)) {
        return Ok(());
    }
    let new = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastProbeTime": null, "lastTransitionTime": now,
    });
    match old {
        Some(at) => conditions[at] = new,
        None => conditions.push(new),
    }
    let mut body = json!({
        "metadata": {"uid": uid, "resourceVersion": path::at(&current, &["metadata", "resourceVersion"])},
        "status": {"conditions": conditions},
    });
    if let Some(phase) = phase {
        path::set(&mut body, &["status", "phase"], phase);
    }
    let at = at.with_subresource("status");
    client.patch(&at, Patch { patch_type: PatchType::Merge, body }).await.map(|_| ())
}

/// Deletes this very pod; fine when it is gone.
pub(crate) async fn delete(client: &Arc<dyn Client>, key: &Key, uid: &str, grace: Option<i64>) -> Result<(), Status> {
    let preconditions = Some(Preconditions { uid: Some(uid.into()), resource_version: None });
    let options = DeleteOptions { grace_period_seconds: grace, preconditions, ..DeleteOptions::default() };
    match client.delete(&key.target(crate::shared::core("pods")), &options).await {
        Err(status) if status.is(Reason::NotFound) || status.is(Reason::Conflict) => Ok(()),
        other => other,
    }
}
