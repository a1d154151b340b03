//! Drives the core: informers feed it, one task schedules, bindings and status writes run beside it.
//!
//! Tasks: two informers (pods, nodes; owned by the scheduler's future), the Event recorder, and the loop itself.
//! A pod is assumed on its node before it is bound, so that the next cycle counts it; a refused binding takes the
//! assumption back.

use crate::limits::{WRITE_LIMIT, WRITES_IN_FLIGHT};
use crate::pod::SCHEDULER_NAME;
use crate::{ClusterEvent, Framework, NodeInfo, PodInfo, Rejection, SchedulingQueue, Snapshot, schedule};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use holdfast_controller::{Change, Client, EventRecorder, Informer, Involved, Key};
use holdfast_core::{Gvr, Json, Patch, PatchType, Reason, Status, Target, Timestamp, json as path};
use holdfast_env::{BoxFuture, World};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What the scheduler's client must be allowed: API group, resource, verbs.
pub const PERMISSIONS: &[(&str, &str, &[&str])] = &[
    ("", "nodes", &["get", "list", "watch"]),
    ("", "pods", &["get", "list", "watch"]),
    ("", "pods/binding", &["create"]),
    ("", "pods/status", &["patch", "update"]),
    ("", "events", &["create", "patch", "update"]),
];

struct State {
    snapshot: Snapshot,
    queue: SchedulingQueue,
    /// Pods that we gave a node and whose binding the cache does not show yet, by UID.
    assumed: BTreeMap<Key, String>,
}

struct Scheduler {
    world: World,
    client: Arc<dyn Client>,
    framework: Framework,
    events: EventRecorder,
    state: Mutex<State>,
    changed: Notify,
}

/// Schedules pods until the future is dropped.
pub async fn run_scheduler(world: World, client: Arc<dyn Client>) {
    let state = State { snapshot: Snapshot::default(), queue: SchedulingQueue::default(), assumed: BTreeMap::new() };
    let scheduler = Arc::new(Scheduler {
        events: EventRecorder::new(&world, client.clone(), SCHEDULER_NAME),
        world: world.clone(),
        client: client.clone(),
        framework: Framework::default(),
        state: Mutex::new(state),
        changed: Notify::new(),
    });
    let nodes: Informer<NodeInfo> = Informer::new(&world, client.clone(), Gvr::new("", "v1", "nodes"));
    let pods: Informer<PodInfo> = Informer::new(&world, client, Gvr::new("", "v1", "pods"));
    nodes.on_change({
        let scheduler = scheduler.clone();
        move |change| scheduler.node_changed(change)
    });
    pods.on_change({
        let scheduler = scheduler.clone();
        move |change| scheduler.pod_changed(change)
    });
    let _informers = [nodes.start(), pods.start()];
    nodes.synced().await;
    pods.synced().await;
    scheduler.run().await;
}

impl Scheduler {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn node_changed(&self, change: &Change<NodeInfo>) {
        let now = self.world.monotonic();
        let mut state = self.state();
        let state = &mut *state;
        let old = change.old.as_ref().map(|item| &item.value);
        let Some(new) = change.new.as_ref().map(|item| &item.value) else {
            state.snapshot.remove_node(&change.key.name);
            return;
        };
        state.snapshot.put_node(new.clone());
        let mut events = Vec::new();
        match old {
            None => events.push(ClusterEvent::NodeAdded),
            Some(old) => {
                if old.labels != new.labels {
                    events.push(ClusterEvent::NodeLabels);
                }
                if old.taints != new.taints || old.unschedulable != new.unschedulable {
                    events.push(ClusterEvent::NodeTaints);
                }
                if old.allocatable != new.allocatable {
                    events.push(ClusterEvent::NodeAllocatable);
                }
            }
        }
        events.into_iter().for_each(|event| state.queue.happened(&self.framework, now, event));
        self.changed.notify_one();
    }

    fn pod_changed(&self, change: &Change<PodInfo>) {
        let now = self.world.monotonic();
        let key = &change.key;
        let mut state = self.state();
        let state = &mut *state;
        match change.new.as_ref().map(|item| &item.value) {
            Some(pod) if !pod.ended && !pod.node_name.is_empty() => {
                let news = state.snapshot.place(key) != Some(pod.node_name.as_str())
                    || change.old.as_ref().is_some_and(|old| old.value.labels != pod.labels);
                state.assumed.remove(key);
                state.queue.remove(key);
                state.snapshot.put_pod(Arc::new(pod.clone()), &pod.node_name);
                if news {
                    state.queue.happened(&self.framework, now, ClusterEvent::PodBound);
                }
            }
            Some(pod) if pod.is_ours_to_place() => {
                if state.assumed.get(key).is_some_and(|uid| *uid == pod.uid) {
                    return;
                }
                state.assumed.remove(key);
                state.snapshot.remove_pod(key);
                state.queue.put(&self.framework, Arc::new(pod.clone()));
            }
            _ => {
                state.assumed.remove(key);
                state.queue.remove(key);
                if state.snapshot.remove_pod(key) {
                    state.queue.happened(&self.framework, now, ClusterEvent::PodGone);
                }
            }
        }
        self.changed.notify_one();
    }

    async fn run(self: Arc<Self>) {
        let mut writes: FuturesUnordered<BoxFuture<()>> = FuturesUnordered::new();
        loop {
            while writes.len() < WRITES_IN_FLIGHT {
                match self.cycle() {
                    Some(write) => writes.push(write),
                    None => break,
                }
            }
            let deadline = self.state().queue.next_deadline();
            let timer = match deadline {
                Some(deadline) => self.world.sleep_until(deadline),
                None => Box::pin(std::future::pending()),
            };
            tokio::select! {
                biased;
                Some(()) = writes.next() => {}
                () = self.changed.notified(), if writes.len() < WRITES_IN_FLIGHT => {}
                () = timer, if writes.len() < WRITES_IN_FLIGHT => {}
            }
        }
    }

    /// Takes one pod and decides; what is to be written comes back.
    fn cycle(self: &Arc<Self>) -> Option<BoxFuture<()>> {
        let tie = self.world.random_u64();
        let mut state = self.state();
        let state = &mut *state;
        let pod = state.queue.take(&self.framework, self.world.monotonic())?;
        let chosen = schedule(&self.framework, &state.snapshot, &pod, tie).map(str::to_string);
        let this = self.clone();
        match chosen {
            Ok(node) => {
                state.snapshot.put_pod(pod.clone(), &node);
                state.assumed.insert(pod.key.clone(), pod.uid.clone());
                self.framework.plugins.iter().for_each(|(plugin, _)| plugin.reserve(&pod, &node));
                Some(Box::pin(async move { this.bind(&pod, &node).await }))
            }
            Err(Rejection { plugins, message }) => {
                state.queue.failed(&self.framework, self.world.monotonic(), &pod.key, plugins, false);
                Some(Box::pin(async move { this.tell(&pod, &message).await }))
            }
        }
    }

    async fn within_limit<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let answer = self.world.timeout(WRITE_LIMIT, call).await;
        answer.unwrap_or_else(|| Err(Status::timeout("the API did not answer")))
    }

    async fn bind(&self, pod: &PodInfo, node: &str) {
        let body = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod.key.name, "namespace": pod.key.namespace, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let at = pod.key.target(Gvr::new("", "v1", "pods")).with_subresource("binding");
        let result = self.within_limit(self.client.create(&at, body)).await;
        let Err(status) = result else {
            let message = format!("Successfully assigned {} to {node}", pod.key);
            self.events.normal(&involved(pod), "Scheduled", message);
            return;
        };
        // It may have been bound all the same (an answer lost on the way): then its event sets this right.
        let now = self.world.monotonic();
        {
            let mut state = self.state();
            let state = &mut *state;
            self.framework.plugins.iter().for_each(|(plugin, _)| plugin.unreserve(pod, node));
            if state.assumed.get(&pod.key) == Some(&pod.uid) {
                state.assumed.remove(&pod.key);
                state.snapshot.remove_pod(&pod.key);
                if status.is(Reason::NotFound) {
                    state.queue.remove(&pod.key);
                } else {
                    state.queue.failed(&self.framework, now, &pod.key, BTreeSet::new(), true);
                }
                state.queue.happened(&self.framework, now, ClusterEvent::PodGone);
            }
        }
        self.changed.notify_one();
        if !status.is(Reason::NotFound) {
            tracing::warn!(pod = %pod.key, node, err = %status, "A binding was refused");
            self.events.warning(&involved(pod), "FailedScheduling", format!("binding rejected: {status}"));
        }
    }

    /// Tells why a pod has no node: an Event, and the condition when its text changed.
    async fn tell(&self, pod: &PodInfo, message: &str) {
        self.events.warning(&involved(pod), "FailedScheduling", message);
        if pod.told == message {
            return;
        }
        let result = self.within_limit(self.write_condition(pod, message)).await;
        if let Err(status) = result
            && !status.is(Reason::NotFound)
            && !status.is(Reason::Conflict)
        {
            tracing::warn!(pod = %pod.key, err = %status, "The condition of an unschedulable pod was not written");
        }
    }

    async fn write_condition(&self, pod: &PodInfo, message: &str) -> Result<(), Status> {
        let at = pod.key.target(Gvr::new("", "v1", "pods"));
        let current = self.client.get(&at).await?.to_json();
        let bound = path::str_at(&current, &["spec", "nodeName"]).is_some_and(|node| !node.is_empty());
        if bound || path::str_at(&current, &["metadata", "uid"]) != Some(pod.uid.as_str()) {
            return Ok(());
        }
        let now = Timestamp::from_wall(self.world.wall().0);
        let mut conditions: Vec<Json> = path::items_at(&current, &["status", "conditions"]).to_vec();
        let old = conditions.iter().position(|c| path::str_at(c, &["type"]) == Some("PodScheduled"));
        let since = old
            .and_then(|at| conditions.get(at))
            .filter(|c| path::str_at(c, &["status"]) == Some("False"))
            .and_then(|c| path::at(c, &["lastTransitionTime"]).cloned())
            .unwrap_or_else(|| Json::from(now.to_string()));
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "lastProbeTime": null, "lastTransitionTime": since,
        });
        match old {
            Some(at) => conditions[at] = condition,
            None => conditions.push(condition),
        }
        // The resourceVersion makes this fail rather than overwrite what came in between.
        let version = path::at(&current, &["metadata", "resourceVersion"]).cloned();
        let body = json!({"metadata": {"resourceVersion": version}, "status": {"conditions": conditions}});
        let at = Target { subresource: Some("status".into()), ..at };
        self.client.patch(&at, Patch { patch_type: PatchType::Merge, body }).await.map(|_| ())
    }
}

fn involved(pod: &PodInfo) -> Involved {
    Involved::new("v1", "Pod", &pod.key, &pod.uid)
}
