//! Names and amounts of resources in quotas, limits and volumes (`pkg/apis/core/helper` is the reference).

use super::pod::resources::quantity;
use holdfast_core::{FieldErrors, FieldPath, Json, Quantity, names};

/// What objects are counted by.
const COUNTED: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// What is measured; a quota may also say it with `requests.` and `limits.` before.
const MEASURED: &[&str] = &["cpu", "memory", "ephemeral-storage"];

fn is_measured(name: &str) -> bool {
    let bare = name.strip_prefix("requests.").or_else(|| name.strip_prefix("limits.")).unwrap_or(name);
    MEASURED.contains(&bare)
}

/// Names that a quota may bound without a domain.
pub(crate) fn is_quota_name(name: &str) -> bool {
    COUNTED.contains(&name)
        || is_measured(name)
        || name == "requests.storage"
        || name.starts_with("hugepages-")
        || name.starts_with("requests.hugepages-")
}

fn is_standard(name: &str) -> bool {
    is_quota_name(name) || name == "storage"
}

/// Whether a resource is Kubernetes' own.
pub(crate) fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether limits may be higher than requests.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !name.starts_with("hugepages-")
}

fn is_whole(name: &str) -> bool {
    COUNTED.contains(&name) || !is_native(name) && !name.starts_with("requests.")
}

/// Problems of the name of a resource.
pub(crate) fn resource_name(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let problems = names::qualified_name(name);
    if !problems.is_empty() {
        errors.all_invalid(path, name, problems);
    } else if !name.contains('/') && !is_standard(name) {
        errors.invalid(path, name, "must be a standard resource type or fully qualified");
    }
}

/// Problems of the name of a resource in a quota.
pub(crate) fn quota_name(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    resource_name(name, path, errors);
    if !name.contains('/') && !is_quota_name(name) {
        errors.invalid(path, name, "must be a standard resource for quota");
    }
}

/// Problems of the name of a resource that containers have.
pub(crate) fn container_name(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    resource_name(name, path, errors);
    if !name.contains('/') {
        if !MEASURED.contains(&name) && !name.starts_with("hugepages-") {
            errors.invalid(path, name, "must be a standard resource for containers");
        }
    } else if !is_native(name) && name.starts_with("requests.") {
        errors.invalid(path, name, "doesn't follow extended resource name standard");
    }
}

/// Problems of an amount of a resource: not negative, and whole where pieces are counted.
pub(crate) fn amount(name: &str, value: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(amount) = quantity(value) else { return };
    if amount.is_negative() {
        errors.invalid(path, amount.to_string(), "must be greater than or equal to 0");
    }
    if is_whole(name) && amount.milli() % 1000 != 0 {
        errors.invalid(path, amount.to_string(), "must be an integer");
    }
}

/// Tells of an amount that is not above zero.
pub(crate) fn positive(value: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(amount) = quantity(value).filter(|amount| amount.milli() <= 0) {
        errors.invalid(path, amount.to_string(), "must be greater than zero");
    }
}

/// Tells of an amount below zero, as upstream does for capacities.
pub(crate) fn capacity(value: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(amount) = quantity(value).filter(|amount| amount.is_negative()) {
        errors.invalid(path, amount.units(), "must be a valid resource quantity");
    }
}

/// Amounts compared by their size, whatever they are written in.
pub(crate) fn exceeds(a: Quantity, b: Quantity) -> bool {
    a.milli() > b.milli()
}
