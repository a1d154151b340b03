//! `metadata`: what the server sets, what a client may change, what it may contain.
//! (`k8s.io/apimachinery/pkg/api/validation/objectmeta.go` is the reference for texts.)

use crate::limits::ANNOTATIONS_BYTES;
use crate::strategy::Strategy;
use holdfast_core::json::{at, copy, items_at, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, Timestamp, names};
use holdfast_kinds::Kind;
use holdfast_server::RequestContext;
use std::collections::BTreeSet;

/// Fields that only the server writes; a client's values are dropped from a new object.
pub(crate) fn clear_for_create(doc: &mut Json) {
    for field in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"] {
        remove(doc, &["metadata", field]);
    }
}

/// Identity of a new object.
pub(crate) fn stamp(doc: &mut Json, uid: String, now: Timestamp) {
    set(doc, &["metadata", "uid"], uid);
    set(doc, &["metadata", "creationTimestamp"], now.to_string());
}

/// Restores the server's fields where an update left them out, or may not change them.
pub(crate) fn restore_for_update(doc: &mut Json, old: &Json) {
    remove(doc, &["metadata", "selfLink"]);
    for field in ["uid", "creationTimestamp", "deletionGracePeriodSeconds"] {
        if str_at(doc, &["metadata", field]).is_none_or(str::is_empty)
            && at(doc, &["metadata", field]).is_none_or(|v| v.is_null() || v.is_string())
        {
            copy(old, doc, &["metadata", field]);
        }
    }
    // An object can never be un-deleted.
    if at(old, &["metadata", "deletionTimestamp"]).is_some() {
        copy(old, doc, &["metadata", "deletionTimestamp"]);
    }
    copy(old, doc, &["metadata", "generation"]);
    // `generateName` tells how the name came to be; Go keeps it as sent, and so clients send it back.
}

/// Drops owners that stand several times, and says so; `after` admission has mutated the document.
pub(crate) fn drop_doubled_owners(cx: &RequestContext, doc: &mut Json, after: bool) {
    let Some(Json::Array(owners)) = holdfast_core::json::at_mut(doc, &["metadata", "ownerReferences"]) else { return };
    let (mut kept, mut doubled): (Vec<Json>, Vec<String>) = (Vec::new(), Vec::new());
    // Most objects have one owner; the number of the others is bounded by the size of a request alone.
    let mut seen = BTreeSet::new();
    for owner in std::mem::take(owners) {
        if seen.insert(owner.to_string()) {
            kept.push(owner);
        } else {
            doubled.push(str_at(&owner, &["uid"]).unwrap_or_default().to_string());
        }
    }
    *owners = kept;
    if !doubled.is_empty() {
        let when = if after { " after mutating admission happens" } else { "" };
        cx.warn(format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            doubled.join(", ")
        ));
    }
}

/// Problems of `metadata` of a new object.
pub(crate) fn validate(kind: &Kind, strategy: &dyn Strategy, doc: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("metadata");
    let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
    if let Some(generate) = str_at(doc, &["metadata", "generateName"]).filter(|text| !text.is_empty()) {
        // A prefix may end in a dash: judge it with a letter behind.
        let probe = format!("{}x", generate.trim_end_matches('-'));
        errors.all_invalid(&path.child("generateName"), generate, strategy.name_problems(&probe));
    }
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        errors.all_invalid(&path.child("name"), name, strategy.name_problems(name));
    }
    let namespace = str_at(doc, &["metadata", "namespace"]).unwrap_or_default();
    if kind.namespaced {
        if namespace.is_empty() {
            errors.required(&path.child("namespace"), "");
        } else {
            errors.all_invalid(&path.child("namespace"), namespace, names::dns_label(namespace));
        }
    } else if !namespace.is_empty() {
        errors.forbidden(&path.child("namespace"), "not allowed on this type");
    }
    validate_common(doc, errors);
}

/// Problems that a create and an update share.
fn validate_common(doc: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("metadata");
    labels(at(doc, &["metadata", "labels"]), &path.child("labels"), errors);
    annotations(at(doc, &["metadata", "annotations"]), &path.child("annotations"), errors);
    owners(doc, &path.child("ownerReferences"), errors);
    let finalizers = items_at(doc, &["metadata", "finalizers"]);
    for finalizer in finalizers.iter().filter_map(Json::as_str) {
        errors.all_invalid(&path.child("finalizers"), finalizer, names::qualified_name(finalizer));
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer.as_str() == Some(name));
    if has("orphan") && has("foregroundDeletion") {
        errors.invalid(
            &path.child("finalizers"),
            Json::Array(finalizers.to_vec()),
            "finalizer orphan and finalizer foregroundDeletion cannot be both set",
        );
    }
}

/// Problems of a map of labels.
pub(crate) fn labels(map: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(map) = map.and_then(Json::as_object) else { return };
    for (key, value) in map {
        errors.all_invalid(path, key, names::qualified_name(key));
        let value = value.as_str().unwrap_or_default();
        errors.all_invalid(path, value, names::label_value(value));
    }
}

/// Problems of a map of annotations.
pub(crate) fn annotations(map: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(map) = map.and_then(Json::as_object) else { return };
    let mut total = 0;
    for (key, value) in map {
        errors.all_invalid(path, key, names::qualified_name(&key.to_lowercase()));
        total += key.len() + value.as_str().map_or(0, str::len);
    }
    if total > ANNOTATIONS_BYTES {
        errors.too_long(path, ANNOTATIONS_BYTES);
    }
}

fn owners(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let mut controller: Option<String> = None;
    for (index, owner) in items_at(doc, &["metadata", "ownerReferences"]).iter().enumerate() {
        let path = path.index(index);
        let text = |field: &str| str_at(owner, &[field]).unwrap_or_default();
        let api_version = text("apiVersion");
        if api_version.is_empty() || api_version.matches('/').count() > 1 {
            errors.invalid(&path.child("apiVersion"), api_version, "version must not be empty");
        }
        for field in ["kind", "name", "uid"] {
            if text(field).is_empty() {
                errors.invalid(&path.child(field), "", "must not be empty");
            }
        }
        if api_version == "v1" && text("kind") == "Event" {
            errors.invalid(&path, owner.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.get("controller").and_then(Json::as_bool) == Some(true) {
            match &controller {
                None => controller = Some(text("name").to_string()),
                Some(first) => errors.invalid(
                    &path,
                    owner.clone(),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {}",
                        text("name")
                    ),
                ),
            }
        }
    }
}

/// Problems of a change of `metadata`.
pub(crate) fn validate_update(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("metadata");
    validate_common(doc, errors);
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        immutable(doc, old, &["metadata", field], &path.child(field), errors);
    }
    if at(old, &["metadata", "deletionTimestamp"]).is_some() {
        let before = items_at(old, &["metadata", "finalizers"]);
        let added: Vec<&str> = items_at(doc, &["metadata", "finalizers"])
            .iter()
            .filter(|finalizer| !before.contains(finalizer))
            .filter_map(Json::as_str)
            .collect();
        if !added.is_empty() {
            let shown: Vec<String> = added.iter().map(|name| format!("{name:?}")).collect();
            let text = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                shown.join(", ")
            );
            errors.forbidden(&path.child("finalizers"), text);
        }
    }
}

/// `path: Invalid value: …: field is immutable` when the field changed.
pub(crate) fn immutable(doc: &Json, old: &Json, field: &[&str], path: &FieldPath, errors: &mut FieldErrors) {
    let (new_value, old_value) = (at(doc, field), at(old, field));
    if new_value != old_value {
        errors.invalid(path, new_value.cloned().unwrap_or(Json::Null), "field is immutable");
    }
}
