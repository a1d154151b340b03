//! `status.qosClass` (upstream's `ComputePodQOS`).

use holdfast_core::json::{items_at, str_at};
use holdfast_core::{Json, Quantity};

fn amount(container: &Json, kind: &str, resource: &str) -> Option<Quantity> {
    let text = str_at(container, &["resources", kind, resource])?;
    text.parse::<Quantity>().ok().filter(|quantity| *quantity != Quantity::ZERO)
}

/// `Guaranteed` when every container has CPU and memory limits that equal its requests, `BestEffort` when none
/// has any, else `Burstable`.
pub(crate) fn class(pod: &Json) -> &'static str {
    let containers = ["initContainers", "containers"].into_iter().flat_map(|list| items_at(pod, &["spec", list]));
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        for resource in ["cpu", "memory"] {
            let limit = amount(container, "limits", resource);
            let request = amount(container, "requests", resource);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some_and(|limit| request.is_none_or(|request| request.milli() == limit.milli()));
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
