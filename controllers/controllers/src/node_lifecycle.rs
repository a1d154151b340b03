//! Node life cycle: taints follow a node's conditions, and pods of a node that went silent are not ready.
//!
//! Who sets the conditions is elsewhere: the agent its own, the hub's link `Ready=Unknown` for a node that is cut.

use crate::limits::WORKERS;
use crate::pod_writes;
use crate::shared::{Shared, core, start_after, synced};
use crate::views::{NodeView, PodView};
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, EventRecorder, Involved, Item, Key, Outcome, ReconcileError, Reconciler, WorkQueue, run_controller,
};
use holdfast_core::{Json, Patch, PatchType, Reason, Timestamp, json as path};
use holdfast_env::{Task, World};
use serde_json::json;
use std::sync::Arc;

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Conditions that keep pods away while they are true.
const PRESSURES: &[(&str, &str)] = &[
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

struct Controller {
    world: World,
    client: Arc<dyn Client>,
    events: EventRecorder,
    nodes: Arc<Cache<NodeView>>,
    pods: Arc<Cache<PodView>>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = WorkQueue::new(world.clone());
    shared.nodes.enqueue_self(&queue);
    let controller = Arc::new(Controller {
        world: world.clone(),
        events: EventRecorder::new(world, client.clone(), "node-controller"),
        client,
        nodes: shared.nodes.cache().clone(),
        pods: shared.pods.cache().clone(),
    });
    let env = world.clone();
    let caches = vec![synced(&shared.nodes), synced(&shared.pods)];
    start_after(world, "node-controller", caches, move || {
        run_controller(&env, "node-controller", controller, queue, WORKERS)
    })
}

/// The taints of ours that a node should have: key and effect.
fn wanted(node: &NodeView) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    match node.ready() {
        "False" => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        "Unknown" => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        _ => {}
    }
    for (condition, taint) in PRESSURES {
        if node.conditions.get(*condition).is_some_and(|status| status == "True") {
            wanted.push((taint, "NoSchedule"));
        }
    }
    if node.unschedulable {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted
}

fn is_ours(taint: &Json) -> bool {
    let key = path::str_at(taint, &["key"]).unwrap_or_default();
    let effect = path::str_at(taint, &["effect"]).unwrap_or_default();
    let readiness = key == NOT_READY || key == UNREACHABLE;
    let pressure = key == UNSCHEDULABLE || PRESSURES.iter().any(|(_, taint)| *taint == key);
    (readiness && (effect == "NoSchedule" || effect == "NoExecute")) || (pressure && effect == "NoSchedule")
}

/// The new list, or nothing when it is as it should be. Taints that stay keep their place and time.
fn retaint(node: &NodeView, now: Timestamp) -> Option<Vec<Json>> {
    let mut wanted = wanted(node);
    let mut taints = Vec::new();
    for taint in &node.raw_taints {
        let same = |(key, effect): &(&str, &str)| {
            path::str_at(taint, &["key"]) == Some(key) && path::str_at(taint, &["effect"]) == Some(effect)
        };
        match wanted.iter().position(same) {
            Some(at) => drop(wanted.remove(at)),
            // A new node has it from admission, until it is heard how it is.
            None if node.ready().is_empty() && same(&(NOT_READY, "NoSchedule")) => {}
            None if is_ours(taint) => continue,
            None => {}
        }
        taints.push(taint.clone());
    }
    if wanted.is_empty() && taints.len() == node.raw_taints.len() {
        return None;
    }
    for (key, effect) in wanted {
        taints.push(match effect {
            "NoExecute" => json!({"key": key, "effect": effect, "timeAdded": now}),
            _ => json!({"key": key, "effect": effect}),
        });
    }
    Some(taints)
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(node) = self.nodes.get(key) else { return Ok(Outcome::Done) };
        let now = Timestamp::from_wall(self.world.wall().0);
        if let Some(taints) = retaint(&node.value, now) {
            let body = json!({
                "metadata": {"uid": node.meta.uid, "resourceVersion": node.revision.to_string()},
                "spec": {"taints": taints},
            });
            let at = key.target(core("nodes"));
            match self.client.patch(&at, Patch { patch_type: PatchType::Merge, body }).await {
                Err(status) if status.is(Reason::NotFound) => return Ok(Outcome::Done),
                other => other?,
            };
            let silent = node.value.ready() == "Unknown" || node.value.ready() == "False";
            if silent && !node.value.taints.iter().any(|t| t.key == NOT_READY || t.key == UNREACHABLE) {
                let message = format!("Node {key} status is now: NodeNotReady");
                self.events.normal(&Involved::new("v1", "Node", key, &node.meta.uid), "NodeNotReady", message);
            }
        }
        if node.value.ready() == "Unknown" {
            self.mark_pods(&node, now).await?;
        }
        Ok(Outcome::Done)
    }
}

impl Controller {
    /// Services stop sending to pods that nobody hears of. Once the node is back its facts say how they are.
    async fn mark_pods(&self, node: &Item<NodeView>, now: Timestamp) -> Result<(), ReconcileError> {
        for pod in self.pods.on_node(&node.meta.name).iter().filter(|pod| pod.value.ready) {
            let key = pod.key();
            let condition = ("Ready", "False", "NodeNotReady", "Node is not ready");
            pod_writes::set_condition(&self.client, now, (&key, &pod.meta.uid), condition, None).await?;
            self.events.warning(&Involved::new("v1", "Pod", &key, &pod.meta.uid), "NodeNotReady", "Node is not ready");
        }
        Ok(())
    }
}
