//! ReplicaSet: as many pods as wanted, adopted, created or given up.
//!
//! Owns pods. Never touches a ReplicaSet's spec.

mod manage;
mod ranking;
mod status;

use crate::claim::Claim;
use crate::limits::WORKERS;
use crate::shared::{Shared, apps, core, start_after, synced};
use crate::views::PodView;
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Change, Client, EventRecorder, Expectations, Informer, Item, Key, Outcome, ReconcileError, Reconciler,
    WorkQueue, decode, run_controller,
};
use holdfast_core::{Json, LabelSelector, Object};
use holdfast_env::{Task, World};
use serde::Deserialize;
use std::sync::Arc;

/// The parts of a ReplicaSet that this controller reads.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReplicaSet {
    pub(crate) spec: Spec,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Spec {
    pub(crate) replicas: Option<usize>,
    pub(crate) min_ready_seconds: u64,
    pub(crate) selector: Json,
    pub(crate) template: Json,
}

pub(crate) type Pod = Arc<Item<PodView>>;

pub(crate) struct Controller {
    world: World,
    client: Arc<dyn Client>,
    events: EventRecorder,
    expectations: Arc<Expectations>,
    sets: Arc<Cache<Arc<Object>>>,
    pods: Arc<Cache<PodView>>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = WorkQueue::new(world.clone());
    let expectations = Arc::new(Expectations::default());
    shared.replica_sets.enqueue_self(&queue);
    shared.replica_sets.on_change({
        let expectations = expectations.clone();
        move |change| {
            // Another object of the same name begins anew.
            let uid = |item: &Option<Arc<Item<Arc<Object>>>>| item.as_ref().map(|item| item.meta.uid.clone());
            if change.old.is_some() && uid(&change.old) != uid(&change.new) {
                expectations.forget(&change.key);
            }
        }
    });
    watch_pods(&shared.pods, &queue, &expectations, shared.replica_sets.cache().clone());
    let controller = Arc::new(Controller {
        world: world.clone(),
        events: EventRecorder::new(world, client.clone(), "replicaset-controller"),
        client,
        expectations,
        sets: shared.replica_sets.cache().clone(),
        pods: shared.pods.cache().clone(),
    });
    let caches = vec![synced(&shared.replica_sets), synced(&shared.pods)];
    let env = world.clone();
    start_after(world, "replicaset-controller", caches, move || {
        run_controller(&env, "replicaset-controller", controller, queue, WORKERS)
    })
}

/// The ReplicaSet that owns a pod.
fn owner(pod: &Item<PodView>) -> Option<Key> {
    let owner = pod.meta.controller().filter(|owner| owner.kind == "ReplicaSet")?;
    Some(Key::new(&pod.meta.namespace, &owner.name))
}

fn watch_pods(
    pods: &Informer<PodView>,
    queue: &WorkQueue<Key>,
    expectations: &Arc<Expectations>,
    sets: Arc<Cache<Arc<Object>>>,
) {
    let expectations = expectations.clone();
    pods.enqueue(queue, move |change| {
        note_expected(change, &expectations);
        let mut keys: Vec<Key> = change.states().filter_map(|pod| owner(pod)).collect();
        keys.dedup();
        if let Some(orphan) = change.new.as_ref().filter(|pod| pod.meta.controller().is_none()) {
            let matching = sets.in_namespace(&orphan.meta.namespace).into_iter().filter(|set| {
                let set: ReplicaSet = decode(&set.value);
                selector(&set).is_some_and(|selector| selector.matches(&orphan.meta.labels))
            });
            keys.extend(matching.map(|set| set.key()));
        }
        keys
    });
}

fn note_expected(change: &Change<PodView>, expectations: &Expectations) {
    let replaced = match (&change.old, &change.new) {
        (Some(old), Some(new)) => old.meta.uid != new.meta.uid,
        _ => true,
    };
    if let Some(new) = &change.new
        && let Some(set) = owner(new)
    {
        if replaced {
            expectations.created(&set);
        }
        if new.meta.is_deleting() {
            expectations.deleted(&set, &new.meta.uid);
        }
    }
    if let Some(old) = &change.old
        && let Some(set) = owner(old)
        && replaced
    {
        expectations.deleted(&set, &old.meta.uid);
    }
}

/// `None` when it is malformed or selects everything, which validation forbids.
fn selector(set: &ReplicaSet) -> Option<LabelSelector> {
    LabelSelector::from_spec(&set.spec.selector).ok().filter(|selector| !selector.is_empty())
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.sets.get(key) else {
            self.expectations.forget(key);
            return Ok(Outcome::Done);
        };
        let object = &item.value;
        let set: ReplicaSet = decode(object);
        let Some(selector) = selector(&set) else {
            return Err(ReconcileError::GiveUp(format!("ReplicaSet {key} selects nothing or everything")));
        };
        let may_manage = self.expectations.fulfilled(key, self.world.monotonic());
        let mut active = self.pods.in_namespace(&key.namespace);
        active.retain(|pod| !pod.value.ended() && !pod.meta.is_deleting());
        let claim = Claim {
            client: &self.client,
            owner: object,
            owner_gvr: apps("replicasets"),
            selector: &selector,
            dependents: core("pods"),
        };
        let pods = claim.claim(active).await?;
        let managed = match may_manage && !object.meta.is_deleting() {
            true => self.manage(object, &set, &pods).await,
            false => Ok(()),
        };
        let again = self.write_status(object, &set, &pods, managed.as_ref().err()).await?;
        match managed {
            Ok(()) => Ok(again.map_or(Outcome::Done, Outcome::RequeueAfter)),
            Err(failure) => Err(failure.status.into()),
        }
    }
}
