//! The machine itself.

use crate::{Now, PodAction, PodEvent, PodMemory};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use std::time::Duration;

/// The life of one pod.
#[derive(Clone, Debug)]
pub struct PodMachine {
    pod: Pod,
    memory: PodMemory,
    host_ips: Vec<String>,
}

impl PodMachine {
    /// A machine for `pod`; `memory` is what survived, [`PodMemory::default`] for a new pod.
    /// The first event fed to it is [`PodEvent::Observed`].
    pub fn new(pod: Pod, memory: PodMemory, _now: Now) -> PodMachine {
        PodMachine { pod, memory, host_ips: Vec::new() }
    }

    /// Takes what happened; returns what is to be done, in order.
    pub fn handle(&mut self, _now: Now, _event: PodEvent) -> Vec<PodAction> {
        Vec::new()
    }

    /// When to feed [`PodEvent::Tick`], in monotonic time; `None` for no need.
    pub fn next_deadline(&self) -> Option<Duration> {
        None
    }

    /// The status as the kubelet writes it, complete.
    pub fn status(&self, _now: Now) -> PodStatus {
        PodStatus::default()
    }

    /// Sets the node's addresses, first the primary.
    pub fn set_host_ips(&mut self, ips: Vec<String>) {
        self.host_ips = ips;
    }

    /// Names the runtime of a container (`containerd`, `wasm`): the scheme of its `containerID`.
    pub fn set_runtime(&mut self, container: &str, runtime: &str) {
        self.memory.containers.entry(container.to_string()).or_default().runtime = runtime.to_string();
    }

    /// What must survive.
    pub fn memory(&self) -> &PodMemory {
        &self.memory
    }

    /// The pod as last seen.
    pub fn pod(&self) -> &Pod {
        &self.pod
    }
}
