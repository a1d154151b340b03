//! Deployment: rolls from one ReplicaSet to the next, a step at a time, and tells how it goes.
//!
//! Owns ReplicaSets; never touches a pod. Of a Deployment it writes the revision annotation and the status.

mod hash;
mod rolling;
mod scale;
mod sets;
mod status;
mod sync;

pub use hash::pod_template_hash;

use crate::claim::Claim;
use crate::limits::WORKERS;
use crate::shared::{Shared, apps, start_after, synced};
use crate::views::PodView;
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, EventRecorder, Involved, Item, Key, Outcome, ReconcileError, Reconciler, WorkQueue, decode,
    run_controller,
};
use holdfast_core::{Json, LabelSelector, Object, Timestamp, json as path};
use holdfast_env::{Task, World};
use serde::Deserialize;
use sets::Sets;
use std::sync::Arc;

/// The parts of a Deployment that this controller reads.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Raw {
    spec: Spec,
    status: RawStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    replicas: Option<i64>,
    selector: Json,
    template: Json,
    strategy: Strategy,
    min_ready_seconds: u64,
    revision_history_limit: Option<usize>,
    paused: bool,
    progress_deadline_seconds: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Strategy {
    r#type: String,
    rolling_update: Bounds,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Bounds {
    max_surge: Json,
    max_unavailable: Json,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    collision_count: Option<i64>,
    replicas: i64,
    updated_replicas: i64,
    ready_replicas: i64,
    available_replicas: i64,
    conditions: Vec<Json>,
}

/// Upstream's default of `spec.progressDeadlineSeconds`.
const PROGRESS_DEADLINE_SECS: u64 = 600;

/// Upstream's value for "no deadline".
const NO_DEADLINE_SECS: u64 = i32::MAX as u64;

/// A Deployment in one reconcile. The document changes as it is written.
pub(crate) struct Deployment {
    doc: Json,
    object: Arc<Object>,
    key: Key,
    spec: Spec,
    status: RawStatus,
    /// What the conditions are to be.
    conditions: Vec<Json>,
    collisions: Option<i64>,
}

impl Deployment {
    fn of(object: &Arc<Object>) -> Deployment {
        let raw: Raw = decode(object);
        Deployment {
            doc: object.to_json(),
            object: object.clone(),
            key: Key::of(object),
            conditions: raw.status.conditions.clone(),
            collisions: raw.status.collision_count,
            spec: raw.spec,
            status: raw.status,
        }
    }

    fn replicas(&self) -> i64 {
        self.spec.replicas.unwrap_or(1)
    }

    fn rolls(&self) -> bool {
        self.spec.strategy.r#type != "Recreate"
    }

    /// Most pods above the wanted number.
    fn max_surge(&self) -> i64 {
        match self.rolls() {
            true => self.bounds().0,
            false => 0,
        }
    }

    /// Most pods below the wanted number.
    fn max_unavailable(&self) -> i64 {
        match self.rolls() && self.replicas() > 0 {
            true => self.bounds().1.min(self.replicas()),
            false => 0,
        }
    }

    /// Surge rounds up, unavailable down; both zero would stop everything, so one may be unavailable.
    fn bounds(&self) -> (i64, i64) {
        let bounds = &self.spec.strategy.rolling_update;
        let surge = share(&bounds.max_surge, self.replicas(), true);
        let unavailable = share(&bounds.max_unavailable, self.replicas(), false);
        if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
    }

    fn deadline_secs(&self) -> Option<u64> {
        let deadline = self.spec.progress_deadline_seconds.unwrap_or(PROGRESS_DEADLINE_SECS);
        (deadline != NO_DEADLINE_SECS).then_some(deadline)
    }

    fn condition(&self, kind: &str) -> Option<&Json> {
        self.conditions.iter().find(|condition| path::str_at(condition, &["type"]) == Some(kind))
    }

    fn involved(&self) -> Involved {
        Involved::of(&self.object)
    }
}

/// A number, or a percentage of `total`; 25 % when unset.
fn share(value: &Json, total: i64, up: bool) -> i64 {
    let percent = |percent: i64| {
        let product = total.saturating_mul(percent);
        if up { (product + 99).div_euclid(100) } else { product.div_euclid(100) }
    };
    match value {
        Json::Number(number) => number.as_i64().unwrap_or(0),
        Json::String(text) => match text.strip_suffix('%').and_then(|text| text.parse().ok()) {
            Some(number) => percent(number),
            None => text.parse().unwrap_or(0),
        },
        _ => percent(25),
    }
}

pub(crate) struct Controller {
    world: World,
    client: Arc<dyn Client>,
    events: EventRecorder,
    deployments: Arc<Cache<Arc<Object>>>,
    sets: Arc<Cache<Arc<Object>>>,
    pods: Arc<Cache<PodView>>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = WorkQueue::new(world.clone());
    shared.deployments.enqueue_self(&queue);
    let deployments = shared.deployments.cache().clone();
    shared.replica_sets.enqueue(&queue, move |change| {
        let mut keys: Vec<Key> = change.states().filter_map(|set| owner(set)).collect();
        keys.dedup();
        if let Some(orphan) = change.new.as_ref().filter(|set| set.meta.controller().is_none()) {
            let all = deployments.in_namespace(&orphan.meta.namespace).into_iter();
            let matching = all.filter(|item| {
                let raw: Raw = decode(&item.value);
                selector(&raw.spec).is_some_and(|selector| selector.matches(&orphan.meta.labels))
            });
            keys.extend(matching.map(|item| item.key()));
        }
        keys
    });
    // Recreate waits for the last old pod to go.
    let (sets, deployments) = (shared.replica_sets.cache().clone(), shared.deployments.cache().clone());
    shared.pods.enqueue(&queue, move |change| {
        let Some(old) = change.old.as_ref().filter(|_| change.new.is_none()) else { return Vec::new() };
        let set = old.meta.controller().and_then(|owner| sets.get(&Key::new(&old.meta.namespace, &owner.name)));
        let key = set.and_then(|set| owner(&set));
        let recreates = |key: &Key| deployments.get(key).is_some_and(|item| !Deployment::of(&item.value).rolls());
        key.filter(recreates).into_iter().collect()
    });
    let controller = Arc::new(Controller {
        world: world.clone(),
        events: EventRecorder::new(world, client.clone(), "deployment-controller"),
        client,
        deployments: shared.deployments.cache().clone(),
        sets: shared.replica_sets.cache().clone(),
        pods: shared.pods.cache().clone(),
    });
    let env = world.clone();
    let caches = vec![synced(&shared.deployments), synced(&shared.replica_sets), synced(&shared.pods)];
    start_after(world, "deployment-controller", caches, move || {
        run_controller(&env, "deployment-controller", controller, queue, WORKERS)
    })
}

fn owner(set: &Item<Arc<Object>>) -> Option<Key> {
    let owner = set.meta.controller().filter(|owner| owner.kind == "Deployment")?;
    Some(Key::new(&set.meta.namespace, &owner.name))
}

fn selector(spec: &Spec) -> Option<LabelSelector> {
    LabelSelector::from_spec(&spec.selector).ok().filter(|selector| !selector.is_empty())
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.deployments.get(key) else { return Ok(Outcome::Done) };
        let mut deployment = Deployment::of(&item.value);
        let Some(selector) = selector(&deployment.spec) else {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.events.warning(&deployment.involved(), "SelectingAll", message);
            return Ok(Outcome::Done);
        };
        let claim = Claim {
            client: &self.client,
            owner: &item.value,
            owner_gvr: apps("deployments"),
            selector: &selector,
            dependents: apps("replicasets"),
        };
        let claimed = claim.claim(self.sets.in_namespace(&key.namespace)).await?;
        let mut sets = Sets::new(&deployment, &claimed);
        if !deployment.object.meta.is_deleting() {
            self.note_pause(&mut deployment);
            if deployment.spec.paused || sets.must_scale(deployment.replicas()) {
                self.find_new(&mut deployment, &mut sets, false).await?;
                self.scale_all(&deployment, &mut sets).await?;
                if deployment.spec.paused {
                    self.clean_up(&deployment, &sets).await?;
                }
            } else if deployment.rolls() {
                self.roll(&mut deployment, &mut sets).await?;
            } else {
                self.recreate(&mut deployment, &mut sets).await?;
            }
        }
        let again = self.write_status(&mut deployment, &sets).await?;
        Ok(again.map_or(Outcome::Done, Outcome::RequeueAfter))
    }
}

impl Controller {
    fn now(&self) -> Timestamp {
        Timestamp::from_wall(self.world.wall().0)
    }
}
