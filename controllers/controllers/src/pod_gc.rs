//! Pod garbage: pods whose node is gone, pods that are deleted without ever having had a node, and ended pods beyond
//! a threshold (upstream's podgc).

use crate::ControllersConfig;
use crate::limits::POD_GC_PERIOD;
use crate::pod_writes;
use crate::shared::{Shared, core, start_after, synced};
use crate::views::{NodeView, PodView};
use async_trait::async_trait;
use holdfast_controller::{Cache, Client, Item, Key, Outcome, ReconcileError, Reconciler, WorkQueue, run_controller};
use holdfast_core::{Reason, Status, Timestamp};
use holdfast_env::{Mono, Task, World};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

struct Controller {
    world: World,
    client: Arc<dyn Client>,
    pods: Arc<Cache<PodView>>,
    nodes: Arc<Cache<NodeView>>,
    config: Arc<ControllersConfig>,
    /// Nodes that are missing, and since when.
    missing: Mutex<BTreeMap<String, Mono>>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared, config: &Arc<ControllersConfig>) -> Task {
    let queue = WorkQueue::new(world.clone());
    queue.add(());
    let controller = Arc::new(Controller {
        world: world.clone(),
        client,
        pods: shared.pods.cache().clone(),
        nodes: shared.nodes.cache().clone(),
        config: config.clone(),
        missing: Mutex::default(),
    });
    let env = world.clone();
    let caches = vec![synced(&shared.pods), synced(&shared.nodes)];
    start_after(world, "pod-garbage-collector", caches, move || {
        run_controller(&env, "pod-garbage-collector", controller, queue, 1)
    })
}

type Pod = Arc<Item<PodView>>;

#[async_trait]
impl Reconciler for Controller {
    type Key = ();

    async fn reconcile(&self, (): &()) -> Result<Outcome, ReconcileError> {
        let pods = self.pods.all();
        let results = [self.ended(&pods).await, self.orphaned(&pods).await, self.never_placed(&pods).await];
        for status in results.into_iter().filter_map(Result::err) {
            tracing::warn!(err = %status, "Some pod garbage stays until the next look");
        }
        Ok(Outcome::RequeueAfter(POD_GC_PERIOD))
    }
}

impl Controller {
    /// The oldest ended pods beyond the threshold.
    async fn ended(&self, pods: &[Pod]) -> Result<(), Status> {
        let limit = self.config.terminated_pod_threshold;
        let mut ended: Vec<&Pod> = pods.iter().filter(|pod| pod.value.ended() && !pod.meta.is_deleting()).collect();
        if limit == 0 || ended.len() <= limit {
            return Ok(());
        }
        ended.sort_by_key(|pod| (pod.meta.creation_timestamp, pod.key()));
        for pod in &ended[..ended.len() - limit] {
            pod_writes::delete(&self.client, &pod.key(), &pod.meta.uid, Some(0)).await?;
        }
        Ok(())
    }

    /// Pods whose node is gone for long enough, by the cache and by the API.
    async fn orphaned(&self, pods: &[Pod]) -> Result<(), Status> {
        let gone = self.gone_nodes(pods);
        for node in gone {
            match self.client.get(&Key::new("", &node).target(core("nodes"))).await {
                Err(status) if status.is(Reason::NotFound) => {}
                Err(status) => return Err(status),
                Ok(_) => continue,
            }
            let now = Timestamp::from_wall(self.world.wall().0);
            for pod in self.pods.on_node(&node) {
                let (key, uid) = (pod.key(), pod.meta.uid.as_str());
                let phase = (!pod.value.ended()).then_some("Failed");
                let condition = ("DisruptionTarget", "True", "DeletionByPodGC", "PodGC: node no longer exists");
                pod_writes::set_condition(&self.client, now, (&key, uid), condition, phase).await?;
                pod_writes::delete(&self.client, &key, uid, Some(0)).await?;
                tracing::info!(pod = %key, node, "Deleted a pod whose node is gone");
            }
        }
        Ok(())
    }

    fn gone_nodes(&self, pods: &[Pod]) -> Vec<String> {
        let now = self.world.monotonic();
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let unknown = |node: &str| self.nodes.get(&Key::new("", node)).is_none();
        missing.retain(|node, _| unknown(node));
        for pod in pods.iter().filter(|pod| !pod.value.node.is_empty() && unknown(&pod.value.node)) {
            missing.entry(pod.value.node.clone()).or_insert(now);
        }
        let long = |since: &Mono| now.since(*since) >= self.config.orphaned_pod_grace;
        missing.iter().filter(|(_, since)| long(since)).map(|(node, _)| node.clone()).collect()
    }

    async fn never_placed(&self, pods: &[Pod]) -> Result<(), Status> {
        for pod in pods.iter().filter(|pod| pod.meta.is_deleting() && pod.value.node.is_empty()) {
            pod_writes::delete(&self.client, &pod.key(), &pod.meta.uid, Some(0)).await?;
        }
        Ok(())
    }
}
