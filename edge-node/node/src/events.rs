//! Events of the node, as log facts: kept while the link is down, created at the hub under names of their own.

use crate::link::LinkState;
use crate::parts::EventIndex;
use crate::store::SharedStore;
use bytes::Bytes;
use holdfast_core::{Seq, Timestamp};
use holdfast_edge_store::{Doubt, FactKind, Gap};
use holdfast_env::World;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

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
        self.write("default", &self.node_name, self.myself(node_uid), warning, reason, message).await;
    }

    fn myself(&self, node_uid: &str) -> Value {
        json!({"kind": "Node", "apiVersion": "v1", "name": self.node_name, "uid": node_uid})
    }

    async fn write(&self, namespace: &str, name: &str, involved: Value, warning: bool, reason: &str, message: &str) {
        let body = self.body(namespace, name, involved, warning, reason, message);
        match self.store.log_fact(body.clone()).await {
            Ok(seq) => self.noted(seq, body),
            Err(err) => tracing::warn!(reason, %err, "An event was lost"),
        }
    }

    /// An event is in the outbox: the index and the local API's watchers learn of it.
    fn noted(&self, seq: Seq, body: Bytes) {
        self.index.record(vec![(seq, body)]);
        self.store.note_change();
    }

    fn body(&self, namespace: &str, name: &str, involved: Value, warning: bool, reason: &str, message: &str) -> Bytes {
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
        Bytes::from(serde_json::to_vec(&body).unwrap_or_default())
    }

    /// Says once for each time that events had to be dropped how many they are and from when, as soon as the hub listens:
    /// until then there may be more. Until dropped.
    pub(crate) async fn tell_gaps(self, node_uid: String, mut link: watch::Receiver<LinkState>) {
        loop {
            let is_listening = link.borrow_and_update().connected;
            if is_listening && self.store.read(|state| state.outbox().gap().is_some()) {
                let (me, uid) = (self.clone(), node_uid.clone());
                match self.store.tell_gap(move |gap| me.gap(&uid, gap)).await {
                    Ok(Some((seq, body))) => self.noted(seq, body),
                    // Rung again when the hub has taken something.
                    Ok(None) => {}
                    Err(err) => tracing::warn!(%err, "Lost events could not be told yet"),
                }
            }
            tokio::select! {
                biased;
                changed = link.changed() => if changed.is_err() { return },
                () = self.store.gap_changed() => {}
            }
        }
    }

    fn gap(&self, node_uid: &str, gap: Gap) -> Bytes {
        let at = |micros: i64| {
            let time = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
            if micros <= 0 { "an unknown time".to_string() } else { Timestamp::from_wall(time).to_string() }
        };
        let Gap { count, from_micros, to_micros } = gap;
        let message = format!(
            "{count} events of this node were lost, because too many waited for the hub; they were of between {} and {}.",
            at(from_micros),
            at(to_micros)
        );
        self.body("default", &self.node_name, self.myself(node_uid), true, "EventsLost", &message)
    }

    /// Says what a damaged journal has cost, once.
    pub(crate) async fn tell_repair(&self, node_uid: &str) {
        if self.store.vitals().doubt != Doubt::Loss {
            return;
        }
        let repaired = "The node's journal was damaged, as by a failing disk. It was set back to the last state that is \
                        whole; the hub sends again what is missing, and pods that run are left alone until then.";
        let until = Timestamp::from_wall(self.env.wall().0);
        let lost = format!(
            "Events of this node that the hub did not have yet were lost with its damaged journal, up to {until}; how many \
             is not known."
        );
        let told = async {
            for (reason, message) in [("StoreRepaired", repaired), ("EventsLost", lost.as_str())] {
                let body = self.body("default", &self.node_name, self.myself(node_uid), true, reason, message);
                let seq = self.store.log_fact(body.clone()).await?;
                self.noted(seq, body);
            }
            self.store.loss_told().await
        };
        if let Err(err) = told.await {
            tracing::warn!(%err, "The repair of the journal could not be told yet");
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
        assert_eq!(reasons(&index), ["Starting", "Rebooted"], "also what the hub has acknowledged is kept for a while");
        events.node("u", false, "NodeReady", "three").await;
        assert_eq!(reasons(&index), ["Starting", "Rebooted", "NodeReady"]);
    }
}
