//! The agent comes back to a host that went on; the host comes back and tells what was lost.

use crate::support::*;
use holdfast_runtime::*;
use holdfast_wasm_client::{WasmConfig, WasmRuntime};
use nix::sys::signal::Signal;
use std::time::Duration;

const IMAGE: &str = "registry.local/hello-wasm:1";

#[tokio::test(flavor = "multi_thread")]
async fn pods_survive_the_agent() {
    let mut node = Node::start().await;
    let netns = Netns::new(&["10.77.0.6/32"]);
    node.import(IMAGE, &guest("hello-wasm")).await.unwrap();
    let container = node.container("web-main-0", IMAGE, &[]);
    let sandbox = netns.sandbox("web", "10.77.0.6");
    node.run(&sandbox, &container).await.unwrap();
    // A new client is a new agent; the old one is dropped with its connection.
    node.runtime = WasmRuntime::connect(WasmConfig {
        socket: node.dir.path().join("run/wasm.sock"),
        spool: node.dir.path().join("spool"),
    });
    assert_eq!(netns.get("10.77.0.6:8080", "/").0, 200);
    assert!(matches!(node.state("web-main-0").await, ContainerState::Running { .. }));
    // What the agent does again is fine.
    node.run(&sandbox, &container).await.unwrap();
    assert_eq!(node.runtime.list_containers().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_host_comes_back_with_images_and_tells_what_was_lost() {
    let mut node = Node::start().await;
    let netns = Netns::new(&["10.77.0.7/32"]);
    node.import(IMAGE, &guest("hello-wasm")).await.unwrap();
    let sandbox = netns.sandbox("web", "10.77.0.7");
    node.run(&sandbox, &node.container("web-main-0", IMAGE, &[])).await.unwrap();
    let mut events = node.runtime.events();
    node.end(Signal::SIGKILL);
    let gone = node.runtime.version().await.unwrap_err();
    assert!(matches!(gone, RuntimeError::Unavailable { runtime: "wasm", .. }), "{gone}");
    node.again();
    node.ready().await;
    let event = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
    assert_eq!(event, RuntimeEvent::Resync);
    let (code, reason, message) = node.ended("web-main-0").await;
    assert_eq!((code, reason.as_str()), (255, "Error"));
    assert_eq!(message, "the Wasm host process ended while the container ran");
    assert_eq!(node.runtime.list_sandboxes().await.unwrap()[0].state, SandboxState::Ready);
    // What the agent does next, without importing or compiling anything.
    node.runtime.remove_container("web-main-0").await.unwrap();
    node.run(&sandbox, &node.container("web-main-1", IMAGE, &[])).await.unwrap();
    assert_eq!(netns.get("10.77.0.7:8080", "/").0, 200);
    assert_eq!(node.stderr().matches("Compiled a module").count(), 1, "{}", node.stderr());
    // A reboot clears the folder of the socket.
    node.end(Signal::SIGKILL);
    std::fs::remove_dir_all(node.dir.path().join("run")).unwrap();
    node.again();
    node.ready().await;
    assert_eq!(node.runtime.list_sandboxes().await.unwrap()[0].state, SandboxState::NotReady);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_on_the_same_folder_refuses() {
    let node = Node::start().await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast-wasm"))
        .args(["serve", "--socket", "/nonexistent/wasm.sock", "--data-dir"])
        .arg(node.dir.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    let data = node.dir.path().join("data");
    assert_eq!(text, format!("holdfast-wasm: another holdfast-wasm uses {}\n", data.display()));
    let idle = node.runtime.stop_container("nobody", None, Duration::ZERO).await;
    assert_eq!(idle, Ok(()));
}
