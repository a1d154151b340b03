//! A session over WebSocket (RFC 6455): the handshake, and the driver between socket and process.
//!
//! The two directions run beside each other, so that a process that waits for its output to be taken never
//! stops its input, nor the other way round.

use super::channel::{self, Protocol};
use crate::codec::body::Body;
use crate::codec::query::Query;
use crate::limits;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use holdfast_core::Status;
use holdfast_env::session::{ExecSession, StreamOutput};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

/// What a client's handshake asks for.
pub struct Handshake {
    /// The subprotocol.
    pub protocol: Protocol,
    accept: String,
}

impl Handshake {
    /// Reads the headers of a request that asked for `Upgrade: websocket`.
    ///
    /// # Errors
    /// 400 with what is missing.
    pub fn read(headers: &HeaderMap) -> Result<Handshake, Status> {
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Status::bad_request("missing or bad WebSocket version: 13 is spoken"));
        }
        let key = headers
            .get(SEC_WEBSOCKET_KEY)
            .filter(|key| !key.is_empty())
            .ok_or_else(|| Status::bad_request("missing Sec-WebSocket-Key"))?;
        let offered: Vec<&str> = headers
            .get_all(SEC_WEBSOCKET_PROTOCOL)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(',').map(str::trim))
            .collect();
        let protocol = Protocol::choose(offered.iter().copied()).ok_or_else(|| {
            Status::bad_request(format!(
                "unable to upgrade: none of the requested protocols {offered:?} is supported; supported are {:?} and {:?}",
                Protocol::V5.name(),
                Protocol::V4.name()
            ))
        })?;
        Ok(Handshake { protocol, accept: derive_accept_key(key.as_bytes()) })
    }

    /// `101 Switching Protocols`.
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(self.protocol.name()));
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

/// The streams that the client asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Wanted {
    /// From `stdin`, `stdout` and `stderr` of the query.
    pub fn of(query: &Query) -> Wanted {
        let flag = |name| query.flag(name).unwrap_or(false);
        Wanted { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") }
    }
}

/// How the other side came out.
pub enum Opened {
    /// It runs.
    Session(ExecSession),
    /// It does not; the client learns why on the error channel.
    Failed(Status),
}

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Sink = SplitSink<Socket, Message>;

/// Runs a session to its end.
pub async fn run(upgraded: Upgraded, protocol: Protocol, opened: Opened, wanted: Wanted, closing: CancellationToken) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(limits::WS_MESSAGE))
        .max_frame_size(Some(limits::WS_MESSAGE))
        .max_write_buffer_size(limits::WS_MESSAGE);
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await;
    let (mut sink, mut stream) = socket.split();
    let session = match opened {
        Opened::Failed(status) => {
            let text = serde_json::to_string(&status).unwrap_or_default();
            let _ = send(&mut sink, channel::encode(channel::ERROR, text.as_bytes())).await;
            finish(&mut sink, &mut stream).await;
            return;
        }
        Opened::Session(session) => session,
    };
    let ExecSession { input, output } = session;
    let ended = {
        let mut inward = std::pin::pin!(read(&mut stream, protocol, wanted, input));
        let mut outward = std::pin::pin!(write(&mut sink, wanted, output));
        tokio::select! {
            ended = &mut outward => ended.is_ok(),
            () = &mut inward => false,
            () = closing.cancelled() => false,
        }
    };
    if ended || closing.is_cancelled() {
        finish(&mut sink, &mut stream).await;
    }
}

/// Client to process. Ends when the client has left.
async fn read(
    stream: &mut SplitStream<Socket>,
    protocol: Protocol,
    wanted: Wanted,
    input: mpsc::Sender<holdfast_env::session::StreamInput>,
) {
    let mut input = Some(input);
    loop {
        let message = match tokio::time::timeout(limits::WS_SILENCE, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(err))) => return tracing::debug!(%err, "WebSocket broke off"),
            Ok(None) | Err(_) => return,
        };
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return,
            _ => continue,
        };
        let Some(event) = channel::decode(protocol, bytes) else { continue };
        let is_stdin = !matches!(event, holdfast_env::session::StreamInput::Resize(_));
        if is_stdin && !wanted.stdin {
            continue;
        }
        // A process that has closed its input does not end the session.
        if let Some(sender) = &input
            && sender.send(event).await.is_err()
        {
            input = None;
        }
    }
}

/// Process to client. Ends well once the outcome was sent.
async fn write(sink: &mut Sink, wanted: Wanted, mut output: mpsc::Receiver<StreamOutput>) -> Result<(), ()> {
    let first = match wanted {
        Wanted { stdout: true, .. } => channel::STDOUT,
        Wanted { stderr: true, .. } => channel::STDERR,
        _ => channel::ERROR,
    };
    // An empty message tells the client that the session stands.
    send(sink, channel::encode(first, &[])).await?;
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + limits::WS_PING, limits::WS_PING);
    loop {
        let event = tokio::select! {
            event = output.recv() => event,
            _ = ping.tick() => {
                push(sink, Message::Ping(Bytes::new())).await?;
                continue;
            }
        };
        let event = event.unwrap_or_else(|| StreamOutput::Failed("the connection to the node was lost".into()));
        match &event {
            StreamOutput::Stdout(bytes) => {
                if wanted.stdout {
                    chunks(sink, channel::STDOUT, bytes).await?;
                }
            }
            StreamOutput::Stderr(bytes) => {
                if wanted.stderr {
                    chunks(sink, channel::STDERR, bytes).await?;
                }
            }
            StreamOutput::Exited(_) | StreamOutput::Failed(_) => {
                let text = channel::outcome(&event).map(|status| status.to_string()).unwrap_or_default();
                return send(sink, channel::encode(channel::ERROR, text.as_bytes())).await;
            }
        }
    }
}

async fn chunks(sink: &mut Sink, channel: u8, bytes: &Bytes) -> Result<(), ()> {
    for chunk in bytes.chunks(limits::WS_CHUNK) {
        send(sink, channel::encode(channel, chunk)).await?;
    }
    Ok(())
}

async fn send(sink: &mut Sink, message: Bytes) -> Result<(), ()> {
    push(sink, Message::Binary(message)).await
}

/// Sends; a client that takes nothing for too long is given up.
async fn push(sink: &mut Sink, message: Message) -> Result<(), ()> {
    match tokio::time::timeout(limits::WRITE_STALL, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

/// The closing handshake, for a bounded time.
async fn finish(sink: &mut Sink, stream: &mut SplitStream<Socket>) {
    let close = Message::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() }));
    if push(sink, close).await.is_err() {
        return;
    }
    let drained = async { while let Some(Ok(_)) = stream.next().await {} };
    let _: Result<(), _> = tokio::time::timeout(limits::WS_CLOSE, drained).await;
}
