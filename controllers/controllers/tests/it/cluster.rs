//! A cluster of a test.

use crate::certificates::Authority;
use holdfast_controller::testing::{FakeWorld, MemoryApi};
use holdfast_controller::{Client, Key};
use holdfast_controllers::{ControllersConfig, start_all};
use holdfast_core::{DeleteOptions, Gvr, Json, Target};
use holdfast_env::{Env, Task, World};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) struct Cluster {
    pub(crate) world: Arc<FakeWorld>,
    pub(crate) api: Arc<MemoryApi>,
    tasks: Vec<Task>,
}

impl Cluster {
    pub(crate) fn new() -> Cluster {
        let world = FakeWorld::new(42);
        let env: World = world.clone();
        let api = MemoryApi::new(&env);
        let mut cluster = Cluster { world, api, tasks: Vec::new() };
        cluster.start();
        cluster
    }

    /// Starts the controllers; those that run end first, as in a restart of the hub.
    pub(crate) fn start(&mut self) {
        self.tasks.clear();
        let env: World = self.world.clone();
        let config = ControllersConfig {
            kinds: holdfast_controllers::served(MemoryApi::kinds()),
            root_ca_pem: "the CA".into(),
            terminated_pod_threshold: 3,
            authority: Some(Arc::new(Authority)),
            ..ControllersConfig::default()
        };
        let api = self.api.clone();
        self.tasks = start_all(env, &|_| api.clone() as Arc<dyn Client>, config);
        self.settle();
    }

    pub(crate) fn settle(&self) {
        // Retries after conflicts take milliseconds.
        self.world.advance(Duration::from_millis(500));
    }

    pub(crate) fn pass(&self, secs: u64) {
        self.world.advance(Duration::from_secs(secs));
    }

    pub(crate) fn delete(&self, resource: (&str, &str), namespace: &str, name: &str, options: DeleteOptions) {
        let at = Target::object(Gvr::new(resource.0, "v1", resource.1), namespace, name);
        let api = self.api.clone();
        self.world.run(async move { api.delete(&at, &options).await }).unwrap();
        self.settle();
    }

    /// Plays kubelet: every pod is running and ready on `n1`, and deleted ones go.
    pub(crate) fn kubelet(&self) {
        if self.api.find("nodes", "", "n1").is_none() {
            self.api.seed(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}));
        }
        for pod in self.api.all("pods") {
            let key = key(&pod);
            if pod["metadata"].get("deletionTimestamp").is_some() {
                self.api.remove("pods", &key.namespace, &key.name);
            } else if pod["status"]["phase"] == "Pending" {
                self.ready(&key.name);
            }
        }
        self.settle();
    }

    /// One pod of namespace `a` becomes ready.
    pub(crate) fn ready(&self, name: &str) {
        let now = holdfast_core::Timestamp::from_wall(self.world.wall().0);
        let ip = format!("10.42.0.{}", self.api.count("create") % 250);
        self.api.edit("pods", "a", name, |doc| {
            doc["spec"]["nodeName"] = json!("n1");
            doc["status"] = json!({"phase": "Running", "podIPs": [{"ip": ip}], "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": now}]});
        });
    }

    /// Names of pods that are not being deleted.
    pub(crate) fn pods(&self) -> Vec<String> {
        let all = self.api.all("pods").into_iter();
        let alive = all.filter(|pod| pod["metadata"].get("deletionTimestamp").is_none());
        alive.map(|pod| key(&pod).name).collect()
    }

    /// ReplicaSets as `revision: replicas`, without empty ones.
    pub(crate) fn sets(&self) -> BTreeMap<String, i64> {
        let sets = self.api.all("replicasets").into_iter();
        let entry = |set: Json| {
            let revision = set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str()?.to_string();
            Some((revision, set["spec"]["replicas"].as_i64()?))
        };
        sets.filter_map(entry).filter(|(_, replicas)| *replicas > 0).collect()
    }

    pub(crate) fn messages(&self, reason: &str) -> Vec<String> {
        let all = self.api.all("events").into_iter().filter(|event| event["reason"] == reason);
        all.map(|event| event["message"].as_str().unwrap_or_default().to_string()).collect()
    }
}

pub(crate) fn key(doc: &Json) -> Key {
    let text = |field: &str| doc["metadata"][field].as_str().unwrap_or_default().to_string();
    Key::new(&text("namespace"), &text("name"))
}

/// The reason and status of a condition.
pub(crate) fn condition(doc: &Json, kind: &str) -> (String, String) {
    let all = doc["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default();
    let text = |field: &str| found[field].as_str().unwrap_or_default().to_string();
    (text("status"), text("reason"))
}
