//! exec and attach: a process's streams, over the channels of a WebSocket or the streams of SPDY.
//!
//! The two directions run beside each other, so that a process that waits for its output to be taken never
//! stops its input, nor the other way round.

use super::channel::{self, Protocol};
use super::spdy::connection::{self, Opened};
use super::spdy::headers::header;
use super::websocket::{self, Sink, Socket};
use super::wire::{WireReader, WireWriter};
use crate::codec::query::Query;
use crate::limits;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::SplitStream;
use holdfast_env::session::{ExecSession, StreamInput, StreamOutput};
use holdfast_env::{RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_util::sync::CancellationToken;

/// The protocols over SPDY; the newest says its final word as a Status, the third knows terminal sizes.
pub(crate) const SPDY_NAMES: &[&str] =
    &["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
/// Bytes of terminal sizes that wait for the end of one.
const RESIZE_BYTES: usize = 1 << 10;

/// The streams that the client asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    /// From the query. A terminal has no standard error of its own.
    pub(crate) fn of(query: &Query) -> Wanted {
        let flag = |name| query.flag(name).unwrap_or(false);
        let tty = flag("tty");
        Wanted { stdin: flag("stdin"), stdout: flag("stdout"), stderr: flag("stderr") && !tty, tty }
    }
}

/// Runs a session over a WebSocket to its end.
pub(crate) async fn over_websocket(
    socket: Socket,
    protocol: &str,
    session: ExecSession,
    wanted: Wanted,
    closing: CancellationToken,
) {
    let protocol = Protocol::of(protocol);
    let (mut sink, mut stream) = socket.split();
    let ExecSession { input, output } = session;
    let ended = {
        let mut inward = std::pin::pin!(read(&mut stream, protocol, wanted, input));
        let mut outward = std::pin::pin!(write(&mut sink, protocol, wanted, output));
        tokio::select! {
            ended = &mut outward => ended.is_ok(),
            () = &mut inward => false,
            () = closing.cancelled() => false,
        }
    };
    if ended || closing.is_cancelled() {
        websocket::finish(&mut sink, &mut stream).await;
    }
}

/// Client to process. Ends when the client has left.
async fn read(stream: &mut SplitStream<Socket>, protocol: Protocol, wanted: Wanted, input: mpsc::Sender<StreamInput>) {
    let mut input = Some(input);
    while let Some(message) = websocket::next(stream).await {
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => Bytes::from(text),
            _ => continue,
        };
        let Some(event) = channel::decode(protocol, bytes) else { continue };
        let is_stdin = !matches!(event, StreamInput::Resize(_));
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
async fn write(
    sink: &mut Sink,
    protocol: Protocol,
    wanted: Wanted,
    mut output: mpsc::Receiver<StreamOutput>,
) -> Result<(), ()> {
    let first = match wanted {
        Wanted { stdout: true, .. } => channel::STDOUT,
        Wanted { stderr: true, .. } => channel::STDERR,
        _ => channel::ERROR,
    };
    // An empty message tells the client that the session stands.
    send(sink, protocol, first, &[]).await?;
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + limits::WS_PING, limits::WS_PING);
    loop {
        let event = tokio::select! {
            event = output.recv() => event,
            _ = ping.tick() => {
                websocket::push(sink, Message::Ping(Bytes::new())).await?;
                continue;
            }
        };
        let event = event.unwrap_or_else(lost);
        match &event {
            StreamOutput::Stdout(bytes) if wanted.stdout => send(sink, protocol, channel::STDOUT, bytes).await?,
            StreamOutput::Stderr(bytes) if wanted.stderr => send(sink, protocol, channel::STDERR, bytes).await?,
            StreamOutput::Stdout(_) | StreamOutput::Stderr(_) => {}
            StreamOutput::Exited(_) | StreamOutput::Failed(_) => {
                let Some(word) = channel::last_word(protocol.statuses, &event) else { return Ok(()) };
                return send(sink, protocol, channel::ERROR, word.as_bytes()).await;
            }
        }
    }
}

fn lost() -> StreamOutput {
    StreamOutput::Failed("the connection to the node was lost".into())
}

async fn send(sink: &mut Sink, protocol: Protocol, channel: u8, bytes: &[u8]) -> Result<(), ()> {
    let mut rest = bytes;
    loop {
        let (piece, after) = rest.split_at(rest.len().min(limits::WS_CHUNK));
        let message = channel::encode(protocol.base64, channel, piece);
        let message = match protocol.base64 {
            true => Message::Text(message.try_into().map_err(|_| ())?),
            false => Message::Binary(message),
        };
        websocket::push(sink, message).await?;
        rest = after;
        if rest.is_empty() {
            return Ok(());
        }
    }
}

/// Runs a session over SPDY to its end.
pub(crate) async fn over_spdy(
    wire: (WireReader, WireWriter),
    protocol: &str,
    session: ExecSession,
    wanted: Wanted,
    closing: CancellationToken,
) {
    let statuses = protocol == SPDY_NAMES[0];
    let resizes = wanted.tty && SPDY_NAMES[..2].contains(&protocol);
    let known = |headers: &_| {
        let sort = header(headers, "streamtype");
        sort.is_some_and(|sort| ["error", "stdin", "stdout", "stderr", "resize"].contains(&sort))
    };
    connection::serve(wire, known, &closing, async |streams| {
        let gathered = tokio::time::timeout(limits::STREAMS_COME, gather(streams, wanted, resizes)).await;
        let Ok(Some(streams)) = gathered else {
            return tracing::debug!("The streams of a session did not come in time");
        };
        run_streams(streams, session, statuses).await;
    })
    .await;
}

#[derive(Default)]
struct Streams {
    error: Option<Box<dyn SendStream>>,
    stdin: Option<Box<dyn RecvStream>>,
    stdout: Option<Box<dyn SendStream>>,
    stderr: Option<Box<dyn SendStream>>,
    resize: Option<Box<dyn RecvStream>>,
    /// Halves that nobody uses, kept so that they end in order.
    idle: Vec<Box<dyn SendStream>>,
}

/// All streams that the request promised; `None` when the client leaves before.
async fn gather(mut opened: mpsc::Receiver<Opened>, wanted: Wanted, resizes: bool) -> Option<Streams> {
    let mut streams = Streams::default();
    let expected = 1 + [wanted.stdin, wanted.stdout, wanted.stderr, resizes].iter().filter(|yes| **yes).count();
    let mut come = 0;
    while come < expected {
        let Opened { headers, stream: (send, recv), .. } = opened.recv().await?;
        match header(&headers, "streamtype") {
            Some("error") => streams.error = Some(send),
            Some("stdout") => streams.stdout = Some(send),
            Some("stderr") => streams.stderr = Some(send),
            Some("stdin") => {
                streams.stdin = Some(recv);
                streams.idle.push(send);
            }
            _ => {
                streams.resize = Some(recv);
                streams.idle.push(send);
            }
        }
        come += 1;
    }
    Some(streams)
}

async fn run_streams(mut streams: Streams, session: ExecSession, statuses: bool) {
    let ExecSession { input, mut output } = session;
    let (stdin, resize) = (streams.stdin.take(), streams.resize.take());
    let inward = async {
        tokio::join!(feed(stdin, input.clone()), sizes(resize, input));
        std::future::pending::<()>().await;
    };
    let outward = async {
        loop {
            let event = output.recv().await.unwrap_or_else(lost);
            let (to, bytes) = match &event {
                StreamOutput::Stdout(bytes) => (&mut streams.stdout, bytes),
                StreamOutput::Stderr(bytes) => (&mut streams.stderr, bytes),
                StreamOutput::Exited(_) | StreamOutput::Failed(_) => break event,
            };
            // A stream that the client has given up does not end the process.
            if let Some(stream) = to
                && stream.write(bytes.clone()).await.is_err()
            {
                *to = None;
            }
        }
    };
    let last = tokio::select! {
        last = outward => last,
        () = inward => return,
    };
    if let (Some(word), Some(error)) = (channel::last_word(statuses, &last), &mut streams.error) {
        let _ = error.write(word.into()).await;
    }
    let Streams { error, stdout, stderr, idle, .. } = streams;
    for mut stream in [stdout, stderr, error].into_iter().flatten().chain(idle) {
        let _ = stream.finish().await;
    }
}

async fn feed(stdin: Option<Box<dyn RecvStream>>, input: mpsc::Sender<StreamInput>) {
    let Some(mut stdin) = stdin else { return };
    while let Ok(Some(bytes)) = stdin.read(limits::WS_CHUNK).await {
        if input.send(StreamInput::Stdin(bytes)).await.is_err() {
            // The process has closed its input; what still comes is thrown away, or the connection would stand.
            stdin.stop(0);
            return;
        }
    }
    let _ = input.send(StreamInput::StdinClosed).await;
}

/// Terminal sizes: JSON objects one after the other.
async fn sizes(resize: Option<Box<dyn RecvStream>>, input: mpsc::Sender<StreamInput>) {
    let Some(mut resize) = resize else { return };
    let mut buffer = Vec::new();
    while let Ok(Some(bytes)) = resize.read(RESIZE_BYTES).await {
        buffer.extend_from_slice(&bytes);
        let mut documents = serde_json::Deserializer::from_slice(&buffer).into_iter::<holdfast_core::Json>();
        let mut last = None;
        let mut read = 0;
        while let Some(Ok(size)) = documents.next() {
            last = channel::terminal_size(&size).or(last);
            read = documents.byte_offset();
        }
        buffer.drain(..read);
        if buffer.len() > RESIZE_BYTES {
            return;
        }
        if let Some(size) = last
            && input.send(StreamInput::Resize(size)).await.is_err()
        {
            return;
        }
    }
}
