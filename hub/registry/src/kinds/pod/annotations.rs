//! Annotations that mean something to Kubernetes.

use super::windows::containers;
use crate::admission::service_account::MIRROR;
use crate::kinds::pod::volumes::descending_path;
use crate::kinds::rules::text;
use crate::kinds::tolerations;
use holdfast_core::json::{at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Profiles of seccomp and AppArmor before they were fields.
pub(super) const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
pub(super) const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const LOCAL: &str = "localhost/";

fn each(metadata: &Json) -> impl Iterator<Item = (&String, &str)> {
    let all = metadata.get("annotations").and_then(Json::as_object).into_iter().flatten();
    all.filter_map(|(key, value)| Some((key, value.as_str()?)))
}

/// Problems of the annotations of a pod or a template with this spec; `path` is that of the annotations.
pub(crate) fn validate(metadata: &Json, spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let given = |key: &str| str_at(metadata, &["annotations", key]);
    if let Some(value) = given(MIRROR)
        && text(spec, "nodeName").is_empty()
    {
        errors.invalid(&path.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    if let Some(text) = given(TOLERATIONS).filter(|text| !text.is_empty()) {
        match serde_json::from_str::<Vec<Json>>(text) {
            Ok(all) => tolerations::validate(&all, &path.child(TOLERATIONS), errors),
            Err(error) => errors.invalid(path, TOLERATIONS, error.to_string()),
        }
    }
    // A number that Go reads back as itself.
    let is_cost = |text: &str| text.parse::<i32>().is_ok() && !text.starts_with('+');
    if let Some(cost) = given(DELETION_COST).filter(|cost| !is_cost(cost)) {
        errors.invalid(&path.key(DELETION_COST), cost, "must be a 32bit integer");
    }
    for (key, profile) in each(metadata).filter(|(key, _)| *key == SECCOMP_OF_POD || key.starts_with(SECCOMP)) {
        let path = path.child(key);
        match profile {
            "runtime/default" | "docker/default" | "unconfined" => {}
            profile => match profile.strip_prefix(LOCAL) {
                Some(file) => descending_path(file, &path, errors),
                None => errors.invalid(&path, profile, "must be a valid seccomp profile"),
            },
        }
    }
    for (key, profile) in each(metadata) {
        let Some(name) = key.strip_prefix(APPARMOR) else { continue };
        if !containers(spec, path).iter().any(|(container, _)| text(container, "name") == name) {
            errors.invalid(&path.key(key), name, "container not found");
        }
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with(LOCAL) {
            errors.invalid(&path.key(key), profile, format!("invalid AppArmor profile name: {profile:?}"));
        }
    }
}

/// Problems of annotations beside fields that say something else; `path` is the spec's.
pub(crate) fn validate_beside_fields(metadata: &Json, spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let given = |key: &str| str_at(metadata, &["annotations", key]);
    let seccomp = |of: &'_ Json| at(of, &["securityContext", "seccompProfile"]).cloned();
    if let (Some(field), Some(annotation)) = (seccomp(spec), given(SECCOMP_OF_POD)) {
        let path = path.child("securityContext").child("seccompProfile");
        same("seccomp", &field, annotation, &path, errors);
    }
    for (container, path) in containers(spec, path) {
        let key = format!("{SECCOMP}{}", text(container, "name"));
        if let (Some(field), Some(annotation)) = (seccomp(container), given(&key)) {
            let path = path.child("securityContext").child("seccompProfile");
            same("seccomp", &field, annotation, &path, errors);
        }
    }
    if str_at(spec, &["os", "name"]) == Some("windows") {
        return;
    }
    let of_pod = at(spec, &["securityContext", "appArmorProfile"]);
    for (container, path) in containers(spec, path) {
        let key = format!("{APPARMOR}{}", text(container, "name"));
        let field = at(container, &["securityContext", "appArmorProfile"]).or(of_pod);
        if let (Some(field), Some(annotation)) = (field, given(&key)) {
            same("apparmor", field, annotation, &path.child("securityContext").child("appArmorProfile"), errors);
        }
    }
}

fn same(what: &str, field: &Json, annotation: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let local = annotation.strip_prefix(LOCAL);
    let is_type = match text(field, "type") {
        "Unconfined" => annotation == "unconfined",
        "RuntimeDefault" => annotation == "runtime/default" || what == "seccomp" && annotation == "docker/default",
        "Localhost" => local.is_some(),
        _ => true,
    };
    if !is_type {
        errors.forbidden(&path.child("type"), format!("{what} type in annotation and field must match"));
    } else if text(field, "type") == "Localhost" && local != field.get("localhostProfile").and_then(Json::as_str) {
        errors.forbidden(&path.child("localhostProfile"), format!("{what} profile in annotation and field must match"));
    }
}

/// Problems of changed annotations.
pub(super) fn validate_update(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("metadata").child("annotations");
    let metadata = |doc: &Json| doc.get("metadata").cloned().unwrap_or_default();
    let (now, before) = (metadata(doc), metadata(old));
    let of = |all: &Json, key: &str| str_at(all, &["annotations", key]).map(str::to_owned);
    for (key, _) in each(&before).filter(|(key, value)| of(&now, key).as_deref() != Some(value)) {
        if key.starts_with(APPARMOR) {
            errors.forbidden(&path.key(key), "may not remove or update AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not remove or update mirror pod annotation");
        }
    }
    for (key, _) in each(&now).filter(|(key, _)| of(&before, key).is_none()) {
        if key.starts_with(APPARMOR) {
            errors.forbidden(&path.key(key), "may not add AppArmor annotations");
        }
        if key == MIRROR {
            errors.forbidden(&path.key(key), "may not add mirror pod annotation");
        }
    }
}
