use crate::harness::*;
use holdfast_runtime::*;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::path::Path;

/// A network namespace of its own, kept by a bind mount that the harness takes away.
pub(crate) fn make_netns(path: &Path) {
    std::fs::write(path, b"").unwrap();
    let path = path.to_path_buf();
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        mount(Some("/proc/thread-self/ns/net"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    });
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_of_a_pod_share_name_network_and_memory() {
    let node = Node::start();
    let runtime = node.ready().await;
    let netns = node.dir.path().join("netns");
    make_netns(&netns);
    let sandbox = SandboxSpec { netns_path: netns.display().to_string(), ..node.sandbox("pod-0") };
    let first = node.container(
        "echo shared >/dev/shm/note; hostname; cat /etc/hostname; ls /sys/class/net; while :; do sleep 1; done",
    );
    node.run(&runtime, &sandbox, &first).await;
    log_has(&first, "lo").await;
    assert_eq!(log(&first), ["web-1", "web-1", "lo"]);
    let second = node.container("hostname; cat /dev/shm/note; echo $HOSTNAME");
    node.run(&runtime, &sandbox, &second).await;
    exit(&runtime, &second.id).await;
    log_has(&second, "shared").await;
    assert_eq!(log(&second)[0], "web-1");
    runtime.stop_sandbox("pod-0").await.unwrap();
    assert_eq!(runtime.list_sandboxes().await.unwrap()[0].state, SandboxState::NotReady);
    assert_eq!(exit(&runtime, &first.id).await.0, 137);
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn security_settings_hold_inside() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    let host = node.dir.path().join("volume");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "from the host").unwrap();
    let mut strict = node.container(
        "id; touch /x || echo no-root-write; touch /data/x || echo no-data-write; cat /data/file; echo; \
         unshare -n true || echo no-unshare; touch /scratch/ok && echo scratch; cat /proc/self/status",
    );
    strict.mounts = vec![
        Mount {
            host_path: host.display().to_string(),
            container_path: "/data".into(),
            read_only: true,
            ..Default::default()
        },
        Mount { container_path: "/scratch".into(), ..Default::default() },
    ];
    strict.security = SecurityContext {
        run_as_user: Some(33),
        run_as_non_root: true,
        supplemental_groups: vec![2000],
        read_only_rootfs: true,
        drop_capabilities: vec!["ALL".into()],
        seccomp: "RuntimeDefault".into(),
        ..Default::default()
    };
    node.run(&runtime, &sandbox, &strict).await;
    exit(&runtime, &strict.id).await;
    log_has(&strict, "Seccomp:\t2").await;
    let lines = log(&strict);
    let has = |text: &str| assert!(lines.iter().any(|line| line.contains(text)), "no {text:?} in {lines:#?}");
    for text in ["uid=33(web) gid=34", "40(logs)", "2000", "no-root-write", "no-data-write", "from the host"] {
        has(text);
    }
    for text in ["no-unshare", "scratch", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000"] {
        has(text);
    }

    let mut root = node.container("cat /proc/self/status; ls /dev");
    root.security.privileged = true;
    node.run(&runtime, &sandbox, &root).await;
    exit(&runtime, &root.id).await;
    log_has(&root, "Seccomp:\t0").await;
    log_has(&root, "zero").await;

    let mut refused = node.container("true");
    refused.security.run_as_non_root = true;
    let err = runtime.create_container(&sandbox, &refused).await.unwrap_err();
    assert_eq!(err, RuntimeError::Config("container has runAsNonRoot and image will run as root".into()));
    runtime.remove_sandbox("pod-0").await.unwrap();
}
