//! A cluster to play a scenario on.

use holdfast_controller::Client;
use holdfast_core::{DeleteOptions, Gvr, Json, Target};
use holdfast_sim::checks::{is_deleting, text};
use holdfast_sim::hub::first_log;
use holdfast_sim::limits::CERTIFICATE_LIFE;
use holdfast_sim::wire::HUB;
use holdfast_sim::world::Cluster;
use holdfast_sim_world::{PathFaults, Universe};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A running cluster, and the folder of its nodes' volumes.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// A hub and nodes that are linked and Ready.
    pub(crate) fn open(seed: u64, nodes: u32) -> Stage {
        Stage::with_certificates(seed, nodes, CERTIFICATE_LIFE)
    }

    /// The same with certificates that live for so long.
    pub(crate) fn with_certificates(seed: u64, nodes: u32, life: Duration) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::new(seed, nodes, life, first_log().unwrap(), dir.path());
        let stage = Stage { cluster, _dir: dir };
        stage.cluster.hub.start();
        stage.until("the hub is ready", 60, |c| c.hub.is_ready());
        stage.cluster.nodes.iter().for_each(|node| node.power_on());
        stage.until("all nodes are Ready", 60, |c| (1..=nodes).all(|no| is_ready(c, no)));
        stage
    }

    /// Lets time pass.
    pub(crate) fn pass(&self, seconds: u64) {
        let end = self.cluster.universe.now() + Duration::from_secs(seconds);
        while self.cluster.universe.now() < end {
            self.step(end);
        }
    }

    fn step(&self, end: Duration) {
        self.cluster.universe.step(end);
        self.cluster.nodes.iter().filter(|node| node.machine.disk().is_killed()).for_each(|node| node.kill_agent());
        self.check();
    }

    /// Lets time pass until something is so.
    pub(crate) fn until(&self, what: &str, seconds: u64, so: impl Fn(&Cluster) -> bool) {
        let end = self.cluster.universe.now() + Duration::from_secs(seconds);
        while !so(&self.cluster) {
            assert!(self.cluster.universe.now() < end, "{what}: not within {seconds} s");
            self.step(end);
        }
    }

    /// No invariant was violated.
    pub(crate) fn check(&self) {
        let ledger = &self.cluster.ledger;
        assert!(!ledger.has_violations(), "{}", ledger.violations().join("\n"));
    }

    /// Hub and nodes agree.
    pub(crate) fn agree(&self) {
        self.cluster.ledger.settled(&self.cluster.end());
        self.check();
    }

    /// Cuts a node from the hub, or joins them again.
    pub(crate) fn cut(&self, no: u32, cut: bool) {
        let faults = PathFaults { cut, ..PathFaults::default() };
        self.cluster.net.set_path(no, HUB, faults);
        self.cluster.net.set_path(HUB, no, faults);
    }

    /// Lets the administrator do something, and waits for the answer.
    pub(crate) fn ask<T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Arc<holdfast_apiserver::LocalClient>) -> F + Send + 'static,
    ) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let slot: Arc<Mutex<Option<Option<T>>>> = Arc::default();
        let (hub, put) = (self.cluster.hub.clone(), slot.clone());
        let run = async move {
            let answer = hub.request(work).await;
            *put.lock().unwrap() = Some(answer);
        };
        self.cluster.universe.spawn(Universe::NOBODY, "ask", Box::pin(run));
        self.until("the hub answers", 60, |_| slot.lock().unwrap().is_some());
        let answer = slot.lock().unwrap().take().flatten();
        answer.expect("the hub gave no answer")
    }

    /// Makes a pod on a node that runs for ever.
    pub(crate) fn pod(&self, name: &str, no: u32, more: Json) {
        self.pod_with(json!({"name": name}), no, more);
    }

    /// The same with other metadata.
    pub(crate) fn pod_with(&self, metadata: Json, no: u32, more: Json) {
        let mut spec = json!({
            "nodeName": format!("edge-{no}"),
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "main", "image": "registry.local/app:1", "args": ["run"]}],
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        let body = json!({"metadata": metadata, "spec": spec});
        self.create("pods", body);
    }

    /// Makes an object in the default namespace.
    pub(crate) fn create(&self, plural: &'static str, body: Json) {
        let at = Target::collection(Gvr::new("", "v1", plural), "default");
        self.ask(|client| async move { client.create(&at, body).await.map(drop) }).unwrap();
    }

    /// Deletes an object of the default namespace.
    pub(crate) fn delete(&self, plural: &'static str, name: &str) {
        let at = Target::object(Gvr::new("", "v1", plural), "default", name);
        let options = DeleteOptions::default();
        self.ask(|client| async move { client.delete(&at, &options).await }).unwrap();
    }

    /// Waits until a pod runs, as hub and node see it.
    pub(crate) fn runs(&self, name: &str) {
        self.until(&format!("{name} runs"), 60, |cluster| {
            let end = cluster.end();
            let found = end.pods.iter().find(|(_, pod)| text(pod, &["metadata", "name"]) == name);
            found.is_some_and(|(uid, pod)| {
                let runs = end.machines.iter().any(|machine| machine.running.contains_key(uid));
                runs && text(pod, &["status", "phase"]) == "Running" && !is_deleting(pod)
            })
        });
    }
}

/// Whether the hub calls a node Ready.
pub(crate) fn is_ready(cluster: &Cluster, no: u32) -> bool {
    let nodes = cluster.end().nodes;
    let conditions = nodes.get(&format!("edge-{no}")).and_then(|doc| doc["status"]["conditions"].as_array().cloned());
    let is = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    conditions.into_iter().flatten().any(|condition| is(&condition))
}
