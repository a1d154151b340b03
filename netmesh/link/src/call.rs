//! Calls: one stream each, opened by the hub, pumped both ways.
//!
//! Each direction is a future of its own: one that waits for its reader must not hold up the other, or a process that
//! answers what it reads (`cat`) and its caller would wait for each other.

use crate::framed::{FrameRecv, LinkError, opening, send};
use crate::traffic::{Counted, Purpose, Traffic};
use bytes::{Bytes, BytesMut};
use holdfast_core::Status;
use holdfast_core::calls::{Call, ForwardCall, Page, PageCall};
use holdfast_env::session::{ExecSession, STREAM_CHUNKS, StreamInput, StreamOutput, TerminalSize};
use holdfast_env::{BiStream, Connection, SendStream, World, splice};
use holdfast_link_engine::Stream;
use holdfast_link_engine::limits::MAX_PAGE_BYTES;
use holdfast_link_engine::wire::{CallInput, CallOpened, CallOutput, CallStart, PageOpened, Payload};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long the hub waits for a stream to a node that claims to be connected.
const OPEN: Duration = Duration::from_secs(10);
/// How long the hub waits until the node has connected, or has failed to: longer than the node tries.
const CONNECT: Duration = Duration::from_secs(20);
/// How long the hub waits for each further piece of a page.
const PIECE: Duration = Duration::from_secs(20);
/// Bytes of a page that one frame carries.
const PIECE_BYTES: usize = 32 << 10;

/// A call as the hub's side holds it; dropping both ends ends it at the node.
pub struct HubCall {
    /// To the node.
    pub input: mpsc::Sender<CallInput>,
    /// From the node; ends after `Exited`, `Failed` or `End`.
    pub output: mpsc::Receiver<CallOutput>,
}

fn lost(err: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("the link to the node was lost: {err}"), 1)
}

/// Opens a call on a node's connection.
///
/// # Errors
/// 503 when the connection is lost.
pub async fn open(
    env: &World,
    connection: &Arc<dyn Connection>,
    traffic: &Arc<Traffic>,
    request_id: &str,
    call: Call,
) -> Result<HubCall, Status> {
    let (sender, frames) = start(env, connection, traffic, request_id, call).await?;
    let (input, inputs) = mpsc::channel(STREAM_CHUNKS);
    let (outputs, output) = mpsc::channel(STREAM_CHUNKS);
    // The pump owns both halves and ends with either side, so the handle may be kept by the task itself.
    let (keep, kept) = tokio::sync::oneshot::channel();
    let task = env.spawn("link-call", Box::pin(hub_pump(sender, frames, inputs, outputs, kept)));
    let _ = keep.send(task);
    Ok(HubCall { input, output })
}

async fn start(
    env: &World,
    connection: &Arc<dyn Connection>,
    traffic: &Arc<Traffic>,
    request_id: &str,
    call: Call,
) -> Result<(Box<dyn SendStream>, FrameRecv), Status> {
    let opened = env.timeout(OPEN, connection.open_bi()).await;
    let (sender, receiver) = opened.ok_or_else(|| lost("no answer"))?.map_err(lost)?;
    let (mut sender, frames) = counted(sender, FrameRecv::new(receiver), traffic);
    sender.write(opening(Stream::Call)).await.map_err(lost)?;
    send(&mut sender, &CallStart { request_id: request_id.to_string(), call }).await.map_err(lost)?;
    Ok((sender, frames))
}

/// Connects to a port of a pod. What comes back carries the connection's bytes; dropping it ends the connection.
///
/// # Errors
/// 503 when the link is lost, 501 when the node's release knows no such call, else what the node says: 404 for a pod
/// that it does not have, 400 for one that does not run, 500 when nothing listens.
pub async fn forward(
    env: &World,
    connection: &Arc<dyn Connection>,
    traffic: &Arc<Traffic>,
    request_id: &str,
    call: ForwardCall,
) -> Result<BiStream, Status> {
    let (sender, mut frames) = start(env, connection, traffic, request_id, Call::Forward(call)).await?;
    let _: CallOpened = answered(env, &mut frames, "port-forward by the release of this node").await?;
    Ok((sender, frames.into_bytes()))
}

/// The first word of a node on a call that it can take or refuse. One that cannot read the call ends it without a word, which
/// is told as `unknown` not being implemented.
async fn answered<T: Payload>(env: &World, frames: &mut FrameRecv, unknown: &str) -> Result<T, Status> {
    let answer = env.timeout(CONNECT, frames.next()).await.ok_or_else(|| lost("no answer"))?.map_err(lost)?;
    let answer = answer.ok_or_else(|| Status::not_implemented(unknown))?;
    if let Ok(CallOutput::Failed(code, text)) = answer.decode() {
        return Err(failed(code, text));
    }
    answer.decode().map_err(Status::internal)
}

/// Fetches a page that the node serves of itself.
///
/// # Errors
/// 503 when the link is lost, 501 when the node's release knows no such call, else what the node says: 404 for a page that
/// it does not have.
pub async fn page(
    env: &World,
    connection: &Arc<dyn Connection>,
    traffic: &Arc<Traffic>,
    request_id: &str,
    call: PageCall,
) -> Result<Page, Status> {
    let (_sender, mut frames) = start(env, connection, traffic, request_id, Call::Page(call)).await?;
    let PageOpened { content_type } = answered(env, &mut frames, "pages of nodes by the release of this node").await?;
    let mut body = BytesMut::new();
    loop {
        let next = env.timeout(PIECE, frames.next()).await.ok_or_else(|| lost("no answer"))?.map_err(lost)?;
        let piece = next.ok_or_else(|| lost("the page was cut short"))?;
        match piece.decode().map_err(Status::internal)? {
            CallOutput::Stdout(piece) if body.len() + piece.len() <= MAX_PAGE_BYTES => body.extend_from_slice(&piece),
            CallOutput::Stdout(_) => return Err(Status::internal("the node's page is too long")),
            CallOutput::End => return Ok(Page { content_type, body: body.freeze() }),
            CallOutput::Failed(code, text) => return Err(failed(code, text)),
            CallOutput::Stderr(_) | CallOutput::Exited(_) => {
                return Err(Status::internal("the node answered a page with a session"));
            }
        }
    }
}

async fn hub_pump(
    mut sender: Box<dyn SendStream>,
    mut frames: FrameRecv,
    mut inputs: mpsc::Receiver<CallInput>,
    outputs: mpsc::Sender<CallOutput>,
    keep: tokio::sync::oneshot::Receiver<holdfast_env::Task>,
) {
    let _own_handle = keep.await;
    let outward = async {
        loop {
            let output = match frames.next().await {
                Ok(Some(frame)) if frame.kind == CallOutput::KIND => match frame.decode() {
                    Ok(output) => output,
                    Err(err) => CallOutput::Failed(500, err.to_string()),
                },
                Ok(Some(_)) => continue,
                Ok(None) => CallOutput::End,
                Err(err) => CallOutput::Failed(503, format!("the link to the node was lost: {err}")),
            };
            let last = matches!(output, CallOutput::Exited(_) | CallOutput::Failed(..) | CallOutput::End);
            if outputs.send(output).await.is_err() || last {
                return;
            }
        }
    };
    let inward = async {
        while let Some(input) = inputs.recv().await {
            if send(&mut sender, &input).await.is_err() {
                break;
            }
        }
        // What the node still has to say goes on.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = outward => {}
        () = inward => {}
        () = outputs.closed() => {}
    }
    sender.reset(0);
}

/// A call's bytes as a log reader gets them.
pub async fn logs(
    env: &World,
    connection: &Arc<dyn Connection>,
    traffic: &Arc<Traffic>,
    request_id: &str,
    call: Call,
) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status> {
    let mut call = open(env, connection, traffic, request_id, call).await?;
    // The first word tells errors (404, 400) from content, so that they become HTTP codes.
    let first = call.output.recv().await;
    if let Some(CallOutput::Failed(code, text)) = first {
        return Err(failed(code, text));
    }
    let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
    let (keep, kept) = tokio::sync::oneshot::channel::<holdfast_env::Task>();
    let pump = async move {
        let _own_handle = kept.await;
        let _input = call.input;
        let mut next = first;
        while let Some(output) = next {
            let item = match output {
                CallOutput::Stdout(data) | CallOutput::Stderr(data) => Ok(data),
                CallOutput::Failed(code, text) => Err(failed(code, text)),
                CallOutput::Exited(_) | CallOutput::End => break,
            };
            let last = item.is_err();
            if sender.send(item).await.is_err() || last {
                break;
            }
            next = call.output.recv().await;
        }
    };
    let _ = keep.send(env.spawn("link-logs", Box::pin(pump)));
    Ok(receiver)
}

fn failed(code: u16, text: String) -> Status {
    use holdfast_core::Reason;
    match code {
        400 => Status::bad_request(text),
        404 => Status::failure(404, Reason::NotFound, text),
        501 => Status::failure(501, Reason::Other("NotImplemented".into()), text),
        503 => Status::unavailable(text, 1),
        // The node has said that it is one.
        _ => Status::failure(500, Reason::InternalError, text),
    }
}

/// A call's streams as an exec session.
pub async fn exec(
    env: &World,
    connection: &Arc<dyn Connection>,
    traffic: &Arc<Traffic>,
    request_id: &str,
    call: Call,
) -> Result<ExecSession, Status> {
    let call = open(env, connection, traffic, request_id, call).await?;
    let (input, mut inputs) = mpsc::channel(STREAM_CHUNKS);
    let (outputs, output) = mpsc::channel(STREAM_CHUNKS);
    let (keep, kept) = tokio::sync::oneshot::channel::<holdfast_env::Task>();
    let HubCall { input: to_node, output: mut from_node } = call;
    let pump = async move {
        let _own_handle = kept.await;
        let outward = async {
            loop {
                let (out, last) = match from_node.recv().await {
                    Some(CallOutput::Stdout(data)) => (StreamOutput::Stdout(data), false),
                    Some(CallOutput::Stderr(data)) => (StreamOutput::Stderr(data), false),
                    Some(CallOutput::Exited(code)) => (StreamOutput::Exited(code), true),
                    Some(CallOutput::Failed(_, text)) => (StreamOutput::Failed(text), true),
                    Some(CallOutput::End) | None => {
                        (StreamOutput::Failed("the link to the node was lost".into()), true)
                    }
                };
                if outputs.send(out).await.is_err() || last {
                    return;
                }
            }
        };
        let inward = async {
            while let Some(given) = inputs.recv().await {
                let given = match given {
                    StreamInput::Stdin(data) => CallInput::Stdin(data),
                    StreamInput::StdinClosed => CallInput::StdinClosed,
                    StreamInput::Resize(size) => CallInput::Resize(size.width, size.height),
                };
                if to_node.send(given).await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = outward => {}
            () = inward => {}
            () = outputs.closed() => {}
        }
    };
    let _ = keep.send(env.spawn("link-exec", Box::pin(pump)));
    Ok(ExecSession { input, output })
}

/// The node's side of a call: what the hub asked, and the streams to answer on.
pub struct NodeCall {
    /// Names the request in logs.
    pub request_id: String,
    /// What is wanted.
    pub call: Call,
    sender: Box<dyn SendStream>,
    frames: FrameRecv,
}

impl NodeCall {
    /// Reads the start of a call from a stream whose [`Open`](holdfast_link_engine::wire::Open) was read.
    pub(crate) async fn read(sender: Box<dyn SendStream>, mut frames: FrameRecv) -> Result<NodeCall, LinkError> {
        let start: CallStart = frames.expect().await?;
        Ok(NodeCall { request_id: start.request_id, call: start.call, sender, frames })
    }

    /// Ends the call with an error: HTTP code and text.
    pub async fn fail(mut self, code: u16, text: impl Into<String>) {
        let _ = send(&mut self.sender, &CallOutput::Failed(code, text.into())).await;
        let _ = self.sender.finish().await;
    }

    /// Joins the call to a connection until both of its directions have ended.
    pub async fn serve_connection(mut self, connection: BiStream) {
        if send(&mut self.sender, &CallOpened {}).await.is_err() {
            return;
        }
        if let Err(err) = splice((self.sender, self.frames.into_bytes()), connection).await {
            tracing::debug!(request = self.request_id, %err, "A forwarded connection broke off");
        }
    }

    /// Sends a page.
    pub async fn serve_page(mut self, mut page: Page) {
        let sent = async {
            send(&mut self.sender, &PageOpened { content_type: page.content_type }).await?;
            while !page.body.is_empty() {
                let piece = page.body.split_to(page.body.len().min(PIECE_BYTES));
                send(&mut self.sender, &CallOutput::Stdout(piece)).await?;
            }
            send(&mut self.sender, &CallOutput::End).await
        };
        // A hub that has left needs no word.
        if sent.await.is_ok() {
            let _ = self.sender.finish().await;
        }
    }

    /// Sends what a log reader yields until it ends or the hub goes away.
    pub async fn serve_bytes(mut self, mut bytes: mpsc::Receiver<Result<Bytes, Status>>) {
        let (sender, frames) = (&mut self.sender, &mut self.frames);
        let outward = async {
            loop {
                let (output, last) = match bytes.recv().await {
                    Some(Ok(data)) => (CallOutput::Stdout(data), false),
                    Some(Err(status)) => (CallOutput::Failed(status.code(), status.message().to_string()), true),
                    None => (CallOutput::End, true),
                };
                if send(sender, &output).await.is_err() || last {
                    return;
                }
            }
        };
        let hub_left = async { while matches!(frames.next().await, Ok(Some(_))) {} };
        tokio::select! {
            biased;
            () = outward => {}
            () = hub_left => {}
        }
        let _ = self.sender.finish().await;
    }

    /// Joins the call to a session until either ends.
    pub async fn serve_session(mut self, session: ExecSession) {
        let ExecSession { input: to_process, output: mut from_process } = session;
        let (sender, frames) = (&mut self.sender, &mut self.frames);
        let outward = async {
            loop {
                let (output, last) = match from_process.recv().await {
                    Some(StreamOutput::Stdout(data)) => (CallOutput::Stdout(data), false),
                    Some(StreamOutput::Stderr(data)) => (CallOutput::Stderr(data), false),
                    Some(StreamOutput::Exited(code)) => (CallOutput::Exited(code), true),
                    Some(StreamOutput::Failed(text)) => (CallOutput::Failed(500, text), true),
                    None => (CallOutput::End, true),
                };
                if send(sender, &output).await.is_err() || last {
                    return;
                }
            }
        };
        let inward = async {
            loop {
                let input = match frames.next().await {
                    Ok(Some(frame)) if frame.kind == CallInput::KIND => frame.decode(),
                    Ok(Some(_)) => continue,
                    Ok(None) | Err(_) => return,
                };
                let input = match input {
                    Ok(CallInput::Stdin(data)) => StreamInput::Stdin(data),
                    Ok(CallInput::StdinClosed) => StreamInput::StdinClosed,
                    Ok(CallInput::Resize(width, height)) => StreamInput::Resize(TerminalSize { width, height }),
                    Err(_) => return,
                };
                // A process that has closed its input is no reason to end the call.
                let _ = to_process.send(input).await;
            }
        };
        tokio::select! {
            biased;
            () = outward => {}
            () = inward => {}
        }
        let _ = self.sender.finish().await;
    }
}

/// Both halves of a call, counted.
pub(crate) fn counted(
    stream: Box<dyn SendStream>,
    mut frames: FrameRecv,
    traffic: &Arc<Traffic>,
) -> (Box<dyn SendStream>, FrameRecv) {
    let purpose = Purpose::Calls;
    frames.count(traffic.clone(), purpose);
    (Box::new(Counted { stream, traffic: traffic.clone(), purpose }), frames)
}

/// Splits a stream for [`FrameRecv`].
pub(crate) fn split((sender, receiver): BiStream) -> (Box<dyn SendStream>, FrameRecv) {
    (sender, FrameRecv::new(receiver))
}
