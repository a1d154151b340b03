//! Static pods and the shutdown of a node that no hub answers, on a machine whose containers outlive the agent.

use crate::hub::Hub;
use crate::identity::until;
use crate::machine::parts;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{Seq, Timestamp};
use holdfast_edge_store::EdgeStore;
use holdfast_env::World;
use holdfast_env::host::HostEnv;
use holdfast_node::parts::{HttpAnswer, HttpProbe};
use holdfast_node::pods::PodSummary;
use holdfast_node::{EventIndex, Identities, NodeHandle, NodeParts, Prober, SharedStore, ShutdownPeriods, node_main};
use holdfast_runtime::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::broadcast;

/// Containers that run until they are stopped. What happened to them is written down.
struct Yard {
    events: broadcast::Sender<RuntimeEvent>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, SandboxInfo>,
    containers: BTreeMap<String, ContainerInfo>,
    log: Vec<String>,
}

impl Yard {
    fn new() -> Arc<Yard> {
        Arc::new(Yard { events: broadcast::channel(16).0, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What happened since the last call.
    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state().log)
    }

    fn end(&self, id: &str) {
        let mut state = self.state();
        if let Some(container) = state.containers.get_mut(id)
            && let ContainerState::Running { started_at } = container.state
        {
            let (reason, message) = ("Error".to_string(), String::new());
            container.state =
                ContainerState::Exited { started_at, finished_at: started_at, exit_code: 143, reason, message };
            let said = format!("stop {}", container.image);
            state.log.push(said);
            let _ = self.events.send(RuntimeEvent::Exited { container_id: id.to_string() });
        }
    }
}

#[async_trait]
impl Runtime for Yard {
    fn name(&self) -> &'static str {
        "yard"
    }
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        Ok(RuntimeVersion::default())
    }
    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        let (id, pod_uid) = (spec.id.clone(), spec.pod_uid.clone());
        let info = SandboxInfo { id, pod_uid, state: SandboxState::Ready, created_at: Timestamp::default() };
        self.state().sandboxes.insert(spec.id.clone(), info.clone());
        Ok(info)
    }
    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        if let Some(sandbox) = self.state().sandboxes.get_mut(id) {
            sandbox.state = SandboxState::NotReady;
        }
        Ok(())
    }
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let mut state = self.state();
        state.sandboxes.remove(id);
        state.containers.retain(|_, container| container.sandbox_id != id);
        Ok(())
    }
    async fn list_sandboxes(&self) -> Result<Vec<SandboxInfo>, RuntimeError> {
        Ok(self.state().sandboxes.values().cloned().collect())
    }
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        let names = vec![reference.to_string()];
        Ok(Some(ImageInfo { id: "sha256:1".into(), names, size_bytes: 1, is_wasm: false, user: String::new() }))
    }
    async fn pull_image(&self, _image: &dyn RemoteImage) -> Result<ImageInfo, RuntimeError> {
        Err(RuntimeError::NotImplemented("pulls"))
    }
    async fn list_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn import_image(&self, _tar: &Path) -> Result<Vec<String>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn create_container(&self, sandbox: &SandboxSpec, spec: &ContainerSpec) -> Result<(), RuntimeError> {
        let info = ContainerInfo {
            id: spec.id.clone(),
            sandbox_id: sandbox.id.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
            image: spec.image.clone(),
            image_id: "sha256:1".into(),
            state: ContainerState::Created,
        };
        self.state().containers.entry(spec.id.clone()).or_insert(info);
        Ok(())
    }
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        let mut state = self.state();
        let container = state.containers.get_mut(id).unwrap();
        container.state = ContainerState::Running { started_at: Timestamp::from_secs(1_800_000_000) };
        let said = format!("start {}", container.image);
        state.log.push(said);
        Ok(())
    }
    async fn stop_container(&self, id: &str, _signal: Option<&str>, _grace: Duration) -> Result<(), RuntimeError> {
        self.end(id);
        Ok(())
    }
    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.state().containers.remove(id);
        Ok(())
    }
    async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        Ok(self.state().containers.values().cloned().collect())
    }
    async fn user_of(&self, _id: &str) -> Result<Option<LinuxUser>, RuntimeError> {
        Ok(Some(LinuxUser { uid: 7, gid: 8, groups: vec![8] }))
    }
    async fn exec(&self, _id: &str, _request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        Err(RuntimeError::NotImplemented("exec"))
    }
    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }
}

/// A machine with its disk, what runs on it, and its manifests.
struct Machine {
    dir: tempfile::TempDir,
    yard: Arc<Yard>,
    identity: Arc<Identities>,
}

impl Machine {
    fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        let (hub, _serving) = Hub::start(Duration::from_secs(3600));
        let world: World = HostEnv::new(dir.path().join("data"));
        std::fs::create_dir_all(dir.path().join("data")).unwrap();
        std::fs::create_dir_all(dir.path().join("manifests")).unwrap();
        let identity = Identities::create(world, hub.identity()).unwrap();
        Machine { dir, yard: Yard::new(), identity }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join("manifests").join(name)
    }

    /// A whole file at once, as good editors write it.
    fn put(&self, name: &str, text: &str) {
        let new = self.file(".new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.file(name)).unwrap();
    }

    async fn start(&self, has_manifests: bool) -> NodeHandle {
        self.start_with(has_manifests, |_| {}).await
    }

    async fn start_with(&self, has_manifests: bool, change: impl FnOnce(&mut NodeParts)) -> NodeHandle {
        let data = self.dir.path().join("data");
        let mut parts = parts(HostEnv::new(&data), &data, "nowhere:1", self.identity.clone());
        parts.oci = self.yard.clone();
        // Nobody answers.
        parts.config.hubs.clear();
        parts.config.static_pods = has_manifests.then(|| self.dir.path().join("manifests"));
        parts.config.shutdown = ShutdownPeriods::of(Duration::from_secs(20), Duration::from_secs(10)).unwrap();
        change(&mut parts);
        let env = parts.env.clone();
        let (store, _) = EdgeStore::open(env.disk()).unwrap();
        node_main(parts, SharedStore::new(env, store)).await
    }
}

fn manifest(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  hostNetwork: true\n  \
         terminationGracePeriodSeconds: 1\n  containers: [{{name: c, image: 'r/{image}:1', imagePullPolicy: IfNotPresent}}]\n"
    )
}

fn pods(node: &NodeHandle) -> Vec<PodSummary> {
    node.commands.pods()
}

async fn running(node: &NodeHandle, names: &[&str]) {
    let are = || {
        let pods = pods(node);
        let found: Vec<&str> = pods.iter().filter(|pod| pod.ready).map(|pod| pod.name.as_str()).collect();
        found == names && pods.len() == names.len()
    };
    until(&format!("{names:?} to run"), are).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_run_without_a_hub_and_a_broken_one_changes_nothing() {
    let machine = Machine::new();
    machine.put("a.yaml", &manifest("a", "one"));
    machine.put("b.yaml", "kind: Nothing\n");
    let node = machine.start(true).await;
    running(&node, &["a-edge"]).await;
    assert_eq!(machine.yard.log(), ["start r/one:1"]);
    let first = pods(&node).remove(0);
    until("what is wrong to be told", || {
        node.commands.status().offline_reasons.iter().any(|why| why.starts_with("static pod of file \"b.yaml\""))
    })
    .await;

    // Another content is another pod, and the one before ends first.
    machine.put("a.yaml", &manifest("a", "two"));
    machine.put("b.yaml", &manifest("b", "three"));
    until("the new pod", || pods(&node).iter().any(|pod| pod.name == "a-edge" && pod.uid != first.uid)).await;
    running(&node, &["a-edge", "b-edge"]).await;
    let log = machine.yard.log();
    let at = |what: &str| log.iter().position(|said| said == what).unwrap_or_else(|| panic!("no {what}: {log:?}"));
    assert!(at("stop r/one:1") < at("start r/two:1") && at("start r/three:1") < log.len(), "{log:?}");
    let second = pods(&node);
    drop(node);

    // The agent comes back to a broken file, and to one that is gone.
    machine.put("a.yaml", "broken: [");
    std::fs::remove_file(machine.file("b.yaml")).unwrap();
    let node = machine.start(true).await;
    running(&node, &["a-edge"]).await;
    assert_eq!(pods(&node)[0].uid, second[0].uid);
    until("the pod without a file to end", || machine.yard.state().containers.len() == 1).await;
    assert_eq!(machine.yard.log(), ["stop r/three:1"]);
    drop(node);

    // Without the setting none is left.
    let node = machine.start(false).await;
    until("the end of all", || machine.yard.state().containers.is_empty()).await;
    assert!(pods(&node).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_goes_and_comes_back_runs_again() {
    let machine = Machine::new();
    machine.put("a.yaml", &manifest("a", "one"));
    let node = machine.start(true).await;
    running(&node, &["a-edge"]).await;
    std::fs::remove_file(machine.file("a.yaml")).unwrap();
    until("the end of the pod", || pods(&node).is_empty()).await;
    machine.put("a.yaml", &manifest("a", "one"));
    running(&node, &["a-edge"]).await;
    assert_eq!(machine.yard.log(), ["start r/one:1", "stop r/one:1", "start r/one:1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_stops_pods_in_order_and_the_boot_brings_them_back() {
    let machine = Machine::new();
    machine.put("a.yaml", &manifest("a", "plain"));
    let critical = manifest("b", "critical").replace("hostNetwork: true", "hostNetwork: true\n  priority: 2000000000");
    machine.put("b.yaml", &critical);
    let node = machine.start(true).await;
    running(&node, &["a-edge", "b-edge"]).await;
    machine.yard.log();
    let report = node.commands.shutdown(false).await;
    assert_eq!((report.stopped, report.left), (2, Vec::new()));
    assert_eq!(machine.yard.log(), ["stop r/plain:1", "stop r/critical:1"]);
    assert!(pods(&node).iter().all(|pod| !pod.ready));
    drop(node);
    // Nothing of the machine's memory is left.
    *machine.yard.state() = State::default();
    let node = machine.start(true).await;
    running(&node, &["a-edge", "b-edge"]).await;
    assert!(pods(&node).iter().all(|pod| pod.restarts == 1), "{:?}", pods(&node));
    // A machine that stays up after all.
    node.commands.shutdown(false).await;
    node.commands.shutdown(true).await;
    running(&node, &["a-edge", "b-edge"]).await;
}

/// A web server without TLS, and what it was asked.
#[derive(Default)]
struct Plain(Mutex<Vec<HttpProbe>>);

#[async_trait]
impl Prober for Plain {
    async fn http(&self, request: HttpProbe, _timeout: Duration) -> Result<HttpAnswer, String> {
        self.0.lock().unwrap().push(request.clone());
        match request.scheme.as_str() {
            "http" => Ok(HttpAnswer { status: 500, body: String::new() }),
            _ => Err("http: server gave HTTP response to HTTPS client".into()),
        }
    }
    async fn tcp(&self, _host: &str, _port: u16, _timeout: Duration) -> Result<(), String> {
        Err("nobody asks".into())
    }
    async fn grpc(&self, _host: &str, _port: u16, _service: &str, _timeout: Duration) -> Result<(), String> {
        Err("nobody asks".into())
    }
}

/// Keeps what happened.
#[derive(Default)]
struct Told(Mutex<Vec<Value>>);

#[async_trait]
impl EventIndex for Told {
    fn record(&self, events: Vec<(Seq, Bytes)>) {
        self.0.lock().unwrap().extend(events.iter().map(|(_, body)| serde_json::from_slice::<Value>(body).unwrap()));
    }
    async fn find(&self, _: Option<String>, _: Option<String>) -> Result<Vec<Value>, String> {
        Ok(Vec::new())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_asks_who_speaks_no_tls_without_it() {
    let machine = Machine::new();
    let hook = "lifecycle: {postStart: {httpGet: {port: 81, path: /up, scheme: HTTPS, httpHeaders: \
                [{name: Authorization, value: a}, {name: X, value: x}]}}}";
    let text = manifest("a", "one").replace("imagePullPolicy", &format!("{hook}, imagePullPolicy"));
    machine.put("a.yaml", &text);
    let (asked, told) = (Arc::new(Plain::default()), Arc::new(Told::default()));
    let node = machine.start_with(true, |parts| {
        parts.prober = asked.clone();
        parts.events = told.clone();
    });
    let node = node.await;
    running(&node, &["a-edge"]).await;
    let asked: Vec<(String, Vec<String>)> = asked
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|request| {
            let headers = request.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
            (format!("{}://{}:{}{}", request.scheme, request.host, request.port, request.path), headers)
        })
        .collect();
    let agent = "User-Agent=kube-lifecycle/1.36".to_string();
    let all = vec!["Authorization=a".to_string(), "X=x".into(), agent.clone()];
    let expected = [
        ("https://127.0.0.1:81/up".to_string(), all),
        ("http://127.0.0.1:81/up".to_string(), vec!["X=x".to_string(), agent]),
    ];
    assert_eq!(asked, expected);
    let told = told.0.lock().unwrap();
    let fallback = told.iter().find(|event| event["reason"] == "LifecycleHTTPFallback").unwrap();
    let message = "request to HTTPS lifecycle hook 127.0.0.1:81 got HTTP response, retry with HTTP succeeded";
    assert_eq!(fallback["message"], message);
    assert!(told.iter().all(|event| event["reason"] != "FailedPostStartHook"));
}
