//! When a registry is asked for a pod's image, and with what.

use crate::hub::Hub;
use crate::identity::until;
use crate::machine::parts;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{Lineage, Revision, Seq, Timestamp, content_hash};
use holdfast_edge_store::{Durability, EdgeStore, Item, Record};
use holdfast_env::World;
use holdfast_env::host::HostEnv;
use holdfast_node::{EventIndex, Identities, NodeHandle, NodeParts, SharedStore, node_main};
use holdfast_runtime::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;

/// Takes whatever it is told, and never shows a container.
struct Shelf {
    events: broadcast::Sender<RuntimeEvent>,
    images: Mutex<BTreeMap<String, ImageInfo>>,
}

fn image(name: &str) -> ImageInfo {
    ImageInfo { id: "sha256:1".into(), names: vec![name.into()], size_bytes: 4096, is_wasm: false, user: String::new() }
}

#[async_trait]
impl Runtime for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        Ok(RuntimeVersion::default())
    }
    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        let (id, pod_uid) = (spec.id.clone(), spec.pod_uid.clone());
        Ok(SandboxInfo { id, pod_uid, state: SandboxState::Ready, created_at: Timestamp::default() })
    }
    async fn stop_sandbox(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn remove_sandbox(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn list_sandboxes(&self) -> Result<Vec<SandboxInfo>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok(self.images.lock().unwrap().get(reference).cloned())
    }
    async fn pull_image(&self, remote: &dyn RemoteImage) -> Result<ImageInfo, RuntimeError> {
        let name = remote.manifest().name.clone();
        self.images.lock().unwrap().insert(name.clone(), image(&name));
        Ok(image(&name))
    }
    async fn list_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        Ok(self.images.lock().unwrap().values().cloned().collect())
    }
    async fn import_image(&self, _tar: &Path) -> Result<Vec<String>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn create_container(&self, _sandbox: &SandboxSpec, _spec: &ContainerSpec) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn start_container(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn stop_container(&self, _id: &str, _signal: Option<&str>, _grace: Duration) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn remove_container(&self, _id: &str) -> Result<(), RuntimeError> {
        Ok(())
    }
    async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn exec(&self, _id: &str, _request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        Err(RuntimeError::NotImplemented("exec"))
    }
    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }
}

/// Has every image, and notes who asked with which users.
#[derive(Default)]
struct Asked(Mutex<Vec<(String, Vec<String>)>>);

struct Offered(RemoteManifest, Progress);

#[async_trait]
impl RemoteImage for Offered {
    fn manifest(&self) -> &RemoteManifest {
        &self.0
    }
    fn progress(&self) -> &Progress {
        &self.1
    }
    async fn open(&self, _layer: &Descriptor, _offset: u64) -> Result<Box<dyn BlobStream>, RuntimeError> {
        Err(RuntimeError::NotImplemented("layers"))
    }
}

#[async_trait]
impl Registries for Asked {
    async fn find(&self, wanted: &WantedImage) -> Result<Found, RuntimeError> {
        let users = wanted.keyring.lookup("r.example/app").into_iter().map(|auth| auth.username).collect();
        self.0.lock().unwrap().push((wanted.name.clone(), users));
        if wanted.name.contains("absent") {
            return Err(RuntimeError::ImagePull { image: wanted.name.clone(), reason: "not found".into() });
        }
        let descriptor = Descriptor { media_type: String::new(), digest: "sha256:1".into(), size: 0 };
        let document = Document { descriptor, bytes: Bytes::new() };
        let manifest = RemoteManifest {
            name: wanted.name.clone(),
            target: document.clone(),
            manifest: document.clone(),
            config: document,
            layers: Vec::new(),
            is_wasm: false,
        };
        Ok(Found::Image(Arc::new(Offered(manifest, Progress::default()))))
    }
}

/// Messages of events, as they came.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

#[async_trait]
impl EventIndex for Told {
    fn record(&self, events: Vec<(Seq, Bytes)>) {
        for (_, event) in events {
            let event: Value = serde_json::from_slice(&event).unwrap();
            let (pod, reason) = (&event["involvedObject"]["name"], &event["reason"]);
            let line = format!("{} {} {}", text(pod), text(reason), text(&event["message"]));
            self.0.lock().unwrap().push(line);
        }
    }
    async fn find(&self, _namespace: Option<String>, _pod: Option<String>) -> Result<Vec<Value>, String> {
        Ok(Vec::new())
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn item(key: &str, body: &Value) -> Record {
    let body = Bytes::from(body.to_string());
    let item = Item { hash: content_hash(&body), lineage: Lineage(1), revision: Revision(1), body };
    Record::PutItem { key: key.into(), item }
}

fn pod(name: &str, image: &str, policy: &str) -> Record {
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "uid": format!("00000000-0000-0000-0000-0000000000{name}")},
        "spec": {
            "hostNetwork": true,
            "imagePullSecrets": [{"name": "gone"}, {"name": "pull"}],
            "containers": [{"name": "c", "image": image, "imagePullPolicy": policy}],
        },
    });
    item(&format!("/v1/pods/a/{name}"), &body)
}

struct Node {
    _handle: NodeHandle,
    _dir: tempfile::TempDir,
    told: Arc<Told>,
    asked: Arc<Asked>,
}

/// A node that has these records and one image, and never reaches its hub.
async fn cut_node(records: Vec<Record>) -> Node {
    let dir = tempfile::tempdir().unwrap();
    let (hub, _serving) = Hub::start(Duration::from_secs(3600));
    let machine = HostEnv::new(dir.path());
    let identities = Identities::create(machine.clone(), hub.identity()).unwrap();
    let world: World = machine;
    let shelf = Arc::new(Shelf { events: broadcast::channel(1).0, images: Mutex::default() });
    shelf.images.lock().unwrap().insert("r.example/here:1".into(), image("r.example/here:1"));
    let (told, asked) = (Arc::new(Told::default()), Arc::new(Asked::default()));
    let parts = NodeParts {
        oci: shelf.clone(),
        wasm: shelf,
        registries: asked.clone(),
        events: told.clone(),
        ..parts(world, dir.path(), "127.0.0.1:1", identities)
    };
    let (mut store, _) = EdgeStore::open(parts.env.disk()).unwrap();
    store.commit(records, Durability::Synced).unwrap();
    let store = SharedStore::new(parts.env.clone(), store);
    Node { _handle: node_main(parts, store).await, _dir: dir, told, asked }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_node_uses_what_it_has_and_asks_for_what_it_has_not() {
    let config = json!({"auths": {"r.example": {"username": "ann", "password": "x"}}}).to_string();
    let config: String = base64(config.as_bytes());
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": "a"},
        "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": config},
    });
    let node = cut_node(vec![
        item("/v1/secrets/a/pull", &secret),
        pod("01", "r.example/here:1", "Always"),
        pod("02", "r.example/new:1", "IfNotPresent"),
        pod("03", "r.example/other:1", "Never"),
        pod("04", "r.example/absent:1", "Always"),
        pod("05", "Bad Name", "Always"),
    ])
    .await;
    let missing = "Unable to retrieve some image pull secrets (gone); attempting to pull the image may not succeed.";
    for line in [
        "01 Pulled Container image \"r.example/here:1\" already present on machine",
        "02 Pulling Pulling image \"r.example/new:1\"",
        &format!("02 FailedToRetrieveImagePullSecret {missing}"),
        "02 Pulled Successfully pulled image \"r.example/new:1\" in ",
        "03 Failed Container image \"r.example/other:1\" is not present with pull policy of Never",
        "03 Failed Error: ErrImageNeverPull",
        "04 Failed Failed to pull image \"r.example/absent:1\": not found",
        "04 Failed Error: ErrImagePull",
        "05 Failed Failed to apply default image tag \"Bad Name\": couldn't parse image name: invalid reference format",
        "05 Failed Error: InvalidImageName",
    ] {
        until(line, || node.told.0.lock().unwrap().iter().any(|told| told.starts_with(line))).await;
    }
    let told = node.told.0.lock().unwrap().clone();
    let pulled = told.iter().find(|line| line.starts_with("02 Pulled Successfully")).unwrap();
    assert!(pulled.ends_with(" including waiting). Image size: 4096 bytes."), "{pulled}");
    let asked = node.asked.0.lock().unwrap().clone();
    assert!(asked.iter().all(|(name, _)| name.contains("new") || name.contains("absent")), "{asked:?}");
    assert!(asked.iter().all(|(_, users)| users == &["ann"]), "{asked:?}");
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}
