//! The quality of service class of a pod (upstream's `ComputePodQOS`).

use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{Json, Quantity};

/// `Guaranteed` when CPU and memory have limits that equal their requests in every container, `BestEffort` when nothing
/// has any, else `Burstable`. What is asked for the whole pod counts in the place of what its containers ask for.
pub fn class(pod: &Json) -> &'static str {
    let spec = pod.get("spec").unwrap_or(&Json::Null);
    if ["requests", "limits"].iter().any(|which| is_set(spec, which)) {
        return of([spec]);
    }
    of(["initContainers", "containers"].into_iter().flat_map(|list| items_at(spec, &[list])))
}

fn is_set(of: &Json, which: &str) -> bool {
    at(of, &["resources", which]).and_then(Json::as_object).is_some_and(|amounts| !amounts.is_empty())
}

fn amount(of: &Json, which: &str, resource: &str) -> Option<Quantity> {
    let text = str_at(of, &["resources", which, resource])?;
    text.parse::<Quantity>().ok().filter(|quantity| quantity.exact_milli() != 0)
}

fn of<'a>(asking: impl IntoIterator<Item = &'a Json>) -> &'static str {
    let (mut any, mut guaranteed) = (false, true);
    for one in asking {
        for resource in ["cpu", "memory"] {
            let limit = amount(one, "limits", resource);
            let request = amount(one, "requests", resource);
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
