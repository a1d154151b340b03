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

pub(crate) type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn open(hub: &Hub, pod: &str, query: &str, protocols: &str) -> Result<Socket, tungstenite::Error> {
    open_at(hub, &format!("{pod}/exec?{query}"), protocols).await
}

/// A WebSocket to a path below the pods of namespace `a`.
pub(crate) async fn open_at(hub: &Hub, path: &str, protocols: &str) -> Result<Socket, tungstenite::Error> {
    let stream = hub.connect(None, b"http/1.1").await.unwrap();
    let uri = format!("wss://localhost/api/v1/namespaces/a/pods/{path}");
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
}

#[tokio::test]
async fn handshakes_that_cannot_be_are_refused() {
    let hub = Hub::start().await;
    let code = |result: Result<Socket, tungstenite::Error>| match result {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(open(&hub, "x", "command=cat", "v6.channel.k8s.io").await), 400);
    assert_eq!(code(open(&hub, "none", "command=cat", V5).await), 404);
    assert_eq!(code(open(&hub, "away", "command=cat", V5).await), 503);
    let plain = hub.get("/api/v1/namespaces/a/pods/x/exec?command=cat").await;
    assert_eq!((plain.code.as_u16(), plain.json()["message"].as_str().unwrap()), (400, "Upgrade request required"));
    let refused = async |path: &str, headers: &[(&str, &str)]| {
        let path = format!("/api/v1/namespaces/a/pods/{path}");
        let answer = Answer::read(hub.send(request("POST", &path, headers, "")).await).await;
        (answer.code.as_u16(), answer.json()["message"].as_str().unwrap_or_default().to_string())
    };
    let spdy = [("connection", "Upgrade"), ("upgrade", "SPDY/3.1")];
    let (code, text) = refused("x/exec?command=cat", &spdy).await;
    assert!(code == 400 && text.contains("X-Stream-Protocol-Version is required"), "{code} {text}");
    let old = [spdy[0], spdy[1], ("x-stream-protocol-version", "v9.channel.k8s.io")];
    let (code, text) = refused("x/exec?command=cat", &old).await;
    assert!(code == 403 && text.contains("unable to negotiate protocol"), "{code} {text}");
    let good = [spdy[0], spdy[1], ("x-stream-protocol-version", "v4.channel.k8s.io")];
    let (code, text) = refused("away/exec?command=cat", &good).await;
    assert!(code == 503 && text.contains("is not connected"), "{code} {text}");
    let (code, _) = refused("none/portforward", &[spdy[0], ("upgrade", "h2c")]).await;
    assert_eq!(code, 400);
}

#[tokio::test]
async fn older_protocols_carry_a_session_too() {
    let hub = Hub::start().await;
    let query = "command=cat&stdin=true&stdout=true";
    let mut socket = open(&hub, "x", query, "base64.channel.k8s.io").await.unwrap();
    let text = async |socket: &mut Socket| loop {
        match socket.next().await.expect("a message").unwrap() {
            Message::Text(text) if text.len() > 1 => return text.to_string(),
            Message::Binary(bytes) => panic!("{bytes:?}"),
            _ => {}
        }
    };
    socket.send(Message::text("0aGk=")).await.unwrap();
    assert_eq!(text(&mut socket).await, "1aGk=");
    // Its last word is a text, and said of failures alone.
    let mut socket = open(&hub, "x", "command=exit&command=7&stdout=true", "channel.k8s.io").await.unwrap();
    let (channel, bytes) = next(&mut socket).await.unwrap();
    assert_eq!((channel, &bytes[..]), (3, &b"command terminated with non-zero exit code: exit status 7"[..]));
    let mut socket = open(&hub, "x", "command=exit&command=0&stdout=true", "channel.k8s.io").await.unwrap();
    assert_eq!(next(&mut socket).await, None);
}

#[tokio::test]
async fn shutdown_ends_sessions() {
    let hub = Hub::start().await;
    let mut socket = open(&hub, "x", "command=cat&stdin=true&stdout=true", V5).await.unwrap();
    let Hub { server, .. } = hub;
    let (drained, ended) = tokio::join!(server.shutdown(Duration::from_secs(10)), next(&mut socket));
    assert!(drained && ended.is_none());
}
