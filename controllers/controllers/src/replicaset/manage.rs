//! Creates missing pods in batches that grow with success, and deletes those that are too many.

use super::{Controller, Pod, ReplicaSet, ranking};
use crate::claim::controller_ref;
use crate::limits::REPLICA_BURST;
use crate::pod_writes;
use crate::shared::core;
use holdfast_controller::{Involved, Key};
use holdfast_core::{Json, Object, Status, Target, json as path};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What went wrong, for the condition `ReplicaFailure`.
pub(super) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub(super) reason: &'static str,
    pub(super) status: Status,
}

impl Controller {
    pub(super) async fn manage(&self, object: &Object, set: &ReplicaSet, pods: &[Pod]) -> Result<(), Failure> {
        let wanted = set.spec.replicas.unwrap_or(1);
        if pods.len() < wanted {
            return self.create(object, set, (wanted - pods.len()).min(REPLICA_BURST)).await;
        }
        if pods.len() > wanted {
            return self.delete(object, pods, (pods.len() - wanted).min(REPLICA_BURST)).await;
        }
        Ok(())
    }

    /// 1, 2, 4, … at a time: when the first is refused (quota, a bad template), the rest is not tried.
    async fn create(&self, object: &Object, set: &ReplicaSet, count: usize) -> Result<(), Failure> {
        let key = Key::of(object);
        self.expectations.expect_creations(&key, count, self.world.monotonic());
        let body = pod_of(object, set);
        let at = Target::collection(core("pods"), &key.namespace);
        let about = Involved::of(object);
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let now = batch.min(left);
            let calls = (0..now).map(|_| self.client.create(&at, body.clone()));
            let mut failed = None;
            for result in futures_util::future::join_all(calls).await {
                left -= 1;
                match result {
                    Ok(pod) => {
                        let message = format!("Created pod: {}", pod.meta.name);
                        self.events.normal(&about, "SuccessfulCreate", message);
                    }
                    Err(status) => {
                        self.expectations.created(&key);
                        failed = Some(status);
                    }
                }
            }
            if let Some(status) = failed {
                (0..left).for_each(|_| self.expectations.created(&key));
                // The end of the namespace is nothing to shout about.
                if !status.message().contains("because it is being terminated") {
                    self.events.warning(&about, "FailedCreate", format!("Error creating: {status}"));
                }
                return Err(Failure { reason: "FailedCreate", status });
            }
            batch *= 2;
        }
        Ok(())
    }

    async fn delete(&self, object: &Object, pods: &[Pod], count: usize) -> Result<(), Failure> {
        let key = Key::of(object);
        let mut ranked = pods.to_vec();
        ranking::sort(&mut ranked, &self.crowd(object));
        ranked.truncate(count);
        let uids = ranked.iter().map(|pod| pod.meta.uid.clone());
        self.expectations.expect_deletions(&key, uids, self.world.monotonic());
        let about = Involved::of(object);
        let calls = ranked
            .iter()
            .map(|pod| async move { (pod, pod_writes::delete(&self.client, &pod.key(), &pod.meta.uid, None).await) });
        let mut failed = None;
        for (pod, result) in futures_util::future::join_all(calls).await {
            match result {
                Ok(()) => {
                    self.events.normal(&about, "SuccessfulDelete", format!("Deleted pod: {}", pod.meta.name));
                }
                Err(status) => {
                    self.expectations.deleted(&key, &pod.meta.uid);
                    self.events.warning(&about, "FailedDelete", format!("Error deleting: {status}"));
                    failed = Some(Failure { reason: "FailedDelete", status });
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// How many running pods of this set and of its siblings (of the same Deployment) each node has.
    fn crowd(&self, object: &Object) -> BTreeMap<String, usize> {
        let mut family: BTreeSet<String> = [object.meta.uid.clone()].into();
        if let Some(owner) = object.meta.controller() {
            family.extend(self.sets.owned_by(&owner.uid).iter().map(|set| set.meta.uid.clone()));
        }
        let mut crowd = BTreeMap::new();
        for uid in family {
            for pod in self.pods.owned_by(&uid).iter().filter(|pod| !pod.value.ended()) {
                *crowd.entry(pod.value.node.clone()).or_insert(0) += 1;
            }
        }
        crowd
    }
}

/// The pod that the template makes.
fn pod_of(object: &Object, set: &ReplicaSet) -> Json {
    let template = &set.spec.template;
    let mut metadata = json!({
        "generateName": format!("{}-", object.meta.name),
        "namespace": object.meta.namespace,
        "ownerReferences": [controller_ref(object)],
    });
    for field in ["labels", "annotations", "finalizers"] {
        if let Some(value) = path::at(template, &["metadata", field]).filter(|value| !value.is_null()) {
            path::set(&mut metadata, &[field], value.clone());
        }
    }
    let spec = path::at(template, &["spec"]).cloned().unwrap_or_default();
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
}
