//! Ephemeral containers: added to a pod that runs, and never changed or taken away again
//! (<https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/>).

use super::super::rules::{is_unset, text};
use holdfast_core::json::{at, items_at, remove, set};
use holdfast_core::{FieldErrors, FieldPath, Json};

const UNSET: &str = "cannot be set for an Ephemeral Container";
/// What needs a scheduler, a restart or somebody who calls: an ephemeral container has none of them.
const FORBIDDEN: &[&str] = &[
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "resizePolicy",
    "resources",
    "restartPolicy",
    "restartPolicyRules",
    "startupProbe",
];
const LIST: &[&str] = &["spec", "ephemeralContainers"];

/// Problems that only a container of this sort has; `spec` is the pod's.
pub(crate) fn validate(container: &Json, spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for field in FORBIDDEN.iter().filter(|field| container.get(**field).is_some_and(|value| !is_unset(value))) {
        errors.forbidden(&path.child(field), UNSET);
    }
    for (index, mount) in items_at(container, &["volumeMounts"]).iter().enumerate() {
        let path = path.child("volumeMounts").index(index);
        for field in ["subPath", "subPathExpr"] {
            if !text(mount, field).is_empty() {
                errors.forbidden(&path.child(field), UNSET);
            }
        }
    }
    let target = text(container, "targetContainerName");
    let mut others = ["containers", "initContainers"].into_iter().flat_map(|list| items_at(spec, &[list]));
    if !target.is_empty() && !others.any(|other| text(other, "name") == target) {
        errors.not_found(&path.child("targetContainerName"), target);
    }
}

/// A new pod has none.
pub(crate) fn validate_new(doc: &Json, errors: &mut FieldErrors) {
    if !items_at(doc, LIST).is_empty() {
        errors.forbidden(&FieldPath::new("spec.ephemeralContainers"), "cannot be set on create");
    }
}

/// Takes the list of a write, and the rest from what the pod is.
pub(crate) fn prepare(doc: &mut Json, old: &Json) {
    let containers = at(doc, LIST).cloned();
    *doc = old.clone();
    match containers {
        Some(containers) => set(doc, LIST, containers),
        None => {
            remove(doc, LIST);
        }
    }
}

/// Problems of a change of the list.
pub(crate) fn validate_change(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec.ephemeralContainers");
    for before in items_at(old, LIST) {
        let name = text(before, "name");
        match items_at(doc, LIST).iter().find(|now| text(now, "name") == name) {
            None => errors.forbidden(&path, format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(now) if now != before => {
                errors.forbidden(&path, format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}
