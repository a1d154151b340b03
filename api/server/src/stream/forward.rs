//! port-forward: each connection of the client is joined to one of a pod.
//!
//! Over SPDY, plain or inside a WebSocket, a connection is a pair of streams, `data` and `error`, that name its port and
//! carry one `requestID`. Over the channels of a WebSocket the ports stand in the query, and each is one connection.

use super::channel;
use super::spdy::connection::{self, GONE, Opened};
use super::spdy::headers::{Headers, header};
use super::websocket::{self, Sink, Socket};
use super::wire::{WireReader, WireWriter};
use crate::codec::query::Query;
use crate::limits;
use crate::registry::PodPorts;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use holdfast_core::Status;
use holdfast_env::{BiStream, NetError, RecvStream, SendStream, splice};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_util::sync::CancellationToken;

/// The protocol over SPDY.
pub(crate) const SPDY_NAMES: &[&str] = &["portforward.k8s.io"];
/// The same inside a WebSocket.
pub(crate) const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// The protocols over a WebSocket.
pub(crate) const NAMES: &[&str] = &[TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io", ""];

/// What a stream is, from its headers: its connection's name, its port, and whether it is the `data` of the two.
fn read_headers(headers: &Headers) -> Option<(Option<&str>, u16, bool)> {
    let port = header(headers, "port")?.parse().ok().filter(|port| *port > 0)?;
    let data = match header(headers, "streamtype")? {
        "data" => true,
        "error" => false,
        _ => return None,
    };
    Some((header(headers, "requestid").filter(|id| !id.is_empty()), port, data))
}

/// Forwards over SPDY until the client leaves.
pub(crate) async fn over_spdy(wire: (WireReader, WireWriter), ports: PodPorts, closing: CancellationToken) {
    let known = |headers: &Headers| read_headers(headers).is_some();
    connection::serve(wire, known, &closing, async |streams| Pairs::new(ports).run(streams).await).await;
}

struct Pair {
    data: Option<(u16, BiStream)>,
    error: Option<Box<dyn SendStream>>,
    until: Instant,
}

struct Pairs {
    ports: PodPorts,
    /// Connections of which one stream has come. Bounded by the streams of a connection.
    waiting: BTreeMap<String, Pair>,
    forwards: JoinSet<()>,
    free: Arc<Semaphore>,
}

impl Pairs {
    fn new(ports: PodPorts) -> Pairs {
        let free = Arc::new(Semaphore::new(limits::FORWARDS));
        Pairs { ports, waiting: BTreeMap::new(), forwards: JoinSet::new(), free }
    }

    async fn run(mut self, mut streams: mpsc::Receiver<Opened>) {
        loop {
            let first = self.waiting.values().map(|pair| pair.until).min();
            let overdue = async {
                match first {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                opened = streams.recv() => match opened {
                    Some(opened) => self.add(opened).await,
                    None => return,
                },
                Some(_) = self.forwards.join_next(), if !self.forwards.is_empty() => {}
                () = overdue => self.give_up().await,
            }
        }
    }

    async fn add(&mut self, opened: Opened) {
        let Opened { id, headers, stream } = opened;
        let Some((request, port, is_data)) = read_headers(&headers) else { return };
        // Clients from before requestID open the error stream first, and the data stream next.
        let named = |id: u32| id.to_string();
        let request =
            request.map_or_else(|| if is_data { named(id.saturating_sub(2)) } else { named(id) }, str::to_string);
        let until = Instant::now() + limits::STREAMS_COME;
        let pair = self.waiting.entry(request.clone()).or_insert(Pair { data: None, error: None, until });
        let taken = if is_data { pair.data.is_some() } else { pair.error.is_some() };
        if taken {
            let sort = if is_data { "data" } else { "error" };
            let text = format!("error processing stream for request {request}: {sort} stream already assigned");
            if let Some(error) = &mut pair.error {
                let _ = error.write(text.into()).await;
            }
            return;
        }
        match is_data {
            true => pair.data = Some((port, stream)),
            // What the client could say on it nobody asks for.
            false => pair.error = Some(stream.0),
        }
        if pair.data.is_some()
            && pair.error.is_some()
            && let Some(Pair { data: Some((port, data)), error: Some(error), .. }) = self.waiting.remove(&request)
        {
            let (ports, free) = (self.ports.clone(), self.free.clone());
            self.forwards.spawn(async move {
                let _one = free.acquire().await;
                forward(ports, port, data, error).await;
            });
        }
    }

    async fn give_up(&mut self) {
        let now = Instant::now();
        let late: Vec<String> =
            self.waiting.iter().filter(|(_, pair)| pair.until <= now).map(|(request, _)| request.clone()).collect();
        for request in late {
            if let Some(Pair { error: Some(mut error), .. }) = self.waiting.remove(&request) {
                let _ = error.write(format!("(request={request}) timed out waiting for streams").into()).await;
                let _ = error.finish().await;
            }
        }
    }
}

/// Joins one connection, and says on `error` why it could not be. What breaks off later only ends: kubectl gives up all
/// its connections when it reads an error of one.
async fn forward(ports: PodPorts, port: u16, data: BiStream, mut error: Box<dyn SendStream>) {
    match ports.open(port).await {
        Ok(connection) => match splice(data, connection).await {
            Ok(()) | Err(NetError::Reset(GONE)) => {}
            Err(err) => tracing::debug!(%err, port, "A forwarded connection broke off"),
        },
        Err(status) => {
            let _ = error.write(refusal(&ports, port, &status).into()).await;
            let (mut sender, _receiver) = data;
            let _ = sender.finish().await;
        }
    }
    let _ = error.finish().await;
}

/// The kubelet's words.
fn refusal(ports: &PodPorts, port: u16, status: &Status) -> String {
    let pod = &ports.pod;
    format!("error forwarding port {port} to pod {}, uid {}: {}", pod.pod, pod.pod_uid, status.message())
}

/// The ports that a WebSocket's channels are for: `ports` of the query, which may hold several behind commas.
///
/// # Errors
/// 400 with the kubelet's words.
pub(crate) fn ports_of(query: &Query) -> Result<Vec<u16>, Status> {
    let values: Vec<&str> = query.0.iter().filter(|(key, _)| key == "ports").map(|(_, value)| value.as_str()).collect();
    if values.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    let mut ports = Vec::new();
    for value in values {
        if value.is_empty() {
            return Err(Status::bad_request("query parameter \"ports\" cannot be empty"));
        }
        for port in value.split(',') {
            let parsed: u16 = port
                .parse()
                .map_err(|err| Status::bad_request(format!("unable to parse {value:?} as a port: {err}")))?;
            if parsed == 0 {
                return Err(Status::bad_request(format!("port {value:?} must be > 0")));
            }
            ports.push(parsed);
        }
    }
    if ports.len() > limits::WS_PORTS {
        return Err(Status::bad_request(format!("at most {} ports can be forwarded at once", limits::WS_PORTS)));
    }
    Ok(ports)
}

/// Forwards `wanted` over the channels of a WebSocket until all their connections have ended or the client leaves.
pub(crate) async fn over_channels(
    socket: Socket,
    base64: bool,
    ports: PodPorts,
    wanted: Vec<u16>,
    closing: CancellationToken,
) {
    let (sink, mut stream) = socket.split();
    let sink = Arc::new(Mutex::new(sink));
    let mut forwards = JoinSet::new();
    let mut inputs = Vec::new();
    for (index, port) in wanted.into_iter().enumerate() {
        let channel = |number: usize| u8::try_from(number).unwrap_or(u8::MAX);
        let sender = |number| Box::new(ChannelSender { base64, channel: channel(number), sink: sink.clone() });
        let (mut data, mut error) = (sender(index * 2), sender(index * 2 + 1));
        // Both channels begin with the port.
        for channel in [&mut data, &mut error] {
            if channel.write(port.to_le_bytes().to_vec().into()).await.is_err() {
                return;
            }
        }
        let (input, pieces) = mpsc::channel(limits::SPDY_PIECES);
        inputs.push(input);
        forwards.spawn(forward(ports.clone(), port, (data, Box::new(ChannelReceiver(pieces))), error));
    }
    let inward = async {
        while let Some(message) = websocket::next(&mut stream).await {
            let bytes = match message {
                Message::Binary(bytes) => bytes,
                Message::Text(text) => Bytes::from(text),
                _ => continue,
            };
            let Some((channel, bytes)) = channel::split(base64, bytes) else { continue };
            // Only data goes in; a connection that has ended takes no more of it.
            if channel % 2 == 0
                && let Some(input) = inputs.get(usize::from(channel / 2))
            {
                let _ = input.send(bytes).await;
            }
        }
    };
    let pings = async {
        let mut ping = tokio::time::interval_at(Instant::now() + limits::WS_PING, limits::WS_PING);
        loop {
            ping.tick().await;
            if websocket::push(&mut *sink.lock().await, Message::Ping(Bytes::new())).await.is_err() {
                return;
            }
        }
    };
    let all = async { while forwards.join_next().await.is_some() {} };
    tokio::select! {
        () = inward => return,
        () = pings => return,
        () = all => {}
        () = closing.cancelled() => {}
    }
    websocket::finish(&mut *sink.lock().await, &mut stream).await;
}

/// One channel to the client. Its end is that of the WebSocket: the protocol has no other.
struct ChannelSender {
    base64: bool,
    channel: u8,
    sink: Arc<Mutex<Sink>>,
}

#[async_trait]
impl SendStream for ChannelSender {
    async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
        for piece in data.chunks(limits::WS_CHUNK) {
            let message = channel::encode(self.base64, self.channel, piece);
            let message = match self.base64 {
                true => Message::Text(message.try_into().map_err(|_| NetError::Reset(GONE))?),
                false => Message::Binary(message),
            };
            websocket::push(&mut *self.sink.lock().await, message).await.map_err(|()| NetError::Reset(GONE))?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        Ok(())
    }

    fn reset(&mut self, _code: u64) {}
}

struct ChannelReceiver(mpsc::Receiver<Bytes>);

#[async_trait]
impl RecvStream for ChannelReceiver {
    async fn read(&mut self, _max: usize) -> Result<Option<Bytes>, NetError> {
        Ok(self.0.recv().await)
    }

    fn stop(&mut self, _code: u64) {
        self.0.close();
    }
}
