//! `pods/binding`: the scheduler's write.

use crate::admission::dynamic::{Attempt, Operation, Options};
use crate::admission::topology_labels;
use crate::engine::{Engine, Resource};
use crate::generic::commit::{Meaning, Outcome, Write};
use crate::generic::decode::{check_fields, check_type};
use crate::kinds::pod::update::bind;
use crate::limits::CONFLICT_RETRIES;
use holdfast_core::json::{at, items_at, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Gvk, Gvr, Json, Object, Status, Target, WriteOptions};
use holdfast_server::RequestContext;
use holdfast_store::Condition;
use std::sync::Arc;

/// The pod that a Binding of the older path is about: it has the Binding's name.
///
/// # Errors
/// 400 without a name.
pub(crate) fn pod_of(at: &Target, binding: &Json) -> Result<Target, Status> {
    match str_at(binding, &["metadata", "name"]).unwrap_or_default() {
        "" => Err(Status::bad_request("name is required")),
        name => Ok(Target::object(Gvr::new("", "v1", "pods"), at.namespace(), name).with_subresource("binding")),
    }
}

/// Binds a pod to a node. The answer is a Status, as upstream gives.
///
/// # Errors
/// 409 when the pod is bound, is being deleted or has gates; 422 for a target that is no node.
pub(crate) async fn create(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    mut binding: Json,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    let gvk = Gvk::new("v1", "Binding");
    check_type(&gvk, &mut binding)?;
    check_fields(engine, cx, "io.k8s.api.core.v1.Binding", &gvk, &mut binding, options.field_validation)?;
    let name = str_at(&binding, &["metadata", "name"]).unwrap_or_default();
    if !name.is_empty() && name != resource.name {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    // By the older path as well it is the pod's binding that is judged, so that one rule is enough.
    let attempt = Attempt {
        engine,
        cx,
        resource,
        operation: Operation::Create,
        subresource: "binding",
        revision: None,
        options: Options::Write(options),
    };
    if let Some(again) = attempt.mutate(&mut binding, None).await? {
        again.run(&mut binding, None).await?;
        check_fields(engine, cx, "io.k8s.api.core.v1.Binding", &gvk, &mut binding, options.field_validation)?;
    }
    let mut errors = FieldErrors::new();
    let kind = str_at(&binding, &["target", "kind"]).unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        errors.not_supported(&FieldPath::new("target.kind"), kind, &["Node", "<empty>"]);
    }
    let node = str_at(&binding, &["target", "name"]).unwrap_or_default();
    if node.is_empty() {
        errors.required(&FieldPath::new("target.name"), "");
    }
    if !errors.is_empty() {
        return Err(Status::invalid(&gvk, resource.name, &errors));
    }
    attempt.validate(Some(&binding), None).await?;

    for _ in 0..CONFLICT_RETRIES {
        let old = engine.read(resource).await?;
        let mut doc = old.to_json();
        remove(&mut doc, &["metadata", "resourceVersion"]);
        // Upstream names the subresource as if it were a resource.
        let binding_of_pods = Gvr::new("", "v1", "pods/binding");
        let refuse = |why: String| Err(Status::conflict(&binding_of_pods, resource.name, why));
        if let Some(uid) = str_at(&binding, &["metadata", "uid"]).filter(|uid| !uid.is_empty() && *uid != old.meta.uid)
        {
            let (found, name) = (&old.meta.uid, resource.name);
            return refuse(format!(
                "Precondition failed: UID in precondition: {uid}, UID in object meta: {found} (pod {name})"
            ));
        }
        if old.meta.is_deleting() {
            return refuse(format!("pod {} is being deleted, cannot be assigned to a host", resource.name));
        }
        let current = str_at(&doc, &["spec", "nodeName"]).unwrap_or_default();
        if !current.is_empty() {
            return refuse(format!("pod {} is already assigned to node {current:?}", resource.name));
        }
        if !items_at(&doc, &["spec", "schedulingGates"]).is_empty() {
            return refuse(format!("pod {} has non-empty .spec.schedulingGates", resource.name));
        }
        for (key, value) in at(&binding, &["metadata", "annotations"]).and_then(Json::as_object).into_iter().flatten() {
            set(&mut doc, &["metadata", "annotations", key], value.clone());
        }
        for (name, value) in at(&binding, &["metadata", "labels"]).and_then(Json::as_object).into_iter().flatten() {
            topology_labels::add(&mut doc, name, value.as_str().unwrap_or_default());
        }
        topology_labels::label(engine, node, &mut doc).await?;
        bind(&mut doc, node, &engine.now().to_string());
        let answer = || {
            let status = Status::success(resource.gvr, resource.name, "");
            serde_json::to_value(status).map_err(Status::internal).and_then(Object::from_json).map(Arc::new)
        };
        if options.dry_run {
            return answer();
        }
        let mut write = Write::default();
        write.check(resource.key(), Condition::ModifiedAt(old.revision), Meaning::Subject);
        write.put(resource.key(), Object::with_managed_fields(doc, old.managed_fields())?.body().clone());
        if let Outcome::Committed(..) = write.commit(engine, cx, resource.gvr, resource.name).await? {
            return answer();
        }
    }
    Err(Status::stale(resource.gvr, resource.name))
}
