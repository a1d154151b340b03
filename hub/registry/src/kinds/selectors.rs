//! `metav1.LabelSelector` in a spec.

use super::rules::text;
use holdfast_core::json::items_at;
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// Problems of a label selector.
pub(crate) fn validate(selector: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    crate::meta::labels(selector.get("matchLabels"), &path.child("matchLabels"), errors);
    for (index, expression) in items_at(selector, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        if !values_fit(expression, &path, errors) {
            errors.invalid(&path.child("operator"), text(expression, "operator"), "not a valid selector operator");
        }
        key_and_values(expression, &path, errors);
    }
}

/// Tells of values that the operator of a requirement does not take, or lacks. Whether it is an operator at all.
pub(crate) fn values_fit(requirement: &Json, path: &FieldPath, errors: &mut FieldErrors) -> bool {
    let path = path.child("values");
    let none = items_at(requirement, &["values"]).is_empty();
    match text(requirement, "operator") {
        "In" | "NotIn" if none => errors.required(&path, "must be specified when `operator` is 'In' or 'NotIn'"),
        "Exists" | "DoesNotExist" if !none => {
            errors.forbidden(&path, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => return false,
    }
    true
}

/// Tells of a key or values that no label has.
pub(crate) fn key_and_values(requirement: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let key = text(requirement, "key");
    errors.all_invalid(&path.child("key"), key, names::qualified_name(key));
    for (index, value) in items_at(requirement, &["values"]).iter().filter_map(Json::as_str).enumerate() {
        errors.all_invalid(&path.child("values").index(index), value, names::label_value(value));
    }
}

/// Whether a selector would select everything.
pub(crate) fn is_empty(selector: &Json) -> bool {
    items_at(selector, &["matchExpressions"]).is_empty()
        && selector.get("matchLabels").and_then(Json::as_object).is_none_or(serde_json::Map::is_empty)
}
