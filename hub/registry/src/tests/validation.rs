//! Good and bad documents of the kinds, with the problems that upstream finds in them: creations, changes and statuses.
//! Source: `pkg/apis/*/validation` of Kubernetes 1.36. `texts.rs` has the kinds that pods need.

mod apps;
mod batch;
mod events;
mod flow;
mod leases;
mod namespaces;
mod network;
mod pod_parts;
mod pod_warnings;
mod pods;
mod policies;
mod quota;
mod scaling;
mod storage;
mod webhooks;

use super::*;
use crate::strategy::{Strategy, strategy_of};
use holdfast_core::FieldErrors;

fn strategy(resource: &str) -> &'static dyn Strategy {
    let gvr = gvr(resource);
    let version = if resource == "autoscaling/horizontalpodautoscalers" { "v2" } else { "v1" };
    let kind = holdfast_kinds::by_gvr(&gvr.group, version, &gvr.resource);
    strategy_of(kind.unwrap_or_else(|| panic!("{resource}")))
}

fn texts(errors: &FieldErrors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

/// The document as it is stored when nothing is wrong with it.
fn made(resource: &str, mut doc: Json) -> Json {
    let strategy = strategy(resource);
    if doc["metadata"].is_null() {
        doc["metadata"] = json!({ "name": "a" });
    }
    doc["metadata"]["uid"] = json!("uid-1");
    doc["metadata"]["creationTimestamp"] = json!("2026-11-24T10:00:00Z");
    strategy.default(&mut doc);
    strategy.prepare_for_create(&mut doc);
    doc
}

/// Problems of a new document.
fn create(resource: &str, doc: Json, expected: &[&str]) {
    let doc = made(resource, doc);
    let mut errors = FieldErrors::new();
    strategy(resource).validate(&doc, &mut errors);
    strategy(resource).validate_new(&doc, &mut errors);
    assert_eq!(texts(&errors), expected, "{resource} {doc}");
}

/// Puts `value` at `path` (dots and numbers); null removes.
fn with(mut doc: Json, path: &str, value: Json) -> Json {
    let mut at = &mut doc;
    let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
    for step in parents.split('.').filter(|step| !step.is_empty()) {
        at = match step.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[step],
        };
    }
    match (at, last.parse::<usize>()) {
        (Json::Array(list), Ok(index)) => list[index] = value,
        (at, _) if value.is_null() => {
            at.as_object_mut().unwrap().remove(last);
        }
        (at, _) => at[last] = value,
    }
    doc
}

/// Problems of a change of what was made of `doc`.
fn update(resource: &str, doc: Json, path: &str, value: Json, expected: &[&str]) {
    let old = made(resource, doc);
    let mut new = with(old.clone(), path, value);
    let strategy = strategy(resource);
    strategy.default(&mut new);
    strategy.prepare_for_update(&mut new, &old);
    let mut errors = FieldErrors::new();
    strategy.validate(&new, &mut errors);
    strategy.validate_update(&new, &old, &mut errors);
    assert_eq!(texts(&errors), expected, "{resource} {path}");
}

/// Problems of a status that follows another one.
fn status(resource: &str, doc: Json, before: Json, now: Json, expected: &[&str]) {
    let old = with(made(resource, doc), "status", before);
    let new = with(old.clone(), "status", now);
    let mut errors = FieldErrors::new();
    strategy(resource).validate_status(&new, &old, &mut errors);
    assert_eq!(texts(&errors), expected, "{resource}");
}

/// What a client sees: field, reason and text of each cause.
#[tokio::test]
async fn a_status_tells_each_cause() {
    let cluster = cluster().await;
    let doc = json!({ "metadata": { "name": "a" }, "spec": { "schedule": "* * *", "concurrencyPolicy": "Never",
        "jobTemplate": { "spec": { "template": { "spec": { "restartPolicy": "Always", "containers": [
            { "name": "main", "image": "app" }] } } } } } });
    let refused = cluster.create("batch/cronjobs", "default", doc).await.unwrap_err();
    assert_eq!(refused.code(), 422);
    let causes = serde_json::to_value(refused.details().unwrap()).unwrap()["causes"].clone();
    assert_eq!(
        causes,
        json!([
            { "reason": "FieldValueNotSupported", "field": "spec.concurrencyPolicy",
                "message": "Unsupported value: \"Never\": supported values: \"Allow\", \"Forbid\", \"Replace\"" },
            { "reason": "FieldValueRequired", "field": "spec.jobTemplate.spec.template.spec.restartPolicy",
                "message": "Required value: valid values: \"OnFailure\", \"Never\"" },
            { "reason": "FieldValueInvalid", "field": "spec.schedule",
                "message": "Invalid value: \"* * *\": expected exactly 5 fields, found 3: [* * *]" },
        ])
    );
}
