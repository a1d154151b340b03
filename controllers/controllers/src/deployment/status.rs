//! The status of a Deployment and its conditions, with upstream's reasons and texts.

use super::sets::Sets;
use super::{Controller, Deployment};
use crate::shared::apps;
use holdfast_core::{Json, Reason, Status, Timestamp, json as path};
use serde_json::json;
use std::time::Duration;

/// What the sets say together.
struct Counts {
    replicas: i64,
    updated: i64,
    ready: i64,
    available: i64,
}

impl Counts {
    fn of(sets: &Sets) -> Counts {
        Counts {
            replicas: sets.all().map(|set| set.status_replicas).sum(),
            updated: sets.new.as_ref().map_or(0, |new| new.status_replicas),
            ready: sets.all().map(|set| set.ready).sum(),
            available: sets.available(),
        }
    }

    fn complete(&self, wanted: i64) -> bool {
        self.updated == wanted && self.replicas == wanted && self.available == wanted
    }
}

/// Whether the roll-out is done: every pod is new and available.
pub(super) fn complete(deployment: &Deployment, sets: &Sets) -> bool {
    Counts::of(sets).complete(deployment.replicas())
}

impl Deployment {
    /// Sets a condition. Its transition time changes only with its status.
    pub(super) fn set_condition(&mut self, kind: &str, status: &str, reason: &str, message: &str, now: Timestamp) {
        let old = self.condition(kind);
        let same = |field: &str, value: &str| old.and_then(|c| path::str_at(c, &[field])) == Some(value);
        if same("status", status) && same("reason", reason) && same("message", message) {
            return;
        }
        let since = old.filter(|_| same("status", status)).and_then(|c| path::at(c, &["lastTransitionTime"]).cloned());
        let condition = json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastUpdateTime": now, "lastTransitionTime": since.unwrap_or_else(|| Json::from(now.to_string())),
        });
        self.drop_condition(kind);
        self.conditions.push(condition);
    }

    fn drop_condition(&mut self, kind: &str) {
        self.conditions.retain(|condition| path::str_at(condition, &["type"]) != Some(kind));
    }

    fn progress_reason(&self) -> &str {
        self.condition("Progressing").and_then(|c| path::str_at(c, &["reason"])).unwrap_or_default()
    }

    /// How much of the progress deadline is left; zero when it passed.
    fn progress_left(&self, now: Timestamp) -> Option<Duration> {
        let deadline = Duration::from_secs(self.deadline_secs()?);
        let condition = self.condition("Progressing")?;
        let from = Timestamp::parse(path::str_at(condition, &["lastUpdateTime"])?)?;
        Some(deadline.saturating_sub(now.since(from)))
    }
}

impl Controller {
    /// A pause is told once, and so is its end.
    pub(super) fn note_pause(&self, deployment: &mut Deployment) {
        let now = self.now();
        if deployment.deadline_secs().is_none() {
            return;
        }
        let told = deployment.progress_reason() == "DeploymentPaused";
        if deployment.progress_reason() == "ProgressDeadlineExceeded" {
            return;
        }
        if deployment.spec.paused && !told {
            deployment.set_condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now);
        } else if !deployment.spec.paused && told {
            deployment.set_condition("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now);
        }
    }

    /// Writes the status when it changed. Says when to look again for lack of progress.
    pub(super) async fn write_status(
        &self,
        deployment: &mut Deployment,
        sets: &Sets,
    ) -> Result<Option<Duration>, Status> {
        let counts = Counts::of(sets);
        let now = self.now();
        let (status, reason, message) = match counts.available >= deployment.replicas() - deployment.max_unavailable() {
            true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
        };
        deployment.set_condition("Available", status, reason, message, now);
        let again = if deployment.spec.paused || deployment.object.meta.is_deleting() {
            None
        } else {
            progress(deployment, sets, &counts, now)
        };
        failures(deployment, sets);
        let old = path::at(&deployment.doc, &["status"]).cloned().unwrap_or_default();
        let new = render(deployment, &counts, &old);
        if new == old {
            return Ok(again);
        }
        let mut doc = deployment.doc.clone();
        path::set(&mut doc, &["status"], new);
        let at = deployment.key.target(apps("deployments")).with_subresource("status");
        match self.client.update(&at, doc).await {
            Ok(written) => {
                deployment.doc = written.to_json();
                Ok(again)
            }
            Err(status) if status.is(Reason::NotFound) => Ok(None),
            Err(status) => Err(status),
        }
    }
}

/// The condition `Progressing`, and when to look at it again.
fn progress(deployment: &mut Deployment, sets: &Sets, counts: &Counts, now: Timestamp) -> Option<Duration> {
    if deployment.deadline_secs().is_none() {
        deployment.drop_condition("Progressing");
        return None;
    }
    let done = counts.replicas == counts.updated && deployment.progress_reason() == "NewReplicaSetAvailable";
    if done {
        return None;
    }
    let subject = match &sets.new {
        Some(new) => format!("ReplicaSet {:?}", new.name),
        None => format!("Deployment {:?}", deployment.key.name),
    };
    let before = &deployment.status;
    let moved = counts.updated > before.updated_replicas
        || counts.replicas - counts.updated < before.replicas - before.updated_replicas
        || counts.ready > before.ready_replicas
        || counts.available > before.available_replicas;
    if counts.complete(deployment.replicas()) {
        let message = format!("{subject} has successfully progressed.");
        deployment.set_condition("Progressing", "True", "NewReplicaSetAvailable", &message, now);
        return None;
    }
    if moved {
        let message = format!("{subject} is progressing.");
        // Even with the same words the time of the last progress must move.
        let since = deployment.condition("Progressing").filter(|c| path::str_at(c, &["status"]) == Some("True"));
        let since = since.and_then(|c| path::at(c, &["lastTransitionTime"]).cloned());
        deployment.drop_condition("Progressing");
        deployment.set_condition("Progressing", "True", "ReplicaSetUpdated", &message, now);
        if let (Some(since), Some(last)) = (since, deployment.conditions.last_mut()) {
            path::set(last, &["lastTransitionTime"], since);
        }
    } else if deployment.progress_left(now) == Some(Duration::ZERO) {
        let message = format!("{subject} has timed out progressing.");
        deployment.set_condition("Progressing", "False", "ProgressDeadlineExceeded", &message, now);
        return None;
    }
    if deployment.progress_reason() == "ProgressDeadlineExceeded" {
        return None;
    }
    // A second more: deadlines are kept to the second.
    deployment.progress_left(now).map(|left| left + Duration::from_secs(1))
}

/// What keeps a set from making pods is shown at the Deployment too.
fn failures(deployment: &mut Deployment, sets: &Sets) {
    let failure = sets.new.iter().chain(&sets.old).flat_map(|set| &set.conditions).find(|condition| {
        path::str_at(condition, &["type"]) == Some("ReplicaFailure")
            && path::str_at(condition, &["status"]) == Some("True")
    });
    let Some(failure) = failure.cloned() else {
        deployment.drop_condition("ReplicaFailure");
        return;
    };
    let text = |field: &str| path::str_at(&failure, &[field]).unwrap_or_default().to_string();
    let since = Timestamp::parse(&text("lastTransitionTime")).unwrap_or_default();
    deployment.set_condition("ReplicaFailure", "True", &text("reason"), &text("message"), since);
}

fn render(deployment: &Deployment, counts: &Counts, old: &Json) -> Json {
    let mut status = if old.is_object() { old.clone() } else { json!({}) };
    let unavailable = (deployment.replicas().max(counts.replicas) - counts.available).max(0);
    let fields = [
        ("replicas", counts.replicas),
        ("updatedReplicas", counts.updated),
        ("readyReplicas", counts.ready),
        ("availableReplicas", counts.available),
        ("unavailableReplicas", unavailable),
    ];
    for (field, count) in fields {
        match count {
            0 => drop(path::remove(&mut status, &[field])),
            _ => path::set(&mut status, &[field], count),
        }
    }
    if let Some(collisions) = deployment.collisions {
        path::set(&mut status, &["collisionCount"], collisions);
    }
    path::set(&mut status, &["observedGeneration"], deployment.object.meta.generation);
    path::set(&mut status, &["conditions"], deployment.conditions.clone());
    status
}
