//! Other limits for a pod that runs, and the cgroups above those of pods.

use crate::cgroup::limits::{Change, machine};
use crate::client::{QUICK, call};
use crate::labels::{self, containerd_id};
use crate::runtime::{Inner, blocking};
use crate::spec::limits;
use containerd_client::services::v1 as api;
use holdfast_runtime::{NodeCgroups, Resize, RuntimeError};

/// Type of the limits in a task's update.
const LIMITS_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

fn failed(reason: impl Into<String>) -> RuntimeError {
    RuntimeError::Failed { operation: "resize", reason: reason.into() }
}

/// Why a memory limit cannot become `wanted`; 0 is none.
fn too_much(what: &str, path: &str, wanted: i64) -> Result<(), RuntimeError> {
    let tree = machine();
    let Some(wanted) = u64::try_from(wanted).ok().filter(|wanted| *wanted > 0) else { return Ok(()) };
    // One that is raised is never in the way of what is used.
    if tree.memory_limit(path).is_some_and(|now| now <= wanted) {
        return Ok(());
    }
    match tree.memory_usage(path).filter(|usage| *usage > wanted) {
        Some(usage) => {
            Err(failed(format!("attempting to set {what} memory limit ({wanted}) below current usage ({usage})")))
        }
        None => Ok(()),
    }
}

impl Inner {
    pub(crate) async fn resize(&self, wanted: &Resize) -> Result<(), RuntimeError> {
        let mut updates = Vec::new();
        for (id, resources, more) in &wanted.containers {
            let cid = containerd_id(id);
            let record = self.record(&cid).await?.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?;
            let cgroup = record.labels.get(labels::CGROUP).cloned().unwrap_or_default();
            let name = record.labels.get(labels::NAME).cloned().unwrap_or_default();
            updates.push((cid, name, cgroup, resources.clone(), more.clone()));
        }
        let (parent, pod, looked_at) = (wanted.cgroup_parent.clone(), wanted.pod.clone(), updates.clone());
        let bodies = blocking("resize", move || {
            too_much("pod", &parent, pod.memory_limit_bytes)?;
            for (_, name, cgroup, resources, _) in &looked_at {
                too_much(&format!("container {name:?}"), cgroup, resources.memory_limit_bytes)?;
            }
            let tree = machine();
            tree.make(&parent).map_err(|err| failed(err.to_string()))?;
            tree.apply(&parent, &pod, Change::Grow).map_err(|err| failed(err.to_string()))?;
            let counts_swap = |cgroup: &str| tree.counts_swap(cgroup);
            let body = |(cid, _, cgroup, resources, more): (String, _, String, _, _)| {
                (cid, limits(&resources, &more, counts_swap(&cgroup), crate::cgroup::is_v2(), true))
            };
            Ok(looked_at.into_iter().map(body).collect::<Vec<_>>())
        })
        .await?;
        for (cid, body) in bodies {
            let value = serde_json::Value::Object(body).to_string().into_bytes();
            let resources = prost_types::Any { type_url: LIMITS_TYPE.into(), value };
            let update = api::UpdateTaskRequest { container_id: cid, resources: Some(resources), ..Default::default() };
            call("update container", QUICK, self.client.tasks().update(self.client.request(update))).await?;
        }
        let (parent, pod) = (wanted.cgroup_parent.clone(), wanted.pod.clone());
        blocking("resize", move || machine().apply(&parent, &pod, Change::Set).map_err(|err| failed(err.to_string())))
            .await
    }

    pub(crate) async fn shape_node(&self, cgroups: &NodeCgroups) -> Result<(), RuntimeError> {
        let cgroups = cgroups.clone();
        blocking("make cgroups", move || {
            machine()
                .shape(&cgroups)
                .map_err(|err| RuntimeError::Failed { operation: "make cgroups", reason: err.to_string() })
        })
        .await
    }
}
