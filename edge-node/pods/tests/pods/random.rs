//! Machines driven with random orders of answers, failures, exits, restarts of the agent and power cuts. After each
//! step the laws of a pod's life are checked; at the end faults stop and the pod must come to rest.

use crate::script::{World, pod};
use holdfast_pods::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What has happened so far, for laws that look back.
#[derive(Default)]
struct History {
    /// (name, attempt) of each container that was really started.
    started: BTreeSet<(String, u32)>,
    /// Restart counts as last shown.
    restarts: BTreeMap<String, i32>,
    /// Sandbox attempt in which each init container completed or each sidecar ran.
    passed: BTreeMap<String, u32>,
    /// How attempts ended by themselves.
    ends: BTreeMap<(String, u32), i32>,
    was_terminal: Option<String>,
    volumes: bool,
}

struct Run {
    world: World,
    history: History,
    never: bool,
    /// `b` is never started again, but after [`AGAIN`].
    rules: bool,
    log: Vec<String>,
}

/// The exit code after which a rule says that a container is started again.
const AGAIN: i32 = 42;

impl Run {
    fn new(policy: &str, inits: bool, rules: bool) -> Run {
        let init = "
  initContainers:
  - {name: one, image: 'i:1'}
  - {name: side, image: 'i:1', restartPolicy: Always}
  - {name: two, image: 'i:1'}
  - {name: tail, image: 'i:1', restartPolicy: Always}";
        let rule = "
    restartPolicy: Never
    restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]";
        let yaml = format!(
            "
metadata: {{name: app}}
spec:
  restartPolicy: {policy}{}
  containers:
  - {{name: a, image: 'i:1', livenessProbe: {{tcpSocket: {{port: 1}}}}}}
  - name: b
    image: 'i:1'{}
",
            if inits { init } else { "" },
            if rules { rule } else { "" }
        );
        let world = World::new(pod(&yaml), PodMemory::default());
        Run { world, history: History::default(), never: policy == "Never", rules, log: Vec::new() }
    }

    fn feed(&mut self, event: PodEvent) {
        self.log.push(format!("{event:?}"));
        let was_gone = self.world.gone;
        let actions = self.world.feed(event);
        for action in &actions {
            self.log.push(format!("    {action:?}"));
        }
        if was_gone {
            assert!(actions.is_empty(), "actions after Gone: {actions:?}");
        }
        if self.world.gone && !was_gone {
            assert_eq!(actions.last(), Some(&PodAction::Gone));
            assert!(self.world.containers.values().all(|fake| !running(fake)), "Gone beside a running container");
            assert!(self.world.sandbox.is_none(), "Gone beside a sandbox");
            assert!(!self.history.volumes, "Gone beside volumes");
        }
        let remembered = actions.iter().position(|action| *action == PodAction::Remember);
        let start = actions.iter().position(|action| matches!(action, PodAction::StartContainer { .. }));
        assert!(start.is_none() || remembered < start && remembered.is_some(), "a start that is not remembered");
        for action in &actions {
            if let PodAction::StopContainer { container, .. } = action {
                self.check_stop(container);
            }
        }
        self.check_status();
    }

    /// Nothing but the end of pod or sandbox stops a sidecar here: those that were started after it have ended by then.
    fn check_stop(&self, container: &str) {
        let after: &[&str] = match container {
            "side" => &["tail", "a", "b"],
            "tail" => &["a", "b"],
            _ => &[],
        };
        for ((name, attempt), fake) in &self.world.containers {
            assert!(
                !running(fake) || !after.contains(&name.as_str()),
                "{container} is stopped before {name}-{attempt}"
            );
        }
    }

    fn check_status(&mut self) {
        let status = self.world.status();
        let phase = status.phase.clone().unwrap();
        if let Some(terminal) = &self.history.was_terminal {
            assert_eq!(*terminal, phase, "a terminal phase changed");
        }
        // Only what is durable binds a later life.
        if self.world.durable.finished && ["Succeeded", "Failed"].contains(&phase.as_str()) {
            self.history.was_terminal = Some(phase);
        }
        for told in status.init_container_statuses.iter().chain(&status.container_statuses).flatten() {
            let before = self.history.restarts.insert(told.name.clone(), told.restart_count).unwrap_or(0);
            assert!(
                told.restart_count >= before,
                "{}: restarts fell from {before} to {}",
                told.name,
                told.restart_count
            );
        }
    }

    /// Lets one pending action happen, well or badly.
    fn act(&mut self, action: PodAction, fail: u8) {
        match &action {
            PodAction::StartContainer { container, attempt } => {
                let (container, attempt) = (container.clone(), *attempt);
                assert!(self.world.sandbox.is_some_and(|(_, ready)| ready), "a start without a sandbox");
                assert!(self.history.volumes, "a start without volumes");
                assert!(self.history.was_terminal.is_none(), "a start after the end");
                if fail == 1 || fail == 2 {
                    let reason = if fail == 1 { StartFailure::Config } else { StartFailure::Create };
                    return self.feed(PodEvent::ContainerFailed { container, attempt, reason, message: "no".into() });
                }
                for ((name, other), fake) in &self.world.containers {
                    assert!(*name != container || !running(fake), "{name}: {other} runs beside {attempt}");
                }
                if ["a", "b"].contains(&container.as_str()) && self.has_inits() {
                    let sandbox = self.world.sandbox.map(|(attempt, _)| attempt);
                    for init in ["one", "side", "two", "tail"] {
                        assert_eq!(self.history.passed.get(init).copied(), sandbox, "{container} before {init}");
                    }
                }
                assert!(self.history.started.insert((container.clone(), attempt)), "{container}-{attempt} ran before");
                let sidecar = ["side", "tail"].contains(&container.as_str());
                let ruled = self.rules && container == "b";
                let once = self.never && !sidecar && !ruled;
                let runs = self.history.started.iter().filter(|(name, _)| *name == container).count();
                assert!(!once || runs == 1, "{container} ran {runs} times under Never");
                if let (true, Some(before)) = (ruled, attempt.checked_sub(1)) {
                    let end = self.history.ends.get(&(container.clone(), before));
                    assert_eq!(end, Some(&AGAIN), "{container}-{attempt} against its rules");
                }
                if sidecar {
                    self.history.passed.insert(container.clone(), self.world.sandbox.unwrap().0);
                }
            }
            PodAction::RunSandbox { attempt } => {
                assert!(self.history.volumes, "a sandbox before volumes");
                assert!(self.world.sandbox.is_none(), "two sandboxes");
                if fail == 1 {
                    let attempt = *attempt;
                    return self.feed(PodEvent::SandboxFailed { attempt, message: "no".into() });
                }
            }
            PodAction::SetUpVolumes if fail == 1 => return self.feed(PodEvent::VolumesFailed("no".into())),
            PodAction::SetUpVolumes => self.history.volumes = true,
            PodAction::TearDownVolumes => {
                assert!(self.world.containers.values().all(|fake| !running(fake)), "volumes torn from a container");
                self.history.volumes = false;
            }
            PodAction::PullImage { container, .. } if fail == 1 => {
                let (container, message) = (container.clone(), "no".to_string());
                return self.feed(PodEvent::ImageFailed { container, reason: ImageFailure::Pull, message });
            }
            PodAction::RunProbe { container, probe, .. } if fail < 3 => {
                let (container, probe, message) = (container.clone(), *probe, "no".to_string());
                let outcome = if fail == 0 { ProbeOutcome::Error } else { ProbeOutcome::Failure };
                return self.feed(PodEvent::ProbeResult { container, probe, outcome, message });
            }
            _ => {}
        }
        for event in self.world.obey(&action) {
            self.feed(event);
        }
    }

    fn has_inits(&self) -> bool {
        self.world.machine.pod().spec.as_ref().unwrap().init_containers.is_some()
    }

    fn exit(&mut self, name: &str, code: i32) {
        let alive = self.world.containers.iter().find(|((of, _), fake)| of == name && running(fake));
        let Some((key, _)) = alive else { return };
        self.history.ends.insert(key.clone(), code);
        self.world.exit(name, code);
        if let (0, Some((sandbox, _))) = (code, self.world.sandbox) {
            self.history.passed.insert(name.to_string(), sandbox);
        }
    }

    fn restart(&mut self) {
        self.world.revive();
        let observed = self.world.observed();
        self.log.push("-- restart".into());
        self.feed(observed);
    }

    fn delete(&mut self) {
        let mut pod = self.world.machine.pod().clone();
        let time = k8s_openapi::jiff::Timestamp::from_second(self.world.now.wall.secs()).unwrap();
        pod.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
        pod.metadata.deletion_grace_period_seconds = Some(5);
        self.feed(PodEvent::PodChanged(Box::new(pod)));
    }

    /// One random step.
    fn step(&mut self, choice: u16) {
        if self.world.gone {
            return;
        }
        let pick = usize::from(choice >> 8);
        match choice % 32 {
            0..=16 if !self.world.pending.is_empty() => {
                let action = self.world.pending.remove(pick % self.world.pending.len());
                self.act(action, u8::try_from(choice / 32 % 8).unwrap());
            }
            17..=20 => {
                let names = ["one", "side", "two", "a", "b", "tail"];
                let code = [0, AGAIN, 1, 137][pick / 8 % 4];
                self.exit(names[pick % 6], code);
                let observed = self.world.observed();
                self.feed(observed);
            }
            21 => self.restart(),
            22 => {
                // Power cut: nothing runs any more, the runtime forgot.
                self.world.sandbox = None;
                self.world.containers.clear();
                self.restart();
            }
            23 if pick.is_multiple_of(16) => self.delete(),
            24 if pick.is_multiple_of(32) => self.feed(PodEvent::DeletedAtHub),
            26 if pick.is_multiple_of(8) => {
                self.feed(PodEvent::ShuttingDown { grace: Duration::from_secs(5), ends: pick >= 128 });
            }
            27 => self.feed(PodEvent::ShutdownCancelled),
            25 => {
                let observed = self.world.observed();
                self.feed(observed);
            }
            _ => {
                let due = self.world.machine.next_deadline();
                let by = due.map_or(Duration::from_secs(1), |due| due.saturating_sub(self.world.now.mono));
                self.world.pass(if pick < 128 { by } else { Duration::from_millis(pick as u64 * 10) });
                self.feed(PodEvent::Tick);
            }
        }
    }

    /// Everything works from now on; whether the pod came to rest.
    fn settle(&mut self, done: impl Fn(&World) -> bool) -> bool {
        for _ in 0..400 {
            if done(&self.world) {
                return true;
            }
            if self.world.pending.is_empty() {
                for init in ["one", "two"] {
                    self.exit(init, 0);
                }
                let observed = self.world.observed();
                self.feed(observed);
                if let Some(due) = self.world.machine.next_deadline() {
                    self.world.pass(due.saturating_sub(self.world.now.mono));
                    self.feed(PodEvent::Tick);
                }
            } else {
                let action = self.world.pending.remove(0);
                self.act(action, 7);
            }
        }
        false
    }
}

fn running(fake: &crate::script::Fake) -> bool {
    matches!(fake.state, ObservedState::Running { .. })
}

fn spec_of<'a>(world: &'a World, name: &str) -> Option<&'a k8s_openapi::api::core::v1::Container> {
    world.machine.pod().spec.as_ref()?.containers.iter().find(|container| container.name == name)
}

fn at_rest(world: &World) -> bool {
    let status = world.status();
    let ready = |kind: &str| {
        status.conditions.iter().flatten().any(|condition| condition.type_ == kind && condition.status == "True")
    };
    let phase = status.phase.as_deref().unwrap_or_default();
    // Under OnFailure one container may have completed while the other runs on.
    let half = status.container_statuses.iter().flatten().all(|told| {
        let state = told.state.as_ref().unwrap();
        state.running.is_some()
            || state.terminated.as_ref().is_some_and(|end| {
                let ruled = spec_of(world, &told.name).is_some_and(|spec| spec.restart_policy_rules.is_some());
                if ruled { end.exit_code != AGAIN } else { end.exit_code == 0 }
            })
            || (world.machine.pod().spec.as_ref().unwrap().restart_policy.as_deref() == Some("Never")
                && state.terminated.is_some())
    });
    world.gone || ["Succeeded", "Failed"].contains(&phase) || ready("Ready") || (phase == "Running" && half)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold(
        policy in prop::sample::select(vec!["Always", "OnFailure", "Never"]),
        inits in any::<bool>(),
        rules in any::<bool>(),
        choices in prop::collection::vec(any::<u16>(), 1..250),
    ) {
        let mut run = Run::new(policy, inits, rules);
        let observed = run.world.observed();
        run.feed(observed);
        for choice in choices {
            run.step(choice);
        }
        run.feed(PodEvent::ShutdownCancelled);
        let tail = |run: &Run| run.log[run.log.len().saturating_sub(60)..].join("\n");
        prop_assert!(run.settle(at_rest), "no rest:\n{}", tail(&run));
        if !run.world.gone {
            run.delete();
        }
        prop_assert!(run.settle(|world| world.gone), "not gone:\n{}", tail(&run));
    }
}
