//! A machine that runs nothing: what a node needs besides its link.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::Seq;
use holdfast_env::{BiStream, Connection, Dialer, NetError, World};
use holdfast_link::{NodeIdentity, QuicDialer, tls};
use holdfast_node::parts::{HttpAnswer, HttpProbe};
use holdfast_node::{
    Attachment, Connector, Dataplane, DataplaneSnapshot, EventIndex, Eviction, HostFacts, HostInfo, HostUsage,
    Identities, NodeClock, NodeConfig, NodeParts, PodNet, PodPlace, PodRef, Prober,
};
use holdfast_runtime::{
    Answer, ContainerInfo, ContainerSpec, ExecRequest, ExecSession, ImageInfo, Registries, RemoteImage, Runtime,
    RuntimeError, RuntimeEvent, RuntimeVersion, SandboxInfo, SandboxSpec, WantedImage,
};
use holdfast_volumes::VolumeManager;
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;

pub(crate) const HEARTBEAT: Duration = Duration::from_millis(500);

/// Has nothing and runs nothing.
struct Nothing(broadcast::Sender<RuntimeEvent>);

fn nothing<T>() -> Result<T, RuntimeError> {
    Err(RuntimeError::Unavailable { runtime: "nothing", reason: "nothing runs here".into() })
}

#[async_trait]
impl Runtime for Nothing {
    fn name(&self) -> &'static str {
        "nothing"
    }
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        nothing()
    }
    async fn run_sandbox(&self, _spec: &SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        nothing()
    }
    async fn stop_sandbox(&self, _id: &str) -> Result<(), RuntimeError> {
        nothing()
    }
    async fn remove_sandbox(&self, _id: &str) -> Result<(), RuntimeError> {
        nothing()
    }
    async fn list_sandboxes(&self) -> Result<Vec<SandboxInfo>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn image(&self, _reference: &str) -> Result<Option<ImageInfo>, RuntimeError> {
        Ok(None)
    }
    async fn pull_image(&self, _image: &dyn RemoteImage) -> Result<ImageInfo, RuntimeError> {
        nothing()
    }
    async fn list_images(&self) -> Result<Vec<ImageInfo>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn import_image(&self, _tar: &Path) -> Result<Vec<String>, RuntimeError> {
        nothing()
    }
    async fn create_container(&self, _sandbox: &SandboxSpec, _spec: &ContainerSpec) -> Result<(), RuntimeError> {
        nothing()
    }
    async fn start_container(&self, _id: &str) -> Result<(), RuntimeError> {
        nothing()
    }
    async fn stop_container(&self, _id: &str, _signal: Option<&str>, _grace: Duration) -> Result<(), RuntimeError> {
        nothing()
    }
    async fn remove_container(&self, _id: &str) -> Result<(), RuntimeError> {
        nothing()
    }
    async fn list_containers(&self) -> Result<Vec<ContainerInfo>, RuntimeError> {
        Ok(Vec::new())
    }
    async fn exec(&self, _id: &str, _request: ExecRequest) -> Result<ExecSession, RuntimeError> {
        nothing()
    }
    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.0.subscribe()
    }
}

/// The rest of the machine.
struct Bare;

#[async_trait]
impl Registries for Bare {
    async fn find(&self, _wanted: &WantedImage) -> Result<Answer, RuntimeError> {
        Err(RuntimeError::NotImplemented("registries"))
    }
}

#[async_trait]
impl PodNet for Bare {
    async fn configure(&self, _pod_cidr: &str) -> Result<(), String> {
        Ok(())
    }
    async fn attach(&self, _pod: &PodRef, _dense: bool) -> Result<Attachment, String> {
        Err("there is no network".into())
    }
    async fn detach(&self, _pod: &PodRef, _dense: bool) -> Result<(), String> {
        Ok(())
    }
    async fn connect(&self, _place: &PodPlace, _port: u16) -> Result<BiStream, String> {
        Err("there is no network".into())
    }
    async fn gc(&self, _live: &[PodRef]) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait]
impl Dataplane for Bare {
    async fn apply(&self, _snapshot: Arc<DataplaneSnapshot>) -> Result<(), String> {
        Ok(())
    }
}

#[async_trait]
impl Prober for Bare {
    async fn http(&self, _request: HttpProbe, _timeout: Duration) -> Result<HttpAnswer, String> {
        Err("there is no network".into())
    }
    async fn tcp(&self, _host: &str, _port: u16, _timeout: Duration) -> Result<(), String> {
        Err("there is no network".into())
    }
    async fn grpc(&self, _host: &str, _port: u16, _service: &str, _timeout: Duration) -> Result<(), String> {
        Err("there is no network".into())
    }
}

impl HostFacts for Bare {
    fn read(&self) -> HostInfo {
        HostInfo::default()
    }

    fn usage(&self) -> HostUsage {
        HostUsage::default()
    }

    fn remember(&self, _name: &str, _value: &[u8]) {}

    fn recall(&self, _name: &str) -> Option<Vec<u8>> {
        None
    }
}

#[async_trait]
impl EventIndex for Bare {
    fn record(&self, _events: Vec<(Seq, Bytes)>) {}
    async fn find(&self, _namespace: Option<String>, _pod: Option<String>) -> Result<Vec<Value>, String> {
        Ok(Vec::new())
    }
}

/// Dials by QUIC with the identity that it was last told to use.
struct Dials {
    clock: Arc<NodeClock>,
    dialer: Mutex<Arc<QuicDialer>>,
}

fn dialer(clock: &Arc<NodeClock>, identity: &NodeIdentity) -> Arc<QuicDialer> {
    Arc::new(QuicDialer::new(tls::node_config(clock.clone(), identity).unwrap(), HEARTBEAT).unwrap())
}

#[async_trait]
impl Connector for Dials {
    async fn connect(&self, hub: &str) -> Result<Arc<dyn Connection>, NetError> {
        let dialer = self.dialer.lock().unwrap().clone();
        dialer.dial(hub).await
    }
    async fn connect_bare(&self, hub: &str, ca_hash: &str) -> Result<Arc<dyn Connection>, NetError> {
        QuicDialer::new(tls::join_config(ca_hash).unwrap(), HEARTBEAT).unwrap().dial(hub).await
    }
    fn use_identity(&self, identity: &NodeIdentity) -> Result<(), String> {
        *self.dialer.lock().unwrap() = dialer(&self.clock, identity);
        Ok(())
    }
}

/// The parts of a node with this identity, whose disk is `dir` and whose machine is `machine`.
pub(crate) fn parts(machine: World, dir: &Path, hub: &str, identity: Arc<Identities>) -> NodeParts {
    let clock = NodeClock::open(machine, 1);
    let (shown, _) = identity.in_use();
    let connector = Dials { clock: clock.clone(), dialer: Mutex::new(dialer(&clock, &shown)) };
    let runtime = Arc::new(Nothing(broadcast::channel(1).0));
    NodeParts {
        env: clock.clone(),
        clock,
        token_key: None,
        config: NodeConfig {
            node_name: shown.node_name.clone(),
            node_uid: shown.node_uid.clone(),
            node_ips: vec!["127.0.0.1".into()],
            hubs: vec![hub.into()],
            log_dir: dir.join("logs"),
            cgroup_root: String::new(),
            dns_ip: "127.0.0.1".into(),
            cluster_domain: "cluster.local".into(),
            grace: Duration::from_secs(40),
            max_pods: 10,
            eviction: Eviction::default(),
            parallel_pulls: 1,
            ..NodeConfig::default()
        },
        identity,
        oci: runtime.clone(),
        wasm: runtime,
        registries: Arc::new(Bare),
        network: Arc::new(Bare),
        volumes: Arc::new(VolumeManager::new(dir.join("pods"))),
        dataplane: Arc::new(Bare),
        prober: Arc::new(Bare),
        connector: Arc::new(connector),
        host: Arc::new(Bare),
        events: Arc::new(Bare),
    }
}
