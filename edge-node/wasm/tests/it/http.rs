//! `wasi:http` pods.

use crate::support::*;
use holdfast_runtime::*;
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const IMAGE: &str = "registry.local/hello-wasm:1";

#[tokio::test(flavor = "multi_thread")]
async fn two_pods_answer_on_their_addresses_and_share_one_module() {
    let node = Node::start().await;
    let netns = Netns::new(&["10.77.0.1/32", "10.77.0.2/32"]);
    assert_eq!(node.import(IMAGE, &guest("hello-wasm")).await.unwrap(), [IMAGE]);
    let mut events = node.runtime.events();
    for (id, address) in [("pod-a", "10.77.0.1"), ("pod-b", "10.77.0.2")] {
        let mut container = node.container(&format!("{id}-main-0"), IMAGE, &[]);
        container.env.push(("GREETING".into(), id.into()));
        container.ports.push(("http".into(), 8081, "TCP".into()));
        node.run(&netns.sandbox(id, address), &container).await.unwrap();
    }
    assert_eq!(netns.get("10.77.0.1:8081", "/"), (200, "hello from pod-a\n".into()));
    assert_eq!(netns.get("10.77.0.2:8081", "/"), (200, "hello from pod-b\n".into()));
    let (_, env) = netns.get("10.77.0.2:8081", "/env");
    assert!(env.contains("GREETING=pod-b\n") && env.contains("HOSTNAME=pod-b\n"), "{env}");
    let body = "x".repeat(200_000);
    assert_eq!(netns.request("10.77.0.1:8081", "POST", "/echo", &body).unwrap(), (200, body));
    assert_eq!(node.stderr().matches("Compiled a module").count(), 1, "{}", node.stderr());
    assert_eq!(
        node.log("pod-a-main-0"),
        ["stdout F Listening on 10.77.0.1:8081", "stdout F GET /", "stdout F POST /echo"]
    );

    node.runtime.stop_container("pod-a-main-0", None, Duration::from_secs(5)).await.unwrap();
    assert_eq!(node.ended("pod-a-main-0").await, (0, "Completed".into(), String::new()));
    assert!(netns.connect("10.77.0.1:8081").is_err(), "a stopped pod does not listen");
    assert_eq!(netns.get("10.77.0.2:8081", "/").0, 200);
    let exited = RuntimeEvent::Exited { container_id: "pod-a-main-0".into() };
    while tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap() != exited {}
    node.runtime.remove_container("pod-a-main-0").await.unwrap();
    node.runtime.remove_sandbox("pod-b").await.unwrap();
    assert!(node.runtime.list_containers().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_misbehaves_fails_its_request_only() {
    let node = Node::start_with(&["--request-seconds", "1"]).await;
    let netns = Netns::new(&["10.77.0.3/32"]);
    node.import(IMAGE, &guest("hello-wasm")).await.unwrap();
    let mut container = node.container("bad-main-0", IMAGE, &[]);
    container.resources.memory_limit_bytes = 8 << 20;
    node.run(&netns.sandbox("bad", "10.77.0.3"), &container).await.unwrap();
    let at = "10.77.0.3:8080";
    assert_eq!(netns.get(at, "/trap"), (500, "the Wasm component trapped\n".into()));
    let before = node.runtime.usage().await.unwrap().remove(0).cpu_nanos.unwrap();
    assert_eq!(netns.get(at, "/spin"), (504, "the Wasm component took too long\n".into()));
    let (status, taken) = netns.get(at, "/grow");
    let taken: u32 = taken.trim().parse().unwrap();
    assert!(status == 200 && (2..8).contains(&taken), "{taken} MiB of 8");
    assert_eq!(netns.get(at, "/nothing").0, 404);
    assert_eq!(netns.get(at, "/"), (200, "hello from bad\n".into()));
    let log = node.log("bad-main-0");
    let has = |text: &str| log.iter().any(|line| line.starts_with("stderr F ") && line.contains(text));
    assert!(has("asked to trap"), "{log:#?}");
    assert!(has("holdfast: GET /trap: error while executing"), "{log:#?}");
    assert!(has("holdfast: GET /spin: the request took longer than 1 s"), "{log:#?}");
    assert!(matches!(node.state("bad-main-0").await, ContainerState::Running { .. }));
    // The request that took so long took its time on a CPU; no instance is left to have memory.
    let began = Instant::now();
    loop {
        let [used] = <[ContainerUsage; 1]>::try_from(node.runtime.usage().await.unwrap()).unwrap();
        assert!(used.id == "bad-main-0" && used.cpu_nanos.unwrap() > before, "{used:?}");
        // A guest may outlive its answer by a moment.
        if used.memory == Some(MemoryUsage::default()) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{used:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_closed_and_bad_requests_refused() {
    let node = Node::start_with(&["--idle-seconds", "1"]).await;
    let netns = Netns::new(&["10.77.0.4/32"]);
    node.import(IMAGE, &guest("hello-wasm")).await.unwrap();
    let mut container = node.container("idle-main-0", IMAGE, &[]);
    container.env.push(("PORT".into(), "9000".into()));
    node.run(&netns.sandbox("idle", "10.77.0.4"), &container).await.unwrap();
    let mut stream = netns.connect("10.77.0.4:9000").unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: pod\r\n\r\n").unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200"), "{all}");
    let mut stream = netns.connect("10.77.0.4:9000").unwrap();
    write!(stream, "GET / HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    all.clear();
    stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 400") && all.ends_with("missing Host header\n"), "{all}");

    let mut wrong = node.container("wrong-main-0", IMAGE, &[]);
    wrong.env.push(("PORT".into(), "http".into()));
    let err = node.run(&netns.sandbox("wrong", "10.77.0.4"), &wrong).await.unwrap_err();
    assert_eq!(err, RuntimeError::Config("environment variable PORT=\"http\" is no port".into()));
    let mut taken = node.container("taken-main-0", IMAGE, &[]);
    taken.env.push(("PORT".into(), "9000".into()));
    let err = node.run(&netns.sandbox("taken", "10.77.0.4"), &taken).await.unwrap_err().to_string();
    assert!(err.contains("cannot listen on 10.77.0.4 port 9000: Address already in use"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_requests_in_work() {
    let mut node = Node::start().await;
    let netns = Netns::new(&["10.77.0.5/32"]);
    node.import(IMAGE, &guest("hello-wasm")).await.unwrap();
    let container = node.container("last-main-0", IMAGE, &[]);
    node.run(&netns.sandbox("last", "10.77.0.5"), &container).await.unwrap();
    let mut stream = netns.connect("10.77.0.5:8080").unwrap();
    write!(stream, "POST /echo HTTP/1.1\r\nHost: pod\r\nContent-Length: 5\r\n\r\nhel").unwrap();
    // The guest has begun once its log says so.
    node.said("last-main-0", "POST /echo").await;
    let all = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            // The host has heard the signal once nobody new is let in.
            let began = Instant::now();
            while netns.connect("10.77.0.5:8080").is_ok() {
                assert!(began.elapsed() < PATIENCE);
                std::thread::sleep(Duration::from_millis(10));
            }
            write!(stream, "lo").unwrap();
            let mut all = String::new();
            stream.read_to_string(&mut all).unwrap();
            all
        });
        assert_eq!(node.end(Signal::SIGTERM), Some(0), "{}", node.stderr());
        client.join().unwrap()
    });
    assert!(all.starts_with("HTTP/1.1 200") && all.contains("hello"), "{all}");
}
