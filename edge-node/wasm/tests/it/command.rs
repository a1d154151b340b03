//! `wasi:cli` pods and core modules.

use crate::support::*;
use holdfast_runtime::*;
use std::time::Duration;

const IMAGE: &str = "registry.local/hello-cli:1";
/// A preview 1 core module whose `_start` calls `proc_exit(7)`.
const EXIT_7: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x08\x02\x60\x01\x7f\0\x60\0\0\
    \x02\x24\x01\x16wasi_snapshot_preview1\x09proc_exit\0\0\
    \x03\x02\x01\x01\
    \x05\x03\x01\0\x01\
    \x07\x13\x02\x06memory\x02\0\x06_start\0\x01\
    \x0a\x08\x01\x06\0\x41\x07\x10\0\x0b";

async fn cli_node() -> Node {
    let node = Node::start().await;
    node.import(IMAGE, &guest("hello-cli")).await.unwrap();
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_runs_to_its_end_with_arguments_environment_and_folders() {
    let node = cli_node().await;
    let folder = node.dir.path().join("volume");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("in"), "from the volume").unwrap();
    let mut container =
        node.container("job-main-0", IMAGE, &["env", "cat=/rw/in", "write=/rw/out", "write=/ro/out", "exit=3"]);
    container.command = vec!["/prog".into()];
    container.env.push(("K".into(), "V".into()));
    let mount = |path: &str, read_only| Mount {
        host_path: folder.display().to_string(),
        container_path: path.into(),
        read_only,
        ..Mount::default()
    };
    container.mounts = vec![mount("/rw", false), mount("/ro", true)];
    node.run(&host_sandbox("job"), &container).await.unwrap();
    assert_eq!(node.ended("job-main-0").await, (3, "Error".into(), String::new()));
    let log = node.log("job-main-0");
    for line in [
        "stdout F args: /prog env cat=/rw/in write=/rw/out write=/ro/out exit=3",
        "stdout F K=V",
        "stdout F HOSTNAME=job",
        "stdout F from the volume",
        "stdout F wrote /rw/out",
    ] {
        assert!(log.iter().any(|found| found == line), "{line}: {log:#?}");
    }
    assert!(log.iter().any(|line| line.starts_with("stderr F /ro/out: ")), "{log:#?}");
    assert_eq!(std::fs::read_to_string(folder.join("out")).unwrap(), "written");
    let again = node.runtime.start_container("job-main-0").await.unwrap_err();
    assert_eq!(again.to_string(), "start container: container \"job-main-0\" has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_stopped_busy_or_asleep() {
    let node = cli_node().await;
    for (id, arg, signal, code) in
        [("busy", "spin", None, 143), ("asleep", "sleep=1000", None, 143), ("killed", "spin", Some("SIGKILL"), 137)]
    {
        let container = node.container(id, IMAGE, &[arg]);
        node.run(&host_sandbox("stop"), &container).await.unwrap();
        assert!(matches!(node.state(id).await, ContainerState::Running { .. }));
        let err = node.runtime.remove_container(id).await.unwrap_err();
        assert!(err.to_string().ends_with("is running"), "{err}");
        node.runtime.stop_container(id, signal, Duration::from_secs(10)).await.unwrap();
        assert_eq!(node.ended(id).await, (code, "Error".into(), String::new()));
        node.runtime.stop_container(id, None, Duration::ZERO).await.unwrap();
    }
    node.runtime.stop_container("unknown", None, Duration::ZERO).await.unwrap();
    node.runtime.remove_sandbox("stop").await.unwrap();
    assert!(node.runtime.list_containers().await.unwrap().is_empty());
    assert!(node.runtime.list_sandboxes().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_core_module_ends_with_its_code() {
    let node = Node::start().await;
    node.import("registry.local/core:1", EXIT_7).await.unwrap();
    let container = node.container("core-main-0", "registry.local/core:1", &[]);
    node.run(&host_sandbox("core"), &container).await.unwrap();
    assert_eq!(node.ended("core-main-0").await.0, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_runs_the_module_again_with_other_arguments() {
    let node = cli_node().await;
    let container = node.container("long-main-0", IMAGE, &["sleep=1000"]);
    node.run(&host_sandbox("long"), &container).await.unwrap();
    let request = ExecRequest {
        command: ["again", "stdin", "nonsense", "exit=5"].map(String::from).into(),
        tty: false,
        stdin: true,
    };
    let mut session = node.runtime.exec("long-main-0", request.clone()).await.unwrap();
    session.input.send(StreamInput::Stdin("typed".into())).await.unwrap();
    session.input.send(StreamInput::StdinClosed).await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let code = loop {
        match tokio::time::timeout(PATIENCE, session.output.recv()).await.unwrap() {
            Some(StreamOutput::Stdout(bytes)) => out.push_str(std::str::from_utf8(&bytes).unwrap()),
            Some(StreamOutput::Stderr(bytes)) => err.push_str(std::str::from_utf8(&bytes).unwrap()),
            Some(StreamOutput::Exited(code)) => break code,
            other => panic!("{other:?}: {out} {err}"),
        }
    };
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (5, "args: again stdin nonsense exit=5\nstdin: typed\n", "unknown argument nonsense\n")
    );
    let [used] = <[ContainerUsage; 1]>::try_from(node.runtime.usage().await.unwrap()).unwrap();
    let memory = used.memory.unwrap();
    assert!(memory.usage >= 64 << 10 && memory.working_set == memory.usage && memory.rss.is_none(), "{memory:?}");
    assert!(used.cpu_nanos.is_some_and(|nanos| nanos > 0), "{used:?}");
    // A session ends with its container.
    let endless = ExecRequest { command: ["again", "spin"].map(String::from).into(), ..request.clone() };
    let mut session = node.runtime.exec("long-main-0", endless).await.unwrap();
    node.runtime.stop_container("long-main-0", None, Duration::from_secs(5)).await.unwrap();
    loop {
        match tokio::time::timeout(PATIENCE, session.output.recv()).await.unwrap() {
            Some(StreamOutput::Stdout(_)) => {}
            last => break assert_eq!(last, Some(StreamOutput::Exited(137))),
        }
    }
    let ended = node.runtime.exec("long-main-0", request).await.unwrap_err();
    assert_eq!(ended.to_string(), "exec: container \"long-main-0\" is not running");
}
