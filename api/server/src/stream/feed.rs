//! What only goes to the client, over a WebSocket: watches and logs.

use super::websocket::{self, Socket};
use crate::codec::watch::WatchBody;
use crate::limits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt;
use holdfast_core::Status;
use std::future::poll_fn;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_util::sync::CancellationToken;

/// The protocols; for a watch they make no difference.
pub(crate) const NAMES: &[&str] = &["binary.k8s.io", "base64.binary.k8s.io", ""];

/// Writes a watch until it ends or the client leaves: a message an event, of text unless the client reads protobuf.
pub(crate) async fn watch(socket: Socket, mut body: WatchBody) {
    feed(socket, async move || {
        let frame = poll_fn(|cx| body.poll_frame(cx)).await?;
        let message = |event: &[u8]| match body.writer().is_text() {
            true => Some(Message::Text(frame.slice_ref(event).try_into().ok()?)),
            false => Some(Message::Binary(frame.slice_ref(event))),
        };
        Some(body.writer().events(&frame).into_iter().filter_map(message).collect())
    })
    .await;
}

/// Writes a log until it ends or the client leaves: messages of bytes, or of base64 as text.
pub(crate) async fn log(
    socket: Socket,
    protocol: &str,
    first: Option<Bytes>,
    mut rest: mpsc::Receiver<Result<Bytes, Status>>,
    closing: CancellationToken,
) {
    let base64 = protocol.starts_with("base64.");
    let message = move |bytes: &[u8]| match base64 {
        true => Message::text(STANDARD.encode(bytes)),
        false => Message::binary(bytes.to_vec()),
    };
    // An empty message tells the client that the log stands.
    let mut begun = vec![message(&[])];
    begun.extend(first.iter().flat_map(|first| first.chunks(limits::WS_CHUNK)).map(message));
    let mut begun = Some(begun);
    feed(socket, async move || {
        if let Some(begun) = begun.take() {
            return Some(begun);
        }
        tokio::select! {
            () = closing.cancelled() => None,
            // A log that breaks off ends; there is no place for a reason.
            bytes = rest.recv() => Some(bytes?.ok()?.chunks(limits::WS_CHUNK).map(message).collect()),
        }
    })
    .await;
}

async fn feed(socket: Socket, mut next: impl AsyncFnMut() -> Option<Vec<Message>>) {
    let (mut sink, mut stream) = socket.split();
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + limits::WS_PING, limits::WS_PING);
    // What the client says is read for its pongs and its leaving.
    let listen = async { while websocket::next(&mut stream).await.is_some() {} };
    let write = async {
        loop {
            let messages = tokio::select! {
                messages = next() => messages,
                _ = ping.tick() => Some(vec![Message::Ping(Bytes::new())]),
            };
            let Some(messages) = messages else { return true };
            for message in messages {
                if websocket::push(&mut sink, message).await.is_err() {
                    return false;
                }
            }
        }
    };
    let ended = tokio::select! {
        () = listen => false,
        ended = write => ended,
    };
    if ended {
        websocket::finish(&mut sink, &mut stream).await;
    }
}
