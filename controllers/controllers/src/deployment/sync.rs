//! Finds or makes the new ReplicaSet, keeps revisions, and forgets old ones.

use super::sets::{DESIRED, HASH, MAX, REVISION, REVISION_HISTORY, Set, Sets, plain};
use super::{Controller, Deployment, pod_template_hash};
use crate::claim::controller_ref;
use crate::shared::apps;
use holdfast_controller::ReconcileError;
use holdfast_core::verbs::Preconditions;
use holdfast_core::{DeleteOptions, Json, Reason, Status, Target, json as path};
use serde_json::{Map, json};

/// Annotations of a Deployment that are its own affair.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MAX,
    "deprecated.deployment.rollback.to",
];

impl Controller {
    /// Brings the new set and the revisions up to date; makes the set when it is missing and `create` says so.
    pub(super) async fn find_new(
        &self,
        deployment: &mut Deployment,
        sets: &mut Sets,
        create: bool,
    ) -> Result<(), ReconcileError> {
        let revision = sets.old.iter().map(Set::revision).max().unwrap_or(0) + 1;
        if let Some(new) = &mut sets.new {
            self.update_new(deployment, new, revision).await?;
            if deployment.condition("Progressing").is_none() && deployment.deadline_secs().is_some() {
                let message = format!("Found new replica set {:?}", new.name);
                deployment.set_condition("Progressing", "True", "FoundNewReplicaSet", &message, self.now());
            }
        } else if create {
            sets.new = Some(self.create_new(deployment, sets, revision).await?);
        }
        if let Some(new) = &sets.new {
            let revision = new.revision().to_string();
            self.write_revision(deployment, &revision).await?;
        }
        Ok(())
    }

    /// A set that became the new one again (a rollback) gets the newest revision.
    async fn update_new(&self, deployment: &Deployment, set: &mut Set, revision: i64) -> Result<(), ReconcileError> {
        let mut doc = set.doc.clone();
        // Not what it was scaled for: `scale_all` reads that to share out a change.
        annotate(&mut doc, deployment, false);
        if set.revision() < revision {
            let old = set.revision();
            path::set(&mut doc, &["metadata", "annotations", REVISION], revision.to_string());
            if old > 0 {
                let history = set.annotation(REVISION_HISTORY).unwrap_or_default();
                let history = if history.is_empty() { old.to_string() } else { format!("{history},{old}") };
                path::set(&mut doc, &["metadata", "annotations", REVISION_HISTORY], history);
            }
        }
        if doc == set.doc {
            return Ok(());
        }
        let at = set.key(&deployment.key.namespace).target(apps("replicasets"));
        *set = Set::of(&self.client.update(&at, doc).await?);
        Ok(())
    }

    async fn create_new(&self, deployment: &mut Deployment, sets: &Sets, revision: i64) -> Result<Set, ReconcileError> {
        let template = plain(&deployment.spec.template);
        let hash = pod_template_hash(&template, deployment.collisions);
        let name = format!("{}-{hash}", deployment.key.name);
        let replicas = super::scale::first_size(deployment, sets);
        let body = new_set(deployment, &name, &hash, template, replicas, revision);
        let at = Target::collection(apps("replicasets"), &deployment.key.namespace);
        let set = match self.client.create(&at, body).await {
            Ok(object) => Set::of(&object),
            Err(status) if status.is(Reason::AlreadyExists) => return self.taken(deployment, &name).await,
            Err(status) => {
                if !status.message().contains("because it is being terminated") {
                    let message = format!("Failed to create new replica set {name:?}: {status}");
                    self.events.warning(&deployment.involved(), "ReplicaSetCreateError", message.clone());
                    deployment.set_condition("Progressing", "False", "ReplicaSetCreateError", &message, self.now());
                    self.write_status(deployment, sets).await?;
                }
                return Err(status.into());
            }
        };
        if replicas > 0 {
            let message = format!("Scaled up replica set {name} from 0 to {replicas}");
            self.events.normal(&deployment.involved(), "ScalingReplicaSet", message);
        }
        if deployment.deadline_secs().is_some() {
            let message = format!("Created new replica set {name:?}");
            deployment.set_condition("Progressing", "True", "NewReplicaSetCreated", &message, self.now());
        }
        Ok(set)
    }

    /// The name is taken: by our own set that the cache does not show yet, or by a stranger.
    async fn taken(&self, deployment: &mut Deployment, name: &str) -> Result<Set, ReconcileError> {
        let at = Target::object(apps("replicasets"), &deployment.key.namespace, name);
        let there = self.client.get(&at).await?;
        let ours = there.meta.controller().is_some_and(|owner| owner.uid == deployment.object.meta.uid);
        if ours {
            return Ok(Set::of(&there));
        }
        let collisions = deployment.collisions.unwrap_or(0) + 1;
        path::set(&mut deployment.doc, &["status", "collisionCount"], collisions);
        let at = deployment.key.target(apps("deployments")).with_subresource("status");
        self.client.update(&at, deployment.doc.clone()).await?;
        Err(ReconcileError::retry(format!("the name {name} is taken by a ReplicaSet of another owner")))
    }

    async fn write_revision(&self, deployment: &mut Deployment, revision: &str) -> Result<(), Status> {
        if path::str_at(&deployment.doc, &["metadata", "annotations", REVISION]) == Some(revision) {
            return Ok(());
        }
        let mut doc = deployment.doc.clone();
        path::set(&mut doc, &["metadata", "annotations", REVISION], revision);
        let written = self.client.update(&deployment.key.target(apps("deployments")), doc).await?;
        deployment.doc = written.to_json();
        Ok(())
    }

    /// Deletes old sets beyond the history limit, the lowest revisions first.
    pub(super) async fn clean_up(&self, deployment: &Deployment, sets: &Sets) -> Result<(), Status> {
        let limit = deployment.spec.revision_history_limit.unwrap_or(10);
        let mut idle: Vec<&Set> = sets.old.iter().filter(|set| !set.deleting).collect();
        if idle.len() <= limit {
            return Ok(());
        }
        let excess = idle.len() - limit;
        idle.sort_by_key(|set| (set.revision(), set.created, set.name.clone()));
        for set in idle.into_iter().take(excess) {
            if set.replicas != 0 || set.status_replicas != 0 || !set.observed {
                continue;
            }
            let preconditions = Some(Preconditions { uid: Some(set.uid.clone()), resource_version: None });
            let options = DeleteOptions { preconditions, ..DeleteOptions::default() };
            match self.client.delete(&set.key(&deployment.key.namespace).target(apps("replicasets")), &options).await {
                Err(status) if status.is(Reason::NotFound) || status.is(Reason::Conflict) => {}
                other => other?,
            }
        }
        Ok(())
    }
}

/// Copies annotations to a set; `scaled` also notes what it was scaled for.
pub(super) fn annotate(set: &mut Json, deployment: &Deployment, scaled: bool) {
    for (name, value) in &deployment.object.meta.annotations {
        if !NOT_COPIED.contains(&name.as_str()) {
            path::set(set, &["metadata", "annotations", name], value.clone());
        }
    }
    if scaled {
        let most = deployment.replicas() + deployment.max_surge();
        path::set(set, &["metadata", "annotations", DESIRED], deployment.replicas().to_string());
        path::set(set, &["metadata", "annotations", MAX], most.to_string());
    }
}

fn new_set(deployment: &Deployment, name: &str, hash: &str, mut template: Json, replicas: i64, revision: i64) -> Json {
    path::set(&mut template, &["metadata", "labels", HASH], hash);
    let labels = path::at(&template, &["metadata", "labels"]).cloned().unwrap_or(Json::Object(Map::new()));
    let mut selector = deployment.spec.selector.clone();
    path::set(&mut selector, &["matchLabels", HASH], hash);
    let mut body = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": deployment.key.namespace, "labels": labels,
            "annotations": {REVISION: revision.to_string()},
            "ownerReferences": [controller_ref(&deployment.object)],
        },
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    });
    if deployment.spec.min_ready_seconds > 0 {
        path::set(&mut body, &["spec", "minReadySeconds"], deployment.spec.min_ready_seconds);
    }
    annotate(&mut body, deployment, true);
    body
}
