//! The bytes of the wire records. A change here breaks agents and hosts of different releases: take a new
//! `VERSION` instead.
// Helpers of tests are tests.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use holdfast_core::Timestamp;
use holdfast_runtime::*;
use holdfast_wasm_client::frame;
use holdfast_wasm_client::wire::*;
const GOLDEN: &str = include_str!("golden-v1.txt");

use serde::{Serialize, de::DeserializeOwned};

/// Adds `name hex` to `lines`, and reads the record back from the bytes that were written when version 1 was new.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(lines: &mut String, name: &str, record: &T) {
    let hex: String = frame::encode(record).unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    lines.push_str(&format!("{name} {hex}\n"));
    if let Some(old) = GOLDEN.lines().find_map(|line| line.strip_prefix(&format!("{name} "))) {
        let bytes: Vec<u8> =
            (8..old.len()).step_by(2).map(|at| u8::from_str_radix(&old[at..at + 2], 16).unwrap()).collect();
        assert_eq!(&frame::decode::<T>(&bytes).unwrap(), record, "{name}");
    }
}

fn sandbox() -> SandboxSpec {
    SandboxSpec {
        id: "s".into(),
        pod_uid: "u".into(),
        pod_name: "p".into(),
        pod_namespace: "n".into(),
        hostname: "h".into(),
        handler: "wasmtime".into(),
        netns_path: "/run/netns/w".into(),
        ips: vec!["10.0.0.1".into()],
        host_pid: false,
        host_ipc: false,
        share_process_namespace: false,
        cgroup_parent: "/c".into(),
        sysctls: [("a".to_string(), "b".to_string())].into(),
        labels: [("k".to_string(), "v".to_string())].into(),
        ..SandboxSpec::default()
    }
}

fn container() -> ContainerSpec {
    ContainerSpec {
        id: "c".into(),
        name: "n".into(),
        attempt: 1,
        image: "i".into(),
        command: vec!["x".into()],
        args: vec!["y".into()],
        working_dir: "/".into(),
        env: vec![("K".into(), "V".into())],
        mounts: vec![Mount {
            host_path: "/h".into(),
            container_path: "/m".into(),
            read_only: true,
            propagation: String::new(),
            recursive_read_only: false,
            no_exec: false,
        }],
        devices: vec![Device { host_path: "/dev/a".into(), container_path: "/dev/b".into(), permissions: "r".into() }],
        resources: Resources {
            cpu_shares: 2,
            cpu_quota_us: -1,
            cpu_period_us: 100_000,
            memory_limit_bytes: 1 << 20,
            oom_score_adj: -997,
        },
        security: SecurityContext { run_as_user: Some(1000), run_as_non_root: true, ..SecurityContext::default() },
        log_path: "/l".into(),
        tty: false,
        stdin: true,
        stdin_once: false,
        ports: vec![("http".into(), 8080, "TCP".into())],
        linux: LinuxOptions::default(),
    }
}

fn info(state: ContainerState) -> ContainerInfo {
    ContainerInfo {
        id: "c".into(),
        sandbox_id: "s".into(),
        name: "n".into(),
        attempt: 0,
        image: "i".into(),
        image_id: "sha256:0".into(),
        state,
    }
}

#[test]
fn version_1_reads_and_writes_as_ever() {
    assert_eq!(VERSION, 1);
    let mut lines = String::new();
    let out = &mut lines;
    let hello = |purpose| Hello { protocol: PROTOCOL.into(), version: 1, purpose };
    check(out, "hello-control", &hello(Purpose::Control));
    let exec = Purpose::Exec { container_id: "c".into(), command: vec!["a".into()], tty: false, stdin: true };
    check(out, "hello-exec", &hello(exec));
    check(out, "welcome", &Welcome::Ready { version: 1 });
    let requests = [
        Request::Version,
        Request::RunSandbox(Box::new(sandbox())),
        Request::StopSandbox { id: "s".into() },
        Request::RemoveSandbox { id: "s".into() },
        Request::ListSandboxes,
        Request::Image { reference: "i".into() },
        Request::PullImage { reference: "i".into() },
        Request::ListImages,
        Request::ImportImage { path: "/t".into() },
        Request::CreateContainer { sandbox: Box::new(sandbox()), container: Box::new(container()) },
        Request::StartContainer { id: "c".into() },
        Request::StopContainer { id: "c".into(), signal: Some("SIGTERM".into()), grace_millis: 30_000 },
        Request::RemoveContainer { id: "c".into() },
        Request::ListContainers,
        Request::Usage,
        Request::PulledImages,
        Request::TakeImage { path: "/t".into() },
        Request::RemoveImage { id: "i".into() },
        Request::ImageFs,
    ];
    for (number, request) in requests.into_iter().enumerate() {
        check(out, &format!("call-{number}"), &Call { id: 300, request });
    }
    let at = Timestamp::from_secs(1_800_000_000);
    let exited = ContainerState::Exited {
        started_at: at,
        finished_at: at,
        exit_code: 143,
        reason: "Error".into(),
        message: "m".into(),
    };
    let sandbox_info =
        SandboxInfo { id: "s".into(), pod_uid: "u".into(), state: SandboxState::NotReady, created_at: at };
    let image = ImageInfo {
        id: "sha256:0".into(),
        names: vec!["i".into()],
        size_bytes: 90_000,
        is_wasm: true,
        user: String::new(),
    };
    let replies = [
        Reply::Done,
        Reply::Version(RuntimeVersion { name: "wasmtime".into(), version: "48".into() }),
        Reply::Sandbox(sandbox_info.clone()),
        Reply::Sandboxes(vec![sandbox_info]),
        Reply::Image(Some(image.clone())),
        Reply::Images(vec![image]),
        Reply::Names(vec!["i".into()]),
        Reply::Containers(vec![
            info(ContainerState::Created),
            info(ContainerState::Running { started_at: at }),
            info(exited),
            info(ContainerState::Unknown),
        ]),
        Reply::Usages(vec![GuestUsage { id: "c".into(), cpu_nanos: 300, memory_bytes: 1 }]),
        Reply::FileSystem(FileSystem {
            capacity_bytes: 300,
            available_bytes: 2,
            used_bytes: 3,
            inodes: 4,
            inodes_free: 5,
            device: 6,
        }),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        check(out, &format!("reply-{number}"), &HostFrame::Reply { id: 1, result: Ok(reply) });
    }
    check(out, "event-exited", &HostFrame::Exited { container_id: "c".into() });
    check(out, "event-resync", &HostFrame::Resync);
    let errors = [
        RuntimeError::ImagePull { image: "i".into(), reason: "r".into() },
        RuntimeError::ImageNeverPull("i".into()),
        RuntimeError::InvalidImageName { image: "i".into(), reason: "r".into() },
        RuntimeError::BadImage { image: "i".into(), reason: "r".into() },
        RuntimeError::Config("t".into()),
        RuntimeError::NotFound("container \"c\"".into()),
        RuntimeError::Unavailable { runtime: RUNTIME, reason: "r".into() },
        RuntimeError::Failed { operation: "start container", reason: "r".into() },
        RuntimeError::NotImplemented(NOT_EXEC),
    ];
    for (number, error) in errors.into_iter().enumerate() {
        let wire = WireError::from(error.clone());
        check(out, &format!("error-{number}"), &HostFrame::Reply { id: 1, result: Err(wire.clone()) });
        assert_eq!(RuntimeError::from(wire), error, "an error survives the wire");
    }
    let bytes = bytes::Bytes::from_static(b"hi");
    check(out, "exec-in-0", &ExecIn::Stdin(bytes.clone()));
    check(out, "exec-in-1", &ExecIn::StdinClosed);
    check(out, "exec-in-2", &ExecIn::Resize { width: 80, height: 24 });
    check(out, "exec-out-0", &ExecOut::Stdout(bytes.clone()));
    check(out, "exec-out-1", &ExecOut::Stderr(bytes));
    check(out, "exec-out-2", &ExecOut::Exited(-1));
    check(out, "exec-out-3", &ExecOut::Failed("f".into()));
    assert!(lines == GOLDEN, "the bytes changed:\n{lines}");
}
