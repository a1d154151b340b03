//! What the controllers of pods share: selector, template, counts.

use super::pod::{annotations, defaults, spec, warnings};
use super::rules::{not_negative, text};
use super::selectors;
use holdfast_core::json::{at, at_mut, i64_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, LabelSelector, names};
use std::collections::BTreeMap;

/// Defaults of the pod template at `path`.
pub(crate) fn default_template(doc: &mut Json, path: &[&str]) {
    let below = |name: &'static str| path.iter().copied().chain([name]).collect::<Vec<_>>();
    if at(doc, path).is_none() {
        return;
    }
    holdfast_core::json::default(doc, &below("metadata"), serde_json::json!({}));
    if let Some(spec) = at_mut(doc, &below("spec")) {
        defaults::pod_spec(spec);
    }
}

/// Problems of `spec.selector` and `spec.template` of a Deployment or ReplicaSet.
pub(crate) fn validate_pods(doc: &Json, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec");
    let selector = at(doc, &["spec", "selector"]);
    validate_selector(selector, "deployment", &path.child("selector"), errors);
    let template = at(doc, &["spec", "template"]).unwrap_or(&Json::Null);
    let path = path.child("template");
    if selector.is_some_and(|selector| !selectors::is_empty(selector)) {
        validate_match(selector, template, &path, errors);
    }
    validate_template(template, &path, errors);
    validate_always(template, "ReplicaSet", &path, errors);
}

/// Problems of a selector that must select something; `owner` is whose it is.
pub(crate) fn validate_selector(selector: Option<&Json>, owner: &str, path: &FieldPath, errors: &mut FieldErrors) {
    match selector {
        None => errors.required(path, ""),
        Some(selector) => {
            selectors::validate(selector, path, errors);
            if selectors::is_empty(selector) {
                errors.invalid(path, selector.clone(), format!("empty selector is invalid for {owner}"));
            }
        }
    }
}

/// Tells of a template whose labels a `LabelSelector` does not select.
pub(crate) fn validate_match(selector: Option<&Json>, template: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(Ok(selector)) = selector.map(LabelSelector::from_spec) else { return };
    let labels: BTreeMap<String, String> = at(template, &["metadata", "labels"])
        .and_then(Json::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_string()))
        .collect();
    if !selector.matches(&labels) {
        let shown = at(template, &["metadata", "labels"]).cloned().unwrap_or(Json::Null);
        errors.invalid(&path.child("metadata").child("labels"), shown, "`selector` does not match template `labels`");
    }
}

/// Problems of a pod template.
pub(crate) fn validate_template(template: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    // Upstream's paths of labels and annotations leave `metadata` out.
    crate::meta::labels(at(template, &["metadata", "labels"]), &path.child("labels"), errors);
    crate::meta::annotations(at(template, &["metadata", "annotations"]), &path.child("annotations"), errors);
    let (metadata, spec) =
        (template.get("metadata").unwrap_or(&Json::Null), template.get("spec").unwrap_or(&Json::Null));
    annotations::validate(metadata, spec, &path.child("annotations"), errors);
    spec::validate(spec, None, &path.child("spec"), errors);
    annotations::validate_beside_fields(metadata, spec, &path.child("spec"), errors);
    if !at(template, &["spec", "ephemeralContainers"]).is_none_or(|list| list == &Json::Array(Vec::new())) {
        errors.forbidden(
            &path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        );
    }
}

/// Problems of a template whose pods always restart; `owner` is whose template it is.
pub(crate) fn validate_always(template: &Json, owner: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let policy = str_at(template, &["spec", "restartPolicy"]).unwrap_or_default();
    if policy != "Always" {
        errors.not_supported(&path.child("spec").child("restartPolicy"), policy, &["Always"]);
    }
    if at(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        errors.forbidden(
            &path.child("spec").child("activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {owner} is not Supported"),
        );
    }
}

/// Problems of a count that may be a number or a percentage.
pub(crate) fn count_or_percent(value: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    let text = value.and_then(Json::as_str);
    if let Some(percent) = text.filter(|percent| percent_of(percent).is_none()) {
        errors.invalid(
            path,
            percent,
            "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex \
             used for validation is '[0-9]+%')",
        );
    }
    if let Some(number) = value.and_then(Json::as_i64).filter(|number| *number < 0) {
        errors.invalid(path, number, "must be greater than or equal to 0");
    }
}

/// The number of a percentage.
fn percent_of(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Tells of a percentage above 100.
pub(crate) fn at_most_all(value: Option<&Json>, path: &FieldPath, errors: &mut FieldErrors) {
    let percent = value.and_then(Json::as_str).and_then(percent_of);
    if let (Some(value), true) = (value, percent.is_some_and(|percent| percent > 100)) {
        errors.invalid(path, value.clone(), "must not be greater than 100%");
    }
}

/// Whether a count is zero, as number or percentage.
pub(crate) fn is_zero(value: Option<&Json>) -> bool {
    match value {
        Some(Json::String(percent)) => percent_of(percent).unwrap_or(0) == 0,
        Some(number) => number.as_i64() == Some(0),
        None => true,
    }
}

/// Problems of counts of a status: none is negative.
pub(crate) fn status_counts(doc: &Json, fields: &[&str], errors: &mut FieldErrors) {
    let status = doc.get("status").unwrap_or(&Json::Null);
    for field in fields {
        not_negative(status, field, &FieldPath::new("status"), errors);
    }
}

/// Problems of counts of a status that are part of the count `of`, which `whole` names.
pub(crate) fn at_most(doc: &Json, fields: &[&str], of: &str, whole: &str, errors: &mut FieldErrors) {
    let status = doc.get("status").unwrap_or(&Json::Null);
    let total = i64_at(status, &[of]).unwrap_or(0);
    for field in fields {
        if let Some(count) = i64_at(status, &[field]).filter(|count| *count > total) {
            errors.invalid(&FieldPath::new("status").child(field), count, format!("cannot be greater than {whole}"));
        }
    }
}

/// Tells of a `status.collisionCount` that went down.
pub(crate) fn collision_count(doc: &Json, old: &Json, errors: &mut FieldErrors) {
    let count = |doc: &Json| i64_at(doc, &["status", "collisionCount"]);
    if count(old).is_some_and(|before| count(doc).unwrap_or(0) < before) {
        let now = count(doc).unwrap_or(0);
        errors.invalid(&FieldPath::new("status.collisionCount"), now, "cannot be decremented");
    }
}

/// Warnings of the template at `path`.
pub(crate) fn template_warnings(doc: &Json, path: &[&str]) -> Vec<String> {
    at(doc, path).map(|template| warnings::of(template, &path.join("."))).unwrap_or_default()
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
