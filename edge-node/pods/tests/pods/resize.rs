//! Resizing in place: asked for, granted or refused, done, and remembered.

use crate::script::{World, check_from, pod};
use holdfast_pods::ledger::{DEFERRED, INFEASIBLE};
use holdfast_pods::{PodAction, PodEvent, PodMemory};
use k8s_openapi::api::core::v1::{Container, PodCondition, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const UP: &str = "observe\nobey\nobey\nobey\nobey";
const TWO: [&str; 2] = ["keeps", "restarts"];

/// A container that takes another size as it runs, and one that has to be restarted for its memory.
fn two() -> World {
    let yaml = "
metadata: {name: web, generation: 1}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - {name: keeps, image: 'i:1', resources: {requests: {cpu: 100m, memory: 1Gi}, limits: {cpu: '1', memory: 2Gi}}}
  - name: restarts
    image: 'i:1'
    resources: {requests: {cpu: 100m, memory: 1Gi}, limits: {cpu: '1', memory: 2Gi}}
    resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]
";
    check_from(World::new(pod(yaml), PodMemory::default()), UP).1
}

/// The hub has another size for a container.
fn resized(world: &World, container: &str, list: &str, resource: &str, amount: &str) -> PodEvent {
    let mut pod = world.machine.pod().clone();
    pod.status = Some(world.status());
    pod.metadata.generation = pod.metadata.generation.map(|generation| generation + 1);
    let mut containers = pod.spec.as_mut().unwrap().containers.iter_mut();
    let resources = containers.find(|one| one.name == container).unwrap().resources.as_mut().unwrap();
    let amounts = if list == "limits" { &mut resources.limits } else { &mut resources.requests };
    amounts.as_mut().unwrap().insert(resource.into(), Quantity(amount.into()));
    PodEvent::PodChanged(Box::new(pod))
}

fn condition(world: &World, kind: &str) -> Option<PodCondition> {
    world.status().conditions.unwrap().into_iter().find(|condition| condition.type_ == kind)
}

/// Reason, message and generation of a condition that holds.
fn told(world: &World, kind: &str) -> Option<(String, String, Option<i64>)> {
    let found = condition(world, kind)?;
    assert_eq!(found.status, "True");
    Some((found.reason.unwrap_or_default(), found.message.unwrap_or_default(), found.observed_generation))
}

fn has(world: &World, container: &str, resource: &str) -> [String; 2] {
    let statuses = world.status().container_statuses.unwrap();
    let told = statuses.into_iter().find(|told| told.name == container).unwrap();
    let limits = told.resources.unwrap().limits.unwrap();
    [limits[resource].0.clone(), told.allocated_resources.unwrap()[resource].0.clone()]
}

fn texts(actions: &[PodAction]) -> Vec<String> {
    let text = |action: &PodAction| match action {
        PodAction::Event { reason, message, .. } => Some(format!("{reason} {message}")),
        _ => None,
    };
    actions.iter().filter_map(text).collect()
}

#[test]
fn a_running_container_takes_what_is_granted() {
    let mut world = two();
    assert_eq!(has(&world, "keeps", "cpu"), ["1", "100m"]);
    // The same amount in other words is no other size.
    assert_eq!(world.feed(resized(&world, "keeps", "limits", "cpu", "1000m")), [PodAction::StatusChanged]);
    let actions = world.feed(resized(&world, "keeps", "limits", "cpu", "2"));
    assert_eq!(actions, [PodAction::AskForSize, PodAction::StatusChanged]);
    assert_eq!(told(&world, "PodResizeInProgress"), None);
    let actions = world.feed(PodEvent::SizeAnswered(Ok(())));
    let size = r#"{"containers":[{"name":"keeps","resources":{"limits":{"cpu":"2","memory":"2Gi"},"requests":{"cpu":"100m","memory":"1Gi"}}},{"name":"restarts","resources":{"limits":{"cpu":"1","memory":"2Gi"},"requests":{"cpu":"100m","memory":"1Gi"}}}],"generation":3}"#;
    assert_eq!(texts(&actions), [format!("ResizeStarted Pod resize started: {size}")]);
    assert_eq!(actions[0], PodAction::Remember, "before anything is done");
    let doing = PodAction::Resize { containers: vec![("keeps".into(), 0)] };
    assert!(actions.contains(&doing), "{actions:?}");
    assert_eq!(told(&world, "PodResizeInProgress"), Some((String::new(), String::new(), Some(3))));
    assert_eq!(has(&world, "keeps", "cpu"), ["1", "100m"], "what it has, not what it shall have");
    let actions = world.feed(PodEvent::Resized { failed: None });
    assert_eq!(texts(&actions), [format!("ResizeCompleted Pod resize completed: {size}")]);
    assert_eq!((has(&world, "keeps", "cpu"), told(&world, "PodResizeInProgress")), (["2".into(), "100m".into()], None));
    assert_eq!(world.status().container_statuses.unwrap()[0].restart_count, 0);
}

#[test]
fn a_container_whose_policy_it_is_restarts() {
    let mut world = two();
    world.feed(resized(&world, "restarts", "limits", "memory", "3Gi"));
    let (text, world) = check_from(world, "obey\nobey\nobey\nobey\nobey\nobey");
    let at = |words: &str| text.find(words).unwrap_or_else(|| panic!("{words}: {text}"));
    assert!(
        at("Killing [restarts] Container restarts resize requires restart") < at("StopContainer restarts-0"),
        "{text}"
    );
    // The pod has its new size before what needs it is there.
    assert!(
        at("StopContainer restarts-0") < at("  Resize\n") && at("  Resize\n") < at("StartContainer restarts-1"),
        "{text}"
    );
    assert!(at("StartContainer restarts-1") < at("ResizeCompleted"), "{text}");
    assert_eq!(has(&world, "restarts", "memory"), ["3Gi", "1Gi"]);
    // CPU is none of that policy's.
    let mut world = two();
    world.feed(resized(&world, "restarts", "limits", "cpu", "2"));
    let (text, _) = check_from(world, "obey\nobey");
    assert!(text.contains("Resize restarts-0") && !text.contains("StopContainer"), "{text}");
}

#[test]
fn what_the_node_cannot_give_is_told_and_asked_for_again() {
    let mut world = two();
    let words = "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000";
    world.room = Err((DEFERRED, words.into()));
    world.feed(resized(&world, "keeps", "requests", "cpu", "900m"));
    let (text, mut world) = check_from(world, "obey");
    assert!(text.contains("Warning ResizeDeferred [] Pod resize Deferred: {\"containers\":["), "{text}");
    assert!(text.contains(&format!("\"generation\":2,\"error\":\"{words}\"}}")), "{text}");
    assert_eq!(told(&world, "PodResizePending"), Some(("Deferred".into(), words.into(), Some(2))));
    assert!(world.machine.waits_for_room());
    // Asked again in a while, or when there may be room; said once.
    let (text, next) = check_from(world, "+179 tick\nobey\n+1 tick\nobey\nroom\nobey");
    assert_eq!((text.matches("AskForSize").count(), text.matches("ResizeDeferred").count()), (2, 0), "{text}");
    world = next;
    world.room = Ok(());
    let (text, world) = check_from(world, "room\nobey\nobey");
    assert!(text.contains("ResizeCompleted"), "{text}");
    assert_eq!((told(&world, "PodResizePending"), world.machine.waits_for_room()), (None, false));

    let mut world = two();
    world.room = Err((INFEASIBLE, "no".into()));
    world.feed(resized(&world, "keeps", "requests", "cpu", "900m"));
    let (text, mut world) = check_from(world, "obey\nroom\n+600 tick");
    assert!(text.contains("ResizeInfeasible") && text.matches("AskForSize").count() == 0, "{text}");
    assert_eq!(told(&world, "PodResizePending").unwrap().0, "Infeasible");
    // Taken back.
    world.feed(resized(&world, "keeps", "requests", "cpu", "100m"));
    assert_eq!(told(&world, "PodResizePending"), None);
}

#[test]
fn what_cannot_be_done_yet_is_tried_again() {
    let mut world = two();
    world.feed(resized(&world, "keeps", "limits", "memory", "1Gi"));
    let why = "resize: attempting to set pod memory limit (1) below current usage (2)";
    let (text, world) = check_from(world, &format!("obey\nresize-failed {why}"));
    assert!(text.contains("Warning ResizeError [] Pod resize error: {"), "{text}");
    assert_eq!(told(&world, "PodResizeInProgress"), Some(("Error".into(), why.into(), Some(2))));
    let (text, world) = check_from(world, &format!("+5 tick\nresize-failed {why}\n+10 tick"));
    assert_eq!((text.matches("  Resize keeps-0").count(), text.matches("ResizeError").count()), (2, 0), "{text}");
    // Meanwhile what has ended begins again, with what was granted.
    let (text, world) =
        check_from(world, &format!("resize-failed {why}\nexit restarts 1\nobey\nobey\n+60 tick\nobey\nobey"));
    assert!(text.contains("StartContainer restarts-1") && text.contains("ResizeCompleted"), "{text}");
    assert_eq!(has(&world, "keeps", "memory"), ["1Gi", "1Gi"]);
}

#[test]
fn the_agent_may_be_killed_at_every_step() {
    let steps = ["obey", "obey", "obey", "obey", "obey", "obey", "obey", "obey"];
    for killed_after in 0..=steps.len() {
        let mut world = two();
        world.feed(resized(&world, "keeps", "limits", "memory", "3Gi"));
        world.feed(resized(&world, "restarts", "limits", "memory", "3Gi"));
        let mut texts = String::new();
        for step in &steps[..killed_after] {
            let (text, next) = check_from(world, step);
            (world, texts) = (next, texts + &text);
        }
        let rest = "agent-restart\nobey\nobey\nobey\nobey\nobey\nobey\nobey\nobey";
        let (text, world) = check_from(world, rest);
        texts += &text;
        for name in TWO {
            assert_eq!(has(&world, name, "memory"), ["3Gi", "1Gi"], "{killed_after}: {texts}");
        }
        assert!(condition(&world, "PodResizeInProgress").is_none() && condition(&world, "PodResizePending").is_none());
        let restarts =
            world.status().container_statuses.unwrap().iter().map(|told| told.restart_count).collect::<Vec<_>>();
        assert_eq!(restarts, [0, 1], "{killed_after}: {texts}");
        assert_eq!(texts.matches("ResizeCompleted").count(), 1, "{killed_after}: {texts}");
    }
}

#[test]
fn what_a_pod_holds_is_the_more_of_granted_and_actual() {
    let mut world = two();
    let cpu = |world: &World| holdfast_pods::ledger::requests(&world.machine.held_pod()).cpu_milli;
    assert_eq!(cpu(&world), 200);
    world.feed(resized(&world, "keeps", "requests", "cpu", "50m"));
    world.feed(PodEvent::SizeAnswered(Ok(())));
    assert_eq!(cpu(&world), 200, "it is not given back yet");
    world.feed(PodEvent::Resized { failed: None });
    assert_eq!(cpu(&world), 150);
    world.feed(resized(&world, "keeps", "requests", "cpu", "500m"));
    assert_eq!(cpu(&world), 150);
    world.feed(PodEvent::SizeAnswered(Ok(())));
    assert_eq!(cpu(&world), 600);
}

#[test]
fn a_pods_own_size_reaches_containers_without_one() {
    let yaml = "
metadata: {name: web, generation: 1}
spec:
  resources: {requests: {cpu: '1'}, limits: {cpu: '2', memory: 2Gi}}
  containers:
  - {name: free, image: 'i:1'}
  - {name: bound, image: 'i:1', resources: {limits: {cpu: '1', memory: 1Gi}, requests: {cpu: 100m}}}
";
    let (_, mut world) = check_from(World::new(pod(yaml), PodMemory::default()), UP);
    let own = |cpu: &str| {
        let amounts = |cpu: &str| Some(BTreeMap::from([("cpu".to_string(), Quantity(cpu.into()))]));
        let mut limits = amounts(cpu);
        limits.as_mut().unwrap().insert("memory".into(), Quantity("2Gi".into()));
        ResourceRequirements { requests: amounts("1"), limits, claims: None }
    };
    let status = world.status();
    assert_eq!((status.resources, status.allocated_resources), (Some(own("2")), own("2").requests));
    let mut pod = world.machine.pod().clone();
    pod.spec.as_mut().unwrap().resources = Some(own("3"));
    world.feed(PodEvent::PodChanged(Box::new(pod)));
    let (text, world) = check_from(world, "obey\nobey");
    assert!(text.contains("  Resize free-0\n"), "{text}");
    assert_eq!(world.status().resources, Some(own("3")));
}

/// What was really done to containers: memory limits by name and attempt.
#[derive(Default)]
struct Cgroups {
    done: BTreeMap<(String, u32), String>,
    /// Actions that wait, with what was granted when they were told.
    told: Vec<(PodAction, BTreeMap<String, String>)>,
}

impl Cgroups {
    fn feed(&mut self, world: &mut World, event: PodEvent) {
        let spec = |world: &World| world.machine.granted_pod().spec.unwrap();
        for action in world.feed(event) {
            if matches!(action, PodAction::StartContainer { .. } | PodAction::Resize { .. }) {
                let limit = |one: Container| (one.name, one.resources.unwrap().limits.unwrap()["memory"].0.clone());
                self.told.push((action, spec(world).containers.into_iter().map(limit).collect()));
            }
        }
    }

    /// Sees an action before it is obeyed.
    fn see(&mut self, action: &PodAction) {
        let Some(at) = self.told.iter().position(|(told, _)| told == action) else { return };
        let (_, sizes) = self.told.remove(at);
        match action {
            // What is there already is left as it is.
            PodAction::StartContainer { container, attempt } => {
                self.done.entry((container.clone(), *attempt)).or_insert_with(|| sizes[container].clone());
            }
            PodAction::Resize { containers } => {
                for (name, attempt) in containers {
                    self.done.insert((name.clone(), *attempt), sizes[name].clone());
                }
            }
            _ => {}
        }
    }

    fn obey(&mut self, world: &mut World, action: &PodAction) {
        self.see(action);
        for event in world.obey(action) {
            self.feed(world, event);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_the_end_everything_runs_with_what_the_spec_wants(choices in prop::collection::vec(any::<u16>(), 1..80)) {
        let mut world = two();
        let mut cgroups = Cgroups::default();
        for name in TWO {
            cgroups.done.insert((name.into(), 0), "2Gi".into());
        }
        for choice in choices {
            let pick = usize::from(choice >> 8);
            match choice % 16 {
                0..=7 if !world.pending.is_empty() => {
                    let action = world.pending.remove(pick % world.pending.len());
                    let failed = pick.is_multiple_of(5).then(|| "not now".to_string());
                    match (&action, failed) {
                        (PodAction::Resize { .. }, Some(why)) => {
                            cgroups.see(&action);
                            cgroups.feed(&mut world, PodEvent::Resized { failed: Some(why) });
                        }
                        (PodAction::AskForSize, Some(why)) => {
                            cgroups.feed(&mut world, PodEvent::SizeAnswered(Err((DEFERRED, why))));
                        }
                        _ => cgroups.obey(&mut world, &action),
                    }
                }
                8..=9 => {
                    let sizes = ["1Gi", "2Gi", "3Gi", "4Gi"];
                    let event = resized(&world, TWO[pick % 2], "limits", "memory", sizes[pick / 2 % 4]);
                    cgroups.feed(&mut world, event);
                }
                10 => {
                    world.revive();
                    cgroups.told.clear();
                    let observed = world.observed();
                    cgroups.feed(&mut world, observed);
                }
                11 => {
                    world.exit(TWO[pick % 2], 1);
                    let observed = world.observed();
                    cgroups.feed(&mut world, observed);
                }
                12 => cgroups.feed(&mut world, PodEvent::Room),
                _ => {
                    world.pass(Duration::from_secs(pick as u64));
                    cgroups.feed(&mut world, PodEvent::Tick);
                }
            }
        }
        for _ in 0..30 {
            while !world.pending.is_empty() {
                let action = world.pending.remove(0);
                cgroups.obey(&mut world, &action);
            }
            let observed = world.observed();
            cgroups.feed(&mut world, observed);
            world.pass(Duration::from_secs(300));
            cgroups.feed(&mut world, PodEvent::Tick);
        }
        prop_assert!(condition(&world, "PodResizeInProgress").is_none() && condition(&world, "PodResizePending").is_none());
        let spec = world.machine.pod().spec.clone().unwrap();
        for told in world.status().container_statuses.unwrap() {
            let container = spec.containers.iter().find(|one| one.name == told.name).unwrap();
            let wanted = &container.resources.as_ref().unwrap().limits.as_ref().unwrap()["memory"].0;
            let attempt = u32::try_from(told.restart_count).unwrap();
            prop_assert!(told.state.as_ref().unwrap().running.is_some(), "{told:?}");
            prop_assert_eq!(&cgroups.done[&(told.name.clone(), attempt)], wanted, "{} {}", told.name, attempt);
            prop_assert_eq!(&told.resources.unwrap().limits.unwrap()["memory"].0, wanted);
        }
    }
}
