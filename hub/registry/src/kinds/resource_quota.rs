//! core/v1 ResourceQuota.

use super::resource_names::{amount, quota_name};
use super::rules::text;
use crate::strategy::Strategy;
use holdfast_core::json::{at, items_at, set};
use holdfast_core::{FieldErrors, FieldPath, Json};
use serde_json::json;
use std::collections::BTreeSet;

/// core/v1 ResourceQuota.
pub(crate) struct ResourceQuota;

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
];

/// Scopes of which one excludes the other.
const OPPOSITES: &[[&str; 2]] = &[["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

const COMPUTE: &[&str] = &["cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

/// Whether a scope says something of a resource.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        _ if SCOPES.contains(&scope) => resource == "pods" || COMPUTE.contains(&resource),
        _ => true,
    }
}

impl Strategy for ResourceQuota {
    fn has_status(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({}));
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        amounts(spec.get("hard"), &path.child("hard"), errors);
        let mut bounded: Vec<&str> = spec
            .get("hard")
            .and_then(Json::as_object)
            .into_iter()
            .flat_map(|hard| hard.keys().map(String::as_str))
            .filter(|name| super::resource_names::is_quota_name(name))
            .collect();
        bounded.sort_unstable();
        let scopes: Vec<&str> = items_at(spec, &["scopes"]).iter().filter_map(Json::as_str).collect();
        let at_scopes = path.child("scopes");
        let shown = || spec.get("scopes").cloned().unwrap_or_default();
        for scope in &scopes {
            if !SCOPES.contains(scope) {
                errors.invalid(&at_scopes, shown(), "unsupported scope");
            }
            for _ in bounded.iter().filter(|resource| !fits(scope, resource)) {
                errors.invalid(&at_scopes, shown(), "unsupported scope applied to resource");
            }
        }
        opposites(&scopes, &at_scopes, &shown(), errors);
        selector(spec, &bounded, &path.child("scopeSelector").child("matchExpressions"), errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let scopes = |doc: &Json| -> BTreeSet<String> {
            items_at(doc, &["spec", "scopes"]).iter().filter_map(Json::as_str).map(str::to_string).collect()
        };
        if scopes(doc) != scopes(old) {
            let shown = at(doc, &["spec", "scopes"]).cloned().unwrap_or_default();
            errors.invalid(&FieldPath::new("spec.scopes"), shown, "field is immutable");
        }
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        for field in ["hard", "used"] {
            amounts(at(doc, &["status", field]), &FieldPath::new("status").child(field), errors);
        }
    }
}

fn amounts(map: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    for (name, value) in map.and_then(Json::as_object).into_iter().flatten() {
        quota_name(name, &path.key(name), errors);
        amount(name, value, &path.key(name), errors);
    }
}

fn opposites(scopes: &[&str], path: &FieldPath, shown: &Json, errors: &mut FieldErrors) {
    for pair in OPPOSITES {
        if pair.iter().all(|scope| scopes.contains(scope)) {
            errors.invalid(path, shown.clone(), "conflicting scopes");
        }
    }
}

fn selector(spec: &Json, bounded: &[&str], path: &FieldPath, errors: &mut FieldErrors) {
    let Some(selector) = spec.get("scopeSelector") else { return };
    let mut scopes = Vec::new();
    // Upstream's paths name no element of the list.
    for term in items_at(selector, &["matchExpressions"]) {
        let (scope, operator) = (text(term, "scopeName"), text(term, "operator"));
        let values = items_at(term, &["values"]);
        if !SCOPES.contains(&scope) {
            errors.invalid(&path.child("scopeName"), scope, "unsupported scope");
        }
        for _ in bounded.iter().filter(|resource| !fits(scope, resource)) {
            errors.invalid(path, selector.clone(), "unsupported scope applied to resource");
        }
        if SCOPES.contains(&scope)
            && !matches!(scope, "PriorityClass" | "VolumeAttributesClass")
            && operator != "Exists"
        {
            errors.invalid(
                &path.child("operator"),
                operator,
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
                 ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                 ResourceQuotaScopeCrossNamespacePodAffinity",
            );
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.required(
                &path.child("values"),
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            ),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.invalid(
                &path.child("values"),
                values.to_vec(),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            ),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        scopes.push(scope);
    }
    opposites(&scopes, path, &spec.get("scopes").cloned().unwrap_or_default(), errors);
}
