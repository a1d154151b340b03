//! Logs that grow.

use crate::harness::*;
use holdfast_containerd::ContainerdConfig;
use holdfast_runtime::cri_log::parse_line;
use holdfast_runtime::*;
use std::path::Path;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_log_is_put_aside_and_its_oldest_files_go() {
    let node = Node::start();
    let config = ContainerdConfig { log_max_bytes: 500, log_max_files: 3, ..node.config() };
    let runtime = node.ready_with(config).await;
    let sandbox = node.sandbox("pod-0");
    let container = node.container("i=0; while [ ! -e /stop ]; do i=$((i+1)); echo $i; done; echo last");
    node.run(&runtime, &sandbox, &container).await;
    let path = Path::new(&container.log_path);
    until("some files have gone", async || {
        log_files::aside(path).unwrap().first().is_some_and(|(number, _)| *number > 2)
    })
    .await;
    let touch = ExecRequest { command: vec!["touch".into(), "/stop".into()], tty: false, stdin: false };
    let mut session = runtime.exec(&container.id, touch).await.unwrap();
    while session.output.recv().await.is_some() {}
    assert_eq!(exit(&runtime, &container.id).await.0, 0);
    // All of it is there once the end is told.
    let files = log_files::all(path).unwrap();
    assert_eq!(files.len(), 3, "{files:?}");
    let text: Vec<u8> = files.iter().flat_map(|file| std::fs::read(file).unwrap_or_default()).collect();
    let lines: Vec<String> = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| String::from_utf8_lossy(parse_line(line).unwrap().text).into_owned())
        .collect();
    assert_eq!(lines.last().unwrap(), "last");
    let numbers: Vec<u64> = lines[..lines.len() - 1].iter().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "lines are missing");
    runtime.remove_sandbox("pod-0").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_words_reach_the_file_that_is_mounted_for_them() {
    let node = Node::start();
    let runtime = node.ready().await;
    let sandbox = node.sandbox("pod-0");
    for (name, inside) in [("usual", "/dev/termination-log"), ("own", "/var/said/last")] {
        let file = node.path(name);
        std::fs::write(&file, "").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        let mut container = node.container(&format!("echo bye >{inside}"));
        container.mounts =
            vec![Mount { host_path: file.display().to_string(), container_path: inside.into(), ..Default::default() }];
        container.security = SecurityContext { run_as_user: Some(33), read_only_rootfs: true, ..Default::default() };
        node.run(&runtime, &sandbox, &container).await;
        assert_eq!(exit(&runtime, &container.id).await.0, 0, "{:?}", log(&container));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "bye\n");
    }
    runtime.remove_sandbox("pod-0").await.unwrap();
}
