//! What is done about pressure: the node frees what nobody needs, and if that is not enough, a pod has to go; and so does a pod
//! that has used more of the disk than it may. [`crate::pressure`] and [`crate::disk::limits`] decide.
//!
//! Task: one at a time, which acts on what a look at the machine found and ends; [`Evictor::look`] starts it.

use crate::disk::{PodDisk, limits};
use crate::main_loop::Running;
use crate::pages::of_containers;
use crate::parts::FileSystemUsage;
use crate::pods::{PodManager, Shown, forget_container, remove_unused_images};
use crate::pressure::{CRITICAL, ContainerUse, PodUse, Pressure, Seen, Signal, Starved, choose};
use crate::static_pods::is_static;
use holdfast_core::Quantity;
use holdfast_env::{Mono, Task};
use holdfast_runtime::{ContainerState, ContainerUsage, RuntimeError};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often pods that have limits are counted. Each of their files is looked at then.
const LIMITS: Duration = Duration::from_secs(60);
/// How old a count may be when a pod has to go.
const FRESH: Duration = Duration::from_secs(10);
/// How long one answer of a runtime may take.
const ANSWER: Duration = Duration::from_secs(120);

/// Looks at the machine, and sees that something is done.
pub(crate) struct Evictor {
    actor: Arc<Actor>,
    pressure: Pressure,
    acting: Option<Task>,
    limits_due: Mono,
    /// What was told to be freed.
    told: Option<Signal>,
}

struct Actor {
    node: Arc<Running>,
    pods: Arc<PodManager>,
    /// The pod that had to go last.
    last: Mutex<String>,
}

impl Evictor {
    pub(crate) fn new(node: Arc<Running>, pods: Arc<PodManager>) -> Evictor {
        let pressure = Pressure::new(node.parts.config.eviction.clone());
        let limits_due = node.parts.env.monotonic();
        let actor = Arc::new(Actor { node, pods, last: Mutex::default() });
        Evictor { actor, pressure, acting: None, limits_due, told: None }
    }

    /// Looks, and starts to act if something is to be done and nothing is being done.
    pub(crate) async fn look(&mut self) {
        let actor = self.actor.clone();
        let env = actor.node.parts.env.clone();
        self.pressure.look(env.monotonic(), actor.seen().await);
        let conditions = self.pressure.conditions().filter(|(_, holds, _)| *holds).map(|(name, ..)| name).collect();
        actor.pods.common().set_pressure(conditions);
        if self.acting.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let starved = self.pressure.starved();
        let limits = env.monotonic() >= self.limits_due && actor.limited().next().is_some();
        if limits {
            self.limits_due = env.monotonic().after(LIMITS);
        }
        self.tell(starved).await;
        if starved.is_none() && !limits {
            return;
        }
        let pressure = self.pressure.clone();
        self.acting = Some(env.spawn("eviction", Box::pin(async move { actor.act(starved, limits, &pressure).await })));
    }

    /// The conditions now: type, whether it holds, reason and message.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&'static str, bool, [&'static str; 2])> {
        self.pressure.conditions()
    }

    /// Says once what is to be freed.
    async fn tell(&mut self, starved: Option<Starved>) {
        let signal = starved.map(|starved| starved.signal);
        let resource = signal.filter(|_| signal != self.told).map(Signal::resource);
        self.told = signal;
        if let Some(resource) = resource {
            let (events, uid) = (&self.actor.pods.common().events, &self.actor.node.parts.config.node_uid);
            events.node(uid, true, "EvictionThresholdMet", &format!("Attempting to reclaim {resource}")).await;
        }
    }
}

impl Actor {
    async fn seen(&self) -> Seen {
        let parts = &self.node.parts;
        let host = parts.host.clone();
        let host = parts.env.blocking(move || host.usage()).await.unwrap_or_default();
        Seen { host, images: image_disk(&*parts.oci).await }
    }

    /// Running pods whose storage is limited.
    fn limited(&self) -> impl Iterator<Item = Shown> {
        let shown = self.pods.shown().into_iter();
        shown.filter(|shown| shown.is_running() && !is_critical(&shown.pod) && limits::has_limits(&shown.pod))
    }

    async fn act(&self, starved: Option<Starved>, limits: bool, pressure: &Pressure) {
        if limits && self.enforce_limits().await {
            return;
        }
        let Some(starved) = starved else { return };
        if starved.is_freed_by_the_node() {
            self.free_what_nobody_needs().await;
            if pressure.is_relieved(&self.seen().await) {
                return;
            }
        }
        self.evict_one(&starved).await;
    }

    /// Ends the pods that use more storage than they may; whether there were any.
    async fn enforce_limits(&self) -> bool {
        let pods: Vec<Shown> = self.limited().collect();
        let counted = self.node.disk.of(&pods, FRESH).await;
        let own_image_disk = self.seen().await.own_image_disk();
        let mut any = false;
        for shown in &pods {
            let uid = uid(shown);
            let Some(exceeded) = counted.get(uid).and_then(|disk| limits::exceeded(&shown.pod, disk, own_image_disk))
            else {
                continue;
            };
            tracing::warn!(uid, message = exceeded.message, "A pod has used more storage than it may");
            self.node.count_eviction(exceeded.signal);
            self.pods.evict(uid, exceeded.message, None).await;
            any = true;
        }
        any
    }

    /// Removes dead containers and images that no pod names.
    async fn free_what_nobody_needs(&self) {
        let common = self.pods.common();
        let dead = dead_containers(&self.pods.shown());
        for runtime in [&self.node.parts.oci, &self.node.parts.wasm] {
            let list = common.parts.env.timeout(ANSWER, runtime.list_containers()).await;
            let Some(Ok(containers)) = list else { continue };
            for container in containers {
                let ended = matches!(container.state, ContainerState::Exited { .. });
                let Some(pod) = dead.get(&container.id).filter(|_| ended) else { continue };
                tracing::info!(container = container.id, "Removing a dead container to make room");
                let uid = pod.metadata.uid.clone().unwrap_or_default();
                forget_container(common, pod, &uid, &container.name, container.attempt).await;
            }
        }
        remove_unused_images(common).await;
    }

    /// Ends the pod that has to go first, one at a time: what the one before has used is free only once it has ended.
    async fn evict_one(&self, starved: &Starved) {
        let shown: Vec<Shown> = self.pods.shown().into_iter().filter(Shown::is_running).collect();
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if shown.iter().any(|shown| uid(shown) == last) {
            return;
        }
        // What is not accounted for is not chosen.
        let (used, _) = of_containers(&self.node.parts).await;
        let disk = if starved.signal.is_of_disk() { self.node.disk.of(&shown, FRESH).await } else { BTreeMap::new() };
        let none = PodDisk::default();
        let of = |shown: &Shown| pod_use(shown, &used, disk.get(uid(shown)).map_or(&none, |disk| &**disk));
        let uses: Vec<PodUse> = shown.iter().map(of).collect();
        if let Some((uid, message)) = choose(starved, &uses) {
            tracing::warn!(uid, message, "A pod has to go");
            self.node.count_eviction(starved.signal.name());
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = uid.to_string();
            self.pods.evict(uid, message, starved.grace).await;
        }
    }
}

/// The file system of a runtime's images.
pub(crate) async fn image_disk(runtime: &dyn holdfast_runtime::Runtime) -> Option<FileSystemUsage> {
    let usage = match runtime.image_fs().await {
        Ok(usage) => usage?,
        Err(RuntimeError::Unavailable { .. }) => return None,
        Err(err) => {
            tracing::debug!(runtime = runtime.name(), %err, "The images' disk was not looked at");
            return None;
        }
    };
    Some(FileSystemUsage {
        capacity: usage.capacity_bytes,
        available: usage.available_bytes,
        used: usage.used_bytes,
        inodes: usage.inodes,
        inodes_free: usage.inodes_free,
        device: usage.device,
    })
}

fn uid(shown: &Shown) -> &str {
    shown.pod.metadata.uid.as_deref().unwrap_or_default()
}

fn is_critical(pod: &Pod) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0) >= CRITICAL
}

/// The containers whose ends are told in the statuses of their pods, so that nothing is lost with them: their ids and pods.
fn dead_containers(pods: &[Shown]) -> BTreeMap<String, Arc<Pod>> {
    let ids = |shown: &Shown| {
        let status = &shown.status;
        let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
        let states = lists.into_iter().flatten().flatten().flat_map(|status| [&status.state, &status.last_state]);
        let ids = states.flatten().filter_map(|state| {
            let id = state.terminated.as_ref()?.container_id.as_ref()?;
            Some(id.split_once("://")?.1.to_string())
        });
        ids.map(|id| (id, shown.pod.clone())).collect::<Vec<_>>()
    };
    pods.iter().flat_map(ids).collect()
}

fn pod_use(shown: &Shown, used: &BTreeMap<String, ContainerUsage>, disk: &PodDisk) -> PodUse {
    let spec = shown.pod.spec.as_ref();
    let container = |status: &ContainerStatus| {
        let usage = used.get(&shown.container_id(status))?;
        let mut all =
            spec.into_iter().flat_map(|spec| spec.containers.iter().chain(spec.init_containers.iter().flatten()));
        let wanted = all.find(|container| container.name == status.name);
        // One that asks for nothing goes first.
        let request = wanted
            .and_then(|wanted| wanted.resources.as_ref()?.requests.as_ref()?.get("memory")?.0.parse::<Quantity>().ok());
        let disk = disk.containers.get(&status.name).copied().unwrap_or_default();
        Some(ContainerUse {
            name: status.name.clone(),
            memory: usage.memory.map_or(0, |memory| memory.working_set),
            memory_request: request.map_or(0, |request| u64::try_from(request.units()).unwrap_or(0)),
            pids: usage.pids.unwrap_or(0),
            layer: disk.layer.unwrap_or_default(),
            logs: disk.logs,
            storage_request: wanted.map_or(0, limits::request),
        })
    };
    let status = &shown.status;
    let statuses = [&status.init_container_statuses, &status.container_statuses].into_iter().flatten().flatten();
    PodUse {
        uid: uid(shown).to_string(),
        // Static pods are critical whatever they say, as upstream.
        priority: if is_static(&shown.pod) { i32::MAX } else { spec.and_then(|spec| spec.priority).unwrap_or(0) },
        containers: statuses.filter_map(container).collect(),
        volumes: disk.volumes() + disk.files.other,
        storage_request: limits::pod_request(&shown.pod),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::ContainerDisk;
    use holdfast_runtime::{DiskUsage, MemoryUsage};
    use serde_json::{Value, json};

    fn shown(resources: Value) -> Shown {
        let container = json!({"name": "main", "resources": resources});
        let pod = json!({"metadata": {"uid": "u"}, "spec": {"containers": [container]}});
        let ended = |id: &str| json!({"terminated": {"exitCode": 1, "containerID": format!("containerd://{id}")}});
        let status = json!({"containerStatuses": [{
            "name": "main", "image": "", "imageID": "", "ready": true, "restartCount": 2,
            "state": ended("u-main-2"), "lastState": ended("u-main-1"),
        }]});
        Shown {
            pod: Arc::new(serde_json::from_value(pod).unwrap()),
            status: serde_json::from_value(status).unwrap(),
            ..Shown::default()
        }
    }

    #[test]
    fn what_asks_for_nothing_is_accounted_for_too() {
        let memory = MemoryUsage { working_set: 900, ..MemoryUsage::default() };
        let usage = ContainerUsage { id: "u-main-2".into(), memory: Some(memory), ..ContainerUsage::default() };
        let used = BTreeMap::from([(usage.id.clone(), usage)]);
        let bytes = |bytes: u64| DiskUsage { bytes, inodes: 1 };
        let container = ContainerDisk { layer: Some(bytes(7)), logs: bytes(5) };
        let disk = PodDisk { containers: BTreeMap::from([("main".into(), container)]), ..PodDisk::default() };
        let asked = json!({"requests": {"memory": "1Ki", "ephemeral-storage": "2Ki"}});
        for (resources, memory_request, storage_request) in
            [(Value::Null, 0, 0), (json!({}), 0, 0), (asked, 1024, 2048)]
        {
            let found = pod_use(&shown(resources), &used, &disk);
            let (name, layer, logs) = ("main".into(), bytes(7), bytes(5));
            let expected = ContainerUse { name, memory: 900, memory_request, pids: 0, layer, logs, storage_request };
            assert_eq!((found.containers, found.storage_request), (vec![expected], storage_request));
        }
        let none = pod_use(&shown(Value::Null), &BTreeMap::new(), &disk);
        assert!(none.containers.is_empty(), "what is not accounted for is not chosen");
    }

    #[test]
    fn only_containers_whose_ends_are_told_are_in_nobodys_way() {
        let found = dead_containers(&[shown(Value::Null)]);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["u-main-1", "u-main-2"]);
    }
}
