//! Namespace: deletes the content of a namespace that is going, then lets it go.
//!
//! Content is found by listing every kind, not by a cache: what is missed here stays for ever.

use crate::ControllersConfig;
use crate::limits::{NAMESPACE_DELETES, NAMESPACE_RETRY, WORKERS};
use crate::shared::{Shared, core, start_after, synced};
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, Key, Outcome, ReconcileError, Reconciler, ResourceKind, WorkQueue, run_controller,
};
use holdfast_core::verbs::{Preconditions, Propagation};
use holdfast_core::{DeleteOptions, Json, ListOptions, Object, Reason, Status, Target, Timestamp, json as path};
use holdfast_env::{Task, World};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

struct Controller {
    world: World,
    client: Arc<dyn Client>,
    namespaces: Arc<Cache<Arc<Object>>>,
    config: Arc<ControllersConfig>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared, config: &Arc<ControllersConfig>) -> Task {
    let queue = WorkQueue::new(world.clone());
    shared.namespaces.enqueue(&queue, |change| {
        let going = change.new.as_ref().is_some_and(|namespace| namespace.meta.is_deleting());
        going.then(|| change.key.clone()).into_iter().collect()
    });
    let controller = Arc::new(Controller {
        world: world.clone(),
        client,
        namespaces: shared.namespaces.cache().clone(),
        config: config.clone(),
    });
    let env = world.clone();
    start_after(world, "namespace-controller", vec![synced(&shared.namespaces)], move || {
        run_controller(&env, "namespace-controller", controller, queue, WORKERS)
    })
}

/// What is left of a namespace.
#[derive(Default)]
struct Left {
    /// Objects by resource.
    objects: BTreeMap<String, usize>,
    /// Objects by finalizer.
    finalizers: BTreeMap<String, usize>,
    /// What could not be deleted.
    errors: Vec<String>,
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        if !self.namespaces.get(key).is_some_and(|namespace| namespace.meta.is_deleting()) {
            return Ok(Outcome::Done);
        }
        let at = key.target(core("namespaces"));
        let live = match self.client.get(&at).await {
            Err(status) if status.is(Reason::NotFound) => return Ok(Outcome::Done),
            other => other?,
        };
        let finalizers = path::items_at(&live.to_json(), &["spec", "finalizers"]).to_vec();
        if !live.meta.is_deleting() || !finalizers.iter().any(|name| name == "kubernetes") {
            return Ok(Outcome::Done);
        }
        let left = self.clear(&key.name).await;
        if !left.objects.is_empty() || !left.errors.is_empty() {
            self.write_conditions(&live, &left).await?;
            if let Some(error) = left.errors.first() {
                return Err(ReconcileError::retry(error));
            }
            return Ok(Outcome::RequeueAfter(NAMESPACE_RETRY));
        }
        let mut doc = live.to_json();
        let kept: Vec<Json> = finalizers.into_iter().filter(|name| name != "kubernetes").collect();
        path::set(&mut doc, &["spec", "finalizers"], kept);
        match self.client.update(&at.with_subresource("finalize"), doc).await {
            Err(status) if status.is(Reason::NotFound) => Ok(Outcome::Done),
            other => other.map(|_| Outcome::Done).map_err(ReconcileError::from),
        }
    }
}

impl Controller {
    /// Deletes everything in a namespace and says what is still there.
    async fn clear(&self, namespace: &str) -> Left {
        let mut left = Left::default();
        let kinds = self.config.kinds.borrow().clone();
        for kind in kinds.iter().filter(|kind| kind.namespaced && kind.deletable) {
            if let Err(status) = self.clear_kind(kind, namespace, &mut left).await {
                left.errors.push(format!("{}: {status}", kind.gvr));
            }
        }
        left
    }

    async fn clear_kind(&self, kind: &ResourceKind, namespace: &str, left: &mut Left) -> Result<(), Status> {
        let at = Target::collection(kind.gvr.clone(), namespace);
        let found = self.client.list(&at, &ListOptions::default()).await?.items;
        if found.is_empty() {
            return Ok(());
        }
        for some in found.chunks(NAMESPACE_DELETES) {
            let mut deletes = Vec::new();
            for object in some {
                deletes.push(self.delete(kind, object));
            }
            let results = futures_util::future::join_all(deletes).await;
            left.errors.extend(results.into_iter().filter_map(Result::err).map(|status| status.to_string()));
        }
        let still = self.client.list(&at, &ListOptions::default()).await?.items;
        if !still.is_empty() {
            left.objects.insert(kind.gvr.qualified(), still.len());
        }
        for finalizer in still.iter().flat_map(|object| &object.meta.finalizers) {
            *left.finalizers.entry(finalizer.clone()).or_insert(0) += 1;
        }
        Ok(())
    }

    async fn delete(&self, kind: &ResourceKind, object: &Object) -> Result<(), Status> {
        if object.meta.is_deleting() {
            return Ok(());
        }
        let options = DeleteOptions {
            preconditions: Some(Preconditions { uid: Some(object.meta.uid.clone()), resource_version: None }),
            propagation_policy: Some(Propagation::Background),
            ..DeleteOptions::default()
        };
        match self.client.delete(&Key::of(object).target(kind.gvr.clone()), &options).await {
            Err(status) if status.is(Reason::NotFound) || status.is(Reason::Conflict) => Ok(()),
            other => other,
        }
    }

    /// Tells a user who waits what the namespace waits for.
    async fn write_conditions(&self, live: &Object, left: &Left) -> Result<(), Status> {
        let now = Timestamp::from_wall(self.world.wall().0);
        let count = |counts: &BTreeMap<String, usize>, words: &str| {
            let parts: Vec<String> =
                counts.iter().map(|(name, count)| format!("{name} {words} {count} resource instances")).collect();
            parts.join(", ")
        };
        let remaining = format!("Some resources are remaining: {}", count(&left.objects, "has"));
        let held = format!("Some content in the namespace has finalizers remaining: {}", count(&left.finalizers, "in"));
        let failed = left.errors.join("; ");
        let wanted = [
            (
                "NamespaceDeletionContentFailure",
                !left.errors.is_empty(),
                "ContentDeletionFailed",
                failed,
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            (
                "NamespaceContentRemaining",
                !left.objects.is_empty(),
                "SomeResourcesRemain",
                remaining,
                "ContentRemoved",
                "All content successfully removed",
            ),
            (
                "NamespaceFinalizersRemaining",
                !left.finalizers.is_empty(),
                "SomeFinalizersRemain",
                held,
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
        ];
        let mut doc = live.to_json();
        let old = path::items_at(&doc, &["status", "conditions"]).to_vec();
        let mut conditions = Vec::new();
        for (kind, holds, reason, message, fine, all_fine) in wanted {
            let status = if holds { "True" } else { "False" };
            let before = old.iter().find(|c| path::str_at(c, &["type"]) == Some(kind));
            let since = before.filter(|c| path::str_at(c, &["status"]) == Some(status));
            let since = since.and_then(|c| path::at(c, &["lastTransitionTime"]).cloned());
            conditions.push(json!({
                "type": kind, "status": status,
                "lastTransitionTime": since.unwrap_or_else(|| Json::from(now.to_string())),
                "reason": if holds { reason } else { fine },
                "message": if holds { message } else { all_fine.to_string() },
            }));
        }
        if conditions == old {
            return Ok(());
        }
        path::set(&mut doc, &["status", "conditions"], conditions);
        let at = Key::of(live).target(core("namespaces")).with_subresource("status");
        self.client.update(&at, doc).await.map(|_| ())
    }
}
