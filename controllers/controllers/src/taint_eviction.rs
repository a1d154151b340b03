//! Taint eviction: `NoExecute` taints drive pods off a node once their tolerations ran out.
//!
//! The time runs from when this controller first saw the pod under such a taint, on the monotonic clock: a wrong wall
//! clock evicts nobody, and a restart of the hub gives pods more time, never less.

use crate::limits::WORKERS;
use crate::pod_writes;
use crate::shared::{Shared, start_after, synced};
use crate::views::{NodeView, PodView, Taint};
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, EventRecorder, Involved, Key, Outcome, ReconcileError, Reconciler, WorkQueue, run_controller,
};
use holdfast_core::Timestamp;
use holdfast_env::{Mono, Task, World};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

struct Controller {
    world: World,
    client: Arc<dyn Client>,
    events: EventRecorder,
    nodes: Arc<Cache<NodeView>>,
    pods: Arc<Cache<PodView>>,
    /// Pods under a `NoExecute` taint that they tolerate for a while: since when, by key and UID.
    waiting: Mutex<BTreeMap<(Key, String), Mono>>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = WorkQueue::new(world.clone());
    shared.pods.enqueue(&queue, |change| {
        let placed = change.states().any(|pod| !pod.value.node.is_empty());
        placed.then(|| change.key.clone()).into_iter().collect()
    });
    let pods = shared.pods.cache().clone();
    shared.nodes.enqueue(&queue, move |change| {
        let taints = |item: &Arc<holdfast_controller::Item<NodeView>>| item.value.taints.clone();
        if change.old.as_ref().map(taints).unwrap_or_default() == change.new.as_ref().map(taints).unwrap_or_default() {
            return Vec::new();
        }
        pods.on_node(&change.key.name).iter().map(|pod| pod.key()).collect()
    });
    let controller = Arc::new(Controller {
        world: world.clone(),
        events: EventRecorder::new(world, client.clone(), "taint-eviction-controller"),
        client,
        nodes: shared.nodes.cache().clone(),
        pods: shared.pods.cache().clone(),
        waiting: Mutex::default(),
    });
    let env = world.clone();
    let caches = vec![synced(&shared.nodes), synced(&shared.pods)];
    start_after(world, "taint-eviction-controller", caches, move || {
        run_controller(&env, "taint-eviction-controller", controller, queue, WORKERS)
    })
}

/// How long a pod may stay: `None` for ever.
fn patience(pod: &PodView, taints: &[Taint]) -> Option<Duration> {
    let mut least = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let Some(toleration) = pod.tolerations.iter().find(|toleration| toleration.tolerates(taint)) else {
            return Some(Duration::ZERO);
        };
        if let Some(seconds) = toleration.toleration_seconds {
            let wait = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
            least = Some(least.map_or(wait, |least: Duration| least.min(wait)));
        }
    }
    least
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let now = self.world.monotonic();
        let pod = self.pods.get(key).filter(|pod| !pod.meta.is_deleting() && !pod.value.node.is_empty());
        let patience = pod.as_ref().and_then(|pod| {
            let node = self.nodes.get(&Key::new("", &pod.value.node))?;
            patience(&pod.value, &node.value.taints)
        });
        let (Some(pod), Some(patience)) = (&pod, patience) else {
            if self.forget(key, None) {
                self.cancelled(key, pod.as_ref().map(|pod| pod.meta.uid.as_str()));
            }
            return Ok(Outcome::Done);
        };
        let since = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            *waiting.entry((key.clone(), pod.meta.uid.clone())).or_insert(now)
        };
        self.forget(key, Some(&pod.meta.uid));
        let left = since.after(patience).since(now);
        if left > Duration::ZERO {
            return Ok(Outcome::RequeueAfter(left));
        }
        self.evict(key, &pod.meta.uid).await?;
        self.forget(key, None);
        Ok(Outcome::Done)
    }
}

impl Controller {
    /// Forgets the waits of a key, but that of `keep`. Says whether there was one.
    fn forget(&self, key: &Key, keep: Option<&str>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.len();
        waiting.retain(|(other, uid), _| other != key || keep == Some(uid.as_str()));
        waiting.len() < before
    }

    fn cancelled(&self, key: &Key, uid: Option<&str>) {
        let Some(uid) = uid else { return };
        let message = format!("Cancelling deletion of Pod {key}");
        self.events.normal(&Involved::new("v1", "Pod", key, uid), "TaintManagerEviction", message);
    }

    async fn evict(&self, key: &Key, uid: &str) -> Result<(), ReconcileError> {
        let message = format!("Marking for deletion Pod {key}");
        self.events.normal(&Involved::new("v1", "Pod", key, uid), "TaintManagerEviction", message);
        let now = Timestamp::from_wall(self.world.wall().0);
        let why = "Taint manager: deleting due to NoExecute taint";
        let condition = ("DisruptionTarget", "True", "DeletionByTaintManager", why);
        pod_writes::set_condition(&self.client, now, (key, uid), condition, None).await?;
        pod_writes::delete(&self.client, key, uid, None).await?;
        Ok(())
    }
}
