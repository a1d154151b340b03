//! Tolerations of pods and runtime classes, taints of nodes.

use super::rules::text;
use holdfast_core::{FieldErrors, FieldPath, Json, names};

const EFFECTS: &[&str] = &["NoExecute", "NoSchedule", "PreferNoSchedule"];

/// Problems of a list of tolerations.
pub(crate) fn validate(tolerations: &[Json], path: &FieldPath, errors: &mut FieldErrors) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let (key, operator, effect) =
            (text(toleration, "key"), text(toleration, "operator"), text(toleration, "effect"));
        if !key.is_empty() {
            errors.all_invalid(&path.child("key"), key, names::qualified_name(key));
        } else if operator != "Exists" {
            errors.invalid(
                &path.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if toleration.get("tolerationSeconds").is_some_and(Json::is_number) && effect != "NoExecute" {
            errors.invalid(&path.child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "Equal" | "" => {
                let value = text(toleration, "value");
                errors.all_invalid(&path.child("operator"), value, names::label_value(value));
            }
            "Exists" => {
                if !text(toleration, "value").is_empty() {
                    errors.invalid(
                        &path.child("operator"),
                        toleration.clone(),
                        "value must be empty when `operator` is 'Exists'",
                    );
                }
            }
            other => errors.not_supported(&path.child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() && !EFFECTS.contains(&effect) {
            errors.not_supported(&path.child("effect"), effect, EFFECTS);
        }
    }
}

/// Problems of a list of taints.
pub(crate) fn validate_taints(taints: &[Json], path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen = std::collections::BTreeSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        errors.all_invalid(&path.child("key"), key, names::qualified_name(key));
        errors.all_invalid(&path.child("value"), value, names::label_value(value));
        if effect.is_empty() {
            errors.required(&path.child("effect"), "");
        } else if !EFFECTS.contains(&effect) {
            errors.not_supported(&path.child("effect"), effect, EFFECTS);
        }
        if !seen.insert((key, effect)) {
            errors.duplicate_because(&path, taint.clone(), "taints must be unique by key and effect pair");
        }
    }
}
