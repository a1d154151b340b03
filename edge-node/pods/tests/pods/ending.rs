//! How pods end when the node does, what is asked of them meanwhile, and what their statuses say of containers.

use crate::life::{UP, WEB, longer, with};
use crate::script::{World, check, check_from, pod, summary};
use holdfast_pods::{PodMemory, typed};

fn condition(world: &World, kind: &str) -> Option<(String, String)> {
    let told = world.status().conditions.unwrap().into_iter().find(|condition| condition.type_ == kind)?;
    Some((told.status, told.reason.unwrap_or_default()))
}

#[test]
fn a_shutdown_ends_what_others_may_replace() {
    let script = format!("{UP}\n+1 shutdown 10 ends\nobey\nobey\nobey");
    let (text, world) = check_from(World::new(pod(WEB), PodMemory::default()), &script);
    assert!(text.contains("StopContainer web-0 in 10s") && text.contains("TearDownVolumes"), "{text}");
    let told = world.status();
    assert_eq!((told.phase.as_deref(), told.reason.as_deref()), (Some("Failed"), Some("Terminated")));
    assert_eq!(told.message.as_deref(), Some("Pod was terminated in response to imminent node shutdown."));
    assert_eq!(condition(&world, "DisruptionTarget"), Some(("True".into(), "TerminationByKubelet".into())));
    assert!(world.machine.is_down());
    let (text, world) = check_from(world, "reboot\nobey\nobey");
    assert!(!text.contains("Start") && world.status().phase.as_deref() == Some("Failed"), "{text}");
    // Its own grace is shorter.
    let short = longer("  terminationGracePeriodSeconds: 3\n");
    assert!(check(&short, &script).contains("StopContainer web-0 in 3s"));
}

#[test]
fn a_shutdown_stops_what_only_this_node_runs_until_the_boot() {
    for policy in ["Always", "OnFailure"] {
        let script = format!("{UP}\n+1 shutdown 10 stays\nobey\nobey\nobey\n+60 tick");
        let (text, world) = check_from(World::new(pod(&with(policy)), PodMemory::default()), &script);
        assert!(text.contains("StopContainer web-0 in 10s") && text.contains("StopSandbox"), "{text}");
        assert!(!text.contains("web-1") && world.machine.is_down(), "{text}");
        assert_eq!(world.status().phase.as_deref(), Some("Running"));
        assert_eq!(condition(&world, "Ready").unwrap().0, "False");
        assert_eq!(condition(&world, "DisruptionTarget"), None);
        let (text, world) = check_from(world, "+99 reboot\nobey\nobey\nobey\nobey");
        assert!(text.contains("StartContainer web-1") && !text.contains("BackOff"), "{text}");
        assert_eq!(summary(&world.status()), "RunningICR web=Running<Error(143) r1 ready");
    }
    // Or it goes on after all.
    let script = format!("{UP}\n+1 shutdown 10 stays\nobey\nobey\nshutdown-cancelled\nobey\nobey\nobey\nobey");
    let (text, world) = check_from(World::new(pod(WEB), PodMemory::default()), &script);
    assert!(text.contains("StartContainer web-1") && world.status().phase.as_deref() == Some("Running"), "{text}");
}

#[test]
fn what_may_run_once_ends_with_a_shutdown() {
    let script = format!("{UP}\n+1 shutdown 10 stays\nobey\nobey\nobey");
    let (_, world) = check_from(World::new(pod(&with("Never")), PodMemory::default()), &script);
    assert_eq!(world.status().reason.as_deref(), Some("Terminated"));
    // What has not begun may begin later.
    let (text, world) = check_from(
        World::new(pod(&with("Never")), PodMemory::default()),
        "observe\nobey\nshutdown 10 stays\nobey\nobey",
    );
    assert!(world.machine.is_down() && world.status().phase.as_deref() == Some("Pending"), "{text}");
    let (text, _) = check_from(world, "reboot\nobey\nobey\nobey\nobey");
    assert!(text.contains("StartContainer web-0"), "{text}");
}

#[test]
fn whether_it_is_ready_is_asked_until_it_has_ended() {
    let probed = longer("    livenessProbe: {grpc: {port: 1}}\n    readinessProbe: {grpc: {port: 2}}\n");
    let up = format!("{UP}\nobey\n+1 delete 30");
    let (text, mut world) = check_from(World::new(pod(&probed), PodMemory::default()), &up);
    assert!(text.contains("RunProbe web-0 Liveness"), "{text}");
    // The container takes its time.
    world.pending.clear();
    let ready = |world: &World| world.status().container_statuses.unwrap()[0].ready;
    assert!(ready(&world));
    let (text, world) = check_from(world, "+10 tick");
    assert!(text.contains("RunProbe web-0 Readiness") && !text.contains("Liveness"), "{text}");
    let refused = "probe web readiness no refused\n+10 tick\n";
    let (text, world) = check_from(world, &refused.repeat(3));
    assert!(text.contains("Readiness probe failed: refused") && !ready(&world), "{text}");
}

#[test]
fn a_container_tells_whom_it_runs_as_and_what_it_was_given() {
    let asks = longer(
        "    resources: {requests: {cpu: 100m}, limits: {memory: 1Gi}}
    volumeMounts: [{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: IfPossible}]
  volumes: [{name: v, emptyDir: {}}]
",
    );
    let mut world = World::new(pod(&asks), PodMemory::default());
    world.machine.set_recursive_read_only(true);
    let (_, world) = check_from(world, &format!("{UP}\nobserve"));
    let told = typed::status_document(&world.status())["containerStatuses"][0].take();
    assert_eq!(told["user"]["linux"].to_string(), r#"{"gid":1000,"supplementalGroups":[1000,2000],"uid":1000}"#);
    assert_eq!(told["allocatedResources"].to_string(), r#"{"cpu":"100m"}"#);
    assert_eq!(told["resources"].to_string(), r#"{"limits":{"memory":"1Gi"},"requests":{"cpu":"100m"}}"#);
    let mount = r#"[{"mountPath":"/v","name":"v","readOnly":true,"recursiveReadOnly":"Enabled"}]"#;
    assert_eq!(told["volumeMounts"].to_string(), mount);
}
