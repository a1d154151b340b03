//! Events of the node, as log facts: kept while the link is down, created at the hub under names of their own.

use crate::parts::EventIndex;
use crate::store::SharedStore;
use bytes::Bytes;
use holdfast_core::{Seq, Timestamp};
use holdfast_edge_store::FactKind;
use holdfast_env::World;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::sync::Arc;

/// Writes events.
#[derive(Clone)]
pub struct Events {
    env: World,
    store: Arc<SharedStore>,
    index: Arc<dyn EventIndex>,
    node_name: String,
}

impl Events {
    /// Events of this node. The index gets what the outbox still holds: it may have been deleted since.
    pub fn new(env: World, store: Arc<SharedStore>, index: Arc<dyn EventIndex>, node_name: &str) -> Events {
        let pending = store.read(|state| state.outbox().after(Seq::default(), usize::MAX));
        let logs = pending.into_iter().filter(|fact| fact.kind == FactKind::Log);
        let logs: Vec<_> = logs.map(|fact| (fact.seq, fact.body)).collect();
        if !logs.is_empty() {
            index.record(logs);
        }
        Events { env, store, index, node_name: node_name.to_string() }
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
        let body = Bytes::from(serde_json::to_vec(&body).unwrap_or_default());
        match self.store.log_fact(body.clone()).await {
            Ok(seq) => {
                self.index.record(vec![(seq, body)]);
                self.store.note_change();
            }
            Err(err) => tracing::warn!(reason, %err, "An event was lost"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use holdfast_edge_store::{EdgeStore, Record};
    use holdfast_env::host::HostEnv;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Recorded(Mutex<Vec<(Seq, Bytes)>>);

    #[async_trait]
    impl EventIndex for Recorded {
        fn record(&self, events: Vec<(Seq, Bytes)>) {
            self.0.lock().unwrap().extend(events);
        }
        async fn find(&self, _: Option<String>, _: Option<String>) -> Result<Vec<Value>, String> {
            Ok(Vec::new())
        }
    }

    fn reasons(index: &Recorded) -> Vec<String> {
        let recorded = index.0.lock().unwrap();
        assert!(recorded.windows(2).all(|pair| pair[0].0 < pair[1].0), "in the order of the numbers");
        let reason =
            |body: &Bytes| serde_json::from_slice::<Value>(body).unwrap()["reason"].as_str().unwrap().to_string();
        recorded.iter().map(|(_, body)| reason(body)).collect()
    }

    #[tokio::test]
    async fn the_index_is_filled_from_the_outbox_and_gets_each_event_with_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let env: World = HostEnv::new(dir.path());
        {
            let store = SharedStore::new(env.clone(), EdgeStore::open(env.disk()).unwrap().0);
            let events = Events::new(env.clone(), store.clone(), Arc::new(Recorded::default()), "edge-1");
            events.node("u", false, "Starting", "one").await;
            let acknowledged = store.read(|state| state.outbox().after(Seq::default(), 1)[0].seq);
            store.commit(vec![Record::Acknowledged { seq: acknowledged }]).await.unwrap();
            store.state_fact("node".into(), Bytes::from_static(b"{}"), true).await.unwrap();
            events.node("u", true, "Rebooted", "two").await;
            // Facts are lazy: what syncs next takes them along.
            store.state_fact("node".into(), Bytes::from_static(b"{\"a\":1}"), true).await.unwrap();
        }
        let store = SharedStore::new(env.clone(), EdgeStore::open(env.disk()).unwrap().0);
        let index = Arc::new(Recorded::default());
        let events = Events::new(env.clone(), store, index.clone(), "edge-1");
        assert_eq!(reasons(&index), ["Rebooted"], "what the hub has acknowledged is not in the outbox");
        events.node("u", false, "NodeReady", "three").await;
        assert_eq!(reasons(&index), ["Rebooted", "NodeReady"]);
    }
}
