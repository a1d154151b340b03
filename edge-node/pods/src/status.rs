//! The pod's status as the kubelet writes it.

use crate::allocation::POD;
use crate::container::{Live, Stage};
use crate::machine::{EVICTED, NODE_LOW, Sandbox, cut};
use crate::memory::{ContainerMemory, Outcome, Run, Termination};
use crate::qos::qos_class;
use crate::resize;
use crate::shutdown::TERMINATED;
use crate::spec::{self, Role};
use crate::{Now, PodMachine, admission, container_id, limits};
use holdfast_core::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::time::Duration;

/// The conditions that are ours, in upstream's order.
const OURS: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    resize::PENDING,
    resize::PROGRESS,
];

/// The condition of a pod that had to go for others; the hub writes it too.
const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// A condition before it has a time.
pub(crate) struct Verdict {
    pub(crate) kind: &'static str,
    pub(crate) status: bool,
    pub(crate) reason: Option<&'static str>,
    pub(crate) message: Option<String>,
    /// The generation that it speaks of, where that is not the newest.
    pub(crate) generation: Option<i64>,
}

impl PodMachine {
    /// The status as the kubelet writes it, complete.
    pub fn status(&self, now: Now) -> PodStatus {
        if let Some(frozen) = &self.frozen {
            return frozen.clone();
        }
        let outcome = self.memory.outcome.as_ref().filter(|_| self.memory.finished);
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        // Upstream says nothing of the containers of a pod that it did not take, and clients look at them first.
        let rejected = self.memory.sandbox_attempt.is_none()
            && outcome.is_some_and(|outcome| admission::REASONS.contains(&outcome.reason.as_str()));
        let statuses = |inits: bool| {
            let list: Vec<ContainerStatus> = spec::containers(&self.pod)
                .filter(|(role, _)| (*role != Role::App) == inits)
                .map(|(role, container)| self.container_status(role, container))
                .collect();
            (!list.is_empty() && !rejected).then_some(list)
        };
        let ips = &self.memory.ips;
        PodStatus {
            phase: Some(self.phase().to_string()),
            reason: outcome.and_then(|outcome| text(&outcome.reason)),
            message: outcome.and_then(|outcome| text(&outcome.message)),
            conditions: Some(self.conditions(now)),
            init_container_statuses: statuses(true),
            container_statuses: statuses(false),
            ephemeral_container_statuses: self.ephemeral_statuses(),
            pod_ip: ips.first().cloned(),
            pod_ips: (!ips.is_empty()).then(|| ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect()),
            host_ip: self.host_ips.first().cloned(),
            host_ips: (!self.host_ips.is_empty())
                .then(|| self.host_ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
            start_time: self.memory.start_time.map(to_time),
            qos_class: Some(qos_class(&self.pod).to_string()),
            observed_generation: self.pod.metadata.generation,
            allocated_resources: self.size_granted(POD, None),
            resources: self.size_of_pod(),
            nominated_node_name: None,
            ..PodStatus::default()
        }
    }

    fn phase(&self) -> &'static str {
        if let Some(outcome) = self.memory.outcome.as_ref().filter(|_| self.memory.finished) {
            return if outcome.succeeded { "Succeeded" } else { "Failed" };
        }
        let mut begun = true;
        for (role, container) in spec::containers(&self.pod) {
            let memory = self.memory.containers.get(&container.name);
            let ran = memory.is_some_and(|memory| memory.last.is_some() || memory.run == Run::Started);
            begun &= match role {
                Role::App | Role::Ephemeral => ran,
                Role::Init | Role::Sidecar => self.passed(role, &container.name) || self.apps_started(),
            };
        }
        if begun { "Running" } else { "Pending" }
    }

    /// Whether a container of the pod proper was started in the newest sandbox.
    pub(crate) fn apps_started(&self) -> bool {
        spec::containers(&self.pod).filter(|(role, _)| *role == Role::App).any(|(_, container)| {
            self.memory
                .containers
                .get(&container.name)
                .is_some_and(|memory| memory.passed_in.is_some() && memory.passed_in == self.memory.sandbox_attempt)
        })
    }

    fn initialized(&self) -> bool {
        self.apps_started()
            || spec::containers(&self.pod)
                .filter(|(role, _)| *role != Role::App)
                .all(|(role, container)| self.passed(role, &container.name))
    }

    fn container_status(&self, role: Role, container: &Container) -> ContainerStatus {
        let none = ContainerMemory::default();
        let name = &container.name;
        let memory = self.memory.containers.get(name).unwrap_or(&none);
        let live = self.live.get(name);
        let running = live.filter(|live| matches!(live.stage, Stage::Running { .. } | Stage::Stopping { .. }));
        let waiting =
            live.and_then(|live| live.waiting.clone()).filter(|_| !self.memory.finished || memory.run == Run::No);
        let (state, last) = if running.is_some() {
            let started_at = memory.started_at.map(to_time);
            let running = Some(ContainerStateRunning { started_at });
            (ContainerState { running, ..Default::default() }, memory.last.as_ref())
        } else if let Some((reason, message)) = waiting {
            (waits(reason, Some(message)), memory.last.as_ref())
        } else if let Some(end) = memory.last.as_ref().filter(|_| memory.run != Run::No) {
            (self.terminated(name, memory, end), memory.previous.as_ref())
        } else {
            // As the kubelet has it: of whichever container that has not yet begun.
            (
                waits(if spec::has_inits(&self.pod) { "PodInitializing" } else { "ContainerCreating" }, None),
                memory.last.as_ref(),
            )
        };
        let current = state.running.is_some() || memory.run == Run::Ended;
        let id = match (current, memory.last.as_ref()) {
            (true, _) => Some(self.full_id(name, memory, memory.attempt)),
            (false, Some(last)) => Some(self.full_id(name, memory, last.attempt)),
            (false, None) => None,
        };
        let started = running.is_some_and(|live| live.probes.started());
        let restarts = match memory.run {
            Run::No | Run::Asked => memory.attempt.saturating_sub(1),
            Run::Started | Run::Ended => memory.attempt,
        };
        ContainerStatus {
            name: name.clone(),
            image: if memory.image.is_empty() {
                container.image.clone().unwrap_or_default()
            } else {
                memory.image.clone()
            },
            image_id: if id.is_some() { memory.image_id.clone() } else { String::new() },
            container_id: id,
            ready: self.ready(role, name),
            started: Some(started),
            restart_count: i32::try_from(restarts).unwrap_or(i32::MAX),
            state: Some(state),
            resources: self.size_told(container, running.is_some()),
            allocated_resources: self.size_granted(name, container.resources.as_ref()),
            user: running.and_then(crate::reported::user),
            volume_mounts: crate::mounts::told(container, self.recursive_read_only),
            last_state: Some(last.map_or_else(ContainerState::default, |end| self.terminated(name, memory, end))),
            stop_signal: container.lifecycle.as_ref().and_then(|hooks| hooks.stop_signal.clone()),
            ..ContainerStatus::default()
        }
    }

    fn ready(&self, role: Role, name: &str) -> bool {
        match role {
            Role::Init => return self.passed(role, name),
            Role::Ephemeral => return false,
            Role::Sidecar | Role::App => {}
        }
        let runs = |live: &Live| matches!(live.stage, Stage::Running { .. } | Stage::Stopping { .. });
        self.live.get(name).is_some_and(|live| runs(live) && live.probes.ready())
    }

    fn full_id(&self, name: &str, memory: &ContainerMemory, attempt: u32) -> String {
        let runtime = if memory.runtime.is_empty() { "containerd" } else { &memory.runtime };
        let uid = self.pod.metadata.uid.as_deref().unwrap_or_default();
        format!("{runtime}://{}", container_id(uid, name, attempt))
    }

    fn terminated(&self, name: &str, memory: &ContainerMemory, end: &Termination) -> ContainerState {
        let terminated = Some(ContainerStateTerminated {
            container_id: Some(self.full_id(name, memory, end.attempt)),
            exit_code: end.exit_code,
            finished_at: end.finished_at.map(to_time),
            message: (!end.message.is_empty()).then(|| cut(end.message.clone(), self.share_of_words())),
            reason: (!end.reason.is_empty()).then(|| end.reason.clone()),
            signal: None,
            started_at: end.started_at.map(to_time),
        });
        ContainerState { terminated, ..Default::default() }
    }

    /// Bytes that each container may say at its end.
    fn share_of_words(&self) -> usize {
        let containers = spec::containers(&self.pod).count() + self.ephemeral.len();
        limits::LAST_WORDS_MAX / containers.max(1)
    }

    fn ephemeral_statuses(&self) -> Option<Vec<ContainerStatus>> {
        let told = self.ephemeral.iter().map(|container| self.container_status(Role::Ephemeral, container));
        (!self.ephemeral.is_empty()).then(|| told.collect())
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let outcome = self.memory.outcome.as_ref().filter(|_| self.memory.finished).map(|outcome| outcome.succeeded);
        let list = |names: Vec<String>| format!("[{}]", names.join(" "));
        let incomplete: Vec<String> = spec::containers(&self.pod)
            .filter(|(role, container)| *role != Role::App && !self.passed(*role, &container.name))
            .map(|(_, container)| container.name.clone())
            .collect();
        let unready: Vec<String> = spec::containers(&self.pod)
            .filter(|(role, container)| *role != Role::Init && !self.ready(*role, &container.name))
            .map(|(_, container)| container.name.clone())
            .collect();
        let plain = |kind, status| Verdict { kind, status, reason: None, message: None, generation: None };
        let no =
            |kind, reason, message| Verdict { kind, status: false, reason: Some(reason), message, generation: None };
        let initialized = match outcome {
            Some(true) => Verdict { reason: Some("PodCompleted"), ..plain("Initialized", true) },
            _ if self.initialized() => plain("Initialized", true),
            _ => {
                let message = format!("containers with incomplete status: {}", list(incomplete));
                no("Initialized", "ContainersNotInitialized", Some(message))
            }
        };
        let containers = |kind| match outcome {
            Some(true) => no(kind, "PodCompleted", None),
            Some(false) => no(kind, "PodFailed", None),
            None if unready.is_empty() => plain(kind, true),
            None => {
                let message = format!("containers with unready status: {}", list(unready.clone()));
                no(kind, "ContainersNotReady", Some(message))
            }
        };
        let gates = self.closed_gates();
        let ready = match containers("Ready") {
            open if open.status && !gates.is_empty() => no("Ready", "ReadinessGatesNotReady", Some(gates.join(", "))),
            other => other,
        };
        let network = plain("PodReadyToStartContainers", matches!(self.sandbox, Sandbox::Ready { .. }));
        let mut all = vec![network, initialized, ready, containers("ContainersReady"), plain("PodScheduled", true)];
        let told = self.foreign_conditions().any(|condition| condition.type_ == DISRUPTION_TARGET);
        // As upstream: not of one that was not taken, nor of one that used more than it may.
        let for_others = |outcome: &&Outcome| {
            outcome.reason == TERMINATED || (outcome.reason == EVICTED && outcome.message.starts_with(NODE_LOW))
        };
        let ended = self.memory.outcome.as_ref().filter(|outcome| for_others(outcome) && !told);
        all.extend(ended.map(|outcome| Verdict {
            reason: Some("TerminationByKubelet"),
            message: Some(outcome.message.clone()),
            ..plain(DISRUPTION_TARGET, true)
        }));
        all.extend(self.size_verdicts());
        all
    }

    /// Why readiness gates are not open.
    fn closed_gates(&self) -> Vec<String> {
        let gates = self.pod.spec.iter().flat_map(|spec| spec.readiness_gates.iter().flatten());
        gates
            .filter_map(|gate| {
                let kind = &gate.condition_type;
                match self.foreign_conditions().find(|condition| condition.type_ == *kind) {
                    None => Some(format!("corresponding condition of pod readiness gate {kind:?} does not exist.")),
                    Some(condition) if condition.status == "True" => None,
                    Some(condition) => Some(format!(
                        "the status of pod readiness gate {kind:?} is not \"True\", but {}",
                        condition.status
                    )),
                }
            })
            .collect()
    }

    /// Conditions that others wrote.
    fn foreign_conditions(&self) -> impl Iterator<Item = &PodCondition> {
        let all = self.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        all.filter(|condition| !OURS.contains(&condition.type_.as_str()))
    }

    fn conditions(&self, now: Now) -> Vec<PodCondition> {
        let ours = self.verdicts().into_iter().map(|verdict| {
            let known = self.memory.conditions.get(verdict.kind).filter(|known| known.0 == verdict.status);
            PodCondition {
                type_: verdict.kind.to_string(),
                status: if verdict.status { "True" } else { "False" }.to_string(),
                reason: verdict.reason.map(str::to_string),
                message: verdict.message,
                last_probe_time: None,
                last_transition_time: Some(to_time(known.map_or(now.wall, |known| known.1))),
                observed_generation: verdict.generation.or(self.pod.metadata.generation),
            }
        });
        ours.chain(self.foreign_conditions().cloned()).collect()
    }

    /// Notes when conditions change. The first time, the hub's record of the same condition stands.
    pub(crate) fn note_conditions(&mut self, now: Now) {
        let verdicts = self.verdicts();
        for kind in [resize::PENDING, resize::PROGRESS] {
            if verdicts.iter().all(|verdict| verdict.kind != kind) {
                self.memory.conditions.remove(kind);
            }
        }
        for verdict in verdicts {
            if self.memory.conditions.get(verdict.kind).is_some_and(|known| known.0 == verdict.status) {
                continue;
            }
            let new = !self.memory.conditions.contains_key(verdict.kind);
            let word = if verdict.status { "True" } else { "False" };
            let told = self.pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            let since = told
                .filter(|condition| new && condition.type_ == verdict.kind && condition.status == word)
                .find_map(|condition| condition.last_transition_time.as_ref().and_then(from_time));
            let entry = (verdict.status, since.unwrap_or(now.wall));
            self.memory.conditions.insert(verdict.kind.to_string(), entry);
        }
    }
}

fn waits(reason: &str, message: Option<String>) -> ContainerState {
    let waiting = Some(ContainerStateWaiting { reason: Some(reason.to_string()), message });
    ContainerState { waiting, ..Default::default() }
}

/// As the API has it.
fn to_time(time: Timestamp) -> Time {
    Time(k8s_openapi::jiff::Timestamp::from_second(time.secs()).unwrap_or(k8s_openapi::jiff::Timestamp::UNIX_EPOCH))
}

/// From the API.
pub(crate) fn from_time(time: &Time) -> Option<Timestamp> {
    Some(Timestamp::from_secs(time.0.as_second()))
}

/// An end that the hub remembers.
pub(crate) fn recalled(attempt: u32, end: &ContainerStateTerminated) -> Termination {
    Termination {
        attempt,
        started_at: end.started_at.as_ref().and_then(from_time),
        finished_at: end.finished_at.as_ref().and_then(from_time),
        exit_code: end.exit_code,
        reason: end.reason.clone().unwrap_or_default(),
        message: end.message.clone().unwrap_or_default(),
    }
}

/// A duration as Go prints it, to the millisecond: `10s`, `1m20s`, `5m0s`, `312ms`.
pub(crate) fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 {
        return if millis == 0 { "0s".into() } else { format!("{millis}ms") };
    }
    let (minutes, rest) = (millis / 60_000, millis % 60_000);
    let seconds = match rest % 1000 {
        0 => format!("{}s", rest / 1000),
        part => format!("{}.{}s", rest / 1000, format!("{part:03}").trim_end_matches('0')),
    };
    match minutes {
        0 => seconds,
        1..60 => format!("{minutes}m{seconds}"),
        _ => format!("{}h{}m{seconds}", minutes / 60, minutes % 60),
    }
}
