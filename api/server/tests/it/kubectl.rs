//! Streams as a real kubectl speaks them: over WebSocket, and over SPDY as older ones do. `KUBECTL` names the program.

use crate::client::ADMIN;
use crate::fake::Hub;
use serde_json::json;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

const WAYS: [&str; 2] = ["true", "false"];

/// A kubectl of this hub; `websockets` is what it is told to speak.
async fn kubectl(hub: &Hub, websockets: &str, arguments: &[&str]) -> Option<Child> {
    let named = std::env::var("KUBECTL").ok();
    let program = named.clone().unwrap_or_else(|| "kubectl".into());
    if !Command::new(&program).args(["version", "--client"]).output().await.is_ok_and(|out| out.status.success()) {
        assert!(named.is_none(), "KUBECTL={program} does not run");
        eprintln!("skipped: no kubectl on this machine");
        return None;
    }
    let child = Command::new(program)
        .arg(format!("--server=https://localhost:{}", hub.server.address().port()))
        .arg("--insecure-skip-tls-verify")
        .arg(format!("--token={ADMIN}"))
        .arg(format!("--cache-dir={}", std::env::temp_dir().join("holdfast-kubectl-cache").display()))
        .args(["--kubeconfig=/dev/null", "--namespace=a"])
        .args(arguments)
        .env("KUBECTL_PORT_FORWARD_WEBSOCKETS", websockets)
        .env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", websockets)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    Some(child.unwrap())
}

async fn hub() -> Hub {
    let hub = Hub::start().await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "a"},
        "spec": {"containers": [{"name": "c", "stdin": true}]}, "status": {"phase": "Running"}});
    hub.ask("POST", "/api/v1/namespaces/a/pods", Some(pod)).await;
    hub
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_forwards_ports() {
    let hub = hub().await;
    for websockets in WAYS {
        let Some(mut child) = kubectl(&hub, websockets, &["port-forward", "pod/x", ":80"]).await else { return };
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(60), lines.next_line()).await.expect("a line in time");
        let Some(line) = line.unwrap() else {
            let mut told = String::new();
            child.stderr.take().unwrap().read_to_string(&mut told).await.unwrap();
            panic!("websockets={websockets}: {told}");
        };
        let port: u16 =
            line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split(' ').next()).unwrap().parse().unwrap();
        for round in 0..4 {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let sent = format!("round {round} of websockets={websockets} {}", "x".repeat(100_000));
            stream.write_all(sent.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut echo = String::new();
            let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_string(&mut echo)).await;
            read.expect("an echo in time").unwrap();
            assert!(echo == sent, "{} of {} bytes came back", echo.len(), sent.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_runs_commands() {
    let hub = hub().await;
    for websockets in WAYS {
        let Some(mut child) = kubectl(&hub, websockets, &["exec", "-i", "x", "--", "cat"]).await else { return };
        child.stdin.take().unwrap().write_all(b"through\n").await.unwrap();
        let out =
            tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.expect("its end").unwrap();
        let told = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success() && out.stdout == b"through\n", "websockets={websockets}: {told}");
        let child = kubectl(&hub, websockets, &["exec", "x", "--", "exit", "7"]).await.unwrap();
        let out =
            tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await.expect("its end").unwrap();
        assert_eq!(out.status.code(), Some(7), "websockets={websockets}");
    }
}
