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
    ImageInfo {
        id: format!("sha256:{name}"),
        names: vec![name.into()],
        size_bytes: 4096,
        is_wasm: false,
        user: String::new(),
    }
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

/// Has every image, private ones for `ann` alone, and notes who asked with which users.
#[derive(Default)]
struct Asked {
    by: Mutex<Vec<(String, Vec<String>)>>,
    /// Nobody is answered.
    silent: bool,
}

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
    async fn find(&self, wanted: &WantedImage) -> Result<Answer, RuntimeError> {
        let all = wanted.keyring.lookup("r.example/app");
        let users = all.iter().map(|auth| auth.username.clone()).collect();
        self.by.lock().unwrap().push((wanted.name.clone(), users));
        if self.silent {
            let reason = "no route to host".into();
            return Err(RuntimeError::RegistryUnreachable { image: wanted.name.clone(), reason });
        }
        let private = wanted.name.contains("private");
        let shown = all.into_iter().find(|auth| auth.username == "ann").filter(|_| private);
        if wanted.name.contains("absent") || (private && shown.is_none()) {
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
        Ok(Answer { found: Found::Image(Arc::new(Offered(manifest, Progress::default()))), shown })
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
    pod_with(name, image, policy, &["gone", "pull"])
}

fn pod_with(name: &str, image: &str, policy: &str, secrets: &[&str]) -> Record {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "uid": format!("00000000-0000-0000-0000-0000000000{name}")},
        "spec": {
            "hostNetwork": true,
            "imagePullSecrets": secrets,
            "containers": [{"name": "c", "image": image, "imagePullPolicy": policy}],
        },
    });
    item(&format!("/v1/pods/a/{name}"), &body)
}

/// The Secret `pull`, of `ann`.
fn secret() -> Record {
    let config = json!({"auths": {"r.example": {"username": "ann", "password": "x"}}}).to_string();
    let body = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": "a", "uid": "1"},
        "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": base64(config.as_bytes())},
    });
    item("/v1/secrets/a/pull", &body)
}

fn shelf() -> Arc<Shelf> {
    let shelf = Arc::new(Shelf { events: broadcast::channel(1).0, images: Mutex::default() });
    shelf.images.lock().unwrap().insert("r.example/here:1".into(), image("r.example/here:1"));
    shelf
}

struct Node {
    _handle: NodeHandle,
    told: Arc<Told>,
    asked: Arc<Asked>,
}

impl Node {
    async fn tells(&self, line: &str) {
        until(line, || self.told.0.lock().unwrap().iter().any(|told| told.starts_with(line))).await;
    }
}

/// A node on this disk that gets these records, and never reaches its hub.
async fn cut_node(dir: &Path, shelf: &Arc<Shelf>, asked: Asked, records: Vec<Record>) -> Node {
    let (hub, _serving) = Hub::start(Duration::from_secs(3600));
    let machine = HostEnv::new(dir);
    let world: World = machine.clone();
    let identities = match Identities::load(world.clone()).unwrap() {
        Some(identities) => identities,
        None => Identities::create(machine, hub.identity()).unwrap(),
    };
    let (told, asked) = (Arc::new(Told::default()), Arc::new(asked));
    let parts = NodeParts {
        oci: shelf.clone(),
        wasm: shelf.clone(),
        registries: asked.clone(),
        events: told.clone(),
        ..parts(world, dir, "127.0.0.1:1", identities)
    };
    let (mut store, _) = EdgeStore::open(parts.env.disk()).unwrap();
    store.commit(records, Durability::Synced).unwrap();
    let store = SharedStore::new(parts.env.clone(), store);
    Node { _handle: node_main(parts, store).await, told, asked }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_fetched_an_image_starts_again_without_a_network_and_nobody_else_does() {
    let (dir, shelf, private) = (tempfile::tempdir().unwrap(), shelf(), "r.example/private:1");
    let records = vec![secret(), pod_with("10", private, "IfNotPresent", &["pull"])];
    let node = cut_node(dir.path(), &shelf, Asked::default(), records).await;
    node.tells("10 Pulled Successfully pulled image").await;
    // The power is cut, and with it the network.
    drop(node);
    let others = vec![
        pod_with("11", private, "IfNotPresent", &[]),
        pod_with("12", private, "Never", &[]),
        pod_with("13", private, "Always", &["pull"]),
    ];
    let node = cut_node(dir.path(), &shelf, Asked { silent: true, ..Asked::default() }, others).await;
    for line in [
        "10 Pulled Container image \"r.example/private:1\" already present on machine and can be accessed by the pod",
        "11 Failed Failed to pull image \"r.example/private:1\": no route to host",
        "11 Failed Error: ErrImagePull",
        "12 ErrImageNeverPull Container image \"r.example/private:1\" is not present with pull policy of Never",
        "13 Pulled Container image \"r.example/private:1\" already present on machine and can be accessed by the pod",
    ] {
        node.tells(line).await;
    }
    let asked = node.asked.by.lock().unwrap().clone();
    assert!(asked.iter().all(|(_, users)| users.is_empty()), "only who may not has to ask: {asked:?}");
    drop(node);
    let node = cut_node(dir.path(), &shelf, Asked::default(), Vec::new()).await;
    node.tells("11 Failed Failed to pull image \"r.example/private:1\": not found").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_node_uses_what_it_has_and_asks_for_what_it_has_not() {
    let (dir, shelf) = (tempfile::tempdir().unwrap(), shelf());
    let records = vec![
        secret(),
        pod("01", "r.example/here:1", "Always"),
        pod("02", "r.example/new:1", "IfNotPresent"),
        pod("03", "r.example/other:1", "Never"),
        pod("04", "r.example/absent:1", "Always"),
        pod("05", "Bad Name", "Always"),
    ];
    let node = cut_node(dir.path(), &shelf, Asked::default(), records).await;
    let missing = "Unable to retrieve some image pull secrets (gone); attempting to pull the image may not succeed.";
    for line in [
        "01 Pulled Container image \"r.example/here:1\" already present on machine",
        "02 Pulling Pulling image \"r.example/new:1\"",
        &format!("02 FailedToRetrieveImagePullSecret {missing}"),
        "02 Pulled Successfully pulled image \"r.example/new:1\" in ",
        "03 ErrImageNeverPull Container image \"r.example/other:1\" is not present with pull policy of Never",
        "03 Failed Error: ErrImageNeverPull",
        "04 Failed Failed to pull image \"r.example/absent:1\": not found",
        "04 Failed Error: ErrImagePull",
        "05 InspectFailed Failed to apply default image tag \"Bad Name\": couldn't parse image name \"Bad Name\": invalid reference format",
        "05 Failed Error: InvalidImageName",
    ] {
        node.tells(line).await;
    }
    let told = node.told.0.lock().unwrap().clone();
    let pulled = told.iter().find(|line| line.starts_with("02 Pulled Successfully")).unwrap();
    assert!(pulled.ends_with(" including waiting). Image size: 4096 bytes."), "{pulled}");
    let asked = node.asked.by.lock().unwrap().clone();
    assert!(asked.iter().all(|(name, _)| name.contains("new") || name.contains("absent")), "{asked:?}");
    assert!(asked.iter().all(|(_, users)| users == &["ann"]), "{asked:?}");
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine;
    ::base64::engine::general_purpose::STANDARD.encode(bytes)
}
