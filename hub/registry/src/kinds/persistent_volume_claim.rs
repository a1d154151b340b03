//! core/v1 PersistentVolumeClaim, and the claims of StatefulSets.

use super::pod::resources::quantity;
use super::resource_names::{amount, capacity, positive};
use super::rules::{access_modes, default_text, text};
use super::selectors;
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;

/// core/v1 PersistentVolumeClaim.
pub(crate) struct PersistentVolumeClaim;

/// The annotation that named the class before there was a field.
pub(crate) const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

const RESIZE_STATES: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizePending",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
];

/// Defaults of a claim, on its own or in a StatefulSet.
pub(crate) fn default_claim(doc: &mut Json) {
    default_text(doc, &["status", "phase"], "Pending");
    if at(doc, &["spec"]).is_some() {
        default(doc, &["spec", "volumeMode"], "Filesystem");
    }
}

/// `dataSource` and `dataSourceRef` say the same, and either may be given.
fn join_sources(doc: &mut Json) {
    let source = at(doc, &["spec", "dataSource"]).cloned();
    let reference = at(doc, &["spec", "dataSourceRef"]).cloned();
    match (source, reference) {
        (Some(source), None) => set(doc, &["spec", "dataSourceRef"], source),
        (None, Some(reference)) if text(&reference, "namespace").is_empty() => {
            let mut source = reference;
            remove(&mut source, &["namespace"]);
            set(doc, &["spec", "dataSource"], source);
        }
        _ => {}
    }
}

/// Only claims and snapshots were ever taken by the older field; anything else in it is dropped silently.
fn drop_unknown_source(doc: &mut Json) {
    if at(doc, &["spec", "dataSourceRef"]).is_some() {
        return;
    }
    let source = at(doc, &["spec", "dataSource"]).unwrap_or(&Json::Null);
    let known = match text(source, "apiGroup") {
        "" => text(source, "kind") == "PersistentVolumeClaim",
        "snapshot.storage.k8s.io" => text(source, "kind") == "VolumeSnapshot",
        _ => false,
    };
    if !known {
        remove(doc, &["spec", "dataSource"]);
    }
}

impl Strategy for PersistentVolumeClaim {
    fn default(&self, doc: &mut Json) {
        default_claim(doc);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({ "phase": "Pending" }));
        drop_unknown_source(doc);
        join_sources(doc);
    }

    fn prepare_for_update(&self, doc: &mut Json, old: &Json) {
        if at(old, &["spec", "dataSource"]).is_none() && at(old, &["spec", "dataSourceRef"]).is_none() {
            drop_unknown_source(doc);
        }
        join_sources(doc);
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        validate_spec(doc.get("spec").unwrap_or(&Json::Null), &FieldPath::new("spec"), errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        if fixed(doc, old, old) != fixed(old, old, doc) {
            errors.forbidden(
                &FieldPath::new("spec"),
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound \
                 claims",
            );
        }
        let size = |doc: &Json, path: &[&str]| at(doc, path).and_then(quantity).map_or(0, |size| size.milli());
        let storage = ["spec", "resources", "requests", "storage"];
        if size(doc, &storage) < size(old, &storage)
            && size(doc, &storage) <= size(old, &["status", "capacity", "storage"])
        {
            errors.forbidden(
                &FieldPath::new("spec.resources.requests.storage"),
                "field can not be less than status.capacity",
            );
        }
        if at(doc, &["spec", "volumeMode"]) != at(old, &["spec", "volumeMode"]) {
            let mode = at(doc, &["spec", "volumeMode"]).cloned().unwrap_or_default();
            errors.invalid(&FieldPath::new("volumeMode"), mode, "field is immutable");
        }
        let annotation = |doc: &Json| str_at(doc, &["metadata", "annotations", OLD_CLASS]).map(str::to_string);
        if annotation(doc) != annotation(old) && !class_from_annotation(doc, old) {
            let path = FieldPath::new("metadata").child("annotations").child(OLD_CLASS);
            errors.invalid(&path, annotation(doc).unwrap_or_default(), "field is immutable");
        }
        attributes_class(doc, old, errors);
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("status");
        let map = |field: &str| at(doc, &["status", field]).and_then(Json::as_object);
        for (name, size) in map("capacity").into_iter().flatten() {
            capacity(size, &path.child("capacity").key(name), errors);
        }
        let states = path.child("allocatedResourceStatuses");
        for (name, state) in map("allocatedResourceStatuses").into_iter().flatten() {
            resource_key(name, &states, errors);
            if !RESIZE_STATES.contains(&state.as_str().unwrap_or_default()) {
                let mut known = RESIZE_STATES.to_vec();
                known.sort_unstable();
                errors.not_supported(&states, name.as_str(), &known);
            }
        }
        let allocated = path.child("allocatedResources");
        for (name, size) in map("allocatedResources").into_iter().flatten() {
            let before = errors.0.len();
            resource_key(name, &allocated, errors);
            if errors.0.len() == before {
                capacity(size, &allocated.key(name), errors);
            }
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = Vec::new();
        if at(doc, &["metadata", "annotations", OLD_CLASS]).is_some() {
            warnings.push(format!(
                "metadata.annotations[{OLD_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
            ));
        }
        warnings.extend(spec_warnings(doc.get("spec").unwrap_or(&Json::Null), "spec"));
        warnings
    }
}

/// The spec without what an update of `doc` may change; `other` is the version on the other side.
fn fixed(doc: &Json, old: &Json, other: &Json) -> Json {
    let mut spec = doc.get("spec").cloned().unwrap_or_default();
    // A claim without a volume may get one.
    if at(old, &["spec", "volumeName"]).and_then(Json::as_str).is_none_or(str::is_empty) {
        remove(&mut spec, &["volumeName"]);
    }
    if str_at(old, &["status", "phase"]) == Some("Bound") {
        remove(&mut spec, &["volumeAttributesClassName"]);
        remove(&mut spec, &["resources", "requests", "storage"]);
    }
    let (new_doc, old_doc) = if std::ptr::eq(doc, old) { (other, old) } else { (doc, old) };
    if class_from_annotation(new_doc, old_doc) || class_from_nothing(new_doc, old_doc) {
        remove(&mut spec, &["storageClassName"]);
    }
    spec
}

/// The field takes over from the annotation.
fn class_from_annotation(doc: &Json, old: &Json) -> bool {
    let annotation = |doc: &Json| str_at(doc, &["metadata", "annotations", OLD_CLASS]).map(str::to_string);
    let Some(class) = annotation(old) else { return false };
    at(old, &["spec", "storageClassName"]).is_none()
        && str_at(doc, &["spec", "storageClassName"]) == Some(&class)
        && annotation(doc).is_none_or(|now| now == class)
}

/// A claim that had no class gets one, such as the default that came later.
fn class_from_nothing(doc: &Json, old: &Json) -> bool {
    let Some(class) = str_at(doc, &["spec", "storageClassName"]) else { return false };
    at(old, &["spec", "storageClassName"]).is_none()
        && str_at(old, &["metadata", "annotations", OLD_CLASS]).is_none_or(|annotation| annotation == class)
}

fn attributes_class(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let class = |doc: &Json| at(doc, &["spec", "volumeAttributesClassName"]).cloned();
    if class(doc) == class(old) || at(old, &["status", "currentVolumeAttributesClassName"]).is_none() {
        return;
    }
    let to = match class(doc) {
        None => "nil",
        Some(name) if name == "" => "empty string",
        Some(_) => return,
    };
    errors.forbidden(
        &FieldPath::new("spec.volumeAttributesClassName"),
        format!("update to {to} is forbidden when status.currentVolumeAttributesClassName is not nil"),
    );
}

fn resource_key(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let problems = names::qualified_name(name);
    if !problems.is_empty() {
        errors.all_invalid(path, name, problems);
    } else if super::resource_names::is_native(name) && name != "storage" {
        errors.not_supported(path, name, &["storage"]);
    }
}

/// Problems of the spec of a claim.
pub(crate) fn validate_spec(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    access_modes(spec, "at least 1 access mode is required", path, errors);
    if let Some(selector) = spec.get("selector") {
        selectors::validate(selector, &path.child("selector"), errors);
    }
    let storage = path.child("resources").key("storage");
    match at(spec, &["resources", "requests", "storage"]) {
        None => errors.required(&storage, ""),
        Some(size) => {
            let before = errors.0.len();
            positive(size, &storage, errors);
            if errors.0.len() == before {
                amount("storage", size, &storage, errors);
            }
        }
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let class = text(spec, field);
        if !class.is_empty() {
            errors.all_invalid(&path.child(field), class, names::dns_subdomain(class));
        }
    }
    if let Some(mode) = spec.get("volumeMode").and_then(Json::as_str)
        && !matches!(mode, "Block" | "Filesystem")
    {
        errors.not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]);
    }
    let (source, reference) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    for (field, of) in [("dataSource", source), ("dataSourceRef", reference)] {
        if let Some(of) = of {
            data_source(of, &path.child(field), errors);
        }
    }
    if let (Some(source), Some(reference)) = (source, reference) {
        let shown = path.child("dataSource").to_string();
        if !text(reference, "namespace").is_empty() {
            errors.invalid(path, shown, "may not be specified when dataSourceRef.namespace is specified");
        } else if ["apiGroup", "kind", "name"].iter().any(|field| text(source, field) != text(reference, field)) {
            errors.invalid(path, shown, "must match dataSourceRef");
        }
    }
}

fn data_source(source: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for field in ["name", "kind"] {
        if text(source, field).is_empty() {
            errors.required(&path.child(field), "");
        }
    }
    let (group, kind, namespace) = (text(source, "apiGroup"), text(source, "kind"), text(source, "namespace"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        errors.invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup");
    }
    if !group.is_empty() {
        errors.all_invalid(&path.child("apiGroup"), group, names::dns_subdomain(group));
    }
    if !namespace.is_empty() {
        errors.all_invalid(&path.child("namespace"), namespace, names::dns_label(namespace));
    }
}

/// Warnings of the spec of a claim.
pub(crate) fn spec_warnings(spec: &Json, path: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    for kind in ["requests", "limits"] {
        let size = at(spec, &["resources", kind, "storage"]).and_then(quantity);
        if let Some(size) = size.filter(|size| size.milli() % 1000 != 0) {
            let value = size.to_string();
            warnings.push(format!(
                "{path}.resources.{kind}[storage]: fractional byte value {value:?} is invalid, must be an integer"
            ));
        }
    }
    warnings
}
