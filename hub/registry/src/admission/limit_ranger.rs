//! LimitRanger: the LimitRanges of a namespace give containers what they did not ask for, and hold pods and claims to their
//! bounds. (<https://kubernetes.io/docs/concepts/policy/limit-range/>)

use super::Admission;
use crate::kinds::pod::resources::quantity;
use holdfast_core::json::{at, default, items_at, items_at_mut, set, str_at};
use holdfast_core::{Gvr, Json, Quantity, Status};
use std::collections::{BTreeMap, BTreeSet};

const ANNOTATION: &str = "kubernetes.io/limit-ranger";

type Amounts = BTreeMap<String, Quantity>;

/// The limits of a namespace.
async fn limits(cx: &Admission<'_>) -> Result<Vec<Json>, Status> {
    let ranges = cx.engine.find_all(&Gvr::new("", "v1", "limitranges"), cx.namespace).await?;
    Ok(ranges.iter().flat_map(|range| items_at(&range.to_json(), &["spec", "limits"]).to_vec()).collect())
}

/// Gives the containers of a new pod the defaults.
pub(crate) async fn mutate(cx: &Admission<'_>, doc: &mut Json) -> Result<(), Status> {
    let mut notes = Vec::new();
    for limit in limits(cx).await?.iter().filter(|limit| kind(limit) == "Container") {
        for (list, what) in [("containers", "container"), ("initContainers", "init container")] {
            for container in items_at_mut(doc, &["spec", list]) {
                let name = str_at(container, &["name"]).unwrap_or_default().to_string();
                for (from, to, word) in [("defaultRequest", "requests", "request"), ("default", "limits", "limit")] {
                    let given = fill(container, at(limit, &[from]), to);
                    if !given.is_empty() {
                        let names = given.into_iter().collect::<Vec<_>>().join(", ");
                        notes.push(format!("{names} {word} for {what} {name}"));
                    }
                }
            }
        }
    }
    if !notes.is_empty() {
        set(doc, &["metadata", "annotations", ANNOTATION], format!("LimitRanger plugin set: {}", notes.join("; ")));
    }
    Ok(())
}

/// Sets what is missing; returns the names of what was set.
fn fill(container: &mut Json, from: Option<&Json>, to: &str) -> BTreeSet<String> {
    let mut set = BTreeSet::new();
    for (name, amount) in from.and_then(Json::as_object).into_iter().flatten() {
        if at(container, &["resources", to, name]).is_none() {
            default(container, &["resources", to, name], amount.clone());
            set.insert(name.clone());
        }
    }
    set
}

/// Holds a new pod or claim, or a pod that is resized, to the bounds.
pub(crate) async fn validate(cx: &Admission<'_>, doc: &Json) -> Result<(), Status> {
    let mut problems = Vec::new();
    for limit in &limits(cx).await? {
        match (kind(limit), cx.kind.kind) {
            ("Container", "Pod") => {
                for list in ["containers", "initContainers"] {
                    for container in items_at(doc, &["spec", list]) {
                        bounds(
                            limit,
                            "Container",
                            &asked(container, "requests"),
                            &asked(container, "limits"),
                            &mut problems,
                        );
                    }
                }
            }
            ("Pod", "Pod") => bounds(limit, "Pod", &of_pod(doc, "requests"), &of_pod(doc, "limits"), &mut problems),
            ("PersistentVolumeClaim", "PersistentVolumeClaim") => claim(limit, doc, &mut problems),
            _ => {}
        }
    }
    match &problems[..] {
        [] => Ok(()),
        [one] => Err(cx.forbidden(doc, one)),
        many => Err(cx.forbidden(doc, format!("[{}]", many.join(", ")))),
    }
}

fn kind(limit: &Json) -> &str {
    str_at(limit, &["type"]).unwrap_or_default()
}

fn amounts(map: Option<&Json>) -> Amounts {
    let entries = map.and_then(Json::as_object).into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?))).collect()
}

fn asked(container: &Json, which: &str) -> Amounts {
    amounts(at(container, &["resources", which]))
}

/// What a whole pod asks for: its containers and sidecars together, or an init container if that asks for more.
fn of_pod(doc: &Json, which: &str) -> Amounts {
    let mut all = Amounts::new();
    let mut add = |container: &Json| {
        for (name, amount) in asked(container, which) {
            let sum = all.get(&name).map_or(amount, |sum| sum.plus(amount));
            all.insert(name, sum);
        }
    };
    items_at(doc, &["spec", "containers"]).iter().for_each(&mut add);
    let (sidecars, ended): (Vec<&Json>, Vec<&Json>) = items_at(doc, &["spec", "initContainers"])
        .iter()
        .partition(|container| str_at(container, &["restartPolicy"]) == Some("Always"));
    sidecars.into_iter().for_each(&mut add);
    for (name, amount) in ended.into_iter().flat_map(|container| asked(container, which)) {
        if all.get(&name).is_none_or(|sum| sum.milli() < amount.milli()) {
            all.insert(name, amount);
        }
    }
    all
}

fn bounds(limit: &Json, kind: &str, requests: &Amounts, limits: &Amounts, problems: &mut Vec<String>) {
    for (name, least) in amounts(limit.get("min")) {
        let text = format!("minimum {name} usage per {kind} is {least}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => problems.push(format!("{text}.  No request is specified")),
            (Some(request), _) if request.milli() < least.milli() => {
                problems.push(format!("{text}, but request is {request}"));
            }
            (_, Some(limit)) if limit.milli() < least.milli() => problems.push(format!("{text}, but limit is {limit}")),
            _ => {}
        }
    }
    for (name, most) in amounts(limit.get("max")) {
        let text = format!("maximum {name} usage per {kind} is {most}");
        match (limits.get(&name), requests.get(&name)) {
            (None, _) => problems.push(format!("{text}.  No limit is specified")),
            (Some(limit), _) if limit.milli() > most.milli() => problems.push(format!("{text}, but limit is {limit}")),
            (_, Some(request)) if request.milli() > most.milli() => {
                problems.push(format!("{text}, but request is {request}"));
            }
            _ => {}
        }
    }
    for (name, most) in amounts(limit.get("maxLimitRequestRatio")) {
        let text = format!("{name} max limit to request ratio per {kind} is {most}");
        let given = |of: &Amounts| of.get(&name).map(|amount| amount.milli()).filter(|milli| *milli != 0);
        match (given(requests), given(limits)) {
            (None, _) => problems.push(format!("{text}, but no request is specified or request is 0")),
            (_, None) => problems.push(format!("{text}, but no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                #[allow(
                    clippy::cast_precision_loss,
                    reason = "a ratio for a person to read, and upstream's arithmetic"
                )]
                let (ratio, most) = (limit as f64 / request as f64, most.milli() as f64 / 1000.0);
                if ratio > most {
                    problems.push(format!("{text}, but provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

fn claim(limit: &Json, doc: &Json, problems: &mut Vec<String>) {
    let requests = amounts(at(doc, &["spec", "resources", "requests"]));
    for (name, request) in &requests {
        let bound = |field: &str| at(limit, &[field, name]).and_then(quantity);
        if let Some(least) = bound("min").filter(|least| request.milli() < least.milli()) {
            problems
                .push(format!("minimum {name} usage per PersistentVolumeClaim is {least}, but request is {request}"));
        }
        if let Some(most) = bound("max").filter(|most| request.milli() > most.milli()) {
            problems
                .push(format!("maximum {name} usage per PersistentVolumeClaim is {most}, but request is {request}"));
        }
    }
}
