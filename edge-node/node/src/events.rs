//! Events of the node, as log facts: kept while the link is down, created at the hub under names of their own.

use crate::store::SharedStore;
use holdfast_core::Timestamp;
use holdfast_env::World;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::sync::Arc;

/// Writes events.
#[derive(Clone)]
pub struct Events {
    env: World,
    store: Arc<SharedStore>,
    node_name: String,
}

impl Events {
    /// Events of this node.
    pub fn new(env: World, store: Arc<SharedStore>, node_name: &str) -> Events {
        Events { env, store, node_name: node_name.to_string() }
    }

    /// About a pod, or a container of it.
    pub async fn pod(&self, pod: &Pod, container: Option<&str>, warning: bool, reason: &str, message: &str) {
        let meta = &pod.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let name = meta.name.clone().unwrap_or_default();
        let mut involved = json!({
            "kind": "Pod", "apiVersion": "v1", "namespace": namespace, "name": name, "uid": meta.uid,
        });
        if let Some(container) = container {
            involved["fieldPath"] = json!(format!("spec.containers{{{container}}}"));
        }
        self.write(&namespace, &name, involved, warning, reason, message).await;
    }

    /// About the node.
    pub async fn node(&self, node_uid: &str, warning: bool, reason: &str, message: &str) {
        let name = self.node_name.clone();
        let involved = json!({"kind": "Node", "apiVersion": "v1", "name": name, "uid": node_uid});
        self.write("default", &name, involved, warning, reason, message).await;
    }

    async fn write(&self, namespace: &str, name: &str, involved: Value, warning: bool, reason: &str, message: &str) {
        let now = Timestamp::from_wall(self.env.wall().0);
        let event_type = if warning { "Warning" } else { "Normal" };
        // Drawn once and sent until acknowledged: the hub tells a repetition by the name.
        let body = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": format!("{name}.{:016x}", self.env.random_u64()), "namespace": namespace},
            "involvedObject": involved,
            "type": event_type,
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet", "host": self.node_name},
            "reportingComponent": "kubelet",
            "reportingInstance": self.node_name,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        });
        let body = serde_json::to_vec(&body).unwrap_or_default();
        if let Err(err) = self.store.log_fact(body.into()).await {
            tracing::warn!(reason, %err, "An event was lost");
        }
    }
}
