//! `metav1.LabelSelector` in a spec.

use super::rules::text;
use holdfast_core::json::items_at;
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// Problems of a label selector.
pub(crate) fn validate(selector: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    crate::meta::labels(selector.get("matchLabels"), &path.child("matchLabels"), errors);
    for (index, expression) in items_at(selector, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let values = items_at(expression, &["values"]);
        match text(expression, "operator") {
            "In" | "NotIn" => {
                if values.is_empty() {
                    errors.required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
                }
            }
            "Exists" | "DoesNotExist" => {
                if !values.is_empty() {
                    errors.forbidden(
                        &path.child("values"),
                        "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
                    );
                }
            }
            other => errors.invalid(&path.child("operator"), other, "not a valid selector operator"),
        }
        let key = text(expression, "key");
        errors.all_invalid(&path.child("key"), key, names::qualified_name(key));
        for (index, value) in values.iter().filter_map(Json::as_str).enumerate() {
            errors.all_invalid(&path.child("values").index(index), value, names::label_value(value));
        }
    }
}

/// Whether a selector would select everything.
pub(crate) fn is_empty(selector: &Json) -> bool {
    items_at(selector, &["matchExpressions"]).is_empty()
        && selector.get("matchLabels").and_then(Json::as_object).is_none_or(serde_json::Map::is_empty)
}
