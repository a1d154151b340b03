//! `pods/eviction`: a deletion that the pod's disruption budget may refuse
//! (<https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/>).
//!
//! What an eviction takes from a budget and the deletion of its pod are one transaction: neither is ever there without the other,
//! and two evictions never share what was one's.

use crate::admission::{self, Admission};
use crate::engine::{Engine, Resource, known};
use crate::generic::commit::{Meaning, Outcome, Write};
use crate::generic::decode::{check_fields, check_type};
use crate::generic::delete::{Plan, check_preconditions, plan, validate_options};
use crate::keys;
use crate::limits::{DISRUPTED_PODS, EVICTION_PAUSE, EVICTION_TRIES};
use holdfast_core::json::{at, i64_at, items_at, remove, set, str_at};
use holdfast_core::{
    DeleteOptions, FieldErrors, FieldPath, Gvk, Gvr, Json, LabelSelector, Object, Reason, Status, Timestamp,
    WriteOptions,
};
use holdfast_server::RequestContext;
use holdfast_store::Condition;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Upstream's reason of a cause.
const CAUSE: &str = "DisruptionBudget";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const SEVERAL: &str =
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
/// Seconds until a budget that nobody counted yet should have been.
const COUNTED_SOON: u32 = 10;

/// Evicts a pod. The answer is a Status, as upstream gives.
///
/// # Errors
/// 429 when its budget does not allow it now, 500 when it has several, and as a deletion.
pub(crate) async fn create(
    engine: &Engine,
    cx: &RequestContext,
    resource: &Resource<'_>,
    mut eviction: Json,
    options: &WriteOptions,
) -> Result<Arc<Object>, Status> {
    let gvk = Gvk::new("policy/v1", "Eviction");
    check_type(&gvk, &mut eviction)?;
    check_fields(engine, cx, "io.k8s.api.policy.v1.Eviction", &gvk, &mut eviction, options.field_validation)?;
    if str_at(&eviction, &["metadata", "name"]).unwrap_or_default() != resource.name {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let options = delete_options(&gvk, resource.name, &eviction, options.dry_run)?;
    let mut busy = String::new();
    for tried in 0..EVICTION_TRIES {
        if tried > 0 {
            let pause = Duration::from_micros(engine.env.random_u64() % EVICTION_PAUSE.as_micros() as u64);
            engine.env.sleep(pause).await;
        }
        let pod = engine.read(resource).await?;
        check_preconditions(resource, options.preconditions.as_ref(), &pod)?;
        let mut doc = pod.to_json();
        remove(&mut doc, &["metadata", "resourceVersion"]);
        let admission = Admission { engine, cx, kind: resource.kind, gvr: resource.gvr, namespace: resource.namespace };
        admission::validate_delete(&admission, resource.name, &doc).await?;
        let budget = match needs_no_budget(&pod, &doc) {
            true => None,
            false => budget_of(engine, &pod).await?,
        };
        let now = engine.now();
        let taken = match &budget {
            Some(budget) if is_ready(&doc) || !lets_unready_go(&budget.to_json()) => Some(take(budget, &pod, now)?),
            _ => None,
        };
        if !options.dry_run.is_empty() {
            return answer();
        }
        let mut write = Write::default();
        write.check(resource.key(), Condition::ModifiedAt(pod.revision), Meaning::Subject);
        delete_pod(&mut write, resource, &pod, doc, &options, now)?;
        if let Some(budget) = &budget {
            // Also where nothing is taken: what was judged must still hold.
            let key = keys::object(known(&budgets())?, resource.namespace, &budget.meta.name);
            write.check(key.clone(), Condition::ModifiedAt(budget.revision), Meaning::Subject);
            if let Some(taken) = taken {
                write.put(key, Object::with_managed_fields(taken, budget.managed_fields())?.body().clone());
            }
            busy.clone_from(&budget.meta.name);
        }
        if let Outcome::Committed(..) = write.commit(engine, cx, resource.gvr, resource.name).await? {
            return answer();
        }
    }
    if busy.is_empty() {
        return Err(Status::stale(resource.gvr, resource.name));
    }
    Err(Status::timeout(format!("couldn't update PodDisruptionBudget {busy:?} due to conflicts")))
}

fn budgets() -> Gvr {
    Gvr::new("policy", "v1", "poddisruptionbudgets")
}

fn answer() -> Result<Arc<Object>, Status> {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    Object::from_json(status).map(Arc::new)
}

/// The options of the deletion. That nothing is to be stored may stand in them or in the request.
fn delete_options(gvk: &Gvk, name: &str, eviction: &Json, dry_run: bool) -> Result<DeleteOptions, Status> {
    let given = at(eviction, &["deleteOptions"]).cloned().unwrap_or_else(|| json!({}));
    let mut options: DeleteOptions = serde_json::from_value(given).map_err(|err| {
        let mut errors = FieldErrors::new();
        errors.invalid_part(&FieldPath::new("deleteOptions"), err.to_string());
        Status::invalid(gvk, name, &errors)
    })?;
    validate_options(&options)?;
    if dry_run && options.dry_run.is_empty() {
        options.dry_run = vec!["All".into()];
    }
    Ok(options)
}

/// What has ended, is going or never began disturbs nobody when it goes.
fn needs_no_budget(pod: &Object, doc: &Json) -> bool {
    let phase = str_at(doc, &["status", "phase"]).unwrap_or_default();
    pod.meta.is_deleting() || matches!(phase, "Succeeded" | "Failed" | "Pending")
}

fn is_ready(pod: &Json) -> bool {
    let ready = |condition: &&Json| str_at(condition, &["type"]) == Some("Ready");
    let ready = items_at(pod, &["status", "conditions"]).iter().find(ready);
    ready.is_some_and(|ready| str_at(ready, &["status"]) == Some("True"))
}

/// The budget that selects a pod.
async fn budget_of(engine: &Engine, pod: &Object) -> Result<Option<Arc<Object>>, Status> {
    let selects = |budget: &Arc<Object>| {
        let selector = at(&budget.to_json(), &["spec", "selector"]).map(LabelSelector::from_spec);
        matches!(selector, Some(Ok(selector)) if selector.matches(&pod.meta.labels))
    };
    let mut all = engine.find_all(&budgets(), &pod.meta.namespace).await?;
    all.retain(selects);
    if all.len() > 1 {
        return Err(Status::failure(500, Reason::InternalError, SEVERAL));
    }
    Ok(all.pop())
}

/// Whether a pod that is not ready may go without a word of its budget: nobody counts on it.
fn lets_unready_go(budget: &Json) -> bool {
    let count = |field: &str| i64_at(budget, &["status", field]).unwrap_or(0);
    str_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == Some("AlwaysAllow")
        || (count("desiredHealthy") > 0 && count("currentHealthy") >= count("desiredHealthy"))
}

/// The budget with one disruption less.
fn take(budget: &Object, pod: &Object, now: Timestamp) -> Result<Json, Status> {
    let (mut doc, name) = (budget.to_json(), &budget.meta.name);
    remove(&mut doc, &["metadata", "resourceVersion"]);
    let count = |field: &str| i64_at(&doc, &["status", field]).unwrap_or(0);
    let forbidden = |why: &str| Err(Status::forbidden(&budgets(), name, why));
    if count("observedGeneration") < budget.meta.generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(Status::too_many_requests(REFUSED, COUNTED_SOON).with_cause(CAUSE, why));
    }
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        return forbidden("pdb disruptions allowed is negative");
    }
    if at(&doc, &["status", "disruptedPods"]).and_then(Json::as_object).is_some_and(|all| all.len() > DISRUPTED_PODS) {
        return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        let why = match failure(&doc) {
            Some(why) => {
                format!(
                    "The disruption budget {name} does not allow evicting pods currently because it failed sync: {why}"
                )
            }
            None => {
                let (desired, current) = (count("desiredHealthy"), count("currentHealthy"));
                format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently")
            }
        };
        return Err(Status::failure(429, Reason::TooManyRequests, REFUSED).with_cause(CAUSE, why));
    }
    set(&mut doc, &["status", "disruptionsAllowed"], allowed - 1);
    if allowed == 1 {
        forbid_more(&mut doc, now);
    }
    set(&mut doc, &["status", "disruptedPods", &pod.meta.name], now.to_string());
    Ok(doc)
}

/// Why nobody could count for this budget.
fn failure(budget: &Json) -> Option<&str> {
    let failed = |condition: &&Json| {
        str_at(condition, &["type"]) == Some("DisruptionAllowed")
            && str_at(condition, &["reason"]) == Some("SyncFailed")
    };
    let condition = items_at(budget, &["status", "conditions"]).iter().find(failed)?;
    Some(str_at(condition, &["message"]).unwrap_or_default())
}

/// The condition of a budget of which nothing is left.
fn forbid_more(budget: &mut Json, now: Timestamp) {
    let observed = i64_at(budget, &["status", "observedGeneration"]).unwrap_or(0);
    let condition = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": observed, "lastTransitionTime": now.to_string(),
    });
    set_condition(budget, condition);
}

/// Puts a condition in the place of the one of its type.
fn set_condition(doc: &mut Json, condition: Json) {
    let mut all = items_at(doc, &["status", "conditions"]).to_vec();
    match all.iter_mut().find(|one| str_at(one, &["type"]) == str_at(&condition, &["type"])) {
        Some(one) => *one = condition,
        None => all.push(condition),
    }
    set(doc, &["status", "conditions"], all);
}

/// Adds to the transaction that the pod goes, and why.
fn delete_pod(
    write: &mut Write,
    resource: &Resource<'_>,
    pod: &Object,
    mut doc: Json,
    options: &DeleteOptions,
    now: Timestamp,
) -> Result<(), Status> {
    set_condition(
        &mut doc,
        json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastTransitionTime": now.to_string(),
            "observedGeneration": pod.meta.generation,
        }),
    );
    let left = match plan(&*resource.strategy, false, &doc, options, now) {
        Plan::Remove => {
            write.delete(resource.key());
            return Ok(());
        }
        Plan::Mark(doc) => doc,
        Plan::Pending => doc,
    };
    write.put(resource.key(), Object::with_managed_fields(left, pod.managed_fields())?.body().clone());
    Ok(())
}
