//! Namespace: deletes the content of a namespace that is going, then lets it go. Pods go before everything else, so that none
//! runs on without what protected it, such as a NetworkPolicy.
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
use std::time::Duration;

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
    let namespaces = shared.namespaces.cache().clone();
    shared.pods.enqueue(&queue, move |change| {
        // The last pod may be what the rest waits for.
        let key = Key::new("", &change.key.namespace);
        let waits = change.new.is_none() && namespaces.get(&key).is_some_and(|namespace| namespace.meta.is_deleting());
        waits.then_some(key).into_iter().collect()
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
    /// Objects by resource and group.
    objects: BTreeMap<String, usize>,
    /// Objects by finalizer.
    finalizers: BTreeMap<String, usize>,
    /// What could not be deleted.
    errors: Vec<String>,
}

impl Left {
    fn is_nothing(&self) -> bool {
        self.objects.is_empty() && self.errors.is_empty()
    }
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
        let left = self.clear(&live).await;
        let live = self.write_conditions(live, &left).await?;
        if let Some(error) = left.errors.first() {
            return Err(ReconcileError::retry(error));
        }
        if !left.is_nothing() {
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
    async fn clear(&self, namespace: &Object) -> Left {
        let mut left = Left::default();
        let kinds = self.config.kinds.borrow().clone();
        let all = || kinds.iter().filter(|kind| kind.namespaced && kind.deletable);
        for pods_alone in [true, false] {
            for kind in all().filter(|kind| is_pods(kind) == pods_alone) {
                if let Err(error) = self.clear_kind(kind, namespace, &mut left).await {
                    left.errors.push(error);
                }
            }
            if !left.is_nothing() {
                break;
            }
        }
        left
    }

    async fn clear_kind(&self, kind: &ResourceKind, namespace: &Object, left: &mut Left) -> Result<(), String> {
        let name = &namespace.meta.name;
        let at = Target::collection(kind.gvr.clone(), name);
        let found = self.list(&at).await?;
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
        let still = self.list(&at).await?;
        if still.is_empty() {
            return Ok(());
        }
        let gvr = &kind.gvr;
        left.objects.insert(format!("{}.{}", gvr.resource, gvr.group), still.len());
        let mut held = false;
        for finalizer in still.iter().flat_map(|object| &object.meta.finalizers) {
            held = true;
            *left.finalizers.entry(finalizer.clone()).or_insert(0) += 1;
        }
        if held || (is_pods(kind) && self.within_grace(namespace, &found)) {
            return Ok(());
        }
        let text = format!("{}/{}, Resource={}", gvr.group, gvr.version, gvr.resource);
        Err(format!("unexpected items still remain in namespace: {name} for gvr: {text}"))
    }

    async fn list(&self, at: &Target) -> Result<Vec<Arc<Object>>, String> {
        let listed = self.client.list(at, &ListOptions::default()).await;
        listed.map(|list| list.items).map_err(|status| status.to_string())
    }

    /// Whether pods may take their time: the longest grace that one has, counted from when the namespace was deleted.
    fn within_grace(&self, namespace: &Object, pods: &[Arc<Object>]) -> bool {
        let grace = |pod: &Arc<Object>| {
            let doc = pod.to_json();
            let ended = matches!(path::str_at(&doc, &["status", "phase"]), Some("Succeeded" | "Failed"));
            let own = path::i64_at(&doc, &["spec", "terminationGracePeriodSeconds"]);
            own.filter(|_| !ended).and_then(|seconds| u64::try_from(seconds).ok())
        };
        let longest = Duration::from_secs(pods.iter().filter_map(grace).max().unwrap_or(0));
        let now = Timestamp::from_wall(self.world.wall().0);
        namespace.meta.deletion_timestamp.is_some_and(|deleted| now.since(deleted) < longest)
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

    /// Tells a user who waits what the namespace waits for; the namespace as it is then.
    async fn write_conditions(&self, live: Arc<Object>, left: &Left) -> Result<Arc<Object>, Status> {
        let mut doc = live.to_json();
        let old = path::items_at(&doc, &["status", "conditions"]).to_vec();
        let conditions = conditions(&old, left, Timestamp::from_wall(self.world.wall().0));
        if conditions == old {
            return Ok(live);
        }
        path::set(&mut doc, &["status", "conditions"], conditions);
        let at = Key::of(&live).target(core("namespaces")).with_subresource("status");
        self.client.update(&at, doc).await
    }
}

fn is_pods(kind: &ResourceKind) -> bool {
    kind.gvr.group.is_empty() && kind.gvr.resource == "pods"
}

/// The conditions about deletion, with upstream's words; others stay.
fn conditions(old: &[Json], left: &Left, now: Timestamp) -> Vec<Json> {
    let count = |counts: &BTreeMap<String, usize>, words: &str| {
        let parts = counts.iter().map(|(name, count)| format!("{name} {words} {count} resource instances"));
        let mut parts: Vec<String> = parts.collect();
        parts.sort_unstable();
        parts.join(", ")
    };
    let remaining = format!("Some resources are remaining: {}", count(&left.objects, "has"));
    let held = format!("Some content in the namespace has finalizers remaining: {}", count(&left.finalizers, "in"));
    let mut errors = left.errors.clone();
    errors.sort_unstable();
    let failed = format!("Failed to delete all resource types, {} remaining: {}", errors.len(), errors.join(", "));
    // What is served is known here, so that the first two cannot fail.
    let fine: Option<(&str, String)> = None;
    let wanted = [
        (
            "NamespaceDeletionDiscoveryFailure",
            fine.clone(),
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            fine,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            (!errors.is_empty()).then_some(("ContentDeletionFailed", failed)),
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            (!left.objects.is_empty()).then_some(("SomeResourcesRemain", remaining)),
            "ContentRemoved",
            "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            (!left.finalizers.is_empty()).then_some(("SomeFinalizersRemain", held)),
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ),
    ];
    let mut conditions = old.to_vec();
    for (kind, problem, fine, all_fine) in wanted {
        let status = if problem.is_some() { "True" } else { "False" };
        let (reason, message) = problem.unwrap_or((fine, all_fine.to_string()));
        let place = conditions.iter().position(|c| path::str_at(c, &["type"]) == Some(kind));
        let before = place.map(|place| &conditions[place]);
        let since = before.filter(|c| path::str_at(c, &["status"]) == Some(status));
        let since = since.and_then(|c| path::at(c, &["lastTransitionTime"]).cloned());
        let condition = json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": since.unwrap_or_else(|| Json::from(now.to_string())),
        });
        match place {
            Some(place) => conditions[place] = condition,
            None => conditions.push(condition),
        }
    }
    conditions
}
