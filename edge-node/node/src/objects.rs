//! Objects that the hub sent, typed.

use crate::static_pods;
use crate::store::SharedStore;
use bytes::Bytes;
use holdfast_core::Timestamp;
use holdfast_edge_store::Item;
use holdfast_pods::typed;
use holdfast_volumes::VolumeObjects;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Prefix of the keys of pods.
pub const PODS: &str = "/v1/pods/";
/// Prefix of the keys of nodes.
pub const NODES: &str = "/v1/nodes//";
const SERVICES: &str = "/v1/services/";
const SLICES: &str = "discovery.k8s.io/v1/endpointslices/";
const RUNTIME_CLASSES: &str = "node.k8s.io/v1/runtimeclasses//";

/// Typed reading of the node's items. Clones share what they have read.
#[derive(Clone)]
pub struct Objects {
    store: Arc<SharedStore>,
    pods: Arc<Mutex<PodsRead>>,
}

/// The pods as they were last read, by key, each with its bytes: few of them change between two looks.
type PodsRead = BTreeMap<String, (Bytes, Arc<Pod>)>;

impl Objects {
    /// The items of a store.
    pub fn new(store: Arc<SharedStore>) -> Objects {
        Objects { store, pods: Arc::default() }
    }

    fn one<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        self.one_by(key, |body| serde_json::from_slice(body))
    }

    fn one_by<T>(&self, key: &str, read: impl Fn(&[u8]) -> Result<T, serde_json::Error>) -> Option<T> {
        let body = self.store.read(|state| state.items().get(key).map(|item| item.body.clone()))?;
        told(key, read(&body))
    }

    fn bodies(&self, prefix: &str) -> Vec<(String, Bytes)> {
        let of = |(key, item): (&String, &Item)| (key.clone(), item.body.clone());
        self.store.read(|state| state.items_with_prefix(prefix).map(of).collect())
    }

    fn many<T: DeserializeOwned>(&self, prefix: &str) -> Vec<T> {
        self.bodies(prefix).iter().filter_map(|(key, body)| told(key, serde_json::from_slice(body))).collect()
    }

    /// All pods that run on this node, static ones too. A pod that has not changed since is the same one.
    pub fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods_and_mirrors().0
    }

    /// The pods that run on this node, and the mirror pods that the hub has of it.
    pub(crate) fn pods_and_mirrors(&self) -> (Vec<Arc<Pod>>, Vec<Arc<Pod>>) {
        let mut known = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        let mut older = std::mem::take(&mut *known);
        let statics: Vec<(String, Bytes)> = self.store.read(|state| {
            static_pods::notes(state).map(|(file, pod)| (format!("{}{file}", static_pods::NOTES), pod)).collect()
        });
        for (key, body) in self.bodies(PODS).into_iter().chain(statics) {
            let kept = older.remove(&key).filter(|(of, _)| *of == body);
            let read = || told(&key, typed::pod_from_slice(&body)).map(|pod| (body.clone(), Arc::new(pod)));
            if let Some(pod) = kept.or_else(read) {
                known.insert(key, pod);
            }
        }
        known.values().map(|(_, pod)| pod.clone()).partition(|pod| static_pods::mirrored(pod).is_none())
    }

    /// One pod.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        self.one_by(&format!("{PODS}{namespace}/{name}"), typed::pod_from_slice)
    }

    /// All Services.
    pub fn services(&self) -> Vec<Service> {
        self.many(SERVICES)
    }

    /// All EndpointSlices.
    pub fn slices(&self) -> Vec<EndpointSlice> {
        self.many(SLICES)
    }

    /// All nodes.
    pub fn nodes(&self) -> Vec<Node> {
        self.many(NODES)
    }

    /// One node.
    pub fn node(&self, name: &str) -> Option<Node> {
        self.one(&format!("{NODES}{name}"))
    }

    /// The hub's last token under this key, with when it ends.
    pub(crate) fn token_item(&self, key: &str) -> Option<serde_json::Value> {
        self.one(key)
    }

    /// The handler of a RuntimeClass.
    pub fn runtime_handler(&self, class: &str) -> Option<String> {
        self.one::<RuntimeClass>(&format!("{RUNTIME_CLASSES}{class}")).map(|class| class.handler)
    }
}

/// Where the hub puts a pod's token; `audience` is empty for the API server's.
pub(crate) fn token_key(namespace: &str, pod_uid: &str, audience: &str, seconds: i64) -> String {
    format!("{}{seconds}.{audience}", token_prefix(namespace, pod_uid))
}

/// What the keys of a pod's tokens begin with.
pub(crate) fn token_prefix(namespace: &str, pod_uid: &str) -> String {
    format!("edge.holdfast.io/v1/tokens/{namespace}/{pod_uid}.")
}

/// A moment as typed objects have it.
pub(crate) fn api_time(at: Timestamp) -> Option<Time> {
    k8s_openapi::jiff::Timestamp::from_second(at.secs()).ok().map(Time)
}

/// What was read; a failure is told in the log.
fn told<T>(key: &str, read: Result<T, serde_json::Error>) -> Option<T> {
    match read {
        Ok(object) => Some(object),
        Err(err) => {
            tracing::error!(key, %err, "An object from the hub does not decode");
            None
        }
    }
}

impl VolumeObjects for Objects {
    fn config_map(&self, namespace: &str, name: &str) -> Option<ConfigMap> {
        self.one(&format!("/v1/configmaps/{namespace}/{name}"))
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        self.one(&format!("/v1/secrets/{namespace}/{name}"))
    }

    fn token(&self, namespace: &str, pod_uid: &str, audience: &str, seconds: i64) -> Option<String> {
        let body = self.token_item(&token_key(namespace, pod_uid, audience, seconds))?;
        Some(body.get("token")?.as_str()?.to_string())
    }
}
