//! The rest of a node's machine: network, data plane, probes, facts of the host, and the way to the hub.

use crate::runtime::SimRuntime;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::Seq;
use holdfast_env::{BiStream, Connection, NetError};
use holdfast_link::NodeIdentity;
use holdfast_node::parts::{HttpAnswer, HttpProbe};
use holdfast_node::{
    Attachment, Connector, Dataplane, DataplaneSnapshot, EventIndex, HostFacts, HostInfo, HostUsage, PodNet, PodPlace,
    PodRef, Prober,
};
use holdfast_sim_world::Net;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Addresses of pods; they outlive agent and power.
#[derive(Default)]
pub struct SimNet {
    given: Mutex<BTreeMap<String, String>>,
    next: Mutex<u32>,
}

#[async_trait]
impl PodNet for SimNet {
    async fn configure(&self, _pod_cidr: &str) -> Result<(), String> {
        Ok(())
    }

    async fn attach(&self, pod: &PodRef, _dense: bool) -> Result<Attachment, String> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let ip = given.entry(pod.uid.clone()).or_insert_with(|| {
            *next += 1;
            format!("10.42.{}.{}", *next / 250, *next % 250 + 1)
        });
        Ok(Attachment { netns_path: format!("/run/netns/{}", pod.uid), ips: vec![ip.clone()] })
    }

    async fn detach(&self, pod: &PodRef, _dense: bool) -> Result<(), String> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).remove(&pod.uid);
        Ok(())
    }

    async fn connect(&self, _place: &PodPlace, _port: u16) -> Result<BiStream, String> {
        Err("nothing listens in this world".into())
    }

    async fn gc(&self, live: &[PodRef]) -> Result<(), String> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|uid, _| live.iter().any(|pod| pod.uid == *uid));
        Ok(())
    }
}

/// A data plane that takes everything.
pub struct SimDataplane;

#[async_trait]
impl Dataplane for SimDataplane {
    async fn apply(&self, _snapshot: Arc<DataplaneSnapshot>) -> Result<(), String> {
        Ok(())
    }
}

/// Probes answer when a container of the pod runs.
pub struct SimProber(pub Arc<SimRuntime>);

#[async_trait]
impl Prober for SimProber {
    async fn http(&self, request: HttpProbe, _timeout: Duration) -> Result<HttpAnswer, String> {
        let answer = HttpAnswer { status: 200, body: String::new() };
        if self.0.answers(&request.host) { Ok(answer) } else { Err("connection refused".into()) }
    }

    async fn tcp(&self, host: &str, _port: u16, _timeout: Duration) -> Result<(), String> {
        if self.0.answers(host) { Ok(()) } else { Err("connection refused".into()) }
    }

    async fn grpc(&self, host: &str, port: u16, _service: &str, timeout: Duration) -> Result<(), String> {
        self.tcp(host, port, timeout).await
    }
}

/// What the machine is.
pub struct SimHost {
    /// Of this boot.
    pub boot_id: String,
    /// What outlives the agent and not the boot.
    pub kept: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
}

impl HostFacts for SimHost {
    fn read(&self) -> HostInfo {
        HostInfo {
            architecture: "arm64".into(),
            os_image: "Simulated".into(),
            kernel: "6.0".into(),
            boot_id: self.boot_id.clone(),
            cpus: 4,
            memory_bytes: 1 << 30,
            disk_bytes: 1 << 33,
            agent_version: "0".into(),
            ..HostInfo::default()
        }
    }

    fn usage(&self) -> HostUsage {
        HostUsage::default()
    }

    fn remember(&self, name: &str, value: &[u8]) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_string(), value.to_vec());
    }

    fn recall(&self, name: &str) -> Option<Vec<u8>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// An index that keeps nothing: the simulator asks the hub.
pub struct NoIndex;

#[async_trait]
impl EventIndex for NoIndex {
    fn record(&self, _events: Vec<(Seq, Bytes)>) {}

    async fn find(&self, _namespace: Option<String>, _pod: Option<String>) -> Result<Vec<serde_json::Value>, String> {
        Err("not implemented: events of a simulated node".into())
    }
}

/// Dials through the simulated network.
pub struct SimConnector {
    /// The network.
    pub net: Net,
    /// This machine's number in it.
    pub machine: u32,
    /// The node's certificate.
    pub certificate: Mutex<Vec<u8>>,
    /// Silence that ends a connection.
    pub idle: Duration,
}

#[async_trait]
impl Connector for SimConnector {
    async fn connect(&self, hub: &str) -> Result<Arc<dyn Connection>, NetError> {
        let certificate = self.certificate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.net.dial(self.machine, hub, vec![certificate], self.idle).await
    }

    async fn connect_bare(&self, hub: &str, _ca_hash: &str) -> Result<Arc<dyn Connection>, NetError> {
        self.net.dial(self.machine, hub, Vec::new(), self.idle).await
    }

    fn use_identity(&self, identity: &NodeIdentity) -> Result<(), String> {
        let leaf = identity.chain.first().ok_or("the identity has no certificate")?;
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = leaf.clone();
        Ok(())
    }
}
