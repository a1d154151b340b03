//! Resizing a pod in place (<https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/>).

use super::super::rules::text;
use super::resources::quantity;
use holdfast_core::json::{at, copy, items_at, items_at_mut, remove, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};
use holdfast_kinds::qos;
use std::collections::BTreeSet;

/// What can change while a container runs.
const RESIZABLE: &[&str] = &["cpu", "memory"];
const LISTS: &[&str] = &["containers", "initContainers"];
const POLICIES: &[&str] = &["NotRequired", "RestartContainer"];

/// Problems of the `resizePolicy` of a container; `restart` is the pod's `restartPolicy`.
pub(crate) fn policies(container: &Json, restart: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let path = path.child("resizePolicy");
    let mut seen = BTreeSet::new();
    for (index, policy) in items_at(container, &["resizePolicy"]).iter().enumerate() {
        let (resource, action) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !seen.insert(resource) {
            errors.duplicate(&path.index(index), resource);
        }
        for (value, allowed) in [(resource, RESIZABLE), (action, POLICIES)] {
            if value.is_empty() {
                errors.required(&path, "");
            } else if !allowed.contains(&value) {
                errors.not_supported(&path, value, allowed);
            }
        }
        if restart == "Never" && action != "NotRequired" {
            errors.invalid(&path, action, "must be 'NotRequired' when `restartPolicy` is 'Never'");
        }
    }
}

/// Takes resources and their policies from a write, and the rest from what the pod is. Lists that do not fit each other are taken
/// as they are: [`validate`] refuses them.
pub(crate) fn prepare(doc: &mut Json, old: &Json) {
    let mut new = old.clone();
    for list in LISTS {
        let sent = items_at(doc, &["spec", list]);
        let before = items_at(old, &["spec", list]);
        if names(sent) != names(before) {
            copy(doc, &mut new, &["spec", list]);
            continue;
        }
        for (container, sent) in items_at_mut(&mut new, &["spec", list]).iter_mut().zip(sent) {
            for field in ["resources", "resizePolicy"] {
                copy(sent, container, &[field]);
            }
        }
    }
    copy(doc, &mut new, &["spec", "resources"]);
    *doc = new;
}

fn names(containers: &[Json]) -> Vec<&str> {
    containers.iter().map(|container| text(container, "name")).collect()
}

/// Problems of a resize, beside those of the pod that it leaves.
pub(crate) fn validate(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let (nowhere, path) = (FieldPath::default(), FieldPath::new("spec"));
    let refused = if at(old, &["metadata", "annotations", crate::admission::service_account::MIRROR]).is_some() {
        Some("static pods cannot be resized")
    } else if str_at(old, &["spec", "os", "name"]) == Some("windows") {
        Some("windows pods cannot be resized")
    } else {
        None
    };
    if let Some(refused) = refused {
        *errors = FieldErrors::new();
        return errors.forbidden(&nowhere, refused);
    }
    let class = str_at(old, &["status", "qosClass"]).unwrap_or_else(|| qos::class(old));
    if qos::class(doc) != class {
        errors.invalid(&path, class, "Pod QOS Class may not change as a result of resizing");
    }
    of_pod(doc, old, &path, errors);
    if !same_containers(doc, old, &path, errors) {
        return;
    }
    for list in LISTS {
        let pairs = items_at(doc, &["spec", list]).iter().zip(items_at(old, &["spec", list]));
        for (index, (now, before)) in pairs.enumerate() {
            one(list, now, before, &path, index, errors);
        }
    }
}

/// Tells of containers that came, went or moved.
fn same_containers(doc: &Json, old: &Json, path: &FieldPath, errors: &mut FieldErrors) -> bool {
    let mut same = true;
    for list in LISTS {
        let (now, before) = (items_at(doc, &["spec", list]), items_at(old, &["spec", list]));
        if now.len() != before.len() {
            same = false;
            errors.forbidden(&path.child(list), format!("{list} may not be added or removed on resize"));
            continue;
        }
        for (index, (now, before)) in now.iter().zip(before).enumerate() {
            if text(now, "name") != text(before, "name") {
                same = false;
                let detail = format!("{list} may not be renamed or reordered on resize");
                errors.forbidden(&path.child(list).index(index).child("name"), detail);
            }
        }
    }
    same
}

fn one(list: &str, now: &Json, before: &Json, spec: &FieldPath, index: usize, errors: &mut FieldErrors) {
    let sidecar = text(before, "restartPolicy") == "Always";
    if list == "initContainers" && !sidecar {
        if now != before {
            errors.forbidden(spec, "resources for non-sidecar init containers are immutable");
        }
        return;
    }
    nothing_removed(now, before, &spec.child(list).index(index).child("resources"), errors);
    if fixed(now) != fixed(before) {
        let whose = if list == "initContainers" { " for sidecar containers" } else { "" };
        errors.forbidden(spec, format!("only cpu and memory resources{whose} are mutable"));
    }
}

/// Tells of amounts that are no longer there; `path` is of the resources.
fn nothing_removed(now: &Json, before: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for of in ["requests", "limits"] {
        let amounts = |of_what: &Json| at(of_what, &["resources", of]).and_then(Json::as_object).cloned();
        let (now, before) = (amounts(now).unwrap_or_default(), amounts(before).unwrap_or_default());
        if before.keys().any(|name| !now.contains_key(name)) {
            errors.forbidden(&path.child(of), format!("resource {of} cannot be removed"));
        }
    }
}

/// The resources of the pod itself change as those of its containers do.
fn of_pod(doc: &Json, old: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let own = |doc: &Json| serde_json::json!({ "resources": at(doc, &["spec", "resources"]) });
    let (now, before) = (own(doc), own(old));
    nothing_removed(&now, &before, &path.child("resources"), errors);
    if fixed(&now) != fixed(&before) {
        errors.forbidden(path, "only cpu and memory resources are mutable");
    }
}

/// A container without what may change. Amounts are compared, not how they are written.
fn fixed(container: &Json) -> Json {
    let mut container = container.clone();
    for of in ["requests", "limits"] {
        let Some(amounts) = at(&container, &["resources", of]).and_then(Json::as_object).cloned() else { continue };
        remove(&mut container, &["resources", of]);
        for (name, amount) in amounts.iter().filter(|(name, _)| !RESIZABLE.contains(&name.as_str())) {
            let amount = quantity(amount).map_or_else(|| amount.clone(), |amount| amount.milli().into());
            holdfast_core::json::set(&mut container, &["resources", of, name], amount);
        }
    }
    container
}
