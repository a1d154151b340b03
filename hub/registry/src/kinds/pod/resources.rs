//! `resources` of a container.

use holdfast_core::json::at;
use holdfast_core::{FieldErrors, FieldPath, Json, Quantity, names};

const STANDARD: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// The quantity of a JSON value, which the schema says is a string or number.
pub(crate) fn quantity(value: &Json) -> Option<Quantity> {
    serde_json::from_value(value.clone()).ok()
}

/// Problems of requests and limits.
pub(crate) fn validate(resources: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for kind in ["limits", "requests"] {
        let Some(map) = at(resources, &[kind]).and_then(Json::as_object) else { continue };
        for (name, amount) in map {
            let path = path.child(kind).key(name);
            name_problems(name, &path, errors);
            match quantity(amount) {
                None => errors.invalid(
                    &path,
                    amount.clone(),
                    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
                ),
                Some(quantity) if quantity.is_negative() => {
                    errors.invalid(&path, quantity.to_string(), "must be greater than or equal to 0");
                }
                Some(quantity) if is_whole(name) && quantity.milli() % 1000 != 0 => {
                    errors.invalid(&path, quantity.to_string(), "must be an integer");
                }
                Some(_) => {}
            }
        }
    }
    let Some(requests) = at(resources, &["requests"]).and_then(Json::as_object) else { return };
    for (name, request) in requests {
        let path = path.child("requests");
        let limit = at(resources, &["limits", name]).and_then(quantity);
        let Some(request) = quantity(request) else { continue };
        match limit {
            Some(limit) if !may_overcommit(name) && request.milli() != limit.milli() => {
                errors.invalid(&path, request.to_string(), format!("must be equal to {name} limit of {limit}"))
            }
            Some(limit) if request.milli() > limit.milli() => errors.invalid(
                &path,
                request.to_string(),
                format!("must be less than or equal to {name} limit of {limit}"),
            ),
            None if !may_overcommit(name) => {
                errors.required(&path.clone(), "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
    }
}

fn name_problems(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    errors.all_invalid(path, name, names::qualified_name(name));
    if !name.contains('/') && !STANDARD.contains(&name) && !name.starts_with("hugepages-") {
        errors.invalid(path, name, "must be a standard resource for containers");
    }
}

/// Extended resources (`example.com/gpu`) come in whole pieces.
fn is_whole(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

fn may_overcommit(name: &str) -> bool {
    !is_whole(name) && !name.starts_with("hugepages-")
}
