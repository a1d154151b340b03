//! ComponentStatus: the parts of a control plane, as clients of old ask for them. They are one process here, and
//! that answers.

use holdfast_core::{Gvr, Json, Object, ObjectList, Revision, Status};
use serde_json::json;
use std::sync::Arc;

/// Upstream's names of the parts.
const PARTS: &[&str] = &["controller-manager", "scheduler", "etcd-0"];

/// Whether a resource is the list of parts.
pub(crate) fn are(gvr: &Gvr) -> bool {
    gvr.group.is_empty() && gvr.resource == "componentstatuses"
}

fn part(name: &str) -> Json {
    json!({ "apiVersion": "v1", "kind": "ComponentStatus", "metadata": { "name": name },
        "conditions": [{ "type": "Healthy", "status": "True", "message": "ok" }] })
}

/// One of the parts.
///
/// # Errors
/// 404 for a name that is none.
pub(crate) fn get(gvr: &Gvr, name: &str) -> Result<Arc<Object>, Status> {
    if !PARTS.contains(&name) {
        return Err(Status::not_found(gvr, name));
    }
    Object::from_json(part(name)).map(Arc::new)
}

/// All of them, as of `revision`.
///
/// # Errors
/// None but our own.
pub(crate) fn list(revision: Revision) -> Result<ObjectList, Status> {
    let items = PARTS.iter().map(|name| Object::from_json(part(name)).map(Arc::new)).collect::<Result<_, _>>()?;
    Ok(ObjectList { items, revision, continue_token: None, remaining: None })
}
