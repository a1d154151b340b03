//! `resources` of a container and of a whole pod, `overhead`, and `resourceClaims`.

use crate::kinds::resource_names::{amount, container_name, may_overcommit, resource_name};
use crate::kinds::rules::text;
use holdfast_core::json::{at, default, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, Quantity, names};
use std::collections::{BTreeMap, BTreeSet};

/// What may be asked for a whole pod, beside huge pages.
const OF_PODS: &[&str] = &["cpu", "memory"];
const HUGE: &str = "hugepages-";
const NO_QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The quantity of a JSON value, which the schema says is a string or number.
pub(crate) fn quantity(value: &Json) -> Option<Quantity> {
    serde_json::from_value(value.clone()).ok()
}

/// Problems of what a container asks for; `claims` are the names of the pod's `resourceClaims`.
pub(crate) fn validate(resources: &Json, claims: &BTreeSet<&str>, path: &FieldPath, errors: &mut FieldErrors) {
    amounts(resources, &container_name, path, errors);
    claimed(items_at(resources, &["claims"]), claims, &path.child("claims"), errors);
}

/// Problems of `overhead`, which upstream judges as limits.
pub(crate) fn overhead(overhead: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    amounts(&serde_json::json!({ "limits": overhead }), &container_name, path, errors);
}

fn amounts(
    resources: &Json,
    name_problems: &dyn Fn(&str, &FieldPath, &mut FieldErrors),
    path: &FieldPath,
    errors: &mut FieldErrors,
) {
    let of = |kind: &str| at(resources, &[kind]).and_then(Json::as_object).into_iter().flatten();
    for (name, value) in of("limits") {
        let path = path.child("limits").key(name);
        name_problems(name, &path, errors);
        one(name, value, &path, errors);
        pages(name, value, &path, errors);
    }
    for (name, value) in of("requests") {
        let at_requests = path.child("requests");
        name_problems(name, &at_requests.key(name), errors);
        one(name, value, &at_requests.key(name), errors);
        let limit = at(resources, &["limits", name]).and_then(quantity);
        match (quantity(value), limit) {
            (Some(request), Some(limit)) if !may_overcommit(name) && request.exact_milli() != limit.exact_milli() => {
                errors.invalid(&at_requests, request.to_string(), format!("must be equal to {name} limit of {limit}"));
            }
            (Some(request), Some(limit)) if request.exact_milli() > limit.exact_milli() => {
                let text = format!("must be less than or equal to {name} limit of {limit}");
                errors.invalid(&at_requests, request.to_string(), text);
            }
            (Some(_), None) if !may_overcommit(name) => {
                errors.required(&path.child("limits"), "Limit must be set for non overcommitable resources");
            }
            _ => {}
        }
        pages(name, value, &at_requests.key(name), errors);
    }
    let has = |is: &dyn Fn(&str) -> bool| of("limits").chain(of("requests")).any(|(name, _)| is(name));
    if has(&|name| name.starts_with(HUGE)) && !has(&|name| OF_PODS.contains(&name)) {
        errors.forbidden(path, "HugePages require cpu or memory");
    }
}

fn one(name: &str, value: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    match quantity(value) {
        None => errors.invalid(path, value.clone(), NO_QUANTITY),
        Some(_) => amount(name, value, path, errors),
    }
}

/// Tells of huge pages that are not whole ones.
fn pages(name: &str, value: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(size) = name.strip_prefix(HUGE).and_then(|size| size.parse::<Quantity>().ok()) else { return };
    let Some(wanted) = quantity(value) else { return };
    let (size, bytes) = (size.exact_milli(), wanted.exact_milli());
    if size <= 0 || bytes <= 0 || bytes % size != 0 {
        let text = format!("{wanted} is not positive integer multiple of {name}");
        errors.invalid(path, wanted.to_string(), text);
    }
}

/// Problems of the claims that a container takes part in.
fn claimed(claims: &[Json], known: &BTreeSet<&str>, path: &FieldPath, errors: &mut FieldErrors) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for (index, claim) in claims.iter().enumerate() {
        let path = path.index(index);
        let (name, request) = (text(claim, "name"), text(claim, "request"));
        if name.is_empty() {
            errors.required(&path, "");
            continue;
        }
        if seen.contains(name) {
            errors.duplicate(&path, name);
        } else {
            let mut key = name.to_owned();
            if !request.is_empty() {
                errors.all_invalid(&path.child("request"), request, names::dns_label(request));
                key = format!("{name}/{request}");
            }
            let parts = seen.iter().filter(|seen| seen.split_once('/').is_some_and(|(claim, _)| claim == name)).count();
            if seen.contains(&key) {
                errors.duplicate(&path, key.clone());
            } else if request.is_empty() {
                (0..parts).for_each(|_| errors.duplicate(&path, name));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let all: Vec<&str> = known.iter().copied().collect();
            let which = if all.is_empty() { " which is empty".to_owned() } else { format!(": {}", all.join(", ")) };
            errors.not_found_because(
                &path,
                name,
                format!("must be one of the names in pod.spec.resourceClaims{which}"),
            );
        }
    }
}

/// The names of a spec's `resourceClaims`.
pub(crate) fn claim_names(spec: &Json) -> BTreeSet<&str> {
    let names = items_at(spec, &["resourceClaims"]).iter().map(|claim| text(claim, "name"));
    names.filter(|name| !name.is_empty()).collect()
}

/// Problems of `resourceClaims`.
pub(crate) fn claims(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const SOURCES: &[&str] = &["resourceClaimName", "resourceClaimTemplateName"];
    let mut seen = BTreeSet::new();
    for (index, claim) in items_at(spec, &["resourceClaims"]).iter().enumerate() {
        let path = path.child("resourceClaims").index(index);
        let name = text(claim, "name");
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else if !seen.insert(name) {
            errors.duplicate(&path.child("name"), name);
        } else {
            errors.all_invalid(&path.child("name"), name, names::dns_label(name));
        }
        match SOURCES.iter().filter(|source| claim.get(**source).is_some()).count() {
            0 => {
                let text = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                errors.invalid(&path, claim.clone(), text);
            }
            1 => {}
            _ => {
                let text = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                errors.invalid(&path, claim.clone(), text);
            }
        }
        for source in SOURCES {
            if let Some(named) = claim.get(*source).and_then(Json::as_str) {
                errors.all_invalid(&path.child(source), named, names::dns_subdomain(named));
            }
        }
    }
}

/// Problems of what is asked for a whole pod: at least what its containers ask for together, and no limit of one is above it.
pub(crate) fn of_pod(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let Some(resources) = spec.get("resources") else { return };
    let path = path.child("resources");
    if resources.get("claims").is_some() {
        errors.forbidden(&path.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    amounts(resources, &pod_resource, &path, errors);
    let own = |kind: &str, name: &str| at(resources, &[kind, name]).and_then(quantity);
    let is_huge = |name: &str| name.starts_with(HUGE);
    for (kind, is_judged) in [("requests", &(|_: &str| true) as &dyn Fn(&str) -> bool), ("limits", &is_huge)] {
        for (name, wanted) in together(spec, kind).into_iter().filter(|(name, _)| is_judged(name)) {
            let Some(asked) = own(kind, &name).filter(|asked| wanted.exact_milli() > asked.exact_milli()) else {
                continue;
            };
            let text = format!("must be greater than or equal to aggregate container {kind} of {wanted}");
            errors.invalid(&path.child(kind).key(&name), asked.to_string(), text);
        }
    }
    for (index, container) in items_at(spec, &["containers"]).iter().enumerate() {
        for (name, limit) in at(container, &["resources", "limits"]).and_then(Json::as_object).into_iter().flatten() {
            let (Some(limit), Some(all)) = (quantity(limit), own("limits", name)) else { continue };
            if limit.exact_milli() > all.exact_milli() {
                let text = format!("must be less than or equal to pod limits of {all}");
                // The path is upstream's.
                let path = path.child("containers").index(index).key(name).child("limits");
                errors.invalid(&path, limit.to_string(), text);
            }
        }
    }
}

/// Whether a resource may be asked for a whole pod.
fn is_of_pods(name: &str) -> bool {
    OF_PODS.contains(&name) || name.starts_with(HUGE)
}

fn pod_resource(name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let before = errors.0.len();
    resource_name(name, path, errors);
    if errors.0.len() == before && !is_of_pods(name) {
        errors.not_supported(path, name, OF_PODS);
    }
}

/// What is asked for a pod of which only limits say something: what its containers ask for together, else the limit.
pub(super) fn default_requests(doc: &mut Json) {
    let Some(spec) = doc.get("spec") else { return };
    let limits = at(spec, &["resources", "limits"]).and_then(Json::as_object);
    let Some(limits) = limits.filter(|limits| !limits.is_empty()).cloned() else { return };
    let asked = together(spec, "requests").into_iter().filter(|(name, _)| is_of_pods(name) && may_overcommit(name));
    let asked: Vec<(String, Json)> = asked.map(|(name, amount)| (name, amount.to_string().into())).collect();
    let bounded = limits.into_iter().filter(|(name, _)| is_of_pods(name));
    for (name, amount) in asked.into_iter().chain(bounded) {
        default(doc, &["spec", "resources", "requests", &name], amount);
    }
}

/// What the containers of a pod ask for, those beside one another together (upstream's `AggregateContainerRequests`): sidecars stay,
/// and what runs before the rest needs its own beside the sidecars that started before it.
fn together(spec: &Json, kind: &str) -> BTreeMap<String, Quantity> {
    let requests = |container: &Json| -> Vec<(String, Quantity)> {
        let all = at(container, &["resources", kind]).and_then(Json::as_object).into_iter().flatten();
        all.filter_map(|(name, value)| Some((name.clone(), quantity(value)?))).collect()
    };
    let add = |to: &mut BTreeMap<String, Quantity>, all: Vec<(String, Quantity)>| {
        for (name, value) in all {
            to.entry(name).and_modify(|sum| *sum = sum.plus(value)).or_insert(value);
        }
    };
    let (mut sum, mut sidecars, mut highest) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::<String, Quantity>::new());
    for container in items_at(spec, &["containers"]) {
        add(&mut sum, requests(container));
    }
    for container in items_at(spec, &["initContainers"]) {
        let mut now = sidecars.clone();
        add(&mut now, requests(container));
        if text(container, "restartPolicy") == "Always" {
            add(&mut sum, requests(container));
            sidecars = now.clone();
        }
        for (name, value) in now {
            let stands = highest.entry(name).or_insert(value);
            if value.exact_milli() > stands.exact_milli() {
                *stands = value;
            }
        }
    }
    for (name, value) in highest {
        let stands = sum.entry(name).or_insert(value);
        if value.exact_milli() > stands.exact_milli() {
            *stands = value;
        }
    }
    sum
}
