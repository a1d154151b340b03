//! Other limits for what runs, read from the cgroups.

use crate::harness::*;
use holdfast_runtime::*;
use std::path::PathBuf;

const MIB: i64 = 1 << 20;

fn cgroup(controller: &str, path: &str, file: &str) -> String {
    let one = PathBuf::from("/sys/fs/cgroup").join(controller).join(path.trim_start_matches('/')).join(file);
    let text = std::fs::read_to_string(&one).unwrap_or_else(|err| panic!("{}: {err}", one.display()));
    text.trim().to_string()
}

/// Shares, quota and memory limit of a cgroup, as version 1 says them.
fn limits(path: &str) -> (i64, i64, i64) {
    let number = |text: &str| if text == "max" { -1 } else { text.parse::<i64>().unwrap() };
    if PathBuf::from("/sys/fs/cgroup/cgroup.controllers").exists() {
        let weight = number(&cgroup("", path, "cpu.weight"));
        let quota = cgroup("", path, "cpu.max");
        return (
            2 + (weight - 1) * 262_142 / 9999,
            number(quota.split(' ').next().unwrap()),
            number(&cgroup("", path, "memory.max")),
        );
    }
    let memory = number(&cgroup("memory", path, "memory.limit_in_bytes"));
    let memory = if memory > 1 << 61 { -1 } else { memory };
    (number(&cgroup("cpu", path, "cpu.shares")), number(&cgroup("cpu", path, "cpu.cfs_quota_us")), memory)
}

fn resources(shares: u64, quota: i64, mebibytes: i64) -> Resources {
    Resources {
        cpu_shares: shares,
        cpu_quota_us: quota,
        cpu_period_us: 100_000,
        memory_limit_bytes: mebibytes * MIB,
        oom_score_adj: 0,
    }
}

fn together(shares: u64, quota: i64, mebibytes: i64) -> PodCgroup {
    PodCgroup {
        cpu_shares: shares,
        cpu_quota_us: quota,
        cpu_period_us: 100_000,
        memory_limit_bytes: mebibytes * MIB,
        pids_limit: 50,
    }
}

fn resize(sandbox: &SandboxSpec, pod: PodCgroup, container: &ContainerSpec, resources: Resources) -> Resize {
    let containers = vec![(container.id.clone(), resources, MoreLimits::default())];
    Resize { cgroup_parent: sandbox.cgroup_parent.clone(), pod, containers }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_and_its_containers_take_other_limits_while_they_run() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = SandboxSpec { cgroup: together(512, 50_000, 64), ..node.sandbox("pod-0") };
    let mut container = node.container("echo up; exec tail -f /dev/null");
    container.resources = resources(512, 50_000, 64);
    node.run(&runtime, &sandbox, &container).await;
    log_has(&container, "up").await;
    let (pod, own) = (sandbox.cgroup_parent.clone(), format!("{}/{}", sandbox.cgroup_parent, container.id));
    let near = |path: &str, (shares, quota, memory): (i64, i64, i64)| {
        let found = limits(path);
        // Version 2 counts shares more coarsely.
        assert!((found.0 - shares).abs() <= 26, "{path}: {found:?}");
        assert_eq!((found.1, found.2), (quota, memory), "{path}");
    };
    near(&pod, (512, 50_000, 64 * MIB));
    near(&own, (512, 50_000, 64 * MIB));
    assert_eq!(cgroup(if PathBuf::from("/sys/fs/cgroup/pids").exists() { "pids" } else { "" }, &pod, "pids.max"), "50");
    let started = info(&runtime, &container.id).await;

    // More than the pod had: it grows before the container does, or the kernel would refuse.
    let more = resize(&sandbox, together(1024, 100_000, 128), &container, resources(1024, 100_000, 128));
    runtime.resize(&more).await.unwrap();
    near(&pod, (1024, 100_000, 128 * MIB));
    near(&own, (1024, 100_000, 128 * MIB));
    // Again, as after a kill of the agent in the middle.
    runtime.resize(&more).await.unwrap();

    // Less: the container shrinks before the pod does.
    let less = resize(&sandbox, together(256, 20_000, 32), &container, resources(256, 20_000, 32));
    runtime.resize(&less).await.unwrap();
    near(&pod, (256, 20_000, 32 * MIB));
    near(&own, (256, 20_000, 32 * MIB));

    // No limit at all.
    let none = resize(
        &sandbox,
        PodCgroup { cpu_shares: 2, ..PodCgroup::default() },
        &container,
        Resources { cpu_shares: 2, ..Resources::default() },
    );
    runtime.resize(&none).await.unwrap();
    near(&pod, (2, -1, -1));
    near(&own, (2, -1, -1));
    assert_eq!(info(&runtime, &container.id).await, started, "it went on");

    // The sandbox asked for again does not take what was given since.
    runtime.run_sandbox(&sandbox).await.unwrap();
    near(&pod, (2, -1, -1));
    runtime.remove_sandbox("pod-0").await.unwrap();
    assert_eq!(node.pod_cgroups(), Vec::<PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_that_is_in_use_is_not_taken_away() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = SandboxSpec { cgroup: together(512, 50_000, 256), ..node.sandbox("pod-0") };
    // A shell that holds some tens of megabytes in a variable.
    let script = "big=x; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24; do big=$big$big; done; \
                  echo held ${#big}; while :; do sleep 1; done";
    let mut container = node.container(script);
    container.resources = resources(512, 50_000, 256);
    node.run(&runtime, &sandbox, &container).await;
    until("it holds memory", async || log(&container).iter().any(|line| line.starts_with("held"))).await;
    let less = resize(&sandbox, together(512, 50_000, 8), &container, resources(512, 50_000, 8));
    let err = runtime.resize(&less).await.unwrap_err().to_string();
    assert!(err.starts_with("resize: attempting to set pod memory limit (8388608) below current usage ("), "{err}");
    assert_eq!(limits(&sandbox.cgroup_parent).2, 256 * MIB);
    assert!(matches!(info(&runtime, &container.id).await.state, ContainerState::Running { .. }));
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cgroups_above_pods_are_made() {
    let node = Node::start();
    let runtime = node.ready().await;
    let root = format!("/{}/kubepods", node.namespace);
    let classes = [("burstable".to_string(), 512), ("besteffort".to_string(), 2)].into();
    let all = PodCgroup { cpu_shares: 2048, memory_limit_bytes: 1024 * MIB, ..PodCgroup::default() };
    let cgroups = NodeCgroups { root: root.clone(), all, classes };
    runtime.shape_node(&cgroups).await.unwrap();
    runtime.shape_node(&cgroups).await.unwrap();
    assert_eq!(limits(&root).2, 1024 * MIB);
    assert!((limits(&format!("{root}/burstable")).0 - 512).abs() <= 26);
    assert_eq!(limits(&format!("{root}/besteffort")).0, 2);
}
