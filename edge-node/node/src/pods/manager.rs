//! Starts and ends workers as the journal says.

use super::mirrors::{self, Mirrors};
use super::work::{ANSWER, Common};
use super::worker::{Order, Shown, Worker, start};
use super::{sizes, sources};
use crate::parts::PodRef;
use crate::static_pods::{self, AtHub};
use holdfast_core::Timestamp;
use holdfast_edge_store::Record;
use holdfast_pods::typed;
use holdfast_runtime::{NodeCgroups, RuntimeEvent};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast, watch};

/// How long after a change the manager looks again even if nothing rang.
const PERIOD: Duration = Duration::from_secs(30);

/// A pod in a list, as `holdfast-edge pods` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodSummary {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
    /// What `kubectl get pods` shows as STATUS.
    pub status: String,
    /// Restarts of all containers.
    pub restarts: i32,
    /// Primary address.
    pub ip: String,
    /// Whether it is Ready.
    pub ready: bool,
    /// When it was created at the hub.
    pub created: Option<Timestamp>,
    /// Names of its containers.
    pub containers: Vec<String>,
}

/// The pods of the node.
pub struct PodManager {
    common: Arc<Common>,
    workers: Mutex<BTreeMap<String, Worker>>,
    report_all: Arc<Notify>,
    ready: watch::Sender<BTreeMap<String, bool>>,
    mirrors: Mutex<Mirrors>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PodManager {
    /// A manager without workers yet.
    pub(crate) fn new(common: Arc<Common>, report_all: Arc<Notify>) -> Arc<PodManager> {
        Arc::new(PodManager {
            common,
            workers: Mutex::default(),
            report_all,
            ready: watch::channel(BTreeMap::new()).0,
            mirrors: Mutex::default(),
        })
    }

    /// Follows the journal and the runtimes until dropped.
    pub(crate) async fn run(self: Arc<Self>) {
        let env = self.common.parts.env.clone();
        let mut items = self.common.store.items();
        let mut oci = self.common.parts.oci.events();
        let mut wasm = self.common.parts.wasm.events();
        super::sweep::places(&self.common).await;
        let mut shaped = None;
        let _sweep = env.spawn("pods-sweep", Box::pin(super::sweep::runtimes(self.common.clone())));
        loop {
            items.mark_unchanged();
            self.shape(&mut shaped).await;
            self.reconcile().await;
            let ready = self.ready_by_ip();
            self.ready.send_if_modified(|known| {
                let changed = *known != ready;
                *known = ready;
                changed
            });
            let wake = env.sleep(PERIOD);
            tokio::select! {
                biased;
                changed = items.changed() => if changed.is_err() { return },
                () = self.common.changed.notified() => {}
                () = self.report_all.notified() => self.order_all(|| Order::Report).await,
                event = oci.recv() => self.runtime_event(event).await,
                event = wasm.recv() => self.runtime_event(event).await,
                () = wake => {}
            }
        }
    }

    /// Makes the cgroups above those of pods fit what pods ask for; `last` is how they are.
    async fn shape(&self, last: &mut Option<NodeCgroups>) {
        let parts = &self.common.parts;
        let burstable = lock(&self.common.ledger).burstable_cpu();
        let wanted = sizes::above_pods(&parts.config, &parts.host.read(), burstable);
        if last.as_ref() == Some(&wanted) {
            return;
        }
        match parts.env.timeout(ANSWER, parts.oci.shape_node(&wanted)).await {
            Some(Ok(())) => {}
            Some(Err(err)) => tracing::warn!(%err, "The cgroups of this node's pods could not be set up"),
            None => tracing::warn!("The cgroups of this node's pods were not set up in time"),
        }
        // Told once: pods run without.
        *last = Some(wanted);
    }

    async fn order_all(&self, order: impl Fn() -> Order) {
        let queues: Vec<_> = lock(&self.workers).values().map(|worker| worker.orders.clone()).collect();
        for queue in queues {
            // A worker that has ended needs no order.
            let _ = queue.send(order()).await;
        }
    }

    async fn runtime_event(&self, event: Result<RuntimeEvent, broadcast::error::RecvError>) {
        match event {
            Ok(RuntimeEvent::Exited { container_id }) => {
                let queue = lock(&self.workers)
                    .iter()
                    .find(|(uid, _)| container_id.starts_with(uid.as_str()))
                    .map(|(_, worker)| worker.orders.clone());
                if let Some(queue) = queue {
                    let _ = queue.send(Order::Look).await;
                }
            }
            Ok(RuntimeEvent::Resync) | Err(broadcast::error::RecvError::Lagged(_)) => {
                self.order_all(|| Order::Look).await;
            }
            // The runtime's event task is gone only when the node stops.
            Err(broadcast::error::RecvError::Closed) => self.common.parts.env.sleep(PERIOD).await,
        }
    }

    /// Makes the workers fit the journal.
    async fn reconcile(&self) {
        let (pods, mirrors) = self.common.objects.pods_and_mirrors();
        let mut orders = Vec::new();
        let mut ended = Vec::new();
        let mut came_back = false;
        let sources = self.common.store.read(|state| sources::of(state, &pods));
        {
            let mut workers = lock(&self.workers);
            let mut wanted = BTreeSet::new();
            for pod in pods {
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                wanted.insert(uid.clone());
                let waits = static_pods::is_static(&pod) && workers.values().any(|other| holds(other, &pod));
                let made_of = sources.get(&uid).copied().unwrap_or_default();
                match workers.get_mut(&uid) {
                    // The pod that the file held before ends first.
                    None if waits => {}
                    None => {
                        workers.insert(uid, start(self.common.clone(), pod, made_of));
                    }
                    // Its file went and came back.
                    Some(worker) if static_pods::is_static(&pod) && has_ended(worker) => {
                        came_back = true;
                        ended.push(uid);
                    }
                    Some(worker) => {
                        if std::mem::replace(&mut worker.sources, made_of) != made_of {
                            orders.push((worker.orders.clone(), Order::RefreshVolumes));
                        }
                        let known = worker.shown.borrow().pod.clone();
                        if !Arc::ptr_eq(&known, &pod) && known != pod && !worker.shown.borrow().gone {
                            orders.push((worker.orders.clone(), Order::Changed(pod)));
                        }
                    }
                }
            }
            for (uid, worker) in workers.iter() {
                if wanted.contains(uid) {
                    continue;
                }
                if has_ended(worker) {
                    ended.push(uid.clone());
                } else {
                    orders.push((worker.orders.clone(), Order::DeletedAtHub));
                }
            }
            for uid in &ended {
                if let Some(worker) = workers.remove(uid) {
                    let key = Common::key(&worker.shown.borrow().pod);
                    let notes = [Common::memory_key(uid), Common::allocation_key(uid)];
                    let mut forget = notes.map(|key| Record::DropNote { key }).to_vec();
                    // A pod of the same name may be reporting under this key already.
                    if self.common.store.read(|state| fact_is_of(state, &key, uid)) {
                        forget.push(Record::DropStateFact { key });
                    }
                    self.common.store.lazily(forget);
                }
            }
        }
        for (queue, order) in orders {
            let _ = queue.send(order).await;
        }
        if came_back {
            self.common.changed.notify_one();
        }
        self.tend_mirrors(&mirrors).await;
    }

    /// Sees that the hub has a mirror of each static pod, and none of what is no static pod any more.
    async fn tend_mirrors(&self, mirrors: &[Arc<Pod>]) {
        let here: Vec<(Arc<Pod>, bool)> = lock(&self.workers)
            .values()
            .map(|worker| worker.shown.borrow().clone())
            .filter(|shown| static_pods::is_static(&shown.pod) && !shown.gone)
            .map(|shown| (shown.pod, shown.ending))
            .collect();
        let now = self.common.parts.env.monotonic();
        let tasks = lock(&self.mirrors).tend(now, self.common.linked(), &here, mirrors);
        for task in tasks {
            match task {
                mirrors::Task::Report(uid) => self.order(&uid, Order::Report).await,
                mirrors::Task::Remove { key, uid } => {
                    let body = serde_json::json!({"uid": uid, "gone": true}).to_string();
                    if let Err(err) = self.common.store.state_fact(key, body.into(), false).await {
                        tracing::warn!(%err, "That a mirror pod is to go could not be noted");
                    }
                }
                mirrors::Task::Forget { key } => self.common.store.lazily(vec![Record::DropStateFact { key }]),
            }
        }
    }

    async fn order(&self, uid: &str, order: Order) {
        let queue = lock(&self.workers).get(uid).map(|worker| worker.orders.clone());
        if let Some(queue) = queue {
            // A worker that has ended needs no order.
            let _ = queue.send(order).await;
        }
    }

    /// The pods, with their statuses.
    pub(crate) fn shown(&self) -> Vec<Shown> {
        lock(&self.workers).values().map(|worker| worker.shown.borrow().clone()).collect()
    }

    /// The pods of the node, by namespace and name.
    pub fn list(&self) -> Vec<PodSummary> {
        let mut list: Vec<PodSummary> = self.shown().iter().filter(|shown| !shown.gone).map(summary).collect();
        list.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        list
    }

    /// Has a pod's status told again with what others say in it.
    pub(crate) async fn refresh(&self, uid: &str) {
        self.order(uid, Order::Refresh).await;
    }

    /// Ends a pod that has to go; `message` says why. `grace` is the most time that it gets, as little as can be without.
    pub(crate) async fn evict(&self, uid: &str, message: String, grace: Option<Duration>) {
        self.order(uid, Order::Evict { message, grace }).await;
    }

    /// Has a pod stopped because the node shuts down; it may take so long.
    pub(crate) async fn shut_down(&self, uid: &str, grace: Duration) {
        self.order(uid, Order::ShutDown(grace)).await;
    }

    /// The node goes on after all.
    pub(crate) async fn cancel_shutdown(&self) {
        self.order_all(|| Order::CancelShutdown).await;
    }

    /// Readiness by address, for the data plane.
    pub fn ready_by_ip(&self) -> BTreeMap<String, bool> {
        let host_network = |shown: &Shown| shown.pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
        let of = |worker: &Worker| {
            let shown = worker.shown.borrow();
            let ip = shown.status.pod_ip.clone().filter(|ip| !ip.is_empty() && !host_network(&shown))?;
            // One that is to stop gets nothing new, though it may still answer.
            Some((ip, is_ready(&shown.status) && !shown.ending))
        };
        lock(&self.workers).values().filter_map(of).collect()
    }

    /// Follows the readiness of the pods by address.
    pub fn watch_ready(&self) -> watch::Receiver<BTreeMap<String, bool>> {
        self.ready.subscribe()
    }

    /// The pods that live here.
    pub fn refs(&self) -> Vec<PodRef> {
        let of = |pod: PodSummary| PodRef { uid: pod.uid, name: pod.name, namespace: pod.namespace };
        self.shown().iter().map(summary).map(of).collect()
    }

    /// The pod of this name, with its status.
    pub(super) fn find(&self, namespace: &str, name: &str, uid: &str) -> Option<Shown> {
        let fits = |pod: &Pod| {
            let meta = &pod.metadata;
            meta.namespace.as_deref() == Some(namespace)
                && meta.name.as_deref() == Some(name)
                && (uid.is_empty() || meta.uid.as_deref() == Some(uid) || self.is_mirrored_as(pod, uid))
        };
        self.shown().into_iter().find(|shown| fits(&shown.pod))
    }

    /// Whether the hub has a static pod under this UID.
    fn is_mirrored_as(&self, pod: &Pod, uid: &str) -> bool {
        let own = pod.metadata.uid.as_deref().unwrap_or_default();
        let at_hub = || self.common.store.read(|state| static_pods::at_hub(state, &Common::key(pod), own));
        static_pods::is_static(pod) && matches!(at_hub(), AtHub::Mirror { uid: of, .. } if of == uid)
    }

    pub(crate) fn common(&self) -> &Arc<Common> {
        &self.common
    }
}

/// Whether the state fact under `key` speaks of the pod with this UID.
fn fact_is_of(state: &holdfast_edge_store::State, key: &str, uid: &str) -> bool {
    let body = state.outbox().state_fact(key).and_then(|(_, body)| serde_json::from_slice(body).ok());
    body.is_some_and(|body: serde_json::Value| body.get("uid").and_then(|uid| uid.as_str()) == Some(uid))
}

/// Whether a worker has a pod of this name in its hands.
fn holds(worker: &Worker, pod: &Pod) -> bool {
    let meta = &pod.metadata;
    let shown = worker.shown.borrow();
    let other = &shown.pod.metadata;
    !has_ended(worker) && (&other.namespace, &other.name) == (&meta.namespace, &meta.name)
}

fn has_ended(worker: &Worker) -> bool {
    worker.shown.borrow().gone || worker.task.is_finished()
}

fn is_ready(status: &PodStatus) -> bool {
    status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn summary(shown: &Shown) -> PodSummary {
    let meta = &shown.pod.metadata;
    let status = &shown.status;
    let mut document = typed::document(&shown.pod);
    document["status"] = typed::status_document(status);
    let containers = status.container_statuses.iter().flatten();
    PodSummary {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
        uid: meta.uid.clone().unwrap_or_default(),
        status: shown_status(&document),
        restarts: containers.map(|container| container.restart_count).sum(),
        ip: status.pod_ip.clone().unwrap_or_default(),
        ready: is_ready(status),
        created: meta.creation_timestamp.as_ref().and_then(|time| Timestamp::parse(&time.0.to_string())),
        containers: shown.pod.spec.iter().flat_map(|spec| spec.containers.iter().map(|c| c.name.clone())).collect(),
    }
}

/// The STATUS column of the pods' table.
fn shown_status(pod: &serde_json::Value) -> String {
    let Some(kind) = holdfast_kinds::by_gvr("", "v1", "pods") else { return "Unknown".into() };
    let row = kind.cells(pod, Timestamp::default());
    let at = kind.columns.iter().position(|column| column.name == "Status");
    at.and_then(|at| row.get(at)?.as_str().map(str::to_string)).unwrap_or_else(|| "Unknown".into())
}
