//! Drives the engine over a wire: the streams that the client opens come out as byte streams.
//!
//! Reading and writing run beside each other, so that a client that waits for its bytes to be taken never stops those
//! that go to it. A stream that nobody reads stops the reading of all, as there is no flow control (see [`super`]).

use super::engine::{Engine, Event};
use super::frame;
use super::headers::Headers;
use crate::limits;
use crate::stream::wire::{WireReader, WireWriter};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_env::{BiStream, NetError, RecvStream, SendStream};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Code of the errors of a stream that its client has given up.
pub(crate) const GONE: u64 = u64::MAX;

/// A stream that the client opened.
pub(crate) struct Opened {
    /// Its number.
    pub(crate) id: u32,
    /// What it is for.
    pub(crate) headers: Headers,
    /// Its bytes. Dropping a half that has not ended resets it.
    pub(crate) stream: BiStream,
}

/// Runs a connection beside the work on its streams: when either ends, so does the other.
pub(crate) async fn serve<Work: Future<Output = ()>>(
    (reader, writer): (WireReader, WireWriter),
    admit: impl Fn(&Headers) -> bool + Send,
    closing: &CancellationToken,
    work: impl FnOnce(mpsc::Receiver<Opened>) -> Work,
) {
    let closing = closing.child_token();
    let (opened, streams) = mpsc::channel(limits::SPDY_PIECES);
    let mut drive = std::pin::pin!(run(reader, writer, admit, opened, closing.clone()));
    let mut work = std::pin::pin!(work(streams));
    tokio::select! {
        () = &mut drive => {}
        () = &mut work => {
            closing.cancel();
            drive.await;
        }
    }
}

/// What the driver and the streams have in common.
#[derive(Default)]
struct Shared {
    engine: Mutex<Engine>,
    /// The engine has something to say that no reader will take along.
    said: Notify,
}

impl Shared {
    fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reset(&self, id: u32) {
        self.engine().reset(id);
        self.said.notify_one();
    }
}

/// Runs a connection to its end: the client's leaving, an error, or `closing`. Streams that `admit` does not take are
/// reset, the others go to `opened`; when that is closed nothing more is taken.
async fn run(
    reader: WireReader,
    mut writer: WireWriter,
    admit: impl Fn(&Headers) -> bool + Send,
    opened: mpsc::Sender<Opened>,
    closing: CancellationToken,
) {
    let shared = Arc::<Shared>::default();
    let (out, mut frames) = mpsc::channel(limits::SPDY_FRAMES);
    {
        let mut inward = std::pin::pin!(read(reader, &shared, admit, opened, out));
        let mut outward = std::pin::pin!(write(&mut writer, &shared, &mut frames));
        tokio::select! {
            () = &mut inward => {}
            () = &mut outward => return,
            () = closing.cancelled() => {}
        }
    }
    shared.engine().go_away(false);
    let rest = async {
        while let Ok(frame) = frames.try_recv() {
            writer.write(frame).await?;
        }
        let said = shared.engine().take_output();
        for frame in said {
            writer.write(frame).await?;
        }
        writer.close().await
    };
    let _: Result<_, _> = tokio::time::timeout(limits::WS_CLOSE, rest).await;
}

async fn write(writer: &mut WireWriter, shared: &Shared, frames: &mut mpsc::Receiver<Bytes>) {
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + limits::WS_PING, limits::WS_PING);
    let mut pings = 0_u32;
    loop {
        let batch = tokio::select! {
            frame = frames.recv() => match frame {
                Some(frame) => vec![frame],
                None => std::future::pending().await,
            },
            () = shared.said.notified() => shared.engine().take_output(),
            _ = ping.tick() => {
                // Ours are even.
                pings = pings.wrapping_add(2).max(2);
                vec![frame::ping(pings)]
            }
        };
        for frame in batch {
            if writer.write(frame).await.is_err() {
                return;
            }
        }
    }
}

/// The client's side of an open stream. Dropped, it tells the stream's writer that all is over.
struct Inbound {
    /// `None` once the client has ended its half, or nobody reads it.
    data: Option<mpsc::Sender<Piece>>,
    over: CancellationToken,
}

impl Drop for Inbound {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

enum Piece {
    Data(Bytes),
    End,
}

async fn read(
    mut wire: WireReader,
    shared: &Arc<Shared>,
    admit: impl Fn(&Headers) -> bool,
    opened: mpsc::Sender<Opened>,
    out: mpsc::Sender<Bytes>,
) {
    let mut streams: BTreeMap<u32, Inbound> = BTreeMap::new();
    loop {
        let Ok(Some(bytes)) = tokio::time::timeout(limits::WS_SILENCE, wire.read()).await else { return };
        shared.engine().push(&bytes);
        loop {
            let event = shared.engine().next_event();
            let nothing_more = matches!(event, Ok(None));
            match event {
                Ok(None) => {}
                Err(err) => {
                    tracing::debug!(%err, "A SPDY connection broke off");
                    return shared.engine().go_away(true);
                }
                Ok(Some(Event::Opened { id, headers, fin })) => {
                    if !admit(&headers) {
                        shared.engine().reset(id);
                    } else {
                        shared.engine().accept(id);
                        streams.retain(|id, _| shared.engine().is_open(*id));
                        let (stream, inbound) = stream(id, fin, shared, &out);
                        streams.insert(id, inbound);
                        if opened.send(Opened { id, headers, stream }).await.is_err() {
                            return;
                        }
                    }
                }
                Ok(Some(Event::Data { id, data, fin })) => {
                    let Some(inbound) = streams.get_mut(&id) else { continue };
                    if let Some(sender) = &inbound.data {
                        let data = if data.is_empty() { Ok(()) } else { sender.send(Piece::Data(data)).await };
                        let ended = if fin { sender.send(Piece::End).await } else { Ok(()) };
                        if fin || data.is_err() || ended.is_err() {
                            inbound.data = None;
                        }
                    }
                }
                Ok(Some(Event::Reset { id })) => drop(streams.remove(&id)),
            }
            let said = shared.engine().take_output();
            for frame in said {
                if out.send(frame).await.is_err() {
                    return;
                }
            }
            if nothing_more {
                break;
            }
        }
    }
}

fn stream(id: u32, fin: bool, shared: &Arc<Shared>, out: &mpsc::Sender<Bytes>) -> (BiStream, Inbound) {
    let (data, pieces) = mpsc::channel(limits::SPDY_PIECES);
    let over = CancellationToken::new();
    let sender = Sender { id, shared: shared.clone(), out: out.clone(), over: over.clone(), ended: false };
    let receiver = Receiver { pieces, rest: Bytes::new(), ended: fin };
    ((Box::new(sender), Box::new(receiver)), Inbound { data: (!fin).then_some(data), over })
}

struct Sender {
    id: u32,
    shared: Arc<Shared>,
    out: mpsc::Sender<Bytes>,
    over: CancellationToken,
    ended: bool,
}

impl Sender {
    async fn send(&self, frame: Bytes) -> Result<(), NetError> {
        tokio::select! {
            biased;
            () = self.over.cancelled() => Err(NetError::Reset(GONE)),
            sent = self.out.send(frame) => sent.map_err(|_| NetError::Reset(GONE)),
        }
    }
}

#[async_trait]
impl SendStream for Sender {
    async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
        for piece in data.chunks(limits::WS_CHUNK) {
            self.send(frame::data(self.id, piece, false)).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        if !std::mem::replace(&mut self.ended, true) {
            self.send(frame::data(self.id, &[], true)).await?;
            self.shared.engine().finished(self.id);
        }
        Ok(())
    }

    fn reset(&mut self, _code: u64) {
        self.ended = true;
        self.shared.reset(self.id);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.reset(self.id);
        }
    }
}

struct Receiver {
    pieces: mpsc::Receiver<Piece>,
    rest: Bytes,
    ended: bool,
}

#[async_trait]
impl RecvStream for Receiver {
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        if self.rest.is_empty() {
            if self.ended {
                return Ok(None);
            }
            match self.pieces.recv().await {
                Some(Piece::Data(data)) => self.rest = data,
                Some(Piece::End) => {
                    self.ended = true;
                    return Ok(None);
                }
                None => return Err(NetError::Reset(GONE)),
            }
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(max))))
    }

    fn stop(&mut self, _code: u64) {
        self.pieces.close();
    }
}
