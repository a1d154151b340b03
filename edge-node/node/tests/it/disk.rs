//! Volumes and the disk, on a machine whose runtime says that it runs what it is told.

use crate::hub::Hub;
use crate::identity::until;
use crate::machine::parts;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{Lineage, Revision, Seq, Timestamp, content_hash};
use holdfast_edge_store::{Durability, EdgeStore, Item, Record};
use holdfast_env::World;
use holdfast_env::host::HostEnv;
use holdfast_node::{
    EventIndex, FileSystemUsage, HostFacts, HostInfo, HostUsage, Identities, NodeHandle, NodeParts, SharedStore,
    node_main,
};
use holdfast_runtime::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;

const UID: &str = "00000000-0000-0000-0000-000000000001";

/// Says that it runs what it is told, and has every image but those that are called absent.
struct Obedient {
    events: broadcast::Sender<RuntimeEvent>,
    sandboxes: Mutex<BTreeMap<String, SandboxInfo>>,
    containers: Mutex<BTreeMap<String, ContainerInfo>>,
    /// Mounts of containers, in their order.
    mounts: Mutex<Vec<Mount>>,
    /// Volumes from images that are shown.
    shown: Mutex<BTreeSet<(String, String, PathBuf)>>,
    /// Images that were pulled.
    pulled: Mutex<Vec<ImageInfo>>,
    disk: Arc<Disk>,
}

/// The machine's only disk, of 1000 MiB.
struct Disk(AtomicU64);

const MIB: u64 = 1 << 20;

impl HostFacts for Disk {
    fn read(&self) -> HostInfo {
        HostInfo { disk_bytes: 1000 * MIB, ..HostInfo::default() }
    }
    fn usage(&self) -> HostUsage {
        let available = self.0.load(Ordering::Relaxed) * MIB;
        let disk = FileSystemUsage { capacity: 1000 * MIB, available, ..FileSystemUsage::default() };
        HostUsage { disk: Some(disk), ..HostUsage::default() }
    }
    fn remember(&self, _name: &str, _value: &[u8]) {}
    fn recall(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }
}

fn image(reference: &str) -> ImageInfo {
    let names = vec![reference.to_string()];
    ImageInfo { id: "sha256:1".into(), names, size_bytes: 1, is_wasm: false, user: String::new() }
}

#[async_trait]
impl Runtime for Obedient {
    fn name(&self) -> &'static str {
        "obedient"
    }
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        Ok(RuntimeVersion::default())
    }
    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        let (id, pod_uid) = (spec.id.clone(), spec.pod_uid.clone());
        let info = SandboxInfo { id, pod_uid, state: SandboxState::Ready, created_at: Timestamp::default() };
        self.sandboxes.lock().unwrap().insert(spec.id.clone(), info.clone());
        Ok(info)
    }
    async fn stop_sandbox(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        self.sandboxes.lock().unwrap().remove(id);
        self.containers.lock().unwrap().retain(|_, container| container.sandbox_id != id);
        Ok(())
    }
    async fn list_sandboxes(&self) -> Result<Vec<SandboxInfo>, RuntimeError> {
        Ok(self.sandboxes.lock().unwrap().values().cloned().collect())
    }
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok((!reference.contains("absent")).then(|| image(reference)))
    }
    async fn pull_image(&self, _image: &dyn RemoteImage) -> Result<ImageInfo, RuntimeError> {
        Err(RuntimeError::NotImplemented("pulls"))
    }
    async fn mount_image(&self, mount: &ImageMount) -> Result<(), RuntimeError> {
        std::fs::create_dir_all(mount.target.join("sub")).unwrap();
        let shown = (mount.pod_uid.clone(), mount.image.clone(), mount.target.clone());
        self.shown.lock().unwrap().insert(shown);
        Ok(())
    }
    async fn release_images(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        self.shown.lock().unwrap().retain(|(uid, ..)| uid != pod_uid);
        Ok(())
    }
    async fn image_fs(&self) -> Result<Option<FsUsage>, RuntimeError> {
        let available_bytes = self.disk.0.load(Ordering::Relaxed) * MIB;
        Ok(Some(FsUsage { capacity_bytes: 1000 * MIB, available_bytes, ..FsUsage::default() }))
    }
    async fn pulled_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        Ok(self.pulled.lock().unwrap().clone())
    }
    async fn remove_image(&self, id: &str) -> Result<(), RuntimeError> {
        self.pulled.lock().unwrap().retain(|image| image.id != id);
        Ok(())
    }
    async fn usage(&self) -> Result<Vec<ContainerUsage>, RuntimeError> {
        let containers = self.containers.lock().unwrap();
        let running = containers.values().filter(|one| matches!(one.state, ContainerState::Running { .. }));
        let used = |one: &ContainerInfo| ContainerUsage {
            id: one.id.clone(),
            memory: Some(MemoryUsage::default()),
            ..ContainerUsage::default()
        };
        Ok(running.map(used).collect())
    }
    async fn disk_usage(&self, ids: &[String]) -> Result<BTreeMap<String, DiskUsage>, RuntimeError> {
        Ok(ids.iter().map(|id| (id.clone(), DiskUsage { bytes: 7 * MIB, inodes: 1 })).collect())
    }
    async fn list_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn import_image(&self, _tar: &Path) -> Result<Vec<String>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn create_container(&self, sandbox: &SandboxSpec, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        self.mounts.lock().unwrap().extend(spec.mounts.iter().cloned());
        let info = ContainerInfo {
            id: spec.id.clone(),
            sandbox_id: sandbox.id.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
            image: spec.image.clone(),
            image_id: "sha256:1".into(),
            state: ContainerState::Created,
        };
        self.containers.lock().unwrap().insert(spec.id.clone(), info);
        Ok(())
    }
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let running = ContainerState::Running { started_at: Timestamp::default() };
        self.containers.lock().unwrap().get_mut(id).unwrap().state = running;
        Ok(())
    }
    async fn stop_container(&self, id: &str, _signal: Option<&str>, _grace: Duration) -> Result<(), RuntimeError> {
        let at = Timestamp::default();
        let (reason, message) = ("Error".into(), String::new());
        let ended = ContainerState::Exited { started_at: at, finished_at: at, exit_code: 137, reason, message };
        if let Some(container) = self.containers.lock().unwrap().get_mut(id) {
            container.state = ended;
        }
        Ok(())
    }
    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.containers.lock().unwrap().remove(id);
        Ok(())
    }
    async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        Ok(self.containers.lock().unwrap().values().cloned().collect())
    }
    async fn exec(&self, _id: &str, _request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        Err(RuntimeError::NotImplemented("exec"))
    }
    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }
}

/// Events, as they came.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

#[async_trait]
impl EventIndex for Told {
    fn record(&self, events: Vec<(Seq, Bytes)>) {
        for (_, event) in events {
            let event: Value = serde_json::from_slice(&event).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
            let place = text(&event["involvedObject"]["fieldPath"]);
            let line = format!("{} [{place}] {}", text(&event["reason"]), text(&event["message"]));
            self.0.lock().unwrap().push(line);
        }
    }
    async fn find(&self, _namespace: Option<String>, _pod: Option<String>) -> Result<Vec<Value>, String> {
        Ok(Vec::new())
    }
}

fn item(key: &str, body: &Value) -> Record {
    let body = Bytes::from(body.to_string());
    let item = Item { hash: content_hash(&body), lineage: Lineage(1), revision: Revision(1), body };
    Record::PutItem { key: key.into(), item }
}

/// A pod with one container `c` that mounts what it says.
fn pod(volumes: Value, mounts: Value, labels: Value) -> Record {
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "namespace": "a", "uid": UID, "labels": labels},
        "spec": {
            "hostNetwork": true, "volumes": volumes,
            "containers": [{"name": "c", "image": "r.example/c:1", "volumeMounts": mounts}],
        },
    });
    item("/v1/pods/a/p", &body)
}

struct Node {
    _handle: NodeHandle,
    dir: tempfile::TempDir,
    runtime: Arc<Obedient>,
    store: Arc<SharedStore>,
    told: Arc<Told>,
}

impl Node {
    /// A node that has these records and never reaches its hub.
    async fn start(dir: tempfile::TempDir, records: Vec<Record>) -> Node {
        let (hub, _serving) = Hub::start(Duration::from_secs(3600));
        let machine = HostEnv::new(dir.path());
        let identities = Identities::create(machine.clone(), hub.identity()).unwrap();
        let world: World = machine;
        let runtime = Arc::new(Obedient {
            events: broadcast::channel(1).0,
            sandboxes: Mutex::default(),
            containers: Mutex::default(),
            mounts: Mutex::default(),
            shown: Mutex::default(),
            pulled: Mutex::default(),
            disk: Arc::new(Disk(AtomicU64::new(500))),
        });
        let told = Arc::new(Told::default());
        let parts = parts(world, dir.path(), "127.0.0.1:1", identities);
        let parts = NodeParts { oci: runtime.clone(), host: runtime.disk.clone(), events: told.clone(), ..parts };
        let (mut store, _) = EdgeStore::open(parts.env.disk()).unwrap();
        store.commit(records, Durability::Synced).unwrap();
        let store = SharedStore::new(parts.env.clone(), store);
        Node { _handle: node_main(parts, store.clone()).await, dir, runtime, store, told }
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.dir.path().join("pods").join(UID).join("volumes").join(name)
    }

    async fn told(&self, begin: &str) {
        until(begin, || self.told.0.lock().unwrap().iter().any(|line| line.starts_with(begin))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_pod_sees_what_changes() {
    let map = |text: &str| item("/v1/configmaps/a/m", &json!({"metadata": {"name": "m"}, "data": {"key": text}}));
    let volumes = json!([
        {"name": "map", "configMap": {"name": "m"}},
        {"name": "api", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
    ]);
    let labelled = |label: &str| pod(volumes.clone(), json!([]), json!({ "l": label }));
    let node = Node::start(tempfile::tempdir().unwrap(), vec![map("one"), labelled("one")]).await;
    node.told("Started ").await;
    let shows = |volume: &str, file: &str, text: &str| {
        std::fs::read_to_string(node.volume(volume).join(file)).is_ok_and(|found| found == text)
    };
    assert!(shows("map", "key", "one") && shows("api", "labels", "l=\"one\""));
    node.store.commit(vec![map("two")]).await.unwrap();
    until("the map is new", || shows("map", "key", "two")).await;
    node.store.commit(vec![labelled("two")]).await.unwrap();
    until("the labels are new", || shows("api", "labels", "l=\"two\"")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn images_of_volumes_come_first_and_go_with_the_pod() {
    let volumes = json!([
        {"name": "v", "image": {"reference": "r.example/data:1", "pullPolicy": "IfNotPresent"}},
        {"name": "other", "image": {"reference": "r.example/absent:1"}},
    ]);
    let mounts = json!([{"name": "v", "mountPath": "/v", "subPath": "sub"}]);
    let node = Node::start(tempfile::tempdir().unwrap(), vec![pod(volumes, mounts, json!({}))]).await;
    node.told("Started [spec.containers{c}]").await;
    let lines = node.told.0.lock().unwrap().clone();
    let at =
        |begin: &str| lines.iter().position(|line| line.starts_with(begin)).unwrap_or_else(|| panic!("{lines:#?}"));
    let volume = at("Pulled [] Container image \"r.example/data:1\" already present on machine");
    assert!(volume < at("Pulled [spec.containers{c}] Container image \"r.example/c:1\""));
    let target = node.dir.path().join("pods").join(UID).join("images/v");
    let shown = || node.runtime.shown.lock().unwrap().clone();
    assert_eq!(shown(), BTreeSet::from([(UID.to_string(), "r.example/data:1".to_string(), target.clone())]));
    let mounts = node.runtime.mounts.lock().unwrap().clone();
    let mount = mounts.iter().find(|mount| mount.container_path == "/v").unwrap();
    assert!(mount.read_only && mount.no_exec && mount.host_path.ends_with("images/v/sub"), "{mount:?}");
    node.store.commit(vec![Record::DropItem { key: "/v1/pods/a/p".into() }]).await.unwrap();
    until("the image is let go of", || shown().is_empty()).await;
    assert!(!target.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_without_its_image_and_a_path_that_is_none_are_told() {
    let volumes = json!([{"name": "v", "image": {"reference": "r.example/absent:1"}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v"}]);
    let absent = Node::start(tempfile::tempdir().unwrap(), vec![pod(volumes, mounts, json!({}))]).await;
    absent.told("Pulling [] Pulling image \"r.example/absent:1\"").await;
    absent.told("Failed [spec.containers{c}] Failed to pull image \"r.example/absent:1\": ").await;
    absent.told("Failed [spec.containers{c}] Error: ErrImagePull").await;
    let volumes = json!([{"name": "v", "image": {"reference": "r.example/data:1"}}]);
    let mounts = json!([{"name": "v", "mountPath": "/v", "subPath": "none"}]);
    let wrong = Node::start(tempfile::tempdir().unwrap(), vec![pod(volumes, mounts, json!({}))]).await;
    wrong
        .told("Failed [spec.containers{c}] Error: ImageVolumeMountFailed: failed to ensure image subpath \"none\" in ")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_that_fills_a_volume_beyond_its_size_has_to_go() {
    let dir = tempfile::tempdir().unwrap();
    // What an earlier life of the agent left: the volume stays as it is.
    let volume = dir.path().join("pods").join(UID).join("volumes/v");
    std::fs::create_dir_all(&volume).unwrap();
    std::fs::write(volume.join("big"), vec![1; 3 << 20]).unwrap();
    let volumes = json!([{"name": "v", "emptyDir": {"sizeLimit": "2Mi"}}]);
    let node = Node::start(dir, vec![pod(volumes, json!([]), json!({}))]).await;
    node.told("Started ").await;
    node.told("Evicted [] Usage of EmptyDir volume \"v\" exceeds the limit \"2Mi\". ").await;
    until("its volume is gone", || !volume.exists()).await;
}

/// A pod without volumes.
fn plain(name: &str, priority: i32) -> Record {
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "uid": format!("00000000-0000-0000-0000-0000000000{name}")},
        "spec": {
            "hostNetwork": true, "priority": priority,
            "containers": [{"name": "c", "image": "r.example/c:1"}],
        },
    });
    item(&format!("/v1/pods/a/{name}"), &body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_what_nobody_needs_goes_first() {
    let node = Node::start(tempfile::tempdir().unwrap(), vec![plain("01", 2_000_000_000), plain("02", 0)]).await;
    let started = || node.told.0.lock().unwrap().iter().filter(|line| line.starts_with("Started ")).count();
    until("both run", || started() == 2).await;
    let status = || -> Option<Value> {
        let body = node.store.read(|state| {
            let facts = state.outbox().after(Seq::default(), usize::MAX);
            facts.into_iter().rev().find(|fact| fact.key.starts_with("/v1/nodes//"))
        })?;
        Some(serde_json::from_slice::<Value>(&body.body).unwrap()["status"].clone())
    };
    let pressure = |word: &str| {
        let conditions = status().map(|status| status["conditions"].clone()).unwrap_or_default();
        let found = conditions.as_array().into_iter().flatten().find(|one| one["type"] == "DiskPressure");
        found.is_some_and(|one| one["status"] == word)
    };
    until("there is no pressure", || pressure("False")).await;
    let told = status().unwrap();
    assert_eq!(told["capacity"]["ephemeral-storage"], "1024000Ki");
    assert_eq!(told["allocatable"]["ephemeral-storage"], "921600Ki", "without the hard threshold");

    let gone = |id: &str| !node.runtime.containers.lock().unwrap().contains_key(id);
    let first = "00000000-0000-0000-0000-000000000001-c-0";
    node.runtime.stop_container(first, None, Duration::ZERO).await.unwrap();
    let _ = node.runtime.events.send(RuntimeEvent::Exited { container_id: first.into() });
    until("it runs again", || started() == 3).await;
    assert!(!gone(first), "it is kept for its logs");
    let named = ImageInfo { id: "sha256:1".into(), ..image("r.example/c:1") };
    let unused = ImageInfo { id: "sha256:2".into(), ..image("r.example/unused:1") };
    *node.runtime.pulled.lock().unwrap() = vec![named.clone(), unused];
    node.runtime.disk.0.store(50, Ordering::Relaxed);
    node.told("EvictionThresholdMet [] Attempting to reclaim ephemeral-storage").await;
    until("there is pressure", || pressure("True")).await;
    until("the unused image is gone", || node.runtime.pulled.lock().unwrap().len() == 1).await;
    until("the dead container is gone", || gone(first)).await;
    assert_eq!(*node.runtime.pulled.lock().unwrap(), [named], "that of a pod that the hub still has");
}
