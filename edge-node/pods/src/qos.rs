//! The quality-of-service class of a pod, by upstream's rules.

use holdfast_core::Quantity;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use std::collections::BTreeMap;

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn qos_class(pod: &Pod) -> &'static str {
    let own = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let given = |list: &Option<BTreeMap<String, ApiQuantity>>| list.as_ref().is_some_and(|list| !list.is_empty());
    // What is asked for the whole pod counts in the place of what its containers ask for.
    let all: Vec<Option<&ResourceRequirements>> = match own.filter(|own| given(&own.requests) || given(&own.limits)) {
        Some(own) => vec![Some(own)],
        None => crate::spec::containers(pod).map(|(_, container)| container.resources.as_ref()).collect(),
    };
    let mut any = false;
    let mut guaranteed = !all.is_empty();
    for resources in all {
        for resource in ["cpu", "memory"] {
            let limit = amount(resources, resource, true);
            let request = amount(resources, resource, false).or(limit);
            any |= limit.is_some() || request.is_some();
            guaranteed &= limit.is_some() && limit == request;
        }
    }
    match (any, guaranteed) {
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
        (false, _) => "BestEffort",
    }
}

/// A request or limit above zero, in thousandths.
fn amount(resources: Option<&ResourceRequirements>, resource: &str, limit: bool) -> Option<i64> {
    let resources = resources?;
    let list = if limit { resources.limits.as_ref() } else { resources.requests.as_ref() }?;
    let quantity: Quantity = list.get(resource)?.0.parse().ok()?;
    Some(quantity.milli()).filter(|milli| *milli > 0)
}
