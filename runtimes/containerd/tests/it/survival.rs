use crate::harness::*;
use holdfast_runtime::*;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_and_their_logs_outlive_the_agent() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let container =
        node.container("i=0; while [ ! -e /stop ]; do i=$((i+1)); echo line $i; sleep 0.02; done; echo last; exit 9");
    node.run(&runtime, &sandbox, &container).await;
    log_has(&container, "line 3").await;
    drop(runtime);
    let seen = log(&container).len();

    let runtime = node.runtime();
    until("the log goes on", async || log(&container).len() > seen + 5).await;
    assert!(matches!(info(&runtime, &container.id).await.state, ContainerState::Running { .. }));
    assert_eq!(runtime.list_sandboxes().await.unwrap()[0].state, SandboxState::Ready);
    let touch = ExecRequest { command: vec!["touch".into(), "/stop".into()], tty: false, stdin: false };
    let mut session = runtime.exec(&container.id, touch).await.unwrap();
    while session.output.recv().await.is_some() {}
    assert_eq!(exit(&runtime, &container.id).await.0, 9);
    log_has(&container, "last").await;
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_while_the_agent_is_away_is_found() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let container = node.container("echo up; sleep 0.3; exit 6");
    node.run(&runtime, &sandbox, &container).await;
    log_has(&container, "up").await;
    drop(runtime);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let runtime = node.runtime();
    assert_eq!(exit(&runtime, &container.id).await.0, 6);
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_outlive_containerd() {
    let mut node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let container = node.container("i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done");
    let ended = node.container("exit 8");
    node.run(&runtime, &sandbox, &container).await;
    node.run(&runtime, &sandbox, &ended).await;
    assert_eq!(exit(&runtime, &ended.id).await.0, 8);
    log_has(&container, "line 3").await;

    let mut events = runtime.events();
    node.kill_containerd();
    let err = runtime.list_containers().await.unwrap_err();
    assert!(matches!(err, RuntimeError::Unavailable { runtime: "containerd", .. }), "{err:?}");
    let seen = log(&container).len();
    until("the log goes on without containerd", async || log(&container).len() > seen + 3).await;

    node.start_containerd();
    until("a resync is told", async || events.try_recv().is_ok_and(|event| event == RuntimeEvent::Resync)).await;
    assert!(matches!(info(&runtime, &container.id).await.state, ContainerState::Running { .. }));
    assert_eq!(exit(&runtime, &ended.id).await.0, 8);
    runtime.stop_container(&container.id, Some("KILL"), Duration::from_secs(10)).await.unwrap();
    assert_eq!(exit(&runtime, &container.id).await.0, 137);
    until("the exit is told", async || {
        events.try_recv().is_ok_and(|event| event == RuntimeEvent::Exited { container_id: container.id.clone() })
    })
    .await;
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_power_cut_the_sandbox_is_not_ready_and_the_pod_can_be_made_anew() {
    let mut node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let container = node.container("echo up; while :; do sleep 1; done");
    let unstarted = node.container("exit 0");
    node.run(&runtime, &sandbox, &container).await;
    runtime.create_container(&sandbox, &unstarted).await.unwrap();
    log_has(&container, "up").await;
    drop(runtime);
    node.power_cut();

    node.start_containerd();
    let runtime = node.runtime();
    until("containerd answers", async || runtime.version().await.is_ok()).await;
    assert_eq!(runtime.list_sandboxes().await.unwrap()[0].state, SandboxState::NotReady);
    assert_eq!(info(&runtime, &container.id).await.state, ContainerState::Unknown);
    assert_eq!(info(&runtime, &unstarted.id).await.state, ContainerState::Created);
    runtime.remove_sandbox("pod-0").await.unwrap();
    let next = node.sandbox("pod-1");
    let again = node.container("echo again; exit 0");
    node.run(&runtime, &next, &again).await;
    assert_eq!(exit(&runtime, &again.id).await.0, 0);
    log_has(&again, "again").await;
    runtime.remove_sandbox("pod-1").await.unwrap();
    assert_eq!(runtime.list_containers().await.unwrap(), []);
}
