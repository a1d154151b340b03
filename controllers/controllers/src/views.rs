//! The projections that controllers share: small structs instead of whole pods and nodes.

use holdfast_controller::{Project, decode};
use holdfast_core::{Json, Object, ObjectMeta, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// `status.phase` of a pod, in the order in which a ReplicaSet gives them up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Not all containers started.
    #[default]
    Pending,
    /// Its node cannot say.
    Unknown,
    /// Running.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
}

/// A named port of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerPort {
    /// Name.
    pub name: String,
    /// Port.
    pub container_port: i64,
    /// `TCP` when empty.
    pub protocol: String,
}

/// A toleration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Toleration {
    /// Key; empty for every key.
    pub key: String,
    /// `Equal` (the default) or `Exists`.
    pub operator: String,
    /// Value.
    pub value: String,
    /// Effect; empty for every effect.
    pub effect: String,
    /// How long a `NoExecute` taint is tolerated; `None` for ever.
    pub toleration_seconds: Option<i64>,
}

impl Toleration {
    /// Whether it tolerates `taint`.
    pub fn tolerates(&self, taint: &Taint) -> bool {
        let effect = self.effect.is_empty() || self.effect == taint.effect;
        let key = self.key.is_empty() || self.key == taint.key;
        let value = match self.operator.as_str() {
            "Exists" => true,
            "" | "Equal" => !self.key.is_empty() && self.value == taint.value,
            _ => false,
        };
        effect && key && value
    }
}

/// A pod, as the controllers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    /// `spec.nodeName`.
    pub node: String,
    /// Phase.
    pub phase: Phase,
    /// Condition `Ready`.
    pub ready: bool,
    /// When `Ready` changed last.
    pub ready_since: Option<Timestamp>,
    /// `status.podIPs`.
    pub ips: Vec<String>,
    /// Restarts of all containers.
    pub restarts: i64,
    /// `controller.kubernetes.io/pod-deletion-cost`.
    pub deletion_cost: i64,
    /// `spec.hostname`.
    pub hostname: String,
    /// `spec.subdomain`.
    pub subdomain: String,
    /// Ports of all containers and sidecars.
    pub ports: Vec<ContainerPort>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPod {
    spec: RawPodSpec,
    status: RawPodStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPodSpec {
    node_name: String,
    hostname: String,
    subdomain: String,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
    tolerations: Vec<Toleration>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    ports: Vec<ContainerPort>,
    restart_policy: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPodStatus {
    phase: String,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<RawIp>,
    conditions: Vec<Condition>,
    container_statuses: Vec<RawContainerStatus>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawIp {
    ip: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawContainerStatus {
    restart_count: i64,
}

/// A condition of any status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Type.
    pub r#type: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// When the status changed last.
    pub last_transition_time: Option<Timestamp>,
}

impl Project for PodView {
    fn project(object: &Arc<Object>) -> PodView {
        let RawPod { spec, status } = decode(object);
        let ready = status.conditions.iter().find(|condition| condition.r#type == "Ready");
        let cost = object.meta.annotations.get("controller.kubernetes.io/pod-deletion-cost");
        let mut ips: Vec<String> = status.pod_ips.into_iter().map(|entry| entry.ip).collect();
        if ips.is_empty() && !status.pod_ip.is_empty() {
            ips.push(status.pod_ip);
        }
        let sidecars = spec.init_containers.into_iter().filter(|container| container.restart_policy == "Always");
        PodView {
            node: spec.node_name,
            phase: match status.phase.as_str() {
                "Running" => Phase::Running,
                "Succeeded" => Phase::Succeeded,
                "Failed" => Phase::Failed,
                "Unknown" => Phase::Unknown,
                _ => Phase::Pending,
            },
            ready: ready.is_some_and(|condition| condition.status == "True"),
            ready_since: ready.and_then(|condition| condition.last_transition_time),
            ips,
            restarts: status.container_statuses.iter().map(|status| status.restart_count).sum(),
            deletion_cost: cost.and_then(|cost| cost.parse().ok()).unwrap_or(0),
            hostname: spec.hostname,
            subdomain: spec.subdomain,
            ports: spec.containers.into_iter().chain(sidecars).flat_map(|container| container.ports).collect(),
            tolerations: spec.tolerations,
        }
    }

    fn node(&self) -> Option<&str> {
        (!self.node.is_empty()).then_some(self.node.as_str())
    }

    fn slim(meta: &mut ObjectMeta) {
        meta.annotations.clear();
        meta.finalizers.clear();
    }
}

impl PodView {
    /// Whether it ended.
    pub fn ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }

    /// Ready for at least `least`. `Err` says how long is missing.
    pub fn available(&self, least: Duration, now: Timestamp) -> Result<bool, Duration> {
        if !self.ready {
            return Ok(false);
        }
        let lasted = now.since(self.ready_since.unwrap_or(now));
        if lasted >= least { Ok(true) } else { Err(least - lasted) }
    }
}

/// A PersistentVolume, as the controllers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeView {
    /// Whether a claim is bound to it.
    pub bound: bool,
}

impl Project for VolumeView {
    fn project(object: &Arc<Object>) -> VolumeView {
        let phase = holdfast_core::json::str_at(&object.to_json(), &["status", "phase"]).map(str::to_string);
        VolumeView { bound: phase.as_deref() == Some("Bound") }
    }

    fn slim(meta: &mut ObjectMeta) {
        meta.annotations.clear();
    }
}

/// A taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
    /// Effect.
    pub effect: String,
}

/// A node, as the controllers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeView {
    /// Conditions by type: their status.
    pub conditions: BTreeMap<String, String>,
    /// `spec.unschedulable`.
    pub unschedulable: bool,
    /// Taints.
    pub taints: Vec<Taint>,
    /// The same, as they are written.
    pub raw_taints: Vec<Json>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawNode {
    spec: RawNodeSpec,
    status: RawNodeStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawNodeSpec {
    unschedulable: bool,
    taints: Vec<Json>,
    #[serde(rename = "podCIDR")]
    pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawNodeStatus {
    conditions: Vec<Condition>,
}

impl Project for NodeView {
    fn project(object: &Arc<Object>) -> NodeView {
        let RawNode { spec, status } = decode(object);
        let mut pod_cidrs = spec.pod_cidrs;
        if pod_cidrs.is_empty() && !spec.pod_cidr.is_empty() {
            pod_cidrs.push(spec.pod_cidr);
        }
        NodeView {
            conditions: status.conditions.into_iter().map(|c| (c.r#type, c.status)).collect(),
            unschedulable: spec.unschedulable,
            taints: spec.taints.iter().filter_map(|taint| serde_json::from_value(taint.clone()).ok()).collect(),
            raw_taints: spec.taints,
            pod_cidrs,
        }
    }

    fn slim(meta: &mut ObjectMeta) {
        meta.annotations.clear();
    }
}

impl NodeView {
    /// The status of condition `Ready`; empty when there is none.
    pub fn ready(&self) -> &str {
        self.conditions.get("Ready").map_or("", String::as_str)
    }
}
