//! The proxy to pods, and what only goes to the client over a WebSocket.

use crate::client::ADMIN;
use crate::fake::Hub;
use crate::sessions::open_at;
use futures_util::StreamExt;
use holdfast_core::Json;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

const PROXY: &str = "/api/v1/namespaces/a/pods/x:8080/proxy";

#[tokio::test]
async fn requests_are_sent_on_as_they_came() {
    let hub = Hub::start().await;
    let headers = [("x-kept", "1"), ("impersonate-user", ""), ("te", "trailers"), ("x-forwarded-for", "1.2.3.4")];
    let answer = hub.ask_with("POST", &format!("{PROXY}/a%2Fb//c?q=1&r=%20"), &headers, "the body").await;
    assert_eq!((answer.code.as_u16(), answer.header("x-own")), (200, "1"));
    let text = answer.text().to_ascii_lowercase();
    assert!(text.starts_with("post /a%2fb//c?q=1&r=%20 http/1.1\r\n") && text.ends_with("\r\n\r\nthe body"), "{text}");
    let uri = format!("x-forwarded-uri: {PROXY}/a%2Fb//c").to_ascii_lowercase();
    for line in
        ["host: localhost", "x-kept: 1", "x-forwarded-for: 1.2.3.4, 127.0.0.1", "x-forwarded-proto: https", &uri]
    {
        assert!(text.contains(line), "{line} is missing:\n{text}");
    }
    for line in ["authorization", "te: trailers"] {
        assert!(!text.contains(line), "{line} went on:\n{text}");
    }
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = hub.ask_with(method, &format!("{PROXY}/"), &[], "").await;
        assert!(answer.text().starts_with(&format!("{method} / HTTP/1.1")), "{method}: {}", answer.text());
    }
    assert_eq!(hub.ask_with("HEAD", &format!("{PROXY}/"), &[], "").await.code, 200);
}

#[tokio::test]
async fn paths_lead_below_the_proxy_and_errors_say_what_failed() {
    let hub = Hub::start().await;
    let bare = hub.get(&format!("{PROXY}?x=1")).await;
    assert_eq!((bare.code.as_u16(), bare.header("location")), (301, &*format!("{PROXY}/?x=1")));
    let moved = hub.get(&format!("{PROXY}/moved")).await;
    assert_eq!((moved.code.as_u16(), moved.header("location")), (302, &*format!("https://localhost{PROXY}/login")));
    let refused = hub.get("/api/v1/namespaces/a/pods/x:81/proxy/").await;
    let text = refused.json()["message"].as_str().unwrap().to_string();
    assert!(refused.code == 503 && text.starts_with("error trying to reach service: "), "{text}");
    assert!(text.ends_with("connection refused"), "{text}");
    let eve = [("authorization", "Bearer eve:nobody")];
    let forbidden = hub.ask_with("DELETE", &format!("{PROXY}/"), &eve, "").await;
    assert_eq!(forbidden.code, 403);
    assert!(forbidden.text().contains("cannot delete resource \\\"pods/proxy\\\""), "{}", forbidden.text());
}

/// `https:` says what the pod speaks; whose certificate it has is nobody's business, as upstream has it.
#[tokio::test]
async fn pods_that_speak_tls_are_reached_too() {
    let hub = Hub::start().await;
    const SECURE: &str = "/api/v1/namespaces/a/pods/https:x:8443/proxy";
    let answer = hub.ask_with("POST", &format!("{SECURE}/a?q=1"), &[], "the body").await;
    assert_eq!((answer.code.as_u16(), answer.header("x-own")), (200, "1"), "{}", answer.text());
    let text = answer.text();
    assert!(text.starts_with("POST /a?q=1 HTTP/1.1\r\n") && text.ends_with("\r\n\r\nthe body"), "{text}");
    let moved = hub.get(&format!("{SECURE}/moved")).await;
    assert_eq!((moved.code.as_u16(), moved.header("location")), (302, &*format!("https://localhost{SECURE}/login")));
    let plain = hub.get("/api/v1/namespaces/a/pods/https:x:82/proxy/").await;
    let text = plain.json()["message"].as_str().unwrap().to_string();
    assert!(plain.code == 503 && text.starts_with("error trying to reach service: tls: "), "{text}");
}

#[tokio::test]
async fn a_node_serves_pages_to_be_read() {
    let hub = Hub::start().await;
    let page = hub.get("/api/v1/nodes/n/proxy/stats/summary?only_cpu_and_memory=true").await;
    assert_eq!((page.code.as_u16(), page.header("content-type")), (200, "text/x-page"));
    assert_eq!(page.text(), r#"[("path", "/stats/summary"), ("query", "only_cpu_and_memory=true")]"#);
    let refused = hub.ask_with("POST", "/api/v1/nodes/n/proxy/run/a/b", &[], "").await;
    assert_eq!(refused.code, 405);
}

#[tokio::test]
async fn links_of_pages_lead_back_through_the_proxy() {
    let hub = Hub::start().await;
    let page = hub.get(&format!("{PROXY}/page")).await;
    let expected = format!("<!doctype html><a href=\"https://localhost{PROXY}/x?y=1\">x</a><img src=relative.png>");
    assert_eq!((page.code.as_u16(), page.text()), (200, expected));
    // Nobody compresses what is to be changed.
    let headers = [("accept", "text/html,*/*;q=0.8"), ("accept-encoding", "gzip")];
    let sent = hub.ask_with("GET", &format!("{PROXY}/a"), &headers, "").await.text().to_ascii_lowercase();
    assert!(sent.contains("accept: text/html") && !sent.contains("accept-encoding"), "{sent}");
}

#[tokio::test]
async fn upgrades_pass_through_the_proxy() {
    let hub = Hub::start().await;
    let mut stream = hub.connect(None, b"http/1.1").await.unwrap();
    let head = format!(
        "GET {PROXY}/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\
        Authorization: Bearer {ADMIN}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 101") && answer.contains("upgrade: echo"), "{answer}");
    stream.write_all(b"through").await.unwrap();
    let mut echo = [0; 7];
    tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut echo)).await.expect("an echo").unwrap();
    assert_eq!(&echo, b"through");
}

#[tokio::test]
async fn logs_and_watches_come_over_a_websocket() {
    let hub = Hub::start().await;
    for (protocol, expected) in [("binary.k8s.io", "one\ntwo\n"), ("base64.binary.k8s.io", "b25lCg==dHdvCg==")] {
        let mut socket = open_at(&hub, "x/log", protocol).await.unwrap();
        let mut log = String::new();
        while let Some(message) = socket.next().await {
            match message.unwrap() {
                Message::Binary(bytes) => log.push_str(&String::from_utf8_lossy(&bytes)),
                Message::Text(text) => log.push_str(&text),
                Message::Close(_) => break,
                _ => {}
            }
        }
        assert_eq!(log, expected);
    }
    let pod = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}});
    hub.ask("POST", "/api/v1/namespaces/a/pods", Some(pod("x"))).await;
    hub.ask("POST", "/api/v1/namespaces/a/pods", Some(pod("y"))).await;
    let mut socket = open_at(&hub, "?watch=true", "binary.k8s.io").await.unwrap();
    for name in ["x", "y"] {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("an event in time");
        let Message::Text(text) = message.unwrap().unwrap() else { panic!("no text") };
        let event: Json = serde_json::from_str(&text).unwrap();
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!(name)));
    }
    hub.registry.break_watches(&holdfast_core::Status::expired("too old resource version"));
    let mut last = None;
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        last = Some(serde_json::from_str::<Json>(&text).unwrap());
    }
    assert_eq!(last.unwrap()["type"], "ERROR");
}
