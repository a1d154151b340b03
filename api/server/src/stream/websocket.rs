//! WebSocket (RFC 6455): the handshake, and how messages are sent and sessions ended.

use crate::codec::body::Body;
use crate::limits;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use holdfast_core::Status;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;
pub(crate) type Sink = SplitSink<Socket, Message>;

/// What a client's handshake asks for.
pub struct Handshake {
    /// The subprotocol; empty when the client named none.
    pub protocol: &'static str,
    accept: String,
}

impl Handshake {
    /// Reads the headers of a request that asked for `Upgrade: websocket`. `supported` are the subprotocols that are
    /// spoken, best first; an empty name among them stands for clients that name none.
    ///
    /// # Errors
    /// 400 with what is missing.
    pub fn read(headers: &HeaderMap, supported: &[&'static str]) -> Result<Handshake, Status> {
        if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(Status::bad_request("missing or bad WebSocket version: 13 is spoken"));
        }
        let key = headers
            .get(SEC_WEBSOCKET_KEY)
            .filter(|key| !key.is_empty())
            .ok_or_else(|| Status::bad_request("missing Sec-WebSocket-Key"))?;
        let mut offered = offered(headers);
        if offered.is_empty() {
            offered.push("");
        }
        let protocol = supported.iter().find(|name| offered.contains(name)).ok_or_else(|| {
            Status::bad_request(format!(
                "unable to upgrade: none of the requested protocols {offered:?} is supported; supported are {supported:?}"
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
        if !self.protocol.is_empty() {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(self.protocol));
        }
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        response
    }
}

/// Whether a request asks to become a WebSocket.
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    headers
        .get(UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|name| name.eq_ignore_ascii_case("websocket"))
}

/// The subprotocols that a client offers.
pub(crate) fn offered(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',').map(str::trim)).filter(|name| !name.is_empty()).collect()
}

/// The server's end of an upgraded connection.
pub(crate) async fn accept(upgraded: Upgraded) -> Socket {
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config())).await
}

/// What a client may make the server hold.
pub fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(limits::WS_MESSAGE))
        .max_frame_size(Some(limits::WS_MESSAGE))
        .max_write_buffer_size(limits::WS_MESSAGE)
}

/// The next message within the silence that a client may keep; `None` when it has left. Pings are answered below.
pub(crate) async fn next(stream: &mut SplitStream<Socket>) -> Option<Message> {
    match tokio::time::timeout(limits::WS_SILENCE, stream.next()).await {
        Ok(Some(Ok(Message::Close(_)))) => None,
        Ok(Some(Ok(message))) => Some(message),
        Ok(Some(Err(err))) => {
            tracing::debug!(%err, "WebSocket broke off");
            None
        }
        Ok(None) | Err(_) => None,
    }
}

/// Sends; a client that takes nothing for too long is given up.
pub(crate) async fn push(sink: &mut Sink, message: Message) -> Result<(), ()> {
    match tokio::time::timeout(limits::WRITE_STALL, sink.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

/// An end in order.
pub(crate) fn normal() -> CloseFrame {
    CloseFrame { code: CloseCode::Normal, reason: "".into() }
}

/// The closing handshake, for a bounded time.
pub(crate) async fn finish(sink: &mut Sink, stream: &mut SplitStream<Socket>) {
    if push(sink, Message::Close(Some(normal()))).await.is_err() {
        return;
    }
    let drained = async { while let Some(Ok(_)) = stream.next().await {} };
    let _: Result<(), _> = tokio::time::timeout(limits::WS_CLOSE, drained).await;
}
