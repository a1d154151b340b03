//! Sandboxes: here they are only what the agent told, since the network is CNI's and there are no processes.

use crate::host::{Host, blocking};
use crate::logs::now;
use crate::records::{SandboxRecord, check_id};
use holdfast_runtime::{RuntimeError, SandboxInfo, SandboxSpec, SandboxState};
use std::path::Path;
use std::time::Duration;

/// Time for the containers of a sandbox that is stopped; the agent has stopped them before, as a rule.
const STOP_GRACE: Duration = Duration::from_secs(2);

/// A sandbox read at start: it is gone when the machine was rebooted since, or its namespace is.
pub(crate) fn revive(mut record: SandboxRecord, boot: &str) -> SandboxRecord {
    let namespace_gone = !record.spec.netns_path.is_empty() && !Path::new(&record.spec.netns_path).exists();
    if record.boot != boot || namespace_gone {
        record.info.state = SandboxState::NotReady;
    }
    record
}

impl Host {
    pub(crate) async fn run_sandbox(&self, spec: SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        check_id(&spec.id)?;
        if let Some(known) = self.sandboxes().get(&spec.id)
            && known.info.state == SandboxState::Ready
        {
            return Ok(known.info.clone());
        }
        if !spec.netns_path.is_empty() && !Path::new(&spec.netns_path).exists() {
            let reason = format!("network namespace {} does not exist", spec.netns_path);
            return Err(RuntimeError::Failed { operation: "create sandbox", reason });
        }
        let info = SandboxInfo {
            id: spec.id.clone(),
            pod_uid: spec.pod_uid.clone(),
            state: SandboxState::Ready,
            created_at: now(),
        };
        let record = SandboxRecord { spec, info: info.clone(), boot: self.boot.clone() };
        self.write_sandbox(&record).await?;
        self.sandboxes().insert(info.id.clone(), record);
        Ok(info)
    }

    pub(crate) async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        for container in self.containers_of(id) {
            self.stop(&container, None, STOP_GRACE).await?;
        }
        let record = self.sandboxes().get_mut(id).map(|record| {
            record.info.state = SandboxState::NotReady;
            record.clone()
        });
        match record {
            Some(record) => self.write_sandbox(&record).await,
            None => Ok(()),
        }
    }

    pub(crate) async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        check_id(id)?;
        self.stop_sandbox(id).await?;
        for container in self.containers_of(id) {
            self.remove_container(&container.spec.id).await?;
        }
        let (records, name) = (self.sandbox_records.clone(), id.to_string());
        blocking("stop container", move || records.remove(&name)).await?;
        self.sandboxes().remove(id);
        Ok(())
    }

    pub(crate) fn list_sandboxes(&self) -> Vec<SandboxInfo> {
        self.sandboxes().values().map(|record| record.info.clone()).collect()
    }

    async fn write_sandbox(&self, record: &SandboxRecord) -> Result<(), RuntimeError> {
        let (records, record) = (self.sandbox_records.clone(), record.clone());
        blocking("create sandbox", move || records.write(&record.spec.id, &record)).await
    }
}
