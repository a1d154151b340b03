use crate::harness::*;
use bytes::Bytes;
use holdfast_runtime::*;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_runs_logs_ends_and_leaves_nothing() {
    let node = Node::start();
    let runtime = node.ready().await;
    let mut events = runtime.events();
    let images = runtime.list_images().await.unwrap();
    assert_eq!(images.len(), 1);
    assert!(images[0].names.contains(&IMAGE.to_string()) && images[0].size_bytes > 1_000_000, "{images:?}");
    assert_eq!(runtime.image("registry.local/busybox:1").await.unwrap().unwrap().id, images[0].id);

    let sandbox = node.sandbox("pod-0");
    let mut container = node.container("echo out $FROM_IMAGE $OWN; echo err >&2; cat passwd | tail -n1; exit 3");
    container.env = vec![("OWN".into(), "2".into())];
    node.run(&runtime, &sandbox, &container).await;
    let again = runtime.run_sandbox(&sandbox).await.unwrap();
    assert_eq!(again.state, SandboxState::Ready);
    runtime.create_container(&sandbox, &container).await.unwrap();

    assert_eq!(exit(&runtime, &container.id).await, (3, "Error".into(), String::new()));
    log_has(&container, "out 1 2").await;
    log_has(&container, "err").await;
    log_has(&container, "web:x:33:34::/:/bin/sh").await;
    let text = std::fs::read_to_string(&container.log_path).unwrap();
    assert!(text.contains(" stderr F err\n") && text.contains(" stdout F out 1 2\n"), "{text}");
    let exited = RuntimeEvent::Exited { container_id: container.id.clone() };
    until("the exit is told", async || events.try_recv().is_ok_and(|event| event == exited)).await;
    let found = info(&runtime, &container.id).await;
    assert_eq!((found.sandbox_id.as_str(), found.attempt, found.image.as_str()), ("pod-0", 0, IMAGE));
    assert!(found.image_id.starts_with("registry.local/busybox@sha256:"), "{}", found.image_id);

    let second = node.container("exit 0");
    node.run(&runtime, &sandbox, &second).await;
    assert_eq!(exit(&runtime, &second.id).await.1, "Completed");

    runtime.remove_container(&container.id).await.unwrap();
    runtime.remove_container(&container.id).await.unwrap();
    runtime.remove_sandbox("pod-0").await.unwrap();
    runtime.remove_sandbox("pod-0").await.unwrap();
    assert_eq!(runtime.list_containers().await.unwrap(), []);
    assert_eq!(runtime.list_sandboxes().await.unwrap(), []);
    assert_eq!(node.mounts(), Vec::<String>::new());
    assert_eq!(node.pod_cgroups(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_asks_first_and_kills_after_the_grace() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let polite = node.container("trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.05; done");
    let deaf = node.container("trap '' TERM; echo up; while :; do sleep 0.05; done");
    for container in [&polite, &deaf] {
        node.run(&runtime, &sandbox, container).await;
        runtime.start_container(&container.id).await.unwrap();
        log_has(container, "up").await;
    }
    runtime.stop_container(&polite.id, None, Duration::from_secs(20)).await.unwrap();
    assert_eq!(exit(&runtime, &polite.id).await.0, 5);
    log_has(&polite, "bye").await;
    let begin = std::time::Instant::now();
    runtime.stop_container(&deaf.id, None, Duration::from_millis(300)).await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(exit(&runtime, &deaf.id).await, (137, "Error".into(), String::new()));
    runtime.stop_container(&deaf.id, None, Duration::ZERO).await.unwrap();
    let err = runtime.stop_container(&polite.id, Some("SIGNOPE"), Duration::ZERO).await.unwrap_err();
    assert_eq!(err.to_string(), "unknown signal \"SIGNOPE\"");
    runtime.remove_sandbox("pod-0").await.unwrap();
}

pub(crate) async fn finish(mut session: ExecSession) -> (String, String, Option<i32>) {
    let (mut out, mut err, mut code) = (Vec::new(), Vec::new(), None);
    while let Some(output) = tokio::time::timeout(DEADLINE, session.output.recv()).await.unwrap() {
        match output {
            StreamOutput::Stdout(bytes) => out.extend_from_slice(&bytes),
            StreamOutput::Stderr(bytes) => err.extend_from_slice(&bytes),
            StreamOutput::Exited(found) => code = Some(found),
            StreamOutput::Failed(reason) => panic!("{reason}"),
        }
    }
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
}

pub(crate) fn request(script: &str, stdin: bool, tty: bool) -> ExecRequest {
    ExecRequest { command: vec!["sh".into(), "-c".into(), script.into()], tty, stdin }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exec_carries_streams_exit_codes_and_terminals() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let container = node.container("while :; do sleep 1; done");
    node.run(&runtime, &sandbox, &container).await;
    let id = &container.id;

    let session = runtime.exec(id, request("echo out; echo err >&2; exit 7", false, false)).await.unwrap();
    assert_eq!(finish(session).await, ("out\n".into(), "err\n".into(), Some(7)));

    let session = runtime.exec(id, request("cat; echo end", true, false)).await.unwrap();
    let big = Bytes::from(vec![b'x'; 200_000]);
    let sender = session.input.clone();
    let feed = async move {
        sender.send(StreamInput::Stdin(big)).await.unwrap();
        sender.send(StreamInput::StdinClosed).await.unwrap();
    };
    let (out, _, code) = tokio::join!(finish(session), feed).0;
    assert_eq!((out.len(), out.ends_with("end\n"), code), (200_004, true, Some(0)));

    let session = runtime.exec(id, request("read x; stty size; exit 4", true, true)).await.unwrap();
    session.input.send(StreamInput::Resize(TerminalSize { width: 91, height: 17 })).await.unwrap();
    session.input.send(StreamInput::Stdin(Bytes::from_static(b"go\n"))).await.unwrap();
    let (out, _, code) = finish(session).await;
    assert!(out.contains("17 91") && code == Some(4), "{out:?} {code:?}");

    let session = runtime.exec(id, request("echo started >/tmp-mark; sleep 1000", false, false)).await.unwrap();
    drop(session);
    let listing = || runtime.exec(id, request("for p in /proc/[0-9]*; do cat $p/cmdline; echo; done", false, false));
    until("the dropped session's process is gone", async || {
        !finish(listing().await.unwrap()).await.0.contains("sleep\x001000")
    })
    .await;

    let err =
        runtime.exec(id, ExecRequest { command: vec!["/nope".into()], tty: false, stdin: false }).await.unwrap_err();
    assert!(err.to_string().contains("no such file or directory"), "{err}");
    let io = std::fs::read_dir(node.dir.path().join("run/io").join(id)).unwrap().count();
    assert_eq!(io, 2, "FIFOs of exec sessions are left");
    runtime.remove_sandbox("pod-0").await.unwrap();
    let err = runtime.exec(id, request("true", false, false)).await.unwrap_err();
    assert!(matches!(err, RuntimeError::NotFound(_)), "{err}");
}
