//! Volumes of a pod and their mounts.

use super::env::{VOLUME_FIELDS, field_ref, resource_ref};
use super::projected;
use super::resources::quantity;
use crate::kinds::persistent_volume_claim;
use crate::kinds::rules::{one_of, text};
use holdfast_core::json::{at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use std::collections::BTreeSet;

/// Names of the volumes that a spec has.
pub(crate) fn names_of(spec: &Json) -> BTreeSet<&str> {
    items_at(spec, &["volumes"]).iter().map(|volume| text(volume, "name")).collect()
}

/// Problems of `volumes`.
pub(crate) fn validate(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, volume) in items_at(spec, &["volumes"]).iter().enumerate() {
        let path = path.child("volumes").index(index);
        let name = text(volume, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.all_invalid(&path.child("name"), name, names::dns_label(name));
            if !seen.insert(name) {
                errors.duplicate(&path.child("name"), name);
            }
        }
        let sources: Vec<&String> =
            volume.as_object().map(|map| map.keys().filter(|key| *key != "name").collect()).unwrap_or_default();
        if sources.is_empty() {
            errors.required(&path, "must specify a volume type");
        }
        for extra in sources.iter().skip(1) {
            errors.forbidden(&path.child(extra), "may not specify more than 1 volume type");
        }
        if let Some(kind) = sources.first() {
            source(kind, &volume[kind.as_str()], &path.child(kind), errors);
        }
    }
}

fn source(kind: &str, doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let required = |field: &str, errors: &mut FieldErrors| {
        if text(doc, field).is_empty() {
            errors.required(&path.child(field), "");
        }
    };
    match kind {
        "emptyDir" if doc.get("sizeLimit").and_then(quantity).is_some_and(holdfast_core::Quantity::is_negative) => {
            errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
        }
        "hostPath" => host_path(doc, path, errors),
        "secret" => {
            required("secretName", errors);
            modes_and_items(doc, path, errors);
        }
        "configMap" => {
            required("name", errors);
            modes_and_items(doc, path, errors);
        }
        "downwardAPI" => {
            mode(doc, "defaultMode", path, errors);
            downward(doc, path, errors);
        }
        "projected" => projected::validate(doc, path, errors),
        "persistentVolumeClaim" => required("claimName", errors),
        "nfs" => {
            required("server", errors);
            required("path", errors);
        }
        "csi" => required("driver", errors),
        "image" => {
            required("reference", errors);
            one_of(doc, "pullPolicy", &["Always", "IfNotPresent", "Never"], false, path, errors);
        }
        "ephemeral" => match doc.get("volumeClaimTemplate") {
            None => errors.required(&path.child("volumeClaimTemplate"), ""),
            Some(template) => {
                let path = path.child("volumeClaimTemplate").child("spec");
                persistent_volume_claim::validate_spec(template.get("spec").unwrap_or(&Json::Null), &path, errors);
            }
        },
        _ => {}
    }
}

/// Problems of a path of the node.
pub(crate) fn host_path(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const KINDS: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if text(doc, "path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    path_without_backsteps(text(doc, "path"), &path.child("path"), errors);
    let kind = text(doc, "type");
    if !KINDS.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, KINDS);
    }
}

pub(super) fn mode(doc: &Json, field: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(mode) = doc.get(field).and_then(Json::as_i64).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(&path.child(field), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

pub(super) fn modes_and_items(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    mode(doc, "defaultMode", path, errors);
    for (index, item) in items_at(doc, &["items"]).iter().enumerate() {
        let path = path.child("items").index(index);
        if text(item, "key").is_empty() {
            errors.required(&path.child("key"), "");
        }
        relative_path(text(item, "path"), &path.child("path"), errors);
        mode(item, "mode", &path, errors);
    }
}

pub(super) fn downward(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for (index, item) in items_at(doc, &["items"]).iter().enumerate() {
        let path = path.child("items").index(index);
        relative_path(text(item, "path"), &path.child("path"), errors);
        match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(_), Some(_)) => {
                errors.invalid(&path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
            (Some(field), None) => field_ref(field, VOLUME_FIELDS, &path.child("fieldRef"), errors),
            (None, Some(resource)) => resource_ref(resource, true, &path.child("resourceFieldRef"), errors),
            (None, None) => errors.required(&path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", &path, errors);
    }
}

/// Tells of a path that leads upwards.
pub(crate) fn path_without_backsteps(target: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if target.split('/').any(|part| part == "..") {
        errors.invalid(path, target, "must not contain '..'");
    }
}

pub(super) fn relative_path(target: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if target.is_empty() {
        errors.required(path, "");
        return;
    }
    if target.starts_with('/') {
        errors.invalid(path, target, "must be a relative path");
    }
    path_without_backsteps(target, path, errors);
    if target.starts_with("..") && !target.starts_with("../") && target != ".." {
        errors.invalid(path, target, "must not start with '..'");
    }
}

/// Problems of a container's mounts.
pub(crate) fn mounts(container: &Json, volumes: &BTreeSet<&str>, path: &FieldPath, errors: &mut FieldErrors) {
    let mut points = BTreeSet::new();
    for (index, mount) in items_at(container, &["volumeMounts"]).iter().enumerate() {
        let path = path.child("volumeMounts").index(index);
        let (name, point) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !volumes.contains(name) {
            errors.not_found(&path.child("name"), name);
        }
        if point.is_empty() {
            errors.required(&path.child("mountPath"), "");
        } else if !points.insert(point) {
            errors.invalid(&path.child("mountPath"), point, "must be unique");
        }
        let (sub, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        for (field, value) in [("subPath", sub), ("subPathExpr", expression)] {
            if value.starts_with('/') {
                errors.invalid(&path.child(field), value, "must be a relative path");
            }
            path_without_backsteps(value, &path.child(field), errors);
        }
        if !sub.is_empty() && !expression.is_empty() {
            errors.invalid(&path.child("subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        if let Some(propagation) = at(mount, &["mountPropagation"]).and_then(Json::as_str) {
            let kinds = ["Bidirectional", "HostToContainer", "None"];
            if !kinds.contains(&propagation) {
                errors.not_supported(&path.child("mountPropagation"), propagation, &kinds);
            }
            let privileged = at(container, &["securityContext", "privileged"]) == Some(&Json::Bool(true));
            if propagation == "Bidirectional" && !privileged {
                errors.forbidden(
                    &path.child("mountPropagation"),
                    "Bidirectional mount propagation is available only to privileged containers",
                );
            }
        }
    }
}
