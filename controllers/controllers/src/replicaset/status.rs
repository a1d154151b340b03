//! The status of a ReplicaSet.

use super::manage::Failure;
use super::{Controller, Pod, ReplicaSet};
use crate::shared::apps;
use holdfast_controller::Key;
use holdfast_core::{Json, Object, Reason, Status, Timestamp, json as path};
use serde_json::json;
use std::time::Duration;

impl Controller {
    /// Writes the status when it changed. Says when a pod becomes available by lasting.
    pub(super) async fn write_status(
        &self,
        object: &Object,
        set: &ReplicaSet,
        pods: &[Pod],
        failure: Option<&Failure>,
    ) -> Result<Option<Duration>, Status> {
        let now = Timestamp::from_wall(self.world.wall().0);
        let mut doc = object.to_json();
        let old = path::at(&doc, &["status"]).cloned().unwrap_or_default();
        let (status, again) = status(object, set, pods, failure, &old, now);
        if status == old {
            return Ok(again);
        }
        path::set(&mut doc, &["status"], status);
        let at = Key::of(object).target(apps("replicasets")).with_subresource("status");
        match self.client.update(&at, doc).await {
            Ok(_) => Ok(again),
            Err(status) if status.is(Reason::NotFound) => Ok(None),
            Err(status) => Err(status),
        }
    }
}

fn status(
    object: &Object,
    set: &ReplicaSet,
    pods: &[Pod],
    failure: Option<&Failure>,
    old: &Json,
    now: Timestamp,
) -> (Json, Option<Duration>) {
    let least = Duration::from_secs(set.spec.min_ready_seconds);
    let labels = path::at(&set.spec.template, &["metadata", "labels"]).and_then(Json::as_object);
    let labeled = pods.iter().filter(|pod| {
        labels.is_none_or(|wanted| {
            wanted.iter().all(|(key, value)| pod.meta.labels.get(key).map(String::as_str) == value.as_str())
        })
    });
    let mut again: Option<Duration> = None;
    let mut available = 0;
    for pod in pods {
        match pod.value.available(least, now) {
            Ok(is) => available += usize::from(is),
            Err(missing) => again = Some(again.map_or(missing, |wait| wait.min(missing))),
        }
    }
    let mut status = old.clone();
    if !status.is_object() {
        status = json!({});
    }
    path::set(&mut status, &["replicas"], pods.len());
    let counts = [
        ("fullyLabeledReplicas", labeled.count()),
        ("readyReplicas", pods.iter().filter(|pod| pod.value.ready).count()),
        ("availableReplicas", available),
    ];
    for (field, count) in counts {
        // Zero is left out, as upstream leaves it out.
        match count {
            0 => drop(path::remove(&mut status, &[field])),
            _ => path::set(&mut status, &[field], count),
        }
    }
    path::set(&mut status, &["observedGeneration"], object.meta.generation);
    let mut conditions: Vec<Json> = path::items_at(old, &["conditions"]).to_vec();
    let had = conditions.iter().any(|c| path::str_at(c, &["type"]) == Some("ReplicaFailure"));
    match failure {
        Some(failure) if !had => conditions.push(json!({
            "type": "ReplicaFailure", "status": "True", "reason": failure.reason,
            "message": failure.status.message(), "lastTransitionTime": now,
        })),
        None if had => conditions.retain(|c| path::str_at(c, &["type"]) != Some("ReplicaFailure")),
        _ => {}
    }
    match conditions.is_empty() {
        true => drop(path::remove(&mut status, &["conditions"])),
        false => path::set(&mut status, &["conditions"], conditions),
    }
    (status, again)
}
