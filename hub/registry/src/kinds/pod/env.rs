//! Environment of a container.

use crate::kinds::rules::text;
use holdfast_core::json::{at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// Fields that an environment variable may take.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields that a downward API volume may show.
pub(crate) const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Problems of `env` and `envFrom`.
pub(crate) fn validate(container: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for (index, variable) in items_at(container, &["env"]).iter().enumerate() {
        let path = path.child("env").index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.all_invalid(&path.child("name"), name, names::env_var_name(name));
        }
        if let Some(from) = at(variable, &["valueFrom"]) {
            value_from(variable, from, &path.child("valueFrom"), errors);
        }
    }
    for (index, source) in items_at(container, &["envFrom"]).iter().enumerate() {
        let path = path.child("envFrom").index(index);
        let prefix = text(source, "prefix");
        if !prefix.is_empty() {
            errors.all_invalid(&path.child("prefix"), prefix, names::env_var_name(prefix));
        }
        let given: Vec<&str> =
            ["configMapRef", "secretRef"].into_iter().filter(|field| source.get(*field).is_some()).collect();
        match given[..] {
            [] => errors.invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`"),
            [field] => object_name(source, field, &path.child(field), errors),
            _ => errors.invalid(&path, "", "may not have more than one field specified at a time"),
        }
    }
}

fn object_name(doc: &Json, field: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let name = doc.get(field).map(|reference| text(reference, "name")).unwrap_or_default();
    if name.is_empty() {
        errors.required(&path.child("name"), "");
    } else {
        errors.all_invalid(&path.child("name"), name, names::dns_subdomain(name));
    }
}

fn value_from(variable: &Json, from: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let given: Vec<&str> = sources.into_iter().filter(|field| from.get(*field).is_some()).collect();
    if given.is_empty() {
        errors.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
        return;
    }
    if !text(variable, "value").is_empty() {
        errors.invalid(path, "", "may not be specified when `value` is not empty");
    }
    if given.len() > 1 {
        errors.invalid(path, "", "may not have more than one field specified at a time");
    }
    if let Some(field) = from.get("fieldRef") {
        field_ref(field, ENV_FIELDS, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = from.get("resourceFieldRef") {
        resource_ref(resource, false, &path.child("resourceFieldRef"), errors);
    }
    for field in ["configMapKeyRef", "secretKeyRef"] {
        let Some(reference) = from.get(field) else { continue };
        let path = path.child(field);
        if text(reference, "name").is_empty() {
            errors.required(&path.child("name"), "");
        }
        let key = text(reference, "key");
        if key.is_empty() {
            errors.required(&path.child("key"), "");
        } else {
            errors.all_invalid(&path.child("key"), key, names::config_key(key));
        }
    }
}

/// Problems of an `ObjectFieldSelector`.
pub(crate) fn field_ref(field: &Json, allowed: &[&str], path: &FieldPath, errors: &mut FieldErrors) {
    let field_path = text(field, "fieldPath");
    if field_path.is_empty() {
        errors.required(&path.child("fieldPath"), "");
        return;
    }
    if text(field, "apiVersion").is_empty() {
        errors.required(&path.child("apiVersion"), "");
    }
    let subscript = |root: &str| field_path.strip_prefix(root).and_then(|rest| rest.strip_prefix("['")).is_some();
    if subscript("metadata.labels") || subscript("metadata.annotations") {
        if !field_path.ends_with("']") {
            errors.invalid(&path.child("fieldPath"), field_path, "error converting fieldPath: invalid subscript");
        }
    } else if !allowed.contains(&field_path) {
        errors.not_supported(&path.child("fieldPath"), field_path, allowed);
    }
}

/// Problems of a `ResourceFieldSelector`.
pub(crate) fn resource_ref(reference: &Json, volume: bool, path: &FieldPath, errors: &mut FieldErrors) {
    let resource = text(reference, "resource");
    if volume && text(reference, "containerName").is_empty() {
        errors.required(&path.child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(&path.child("resource"), "");
    } else if !RESOURCES.contains(&resource) && !resource.contains(".hugepages-") {
        errors.not_supported(&path.child("resource"), resource, RESOURCES);
    }
}
