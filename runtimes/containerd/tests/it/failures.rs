use crate::harness::*;
use holdfast_runtime::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_run_says_why() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    runtime.run_sandbox(&sandbox).await.unwrap();

    let err = runtime.image("No Such").await.unwrap_err();
    assert!(matches!(err, RuntimeError::InvalidImageName { .. }), "{err:?}");
    assert_eq!(runtime.image("registry.local/absent:1").await.unwrap(), None);
    let absent = ContainerSpec { image: "registry.local/absent:1".into(), ..node.container("true") };
    let err = runtime.create_container(&sandbox, &absent).await.unwrap_err();
    assert!(matches!(err, RuntimeError::ImagePull { .. }), "{err:?}");

    let missing = ContainerSpec { command: vec!["/no/such".into()], args: vec![], ..node.container("") };
    runtime.create_container(&sandbox, &missing).await.unwrap();
    let err = runtime.start_container(&missing.id).await.unwrap_err();
    assert!(err.to_string().contains("no such file or directory"), "{err}");
    let (code, reason, message) = exit(&runtime, &missing.id).await;
    assert_eq!((code, reason.as_str()), (128, "StartError"));
    assert!(message.contains("/no/such"), "{message}");
    let err = runtime.start_container(&missing.id).await.unwrap_err();
    assert_eq!(err.to_string(), "start container: it has ended");

    let err = runtime.start_container("never-made").await.unwrap_err();
    assert!(matches!(err, RuntimeError::NotFound(_)), "{err:?}");
    let stray = SandboxSpec { id: "stray".into(), ..node.sandbox("stray") };
    let err = runtime.create_container(&stray, &node.container("true")).await.unwrap_err();
    assert_eq!(err.to_string(), "create container: sandbox stray is not ready");
    let err = runtime.run_sandbox(&SandboxSpec { handler: "kata".into(), ..node.sandbox("k") }).await.unwrap_err();
    assert!(err.to_string().contains("no runtime for \"kata\" is configured"), "{err}");
    let err = runtime.run_sandbox(&SandboxSpec { netns_path: "/etc/passwd".into(), ..node.sandbox("n") }).await;
    assert!(err.unwrap_err().to_string().contains("is no network namespace"));

    let noise = node.dir.path().join("noise.tar");
    std::fs::write(&noise, [1; 4096]).unwrap();
    let err = runtime.import_image(&noise).await.unwrap_err();
    assert!(err.to_string().contains("not a tar file"), "{err}");
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_killed_for_memory_says_so() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let mut container = node.container("dd if=/dev/zero of=/dev/null bs=200M count=3");
    container.resources.memory_limit_bytes = 32 << 20;
    node.run(&runtime, &sandbox, &container).await;
    let (code, reason, _) = exit(&runtime, &container.id).await;
    assert_eq!((code, reason.as_str()), (137, "OOMKilled"));
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_containerd_every_call_says_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let config = holdfast_containerd::ContainerdConfig::new(dir.path().join("no.sock"), dir.path());
    let runtime = holdfast_containerd::ContainerdRuntime::new(config);
    let err = runtime.version().await.unwrap_err();
    assert!(matches!(err, RuntimeError::Unavailable { .. }), "{err:?}");
    assert!(
        err.to_string().contains("/no.sock (") && err.to_string().ends_with("is it installed and running?"),
        "{err}"
    );
    let err = runtime.list_sandboxes().await.unwrap_err();
    assert!(err.to_string().starts_with("containerd is not available: "), "{err}");
}
