//! `check(pod, script)`: a pod as YAML and a script of events as text, against a small runtime that obeys.
//!
//! A script line is `[+SECONDS] EVENT ARGS…`; the answer of the machine and a line of status follow each in the
//! transcript. `obey` on a line of its own makes the harness answer every action as a healthy node would.

use holdfast_core::Timestamp;
use holdfast_pods::*;
use k8s_openapi::api::core::v1::{ContainerState, Pod, PodStatus};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// A container of the small runtime.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    pub(crate) attempt: u32,
    pub(crate) state: ObservedState,
}

fn image_ready(container: String, came: ImageCame) -> PodEvent {
    PodEvent::ImageReady { container, image_id: "sha256:1".into(), came }
}

/// A machine with a small runtime beside it.
pub(crate) struct World {
    pub(crate) machine: PodMachine,
    pub(crate) now: Now,
    /// By (name, attempt).
    pub(crate) containers: BTreeMap<(String, u32), Fake>,
    pub(crate) sandbox: Option<(u32, bool)>,
    /// Where the containers are.
    pub(crate) runtime: &'static str,
    pub(crate) pending: Vec<PodAction>,
    pub(crate) gone: bool,
    /// What was made durable last.
    pub(crate) durable: PodMemory,
    pub(crate) allocated: Allocation,
    /// What the node answers to a pod that asks for other resources.
    pub(crate) room: Result<(), (&'static str, String)>,
}

pub(crate) fn status(yaml: &str) -> Option<PodStatus> {
    Some(typed::status(serde_saphyr::from_str(yaml).unwrap()).unwrap())
}

pub(crate) fn pod(yaml: &str) -> Pod {
    let mut pod = typed::pod(serde_saphyr::from_str(yaml).unwrap()).unwrap();
    pod.metadata.uid = Some("u1".into());
    pod.metadata.namespace = Some("demo".into());
    pod
}

impl World {
    pub(crate) fn new(pod: Pod, memory: PodMemory) -> World {
        let now = Now { mono: Duration::from_secs(1000), wall: Timestamp::from_secs(1_800_000_000) };
        let mut machine = PodMachine::new(pod, memory, now);
        machine.set_host_ips(vec!["10.0.0.1".into()]);
        World {
            durable: machine.memory().clone(),
            allocated: machine.allocation().clone(),
            room: Ok(()),
            machine,
            now,
            containers: BTreeMap::new(),
            sandbox: None,
            runtime: "containerd",
            pending: Vec::new(),
            gone: false,
        }
    }

    pub(crate) fn pass(&mut self, by: Duration) {
        self.now = Now { mono: self.now.mono + by, wall: self.now.wall.after(by) };
    }

    pub(crate) fn feed(&mut self, event: PodEvent) -> Vec<PodAction> {
        let actions = self.machine.handle(self.now, event);
        for action in &actions {
            match action {
                PodAction::Remember => {
                    self.durable = self.machine.memory().clone();
                    self.allocated = self.machine.allocation().clone();
                }
                PodAction::Gone => self.gone = true,
                _ => {}
            }
        }
        self.pending.extend(actions.iter().cloned());
        actions
    }

    pub(crate) fn observed(&self) -> PodEvent {
        let sandbox = self.sandbox.map(|(attempt, ready)| ObservedSandbox {
            id: sandbox_id("u1", attempt),
            attempt,
            ready,
            ips: vec!["10.42.0.5".into()],
        });
        let containers = self.containers.iter().map(|((name, attempt), fake)| ObservedContainer {
            id: container_id("u1", name, *attempt),
            name: name.clone(),
            attempt: fake.attempt,
            image: "i".into(),
            image_id: "sha256:1".into(),
            runtime: self.runtime.into(),
            user: Some(ObservedUser { uid: 1000, gid: 1000, groups: vec![1000, 2000] }),
            state: fake.state.clone(),
        });
        PodEvent::Observed { sandbox, containers: containers.collect() }
    }

    /// Ends a running container of the small runtime; the machine does not hear of it yet.
    pub(crate) fn exit(&mut self, name: &str, exit_code: i32) {
        for ((of, _), fake) in &mut self.containers {
            if let (true, ObservedState::Running { started_at }) = (of == name, &fake.state) {
                let (started_at, finished_at) = (*started_at, self.now.wall);
                let (reason, message) = (String::new(), String::new());
                fake.state = ObservedState::Exited { started_at, finished_at, exit_code, reason, message };
            }
        }
    }

    /// Does what an action says; returns the answer.
    pub(crate) fn obey(&mut self, action: &PodAction) -> Vec<PodEvent> {
        match action.clone() {
            PodAction::SetUpVolumes => vec![PodEvent::VolumesReady],
            PodAction::RunSandbox { attempt } => {
                self.sandbox = Some((attempt, true));
                vec![PodEvent::SandboxReady { attempt, ips: vec!["10.42.0.5".into()] }]
            }
            PodAction::PullImage { container, .. } => {
                vec![image_ready(container, ImageCame::Present)]
            }
            PodAction::StartContainer { container, attempt } => {
                let state = ObservedState::Running { started_at: self.now.wall };
                self.containers.insert((container.clone(), attempt), Fake { attempt, state });
                vec![PodEvent::ContainerStarted { container, attempt }]
            }
            PodAction::StopContainer { container, attempt, .. } => {
                let wall = self.now.wall;
                if let Some(fake) = self.containers.get_mut(&(container.clone(), attempt))
                    && let ObservedState::Running { started_at } = fake.state
                {
                    let (reason, message) = (String::new(), String::new());
                    fake.state =
                        ObservedState::Exited { started_at, finished_at: wall, exit_code: 143, reason, message };
                }
                vec![PodEvent::ContainerStopped { container }, self.observed()]
            }
            PodAction::RunProbe { container, probe, .. } => {
                let outcome = ProbeOutcome::Success;
                vec![PodEvent::ProbeResult { container, probe, outcome, message: String::new() }]
            }
            PodAction::RemoveContainer { container, attempt } => {
                self.containers.remove(&(container, attempt));
                Vec::new()
            }
            PodAction::StopSandbox { .. } => {
                let names: Vec<String> = self.containers.keys().map(|(name, _)| name.clone()).collect();
                for name in names {
                    self.exit(&name, 137);
                }
                self.sandbox = None;
                vec![PodEvent::SandboxStopped]
            }
            PodAction::TearDownVolumes => vec![PodEvent::VolumesGone],
            PodAction::AskForSize => vec![PodEvent::SizeAnswered(self.room.clone())],
            PodAction::Resize { .. } => vec![PodEvent::Resized { failed: None }],
            PodAction::Event { .. } | PodAction::Remember | PodAction::StatusChanged | PodAction::Gone => Vec::new(),
        }
    }

    /// Another machine, of what is durable.
    pub(crate) fn revive(&mut self) {
        let (pod, memory) = (self.machine.pod().clone(), self.durable.clone());
        let memory = PodMemory::decode(&memory.encode()).unwrap();
        self.pending.clear();
        self.machine = PodMachine::new(pod, memory, self.now);
        self.machine.set_allocation(Allocation::decode(&self.allocated.encode()).unwrap());
    }

    pub(crate) fn status(&self) -> k8s_openapi::api::core::v1::PodStatus {
        self.machine.status(self.now)
    }
}

fn state_text(state: &ContainerState) -> String {
    if let Some(waiting) = &state.waiting {
        return waiting.reason.clone().unwrap_or_default();
    }
    match (&state.running, &state.terminated) {
        (Some(_), _) => "Running".into(),
        (_, Some(end)) => format!("{}({})", end.reason.as_deref().unwrap_or("?"), end.exit_code),
        _ => "-".into(),
    }
}

/// One line: phase, true conditions, containers as `name=state<last restarts ready`.
pub(crate) fn summary(status: &k8s_openapi::api::core::v1::PodStatus) -> String {
    let mut out = status.phase.clone().unwrap_or_default();
    let ready = |kind: &str| {
        status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
    };
    for (kind, mark) in [("Initialized", "I"), ("ContainersReady", "C"), ("Ready", "R")] {
        out.push_str(if ready(kind) { mark } else { "-" });
    }
    if let Some(reason) = &status.reason {
        write!(out, " {reason}").unwrap();
    }
    for told in status.init_container_statuses.iter().chain(&status.container_statuses).flatten() {
        let state = told.state.as_ref().map(state_text).unwrap_or_default();
        let last = told.last_state.as_ref().map(state_text).unwrap_or_default();
        let ready = if told.ready { "ready" } else { "not-ready" };
        write!(out, " {}={state}<{last} r{} {ready}", told.name, told.restart_count).unwrap();
    }
    out
}

fn line(action: &PodAction) -> String {
    match action {
        PodAction::Event { warning, reason, message, container } => {
            let level = if *warning { "Warning" } else { "Normal" };
            format!("{level} {reason} [{}] {message}", container.as_deref().unwrap_or(""))
        }
        PodAction::StopContainer { container, attempt, grace, .. } => {
            format!("StopContainer {container}-{attempt} in {}s", grace.as_secs())
        }
        PodAction::StartContainer { container, attempt } => format!("StartContainer {container}-{attempt}"),
        PodAction::PullImage { container, always, never } => format!("PullImage {container} {always} {never}"),
        PodAction::RunProbe { container, attempt, probe } => format!("RunProbe {container}-{attempt} {probe:?}"),
        PodAction::RemoveContainer { container, attempt } => format!("RemoveContainer {container}-{attempt}"),
        PodAction::RunSandbox { attempt } => format!("RunSandbox {attempt}"),
        PodAction::StopSandbox { attempt } => format!("StopSandbox {attempt}"),
        PodAction::Resize { containers } => {
            let names = containers.iter().map(|(name, attempt)| format!(" {name}-{attempt}"));
            format!("Resize{}", names.collect::<String>())
        }
        other => format!("{other:?}"),
    }
}

/// Runs a script; returns the transcript.
pub(crate) fn check(yaml: &str, script: &str) -> String {
    check_from(World::new(pod(yaml), PodMemory::default()), script).0
}

/// The same on a world that is there already; returns it too.
pub(crate) fn check_from(mut world: World, script: &str) -> (String, World) {
    let mut text = String::new();
    for step in script.lines().map(str::trim).filter(|step| !step.is_empty()) {
        writeln!(text, "> {step}").unwrap();
        let mut words: Vec<&str> = step.split_whitespace().collect();
        if let Some(secs) = words[0].strip_prefix('+') {
            world.pass(Duration::from_secs_f64(secs.parse().unwrap()));
            words.remove(0);
        }
        let word = |at: usize| words.get(at).map_or(String::new(), |word| (*word).to_string());
        let num = |at: usize| words.get(at).map_or(0, |word| word.parse::<i32>().unwrap());
        let before = summary(&world.status());
        let mut events = match words.first().copied().unwrap_or("tick") {
            "obey" => {
                let pending: Vec<PodAction> = std::mem::take(&mut world.pending);
                pending.iter().flat_map(|action| world.obey(action)).collect()
            }
            "observe" => vec![world.observed()],
            "exit" => {
                world.exit(&word(1), num(2));
                vec![world.observed()]
            }
            "reboot" => {
                world.sandbox = None;
                world.containers.clear();
                world.revive();
                vec![world.observed()]
            }
            "agent-restart" => {
                world.revive();
                vec![world.observed()]
            }
            "sandbox-lost" => {
                world.sandbox = None;
                vec![world.observed()]
            }
            "delete" => {
                let mut pod = world.machine.pod().clone();
                let time = k8s_openapi::jiff::Timestamp::from_second(world.now.wall.secs()).unwrap();
                pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
                pod.metadata.deletion_grace_period_seconds = Some(i64::from(num(1)));
                vec![PodEvent::PodChanged(Box::new(pod))]
            }
            "shutdown" => {
                vec![PodEvent::ShuttingDown { grace: Duration::from_secs(num(1) as u64), ends: word(2) == "ends" }]
            }
            "shutdown-cancelled" => vec![PodEvent::ShutdownCancelled],
            "evict" => vec![PodEvent::Evicted { message: words[1..].join(" "), grace: None }],
            "evict-within" => {
                let grace = Some(Duration::from_secs(num(1) as u64));
                vec![PodEvent::Evicted { message: words[2..].join(" "), grace }]
            }
            "volume-pull-failed" => vec![PodEvent::VolumeImageFailed {
                container: word(1),
                image: word(2),
                reason: ImageFailure::Pull,
                message: words[3..].join(" "),
            }],
            "image" => {
                let mut pod = world.machine.pod().clone();
                pod.spec.as_mut().unwrap().containers[0].image = Some(word(1));
                vec![PodEvent::PodChanged(Box::new(pod))]
            }
            "room" => vec![PodEvent::Room],
            "resize-failed" => vec![PodEvent::Resized { failed: Some(words[1..].join(" ")) }],
            "hub-gone" => vec![PodEvent::DeletedAtHub],
            "volumes-failed" => vec![PodEvent::VolumesFailed(words[1..].join(" "))],
            "sandbox-failed" => {
                vec![PodEvent::SandboxFailed { attempt: num(1) as u32, message: words[2..].join(" ") }]
            }
            "pulling" => vec![PodEvent::ImagePulling { container: word(1) }],
            "pulled" => {
                let took = Duration::from_secs_f64(words[2].parse().unwrap());
                vec![image_ready(word(1), ImageCame::Pulled { took, size_bytes: num(3) as u64 })]
            }
            "unchecked" => vec![image_ready(word(1), ImageCame::Unchecked { reason: words[2..].join(" ") })],
            "pull-failed" => vec![PodEvent::ImageFailed {
                container: word(1),
                reason: ImageFailure::Pull,
                message: words[2..].join(" "),
            }],
            "start-failed" => vec![PodEvent::ContainerFailed {
                container: word(1),
                attempt: num(2) as u32,
                reason: match words[3] {
                    "config" => StartFailure::Config,
                    "create" => StartFailure::Create,
                    _ => StartFailure::Run,
                },
                message: words[4..].join(" "),
            }],
            "probe" => vec![PodEvent::ProbeResult {
                container: word(1),
                probe: match words[2] {
                    "startup" => ProbeKind::Startup,
                    "liveness" => ProbeKind::Liveness,
                    _ => ProbeKind::Readiness,
                },
                outcome: match words[3] {
                    "ok" => ProbeOutcome::Success,
                    "odd" => ProbeOutcome::Warning,
                    "no" => ProbeOutcome::Failure,
                    _ => ProbeOutcome::Error,
                },
                message: words[4..].join(" "),
            }],
            "tick" => vec![PodEvent::Tick],
            other => panic!("no such step: {other}"),
        };
        for event in events.drain(..) {
            for action in world.feed(event) {
                if action != PodAction::StatusChanged {
                    writeln!(text, "  {}", line(&action)).unwrap();
                }
            }
        }
        let after = summary(&world.status());
        if before != after {
            writeln!(text, "  = {after}").unwrap();
        }
        if words.first() != Some(&"obey") && step.contains("obey") {
            panic!("obey stands alone");
        }
    }
    (text, world)
}
