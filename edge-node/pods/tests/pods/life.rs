//! The rules of a pod's life, each as a script and its transcript.

use crate::script::{World, check, check_from, pod, status, summary};
use holdfast_pods::{PodAction, PodMachine, PodMemory, typed};

pub(crate) const WEB: &str = "
metadata: {name: web}
spec:
  containers:
  - {name: web, image: 'r/web:1', imagePullPolicy: IfNotPresent}
";

/// From nothing to running, for pods with one container.
pub(crate) const UP: &str = "
observe
obey
obey
obey
obey
";

pub(crate) fn with(policy: &str) -> String {
    format!("{WEB}  restartPolicy: {policy}\n")
}

#[test]
fn a_pod_comes_up_and_is_deleted() {
    insta::assert_snapshot!(check(
        WEB,
        "observe
         obey
         obey
         pulling web
         +1.5 pulled web 1.2 4096
         obey
         +5 delete 30
         +2 obey
         obey
         obey"
    ));
}

#[test]
fn an_image_that_cannot_be_checked_is_used() {
    let text = check(WEB, "observe\nobey\nobey\npulling web\n+1 unchecked web no route to host\nobey");
    let said = "Container image \"r/web:1\" already present on machine, and used unchecked: no route to host";
    assert!(text.contains(&format!("Normal Pulled [web] {said}")), "{text}");
    assert!(text.contains("Started container web"), "{text}");
}

#[test]
fn a_crashing_container_backs_off() {
    insta::assert_snapshot!(check(
        WEB,
        &format!(
            "{UP}
             +5 exit web 1
             obey
             obey
             +5 exit web 1
             +9 tick
             +1 tick
             obey
             obey
             +5 exit web 1
             +20 tick
             obey
             obey
             +601 exit web 1
             obey
             obey"
        )
    ));
}

#[test]
fn never_runs_once() {
    insta::assert_snapshot!(check(&with("Never"), &format!("{UP}\n+3 exit web 0\nobey\nobey\nhub-gone")));
}

#[test]
fn on_failure_runs_until_it_succeeds() {
    insta::assert_snapshot!(check(
        &with("OnFailure"),
        &format!("{UP}\n+3 exit web 2\nobey\nobey\n+3 exit web 0\nobey\nobey\ntick")
    ));
}

#[test]
fn after_a_power_cut_a_pod_comes_back() {
    insta::assert_snapshot!(check(WEB, &format!("{UP}\n+60 reboot\nobey\nobey\nobey\nobey")));
}

#[test]
fn after_a_power_cut_never_is_failed() {
    insta::assert_snapshot!(check(&with("Never"), &format!("{UP}\n+60 reboot\nobey\nobey\ntick")));
}

#[test]
fn a_power_cut_while_starting_counts_as_a_run() {
    insta::assert_snapshot!(check(&with("Never"), "observe\nobey\nobey\nobey\n+1 reboot\nobey\nobey"));
}

#[test]
fn the_agent_restarts_beside_running_containers() {
    insta::assert_snapshot!(check(WEB, &format!("{UP}\n+60 agent-restart\nobey\n+5 exit web 1\nobey\nobey")));
}

#[test]
fn an_image_cannot_be_had() {
    insta::assert_snapshot!(check(
        WEB,
        "observe
         obey
         obey
         pulling web
         pull-failed web no such host
         +2 tick
         +8 tick
         pull-failed web no such host
         +2 tick
         +18 tick
         obey
         obey"
    ));
}

#[test]
fn what_fails_on_the_way_is_retried() {
    insta::assert_snapshot!(check(
        WEB,
        "observe
         volumes-failed MountVolume.SetUp failed for volume \"x\" : configmap \"y\" not found
         +1 tick
         obey
         sandbox-failed 0 containerd is not available
         +1 tick
         obey
         obey
         start-failed web 0 config configmap \"x\" not found
         +10 tick
         obey
         start-failed web 0 run exec: \"/nope\": no such file"
    ));
}

#[test]
fn never_with_a_start_error_is_failed() {
    insta::assert_snapshot!(check(
        &with("Never"),
        "observe
         obey
         obey
         obey
         start-failed web 0 run exec: \"/nope\": no such file
         obey
         obey"
    ));
}

const INITS: &str = "
metadata: {name: app}
spec:
  initContainers:
  - {name: one, image: 'i:1'}
  - {name: side, image: 'i:1', restartPolicy: Always, startupProbe: {tcpSocket: {port: 1}, periodSeconds: 1}}
  - {name: two, image: 'i:1'}
  containers:
  - {name: app, image: 'i:1'}
";

#[test]
fn init_containers_and_sidecars_are_ordered() {
    insta::assert_snapshot!(check(
        INITS,
        "observe
         obey
         obey
         obey
         obey
         +1 exit one 0
         obey
         obey
         probe side startup no refused
         +1 tick
         obey
         obey
         obey
         +1 exit two 0
         obey
         obey
         +1 exit side 1
         obey
         obey
         +5 delete 10
         obey
         +1 obey
         obey
         obey"
    ));
}

#[test]
fn a_failed_init_container_fails_a_never_pod() {
    insta::assert_snapshot!(check(
        &INITS.replace("spec:", "spec:\n  restartPolicy: Never"),
        "observe\nobey\nobey\nobey\nobey\n+1 exit one 3\nobey\nobey"
    ));
}

#[test]
fn sidecars_do_not_hold_a_finished_pod() {
    let text = check(
        "
metadata: {name: job}
spec:
  restartPolicy: Never
  initContainers: [{name: side, image: 'i:1', restartPolicy: Always}]
  containers: [{name: job, image: 'i:1'}]
",
        "observe\nobey\nobey\nobey\nobey\nobey\nobey\n+1 exit job 0\nobey\nobey\nobey",
    );
    insta::assert_snapshot!(text);
}

const PROBED: &str = "
metadata: {name: web}
spec:
  containers:
  - name: web
    image: i:1
    startupProbe: {tcpSocket: {port: 1}, periodSeconds: 2, failureThreshold: 2}
    readinessProbe: {tcpSocket: {port: 1}, periodSeconds: 5, successThreshold: 2}
    livenessProbe: {tcpSocket: {port: 1}, initialDelaySeconds: 5, failureThreshold: 2, terminationGracePeriodSeconds: 3}
";

#[test]
fn probes_gate_and_kill() {
    insta::assert_snapshot!(check(
        PROBED,
        &format!(
            "{UP}
             probe web startup no refused
             +2 tick
             probe web startup ok
             probe web readiness ok
             +3 tick
             probe web liveness ok
             +2 tick
             probe web readiness ok
             +8 tick
             probe web readiness no HTTP 500
             probe web liveness no HTTP 500
             +10 tick
             probe web liveness no HTTP 500
             obey
             obey
             obey"
        )
    ));
}

#[test]
fn a_probe_without_an_answer_counts_as_failed() {
    insta::assert_snapshot!(check(PROBED, &format!("{UP}\n+6 tick\n+2 tick")));
}

#[test]
fn the_active_deadline_ends_a_pod() {
    let pod = WEB.replace("spec:", "spec:\n  activeDeadlineSeconds: 60");
    insta::assert_snapshot!(check(&pod, &format!("{UP}\n+60 tick\nobey\nobey\nobey")));
}

#[test]
fn a_lost_sandbox_is_made_anew() {
    insta::assert_snapshot!(check(WEB, &format!("{UP}\n+1 sandbox-lost\n+9 observe\nobey\nobey\nobey\nobey\nobey")));
}

#[test]
fn a_new_image_restarts_the_container() {
    insta::assert_snapshot!(check(WEB, &format!("{UP}\n+1 image r/web:2\nobey\nobey\nobey")));
}

#[test]
fn a_forced_deletion_shortens_the_grace() {
    insta::assert_snapshot!(check(WEB, &format!("{UP}\n+1 delete 30\n+2 delete 0\nobey\nobey\nobey")));
}

#[test]
fn a_pod_that_is_over_is_not_run_again() {
    for phase in ["Succeeded", "Failed"] {
        let mut over = pod(WEB);
        over.status = status(&format!(
            "{{phase: {phase}, startTime: '2026-01-01T00:00:00Z', containerStatuses: [{{name: web, image: i, imageID: x, \
             ready: false, restartCount: 3, state: {{terminated: {{exitCode: 0, reason: Completed}}}}}}]}}"
        ));
        let told = over.status.clone();
        let (text, world) = check_from(World::new(over, PodMemory::default()), "observe\nobey\ntick");
        assert!(!text.contains("Start") && !text.contains("RunSandbox") && text.contains("TearDownVolumes"), "{text}");
        assert_eq!(Some(world.status()), told, "what the hub knows stays");
    }
}

#[test]
fn a_lost_disk_does_not_lose_the_restart_count() {
    let mut known = pod(&with("Always"));
    known.status = status(
        "{phase: Running, containerStatuses: [{name: web, image: i, imageID: x, ready: true, restartCount: 3, \
         state: {running: {startedAt: '2026-01-01T00:00:00Z'}}}]}",
    );
    let (text, world) = check_from(World::new(known, PodMemory::default()), UP);
    assert!(text.contains("StartContainer web-4"), "{text}");
    assert_eq!(summary(&world.status()), "RunningICR web=Running<ContainerStatusUnknown(137) r4 ready");
}

#[test]
fn a_lost_record_does_not_lose_where_a_container_is() {
    let (_, old) = check_from(World::new(pod(WEB), PodMemory::default()), UP);
    let mut world = World::new(pod(WEB), PodMemory::default());
    (world.containers, world.sandbox, world.runtime) = (old.containers, old.sandbox, "wasm");
    let seen = world.observed();
    world.feed(seen);
    let statuses = world.status().container_statuses.unwrap();
    assert_eq!(statuses[0].container_id.as_deref(), Some("wasm://u1-web-0"));
}

#[test]
fn readiness_gates_and_foreign_conditions_are_kept() {
    let mut gated = pod(&WEB.replace("spec:", "spec:\n  readinessGates: [{conditionType: x/y}]"));
    let (_, mut world) = check_from(World::new(gated.clone(), PodMemory::default()), UP);
    let ready = |world: &World| {
        let status = world.status();
        let all = status.conditions.unwrap();
        let one = all.iter().find(|condition| condition.type_ == "Ready").unwrap().clone();
        (one.status, one.message.unwrap_or_default(), all.len())
    };
    let message = "corresponding condition of pod readiness gate \"x/y\" does not exist.".to_string();
    assert_eq!(ready(&world), ("False".into(), message, 5));
    gated.status = status("{conditions: [{type: x/y, status: 'True'}]}");
    let actions = world.feed(holdfast_pods::PodEvent::PodChanged(Box::new(gated)));
    assert_eq!(actions, [PodAction::StatusChanged]);
    assert_eq!(ready(&world), ("True".into(), String::new(), 6));
}

#[test]
fn the_status_is_complete() {
    let (_, world) =
        check_from(World::new(pod(WEB), PodMemory::default()), &format!("{UP}\n+7 exit web 1\nobey\nobey"));
    let text = serde_json::to_string_pretty(&typed::status_document(&world.status())).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn memory_survives_as_bytes() {
    let (_, world) =
        check_from(World::new(pod(WEB), PodMemory::default()), &format!("{UP}\n+7 exit web 1\nobey\nobey"));
    let memory = world.machine.memory().clone();
    assert_eq!(PodMemory::decode(&memory.encode()), Some(memory.clone()));
    assert_eq!(PodMemory::decode(&memory.encode()[..20]), None);
    assert_eq!(PodMemory::decode(&[9, 0]), None);
    // Bytes of version 1: this test fails when the record changes without a new version.
    let hex: String = memory.encode().iter().map(|byte| format!("{byte:02x}")).collect();
    insta::assert_snapshot!(hex);
}

#[test]
fn qos_is_as_upstream() {
    let class = |resources: &str| {
        let yaml = format!("spec: {{containers: [{{name: a, image: i, resources: {resources}}}]}}");
        holdfast_pods::qos_class(&pod(&format!("metadata: {{name: a}}\n{yaml}")))
    };
    assert_eq!(class("{}"), "BestEffort");
    assert_eq!(class("{requests: {cpu: 1}}"), "Burstable");
    assert_eq!(class("{limits: {cpu: 1, memory: 1Gi}}"), "Guaranteed");
    assert_eq!(class("{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1000m, memory: 1024Mi}}"), "Guaranteed");
    assert_eq!(class("{limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}"), "Burstable");
}

#[test]
fn nothing_happens_before_the_first_observation() {
    let world = World::new(pod(WEB), PodMemory::default());
    let mut machine: PodMachine = world.machine;
    assert_eq!(machine.next_deadline(), None);
    let actions = machine.handle(world.now, holdfast_pods::PodEvent::Tick);
    assert!(actions.iter().all(|action| *action == PodAction::StatusChanged), "{actions:?}");
}

const DEBUGGED: &str = "
metadata: {name: web}
spec:
  initContainers:
  - {name: init, image: 'r/init:1', imagePullPolicy: IfNotPresent}
  containers:
  - {name: web, image: 'r/web:1', imagePullPolicy: IfNotPresent}
  ephemeralContainers:
  - {name: debug, image: 'r/busybox:1', imagePullPolicy: IfNotPresent, stdin: true, targetContainerName: web}
";

#[test]
fn an_ephemeral_container_runs_once_beside_the_others() {
    let up = "observe\nobey\nobey\nobey\nobey\n+1 exit debug 3\nobey\n+600 tick";
    let (text, world) = check_from(World::new(pod(DEBUGGED), PodMemory::default()), up);
    insta::assert_snapshot!(text);
    let told = world.status().ephemeral_container_statuses.unwrap().remove(0);
    let ended = told.state.unwrap().terminated.unwrap();
    assert_eq!((ended.exit_code, told.ready, told.restart_count), (3, false, 0));
    // Neither a new sandbox nor a new machine starts it again.
    let (text, world) = check_from(world, "+1 reboot\nobey\nobey\nobey\nobey\nobey\nobey\nagent-restart\nobey");
    assert!(!text.contains("debug"), "{text}");
    assert!(world.status().ephemeral_container_statuses.unwrap()[0].state.as_ref().unwrap().terminated.is_some());
}

#[test]
fn an_ephemeral_container_is_added_to_a_pod_that_runs_and_stopped_with_it() {
    let (_, mut world) = check_from(World::new(pod(WEB), PodMemory::default()), UP);
    let mut more = pod(WEB);
    more.spec.as_mut().unwrap().ephemeral_containers = pod(DEBUGGED).spec.unwrap().ephemeral_containers;
    world.feed(holdfast_pods::PodEvent::PodChanged(Box::new(more)));
    let (text, world) = check_from(world, "obey\nobey\nobey\n+1 delete 30\nobey\nobey\nobey");
    assert!(text.contains("StartContainer debug-0") && text.contains("StopContainer debug-0 in 30s"), "{text}");
    assert!(world.gone);
}

/// [`WEB`] with more lines of its container, and of its spec behind them.
pub(crate) fn longer(more: &str) -> String {
    let container = "- {name: web, image: 'r/web:1', imagePullPolicy: IfNotPresent}";
    let lines = "- name: web\n    image: 'r/web:1'\n    imagePullPolicy: IfNotPresent";
    WEB.replace(container, lines) + more
}

#[test]
fn a_pod_that_has_to_go_ends_at_once_and_failed() {
    insta::assert_snapshot!(check(
        WEB,
        &format!(
            "{UP}
             +5 evict The node was low on resource: memory.
             +1 obey
             obey
             obey"
        )
    ));
}

#[test]
fn a_soft_threshold_leaves_a_pod_its_grace_up_to_a_bound() {
    for (own, bound, expected) in [(30, 7, 7), (5, 7, 5)] {
        let yaml = format!("{WEB}  terminationGracePeriodSeconds: {own}\n");
        let text = check(&yaml, &format!("{UP}\n+5 evict-within {bound} The node was low on resource: memory."));
        assert!(text.contains(&format!("StopContainer web-0 in {expected}s")), "{text}");
    }
}

#[test]
fn only_a_pod_that_went_for_others_is_a_target_of_disruption() {
    for (message, expected) in [
        ("The node was low on resource: ephemeral-storage.", true),
        ("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\".", false),
    ] {
        let script = format!("{UP}\n+5 evict {message}\n+1 obey\nobey\nobey");
        let (_, world) = check_from(World::new(pod(WEB), PodMemory::default()), &script);
        let status = world.status();
        assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("Evicted"), Some(message)));
        let told = status.conditions.iter().flatten().any(|condition| condition.type_ == "DisruptionTarget");
        assert_eq!(told, expected, "{message}");
    }
}

#[test]
fn a_volumes_image_that_cannot_be_had_keeps_its_container_back() {
    let script = "observe\nobey\nobey\n\
                  volume-pull-failed web r/data:1 no such host\n+2 tick\n+20 tick";
    let text = check(WEB, script);
    for line in [
        "Warning Failed [web] Failed to pull image \"r/data:1\": no such host",
        "Warning Failed [web] Error: ErrImagePull",
        "Normal BackOff [web] Back-off pulling image \"r/data:1\"",
        "Warning Failed [web] Error: ImagePullBackOff",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("r/web:1\""), "{text}");
    assert_eq!(text.matches("PullImage web").count(), 2, "{text}");
}

#[test]
fn a_pod_that_the_node_does_not_take_is_failed_once() {
    let reject = |world: &mut World| {
        world.machine.reject("SysctlForbidden", "forbidden sysctl: \"kernel.msgmax\" not allowlisted".into());
    };
    let mut world = World::new(pod(WEB), PodMemory::default());
    reject(&mut world);
    let (text, world) = check_from(world, "observe\nobey");
    let said = "Warning SysctlForbidden [] forbidden sysctl: \"kernel.msgmax\" not allowlisted";
    assert!(text.contains(said) && !text.contains("SetUpVolumes") && !text.contains("RunSandbox"), "{text}");
    let told = world.status();
    assert_eq!((told.phase.as_deref(), told.reason.as_deref()), (Some("Failed"), Some("SysctlForbidden")));
    assert_eq!(told.container_statuses, None);
    assert_eq!(told.message.as_deref(), Some("Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted"));
    // The next life of the agent says nothing again.
    let mut again = World::new(pod(WEB), world.durable.clone());
    reject(&mut again);
    let (text, again) = check_from(again, "observe\nobey");
    assert!(
        !text.contains("SysctlForbidden [") && again.status().reason.as_deref() == Some("SysctlForbidden"),
        "{text}"
    );
    // What was taken once goes on, also when its memory is lost.
    let (_, running) = check_from(World::new(pod(WEB), PodMemory::default()), UP);
    for memory in [running.durable.clone(), PodMemory::default()] {
        let mut world = World::new(pod(WEB), memory);
        (world.sandbox, world.containers) = (running.sandbox, running.containers.clone());
        reject(&mut world);
        let (_, world) = check_from(world, "observe");
        assert_eq!(world.status().phase.as_deref(), Some("Running"));
    }
}

#[test]
fn what_could_not_be_probed_counts_for_nothing() {
    let probed = longer("    livenessProbe: {tcpSocket: {port: 1}, failureThreshold: 2}\n");
    let (text, _) = check_from(
        World::new(pod(&probed), PodMemory::default()),
        &format!(
            "{UP}
             probe web liveness no refused
             +10 tick
             probe web liveness error containerd is not available
             +10 tick
             probe web liveness odd Probe terminated redirects
             +10 tick
             probe web liveness no refused
             +10 tick
             probe web liveness error containerd is not available
             +10 tick
             probe web liveness no refused"
        ),
    );
    assert_eq!(text.matches("Liveness probe errored and resulted in unknown state: containerd is not").count(), 2);
    assert_eq!(text.matches("ProbeWarning [web] Liveness probe warning: Probe terminated redirects").count(), 1);
    // The second failure in a row, with an error between them.
    let killed = text.find("failed liveness probe, will be restarted").unwrap();
    assert!(text[..killed].matches("Liveness probe failed: refused").count() == 3, "{text}");
}

#[test]
fn a_rule_decides_before_the_containers_policy() {
    let ruled = longer(
        "    restartPolicy: OnFailure
    restartPolicyRules: [{action: Restart, exitCodes: {operator: NotIn, values: [1, 2]}}]
  restartPolicy: Never
",
    );
    let after = |code: i32| {
        let (text, _) = check_from(World::new(pod(&ruled), PodMemory::default()), &format!("{UP}\n+1 exit web {code}"));
        text.contains("= Running") && text.rsplit("> ").next().unwrap().contains("PullImage web")
    };
    // A rule for all but 1 and 2; of those the policy restarts what failed, which they did.
    assert!(after(0) && after(3) && after(1));
    let once = ruled.replace("restartPolicy: OnFailure", "restartPolicy: Never");
    let (text, world) = check_from(World::new(pod(&once), PodMemory::default()), &format!("{UP}\n+1 exit web 2"));
    assert_eq!(world.status().phase.as_deref(), Some("Failed"), "{text}");
}

#[test]
fn a_probe_may_have_a_grace_of_its_own() {
    let probed = longer(
        "    livenessProbe: {grpc: {port: 1}, failureThreshold: 1, terminationGracePeriodSeconds: 3}
  terminationGracePeriodSeconds: 60
",
    );
    let script = format!("{UP}\nprobe web liveness no refused");
    let (text, _) = check_from(World::new(pod(&probed), PodMemory::default()), &script);
    assert!(text.contains("StopContainer web-0 in 3s\n"), "{text}");
}
