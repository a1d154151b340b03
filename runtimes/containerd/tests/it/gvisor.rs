//! Pods with a kernel of their own. Needs runsc.

use crate::harness::*;
use crate::life::{finish, request};
use holdfast_runtime::*;
use std::process::Command;
use std::time::Duration;

/// Each of another name: kernels of the same name are one to runsc.
fn gvisor(node: &Node, id: &str) -> SandboxSpec {
    crate::security::make_netns(&node.path("netns"));
    let netns = node.path("netns").display().to_string();
    let up = ["ip", "link", "set", "lo", "up"];
    assert!(Command::new("nsenter").arg(format!("--net={netns}")).args(up).status().unwrap().success());
    SandboxSpec { handler: "gvisor".into(), netns_path: netns, ..node.sandbox(id) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_pod_meet_on_localhost() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = gvisor(&node, "gvisor-0");
    let server = node.container("echo up; echo from the server | busybox nc -l -p 7070; echo served; exit 7");
    node.run(&runtime, &sandbox, &server).await;
    log_has(&server, "up").await;
    let client = node.container(
        "cat /proc/version >&2; hostname; until busybox nc 127.0.0.1 7070 </dev/null; do sleep 0.1; done; echo done; sleep 1000",
    );
    node.run(&runtime, &sandbox, &client).await;
    log_has(&client, "from the server").await;
    log_has(&client, "done").await;
    log_has(&client, "web-1").await;
    let kernel = log(&client).into_iter().find(|line| line.starts_with("Linux version")).unwrap();
    let hosts = std::fs::read_to_string("/proc/version").unwrap();
    assert_ne!(kernel.trim(), hosts.trim(), "the pod has a kernel of its own");
    log_has(&server, "served").await;
    assert_eq!(exit(&runtime, &server.id).await, (7, "Error".into(), String::new()));
    assert!(matches!(info(&runtime, &client.id).await.state, ContainerState::Running { .. }));

    // Exec, with streams and exit code; also after another agent has taken over.
    let session = runtime.exec(&client.id, request("echo out; echo err >&2; exit 5", false, false)).await.unwrap();
    assert_eq!(finish(session).await, ("out\n".into(), "err\n".into(), Some(5)));
    drop(runtime);
    let runtime = node.runtime();
    let ready = runtime.list_sandboxes().await.unwrap().iter().all(|sandbox| sandbox.state == SandboxState::Ready);
    assert!(ready);
    let session = runtime.exec(&client.id, request("cat", true, false)).await.unwrap();
    session.input.send(StreamInput::Stdin("to the cat\n".into())).await.unwrap();
    session.input.send(StreamInput::StdinClosed).await.unwrap();
    assert_eq!(finish(session).await.0, "to the cat\n");

    // One that ends by a signal, and one more in the same kernel.
    runtime.stop_container(&client.id, None, Duration::from_millis(200)).await.unwrap();
    assert!(exit(&runtime, &client.id).await.0 > 128);
    let again = node.container("echo again");
    node.run(&runtime, &sandbox, &again).await;
    assert_eq!(exit(&runtime, &again.id).await.0, 0);
    log_has(&again, "again").await;
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
    assert_eq!(runtime.list_containers().await.unwrap(), []);
    assert_eq!(node.pod_cgroups(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_kernel_of_its_own_cannot_share_is_refused() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = SandboxSpec { host_pid: true, ..gvisor(&node, "gvisor-1") };
    let err = runtime.run_sandbox(&sandbox).await.unwrap_err();
    assert_eq!(err.to_string(), "hostPID cannot be had with gVisor: the pod has a kernel of its own");
    let sandbox = SandboxSpec { host_pid: false, ..sandbox };
    let first = node.container("echo up; sleep 1000");
    node.run(&runtime, &sandbox, &first).await;
    let mut debug = node.container("true");
    debug.linux.target_id = first.id.clone();
    let err = runtime.create_container(&sandbox, &debug).await.unwrap_err();
    assert_eq!(err.to_string(), "with gVisor, a container cannot join the processes of another one");
    // A container that cannot be started says so, and leaves the others alone.
    let mut missing = node.container("");
    missing.command = vec!["/nope".into()];
    runtime.create_container(&sandbox, &missing).await.unwrap();
    assert!(runtime.start_container(&missing.id).await.is_err());
    assert!(matches!(info(&runtime, &first.id).await.state, ContainerState::Running { .. }));
    runtime.remove_sandbox(&sandbox.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crun_runs_containers_too_where_it_can() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = SandboxSpec { handler: "crun".into(), ..node.sandbox("pod-0") };
    let mut container = node.container("echo by crun; exit 4");
    container.resources.memory_limit_bytes = 64 << 20;
    runtime.run_sandbox(&sandbox).await.unwrap();
    runtime.create_container(&sandbox, &container).await.unwrap();
    match runtime.start_container(&container.id).await {
        Ok(()) => {
            assert_eq!(exit(&runtime, &container.id).await.0, 4);
            log_has(&container, "by crun").await;
        }
        // It refuses machines that have both versions of cgroups at once.
        Err(err) => assert!(err.to_string().contains("cgroups in hybrid mode"), "{err}"),
    }
    runtime.remove_sandbox("pod-0").await.unwrap();
}
