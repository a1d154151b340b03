//! The ServiceCIDR `kubernetes`: the range that the hub was told to give Services their addresses from.

use super::reconcile::Step;
use crate::engine::Engine;
use crate::registry::HubRegistry;
use holdfast_core::json::{at, items_at, set, str_at};
use holdfast_core::{Gvr, Json, Object, Reason, Status, Target, WriteOptions};
use holdfast_server::{Registry, RequestContext};
use ipnet::Ipv4Net;
use serde_json::json;

const NAME: &str = "kubernetes";
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";

pub(super) fn object(range: Ipv4Net) -> Json {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": { "name": NAME, "finalizers": [FINALIZER] },
        "spec": { "cidrs": [range.to_string()] },
    })
}

/// A range cannot be changed: the hub that was told another one makes the object anew.
pub(super) fn step(found: &Object, wanted: &Json) -> Step {
    let same = at(&found.to_json(), &["spec", "cidrs"]) == at(wanted, &["spec", "cidrs"]);
    if found.meta.is_deleting() || same {
        return Step::Nothing;
    }
    tracing::warn!(now = %wanted["spec"]["cidrs"], "Services get their addresses from another range than before");
    Step::Recreate
}

/// The object without what keeps it from being deleted; `None` when nothing does.
pub(super) fn released(found: &Object) -> Option<Json> {
    let finalizers = &found.meta.finalizers;
    if !finalizers.iter().any(|one| one == FINALIZER) {
        return None;
    }
    let mut doc = found.to_json();
    let kept: Vec<&String> = finalizers.iter().filter(|one| *one != FINALIZER).collect();
    set(&mut doc, &["metadata", "finalizers"], json!(kept));
    Some(doc)
}

/// Says that the range is in use, where nobody has said anything of it.
pub(super) async fn tell(
    registry: &HubRegistry,
    engine: &Engine,
    cx: &RequestContext,
    options: &WriteOptions,
) -> Result<(), Status> {
    let at = Target::object(Gvr::new("networking.k8s.io", "v1", "servicecidrs"), "", NAME);
    let mut doc = registry.get(cx, &at).await?.to_json();
    let told = |condition: &Json| str_at(condition, &["type"]) == Some("Ready");
    if items_at(&doc, &["status", "conditions"]).iter().any(told) {
        return Ok(());
    }
    let condition = json!({
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": engine.now().to_string(),
    });
    set(&mut doc, &["status", "conditions"], vec![condition]);
    match registry.update(cx, &at.with_subresource("status"), doc, options).await {
        // Another hub was faster.
        Err(status) if status.is(Reason::Conflict) => Ok(()),
        other => other.map(|_| ()),
    }
}
