//! exec over WebSocket, as kubectl speaks it.

use crate::client::{ADMIN, Answer, request};
use crate::fake::Hub;
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use holdfast_core::Json;
use http::Request;
use serde_json::json;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn open(hub: &Hub, pod: &str, query: &str, protocols: &str) -> Result<Socket, tungstenite::Error> {
    let stream = hub.connect(None, b"http/1.1").await.unwrap();
    let uri = format!("wss://localhost/api/v1/namespaces/a/pods/{pod}/exec?{query}");
    let request = Request::builder()
        .uri(uri)
        .header("host", "localhost")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", tungstenite::handshake::client::generate_key())
        .header("sec-websocket-protocol", protocols)
        .header("authorization", format!("Bearer {ADMIN}"))
        .body(())
        .unwrap();
    Ok(tokio_tungstenite::client_async(request, stream).await?.0)
}

const V5: &str = "v5.channel.k8s.io";

/// The next message with a payload: channel and bytes; `None` at the close.
async fn next(socket: &mut Socket) -> Option<(u8, Bytes)> {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("a message in time")?;
        match message.unwrap() {
            Message::Binary(bytes) if bytes.len() > 1 => return Some((bytes[0], bytes.slice(1..))),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

async fn status(socket: &mut Socket) -> Json {
    let (channel, bytes) = next(socket).await.unwrap();
    assert_eq!(channel, 3, "{bytes:?}");
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn input_comes_back_and_closing_it_ends_the_command() {
    let hub = Hub::start().await;
    let mut socket = open(&hub, "x", "command=cat&stdin=true&stdout=true&stderr=true", V5).await.unwrap();
    socket.send(Message::binary(&b"\0hello"[..])).await.unwrap();
    assert_eq!(next(&mut socket).await, Some((1, Bytes::from_static(b"hello"))));
    socket.send(Message::binary(&b"\x04{\"Width\":80,\"Height\":24}"[..])).await.unwrap();
    assert_eq!(next(&mut socket).await, Some((2, Bytes::from_static(b"80x24"))));
    socket.send(Message::binary(&b"\xff\0"[..])).await.unwrap();
    assert_eq!(status(&mut socket).await["status"], "Success");
    assert_eq!(next(&mut socket).await, None);
}

#[tokio::test]
async fn input_larger_than_all_buffers_does_not_lock_up() {
    let hub = Hub::start().await;
    let socket = open(&hub, "x", "command=cat&stdin=true&stdout=true", V5).await.unwrap();
    let (mut sink, mut stream) = socket.split();
    let mut sent = vec![b'x'; 32 << 10];
    sent[0] = 0;
    let sender = async {
        for _ in 0..400 {
            sink.send(Message::binary(sent.clone())).await.unwrap();
        }
        sink.send(Message::binary(&b"\xff\0"[..])).await.unwrap();
    };
    let receiver = async {
        let mut received = 0;
        while let Some(Ok(Message::Binary(bytes))) = stream.next().await {
            if bytes[0] == 3 {
                break;
            }
            received += bytes.len() - 1;
        }
        received
    };
    let both = async { tokio::join!(sender, receiver).1 };
    let received = tokio::time::timeout(Duration::from_secs(60), both).await.expect("no lock-up");
    assert_eq!(received, 400 * ((32 << 10) - 1));
}

#[tokio::test]
async fn exit_codes_and_lost_sessions_are_told() {
    let hub = Hub::start().await;
    for protocol in [V5, "v4.channel.k8s.io"] {
        let mut socket = open(&hub, "x", "command=exit&command=7&stdout=true", protocol).await.unwrap();
        let told = status(&mut socket).await;
        assert_eq!(
            (&told["reason"], &told["details"]["causes"][0]["message"]),
            (&json!("NonZeroExitCode"), &json!("7"))
        );
        assert_eq!(next(&mut socket).await, None);
    }
    let mut socket = open(&hub, "x", "command=vanish&stdout=true", V5).await.unwrap();
    assert_eq!(status(&mut socket).await["status"], "Failure");
    // The reason survives kubectl's fall-back to SPDY only if it comes after the handshake.
    let mut socket = open(&hub, "away", "command=cat&stdout=true", V5).await.unwrap();
    assert_eq!(status(&mut socket).await["message"], "node \"edge-1\" is not connected");
}

#[tokio::test]
async fn handshakes_that_cannot_be_are_refused() {
    let hub = Hub::start().await;
    let code = |result: Result<Socket, tungstenite::Error>| match result {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(open(&hub, "x", "command=cat", "base64.channel.k8s.io").await), 400);
    assert_eq!(code(open(&hub, "none", "command=cat", V5).await), 404);
    let plain = hub.get("/api/v1/namespaces/a/pods/x/exec?command=cat").await;
    assert_eq!((plain.code.as_u16(), plain.json()["message"].as_str().unwrap()), (400, "Upgrade request required"));
    let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [{"name": "c"}]}});
    hub.ask("POST", "/api/v1/namespaces/a/pods", Some(pod)).await;
    for (path, code, text) in [
        ("x/exec?container=c", 501, "SPDY"),
        ("x/exec?container=d", 400, "container d is not valid for pod x"),
        ("y/exec", 404, "pods \"y\" not found"),
    ] {
        let path = format!("/api/v1/namespaces/a/pods/{path}");
        let answer = Answer::read(hub.send(request("POST", &path, &spdy, "")).await).await;
        assert_eq!(answer.code.as_u16(), code, "{path}");
        assert!(answer.json()["message"].as_str().unwrap().contains(text), "{}", answer.text());
    }
}

#[tokio::test]
async fn shutdown_ends_sessions() {
    let hub = Hub::start().await;
    let mut socket = open(&hub, "x", "command=cat&stdin=true&stdout=true", V5).await.unwrap();
    let Hub { server, .. } = hub;
    let (drained, ended) = tokio::join!(server.shutdown(Duration::from_secs(10)), next(&mut socket));
    assert!(drained && ended.is_none());
}
