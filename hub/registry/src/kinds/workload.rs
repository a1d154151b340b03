//! What Deployment and ReplicaSet share: selector and template.

use super::pod::{defaults, spec};
use super::rules::text;
use super::selectors;
use holdfast_core::json::{at, at_mut, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, LabelSelector, names};
use std::collections::BTreeMap;

/// Defaults of `spec.template`.
pub(crate) fn default_template(doc: &mut Json) {
    holdfast_core::json::default(doc, &["spec", "template", "metadata"], serde_json::json!({}));
    if let Some(spec) = at_mut(doc, &["spec", "template", "spec"]) {
        defaults::pod_spec(spec);
    }
}

/// Problems of `spec.selector` and `spec.template` of a controller whose pods always restart.
pub(crate) fn validate_pods(doc: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec");
    let selector = at(doc, &["spec", "selector"]);
    match selector {
        None => errors.required(&path.child("selector"), ""),
        Some(selector) => {
            selectors::validate(selector, &path.child("selector"), errors);
            if selectors::is_empty(selector) {
                errors.invalid(&path.child("selector"), selector.clone(), "empty selector is invalid for deployment");
            }
        }
    }
    let template = at(doc, &["spec", "template"]).unwrap_or(&Json::Null);
    let path = path.child("template");
    let labels: BTreeMap<String, String> = at(template, &["metadata", "labels"])
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_string()))
        .collect();
    if let Some(Ok(selector)) = selector.filter(|selector| !selectors::is_empty(selector)).map(LabelSelector::from_spec)
        && !selector.matches(&labels)
    {
        let shown = at(template, &["metadata", "labels"]).cloned().unwrap_or_else(|| serde_json::json!({}));
        errors.invalid(&path.child("metadata").child("labels"), shown, "`selector` does not match template `labels`");
    }
    validate_template(template, &path, errors);
    let policy = str_at(template, &["spec", "restartPolicy"]).unwrap_or_default();
    if policy != "Always" {
        errors.not_supported(&path.child("spec").child("restartPolicy"), policy, &["Always"]);
    }
    if at(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        errors.forbidden(
            &path.child("spec").child("activeDeadlineSeconds"),
            "activeDeadlineSeconds in ReplicaSet is not Supported",
        );
    }
}

/// Problems of a pod template.
fn validate_template(template: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let meta = path.child("metadata");
    crate::meta::labels(at(template, &["metadata", "labels"]), &meta.child("labels"), errors);
    crate::meta::annotations(at(template, &["metadata", "annotations"]), &meta.child("annotations"), errors);
    spec::validate(template.get("spec").unwrap_or(&Json::Null), &path.child("spec"), errors);
    if !at(template, &["spec", "ephemeralContainers"]).is_none_or(|list| list == &Json::Array(Vec::new())) {
        errors.forbidden(
            &path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

/// Problems of a count that may be a number or a percentage.
pub(crate) fn count_or_percent(value: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    match value {
        Some(Json::String(percent)) => {
            let digits = percent.strip_suffix('%').unwrap_or_default();
            if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                errors.invalid(
                    path,
                    percent.as_str(),
                    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', \
                     regex used for validation is '[0-9]+%')",
                );
            }
        }
        Some(number) => {
            if let Some(number) = number.as_i64().filter(|number| *number < 0) {
                errors.invalid(path, number, "must be greater than or equal to 0");
            }
        }
        None => {}
    }
}

/// Whether a count is zero, as number or percentage.
pub(crate) fn is_zero(value: Option<&Json>) -> bool {
    match value {
        Some(Json::String(percent)) => percent.trim_end_matches('%').parse::<u64>() == Ok(0),
        Some(number) => number.as_i64() == Some(0),
        None => true,
    }
}

/// Names of pods are made from those of their controllers; upstream warns of names that are no host names.
pub(crate) fn name_warnings(doc: &Json) -> Vec<String> {
    let name = doc.get("metadata").map(|meta| text(meta, "name")).unwrap_or_default();
    let problems = names::dns_label(name);
    if problems.is_empty() {
        return Vec::new();
    }
    vec![format!(
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label \
         is recommended: {problems:?}"
    )]
}
