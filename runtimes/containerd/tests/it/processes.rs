//! Who sees whose processes.

use crate::harness::*;
use crate::life::{finish, request};
use holdfast_containerd::ContainerdRuntime;
use holdfast_runtime::*;

/// Prints what is first in its PID namespace.
const FIRST: &str = "cat /proc/1/stat";
/// Goes on, and says so once it is there.
const STAY: &str = "echo up; exec tail -f /dev/null";

async fn said(runtime: &ContainerdRuntime, id: &str, script: &str) -> String {
    finish(runtime.exec(id, request(script, false, false)).await.unwrap()).await.0
}

async fn ready(runtime: &ContainerdRuntime) -> bool {
    runtime.list_sandboxes().await.unwrap().iter().all(|sandbox| sandbox.state == SandboxState::Ready)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_share_processes_see_each_other_and_leave_no_zombies() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = SandboxSpec { share_process_namespace: true, ..node.sandbox("pod-0") };
    // Its child outlives the shell that began it.
    let parent = node.container("sh -c 'sleep 0.2 & true'; echo up; exec tail -f /dev/null");
    let other = node.container(STAY);
    for container in [&parent, &other] {
        node.run(&runtime, &sandbox, container).await;
        log_has(container, "up").await;
    }
    let first = said(&runtime, &other.id, FIRST).await;
    assert!(first.starts_with("1 (holder) S 0 "), "{first}");
    let tails = said(&runtime, &other.id, "cat /proc/[0-9]*/stat").await.matches("(tail)").count();
    assert_eq!(tails, 2);
    until("the orphan is buried", async || {
        !said(&runtime, &other.id, "cat /proc/[0-9]*/stat").await.contains("(sleep)")
    })
    .await;
    let listed = runtime.list_containers().await.unwrap();
    assert_eq!(listed.len(), 2, "the holder is no container: {listed:?}");

    // Another agent finds all of it; the end of one container is not that of the others.
    drop(runtime);
    let runtime = node.runtime();
    assert!(ready(&runtime).await);
    runtime.run_sandbox(&sandbox).await.unwrap();
    runtime.stop_container(&parent.id, None, std::time::Duration::ZERO).await.unwrap();
    assert_eq!(exit(&runtime, &parent.id).await.0, 137);
    assert!(matches!(info(&runtime, &other.id).await.state, ContainerState::Running { .. }));

    // Whoever may end processes of the pod cannot end the first from inside.
    said(&runtime, &other.id, "kill -9 1").await;
    assert!(ready(&runtime).await);
    let mut events = runtime.events();
    let id = &other.id;
    let holder = node.holder();
    nix::sys::signal::kill(holder, nix::sys::signal::Signal::SIGKILL).unwrap();
    until("the sandbox is known to be lost", async || !ready(&runtime).await).await;
    let told = RuntimeEvent::Exited { container_id: "pod-0".into() };
    until("its end is told", async || events.try_recv().is_ok_and(|event| event == told)).await;
    assert_eq!(exit(&runtime, id).await.0, 137);
    runtime.remove_sandbox("pod-0").await.unwrap();
    assert_eq!(node.mounts(), Vec::<String>::new());
    assert_eq!(node.pod_cgroups(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_sandbox_comes_back_after_a_power_cut() {
    let mut node = Node::start();
    let runtime = node.ready().await;
    let sandbox = SandboxSpec { share_process_namespace: true, ..node.sandbox("pod-0") };
    let container = node.container(STAY);
    node.run(&runtime, &sandbox, &container).await;
    drop(runtime);
    node.power_cut();
    node.start_containerd();
    let runtime = node.runtime();
    until("containerd answers", async || runtime.version().await.is_ok()).await;
    assert!(!ready(&runtime).await);
    assert_eq!(info(&runtime, &container.id).await.state, ContainerState::Unknown);
    // The same sandbox made anew, as after an interrupted start.
    let again = node.container(STAY);
    node.run(&runtime, &sandbox, &again).await;
    log_has(&again, "up").await;
    assert!(ready(&runtime).await && said(&runtime, &again.id, FIRST).await.starts_with("1 (holder)"));
    runtime.remove_sandbox("pod-0").await.unwrap();
    assert_eq!(node.mounts(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_sees_the_processes_of_its_target_alone() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let target = node.container("echo up; exec tail -f /dev/null; true #target");
    node.run(&runtime, &sandbox, &target).await;
    log_has(&target, "up").await;
    let mut debug = node.container("cat /proc/1/cmdline; echo");
    debug.linux.target_id = target.id.clone();
    node.run(&runtime, &sandbox, &debug).await;
    log_has(&debug, "tail\0-f\0/dev/null\0").await;
    let alone = node.container("cat /proc/1/cmdline; echo");
    node.run(&runtime, &sandbox, &alone).await;
    exit(&runtime, &alone.id).await;
    until("it has spoken", async || !log(&alone).is_empty()).await;
    assert!(!log(&alone)[0].contains("tail"), "{:?}", log(&alone));

    runtime.stop_container(&target.id, None, std::time::Duration::ZERO).await.unwrap();
    let mut late = node.container("true");
    late.linux.target_id = target.id.clone();
    let err = runtime.create_container(&sandbox, &late).await.unwrap_err();
    assert_eq!(err, RuntimeError::Config(format!("target container {} is not running", target.id)));
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hosts_processes_and_memory_are_there_when_asked_for() {
    let node = Node::start();
    let runtime = node.ready().await;
    let note = format!("/dev/shm/{}", node.namespace);
    std::fs::write(&note, "from the host").unwrap();
    let script =
        format!("[ -d /proc/{} ] && echo process || echo none; cat {note} || echo nothing", std::process::id());
    let open = SandboxSpec { host_pid: true, host_ipc: true, share_process_namespace: true, ..node.sandbox("pod-0") };
    let closed = node.sandbox("pod-1");
    let (seeing, blind) = (node.container(&script), node.container(&script));
    node.run(&runtime, &open, &seeing).await;
    node.run(&runtime, &closed, &blind).await;
    for container in [&seeing, &blind] {
        exit(&runtime, &container.id).await;
    }
    std::fs::remove_file(&note).unwrap();
    assert_eq!(log(&seeing), ["process", "from the host"]);
    assert!(log(&blind).contains(&"none".to_string()) && log(&blind).contains(&"nothing".to_string()));
    for pod in ["pod-0", "pod-1"] {
        runtime.remove_sandbox(pod).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_names_the_signal_that_stops_it() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let mut container = node.container("trap 'exit 3' TERM; trap 'exit 4' USR1; echo up; while :; do sleep 0.05; done");
    container.linux.stop_signal = "SIGUSR1".into();
    node.run(&runtime, &sandbox, &container).await;
    log_has(&container, "up").await;
    runtime.stop_container(&container.id, None, std::time::Duration::from_secs(20)).await.unwrap();
    assert_eq!(exit(&runtime, &container.id).await.0, 4);
    runtime.remove_sandbox("pod-0").await.unwrap();
}
