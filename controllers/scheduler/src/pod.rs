//! What the scheduler keeps of a pod.

use crate::resources::{ResourceList, Resources};
use crate::selector::{NodeSelector, PreferredTerm, SpreadConstraint, Toleration};
use holdfast_controller::{Key, Project, decode};
use holdfast_core::{Json, Object, ObjectMeta};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The default of `spec.schedulerName`, and our name in Events.
pub const SCHEDULER_NAME: &str = "default-scheduler";

/// What the default score of spreading and of fit count for a container that requests nothing (upstream's values).
const DEFAULT_MILLI_CPU: i64 = 100;
const DEFAULT_MEMORY_BYTES: i64 = 200 << 20;

/// A port that a pod takes from its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Address; `0.0.0.0` for all.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Port.
    pub port: i64,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    pub fn conflicts(&self, other: &HostPort) -> bool {
        let all = |ip: &str| ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || all(&self.ip) || all(&other.ip))
    }
}

/// A pod, as the scheduler sees it.
#[derive(Clone, Debug, Default)]
pub struct PodInfo {
    /// Namespace and name.
    pub key: Key,
    /// UID.
    pub uid: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// UID of the controller that owns it; empty without one.
    pub controller: String,
    /// Whether deletion was asked for.
    pub deleting: bool,
    /// Whether it ended (`Succeeded`, `Failed`).
    pub ended: bool,
    /// `spec.nodeName`; empty when it is not bound.
    pub node_name: String,
    /// `spec.schedulerName`.
    pub scheduler_name: String,
    /// Whether it has scheduling gates.
    pub gated: bool,
    /// `spec.priority`.
    pub priority: i64,
    /// What it takes from its node.
    pub requests: Resources,
    /// CPU (thousandths) and memory (bytes) with defaults for containers that request nothing, for scores.
    pub nonzero: (i64, i64),
    /// `spec.nodeSelector`.
    pub node_selector: BTreeMap<String, String>,
    /// Required node affinity.
    pub required_affinity: Option<NodeSelector>,
    /// Preferred node affinity.
    pub preferred_affinity: Vec<PreferredTerm>,
    /// Tolerations.
    pub tolerations: Vec<Toleration>,
    /// Spread constraints.
    pub spread: Vec<SpreadConstraint>,
    /// Host ports.
    pub host_ports: Vec<HostPort>,
    /// What it asks for that is not built, in words.
    pub unbuilt: Option<&'static str>,
    /// `message` of its condition `PodScheduled`, while that is false.
    pub told: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPod {
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    phase: String,
    conditions: Vec<RawCondition>,
    container_statuses: Vec<RawContainerStatus>,
    init_container_statuses: Vec<RawContainerStatus>,
    resources: RawResources,
    allocated_resources: ResourceList,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawContainerStatus {
    name: String,
    resources: RawResources,
    allocated_resources: ResourceList,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawCondition {
    r#type: String,
    status: String,
    reason: String,
    message: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    node_name: String,
    scheduler_name: String,
    scheduling_gates: Vec<Json>,
    priority: i64,
    node_selector: BTreeMap<String, String>,
    affinity: RawAffinity,
    tolerations: Vec<Toleration>,
    topology_spread_constraints: Vec<SpreadConstraint>,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
    overhead: ResourceList,
    resources: RawResources,
    host_network: bool,
    volumes: Vec<RawVolume>,
    resource_claims: Vec<Json>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawVolume {
    persistent_volume_claim: Option<Json>,
    ephemeral: Option<Json>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawAffinity {
    node_affinity: RawNodeAffinity,
    pod_affinity: RawPodAffinity,
    pod_anti_affinity: RawPodAffinity,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawNodeAffinity {
    required_during_scheduling_ignored_during_execution: Option<NodeSelector>,
    preferred_during_scheduling_ignored_during_execution: Vec<PreferredTerm>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPodAffinity {
    required_during_scheduling_ignored_during_execution: Vec<Json>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawContainer {
    name: String,
    resources: RawResources,
    ports: Vec<RawPort>,
    restart_policy: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawResources {
    requests: ResourceList,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct RawPort {
    container_port: i64,
    host_port: i64,
    #[serde(rename = "hostIP")]
    host_ip: String,
    protocol: String,
}

impl PodInfo {
    /// From a stored pod.
    pub fn of(object: &Object) -> PodInfo {
        let raw: RawPod = decode(object);
        PodInfo::from_raw(&object.meta, raw)
    }

    fn from_raw(meta: &ObjectMeta, raw: RawPod) -> PodInfo {
        let mut spec = raw.spec;
        raw.status.hold(&mut spec);
        let nonzero = requests_of_scores(&spec);
        let scheduled = raw.status.conditions.into_iter().find(|c| c.r#type == "PodScheduled" && c.status == "False");
        let affinity = spec.affinity;
        let unbuilt = if !affinity.pod_affinity.required_during_scheduling_ignored_during_execution.is_empty() {
            Some("required pod affinity")
        } else if !affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution.is_empty() {
            Some("required pod anti-affinity")
        } else if spec.volumes.iter().any(|v| v.persistent_volume_claim.is_some() || v.ephemeral.is_some()) {
            Some("persistent volume claims")
        } else if !spec.resource_claims.is_empty() {
            Some("resource claims")
        } else {
            None
        };
        let requests = requests(&spec.containers, &spec.init_containers, &spec.resources, &spec.overhead, &|c| {
            Resources::from(&c.resources.requests)
        });
        PodInfo {
            key: Key::new(&meta.namespace, &meta.name),
            uid: meta.uid.clone(),
            labels: meta.labels.clone(),
            controller: meta.controller().map(|owner| owner.uid.clone()).unwrap_or_default(),
            deleting: meta.is_deleting(),
            ended: matches!(raw.status.phase.as_str(), "Succeeded" | "Failed"),
            node_name: spec.node_name,
            scheduler_name: spec.scheduler_name,
            gated: !spec.scheduling_gates.is_empty(),
            priority: spec.priority,
            requests,
            nonzero,
            node_selector: spec.node_selector,
            required_affinity: affinity.node_affinity.required_during_scheduling_ignored_during_execution,
            preferred_affinity: affinity.node_affinity.preferred_during_scheduling_ignored_during_execution,
            tolerations: spec.tolerations,
            spread: spec.topology_spread_constraints,
            host_ports: host_ports(&spec.containers, &spec.init_containers, spec.host_network),
            unbuilt,
            told: scheduled.map(|condition| condition.message).unwrap_or_default(),
        }
    }

    /// Whether it waits for this scheduler.
    pub fn is_ours_to_place(&self) -> bool {
        let ours = self.scheduler_name.is_empty() || self.scheduler_name == SCHEDULER_NAME;
        ours && self.node_name.is_empty() && !self.deleting && !self.ended
    }

    /// Whether its node selector and required affinity allow a node.
    pub fn wants(&self, node: &str, labels: &BTreeMap<String, String>) -> bool {
        self.node_selector.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.required_affinity.as_ref().is_none_or(|selector| selector.matches(node, labels))
    }
}

impl Project for PodInfo {
    fn project(object: &Arc<Object>) -> Self {
        PodInfo::of(object)
    }
    fn node(&self) -> Option<&str> {
        (!self.node_name.is_empty()).then_some(self.node_name.as_str())
    }
}

impl RawStatus {
    /// Raises what a pod asks for to what it was granted and still has: a resize counts once the node is told of it, and what is
    /// given back only when it is. What the node can never give does not count (upstream's `UseStatusResources`).
    fn hold(&self, spec: &mut RawSpec) {
        let pending = self.conditions.iter().find(|condition| condition.r#type == "PodResizePending");
        let infeasible = pending.is_some_and(|pending| pending.status == "True" && pending.reason == "Infeasible");
        let hold = |asked: &mut ResourceList, granted: &ResourceList, actual: &ResourceList| {
            if infeasible && !(granted.is_empty() && actual.is_empty()) {
                asked.retain(|name, _| !["cpu", "memory"].contains(&name.as_str()));
            }
            for (name, amount) in granted.iter().chain(actual) {
                let more = asked.get(name).is_none_or(|asked| asked.exact_milli() < amount.exact_milli());
                if more {
                    asked.insert(name.clone(), *amount);
                }
            }
        };
        for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
            let mut told = self.container_statuses.iter().chain(&self.init_container_statuses);
            if let Some(told) = told.find(|told| told.name == container.name) {
                hold(&mut container.resources.requests, &told.allocated_resources, &told.resources.requests);
            }
        }
        hold(&mut spec.resources.requests, &self.allocated_resources, &self.resources.requests);
    }
}

/// What a pod takes: its containers and sidecars together, or the largest moment of its start, whichever is more;
/// then the overhead (upstream's `PodRequests`).
fn requests(
    containers: &[RawContainer],
    init: &[RawContainer],
    pod: &RawResources,
    overhead: &ResourceList,
    of: &dyn Fn(&RawContainer) -> Resources,
) -> Resources {
    let mut total = Resources::default();
    containers.iter().for_each(|container| total.add(&of(container)));
    let (mut sidecars, mut start) = (Resources::default(), Resources::default());
    for container in init {
        let mut moment = of(container);
        if container.restart_policy == "Always" {
            sidecars.add(&moment);
            moment = sidecars.clone();
        } else {
            moment.add(&sidecars);
        }
        start.raise_to(&moment);
    }
    total.add(&sidecars);
    total.raise_to(&start);
    for (name, amount) in Resources::from(&pod.requests).iter() {
        total.set(name, amount);
    }
    total.add(&Resources::from(overhead));
    total
}

fn requests_of_scores(spec: &RawSpec) -> (i64, i64) {
    let total = requests(&spec.containers, &spec.init_containers, &spec.resources, &spec.overhead, &|container| {
        let mut own = Resources::from(&container.resources.requests);
        for (name, default) in [("cpu", DEFAULT_MILLI_CPU), ("memory", DEFAULT_MEMORY_BYTES)] {
            if !own.has(name) {
                own.set(name, default);
            }
        }
        own
    });
    (total.get("cpu"), total.get("memory"))
}

fn host_ports(containers: &[RawContainer], init: &[RawContainer], host_network: bool) -> Vec<HostPort> {
    let sidecars = init.iter().filter(|container| container.restart_policy == "Always");
    let ports = containers.iter().chain(sidecars).flat_map(|container| &container.ports);
    let taken = |port: &RawPort| {
        let number = if host_network && port.host_port == 0 { port.container_port } else { port.host_port };
        let or = |text: &str, default: &str| if text.is_empty() { default.to_string() } else { text.to_string() };
        (number > 0).then(|| HostPort {
            ip: or(&port.host_ip, "0.0.0.0"),
            protocol: or(&port.protocol, "TCP"),
            port: number,
        })
    };
    ports.filter_map(taken).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_resize_counts_from_its_grant_to_its_end() {
        let cpu = |asked: &str, granted: &str, actual: &str, reason: &str| {
            let doc = json!({"metadata": {"name": "p"},
                "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": asked}}}]},
                "status": {
                    "conditions": [{"type": "PodResizePending", "status": "True", "reason": reason}],
                    "containerStatuses": [{"name": "a", "allocatedResources": {"cpu": granted},
                        "resources": {"requests": {"cpu": actual}}}],
                },
            });
            PodInfo::of(&Object::from_json(doc).unwrap()).requests.get("cpu")
        };
        assert_eq!(cpu("100m", "100m", "100m", ""), 100);
        assert_eq!(cpu("300m", "100m", "100m", "Deferred"), 300, "asked for");
        assert_eq!(cpu("100m", "300m", "100m", ""), 300, "granted");
        assert_eq!(cpu("100m", "100m", "300m", ""), 300, "not given back yet");
        assert_eq!(cpu("900", "100m", "200m", "Infeasible"), 200, "it will never have that");
        let whole = json!({"metadata": {"name": "p"},
            "spec": {"containers": [], "resources": {"requests": {"cpu": "1"}}},
            "status": {"allocatedResources": {"cpu": "2"}},
        });
        assert_eq!(PodInfo::of(&Object::from_json(whole).unwrap()).requests.get("cpu"), 2000);
    }

    #[test]
    fn requests_cover_sidecars_init_containers_and_overhead() {
        let cpu = |amount: &str| json!({"requests": {"cpu": amount}});
        let doc = json!({"metadata": {"name": "p"}, "spec": {
            "containers": [{"resources": cpu("100m")}, {"resources": cpu("200m")}],
            "initContainers": [
                {"resources": cpu("50m"), "restartPolicy": "Always"},
                {"resources": cpu("400m")},
            ],
            "overhead": {"cpu": "10m", "memory": "1Mi"},
        }});
        let pod = PodInfo::of(&Object::from_json(doc).unwrap());
        assert_eq!(pod.requests.get("cpu"), 450 + 10);
        assert_eq!(pod.requests.get("memory"), 1 << 20);
    }
}
