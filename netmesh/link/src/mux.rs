//! Connections over one byte stream: drives [`holdfast_link_engine::mux`] over anything that reads and writes.
//!
//! One task a connection reads, writes and keeps time; it ends by itself once the connection has ended, at most
//! [`limits::CLOSE_LINGER`] later. Handles work on the shared state and wake it. As with QUIC, a connection whose
//! handles (its own and its streams') are all dropped is closed.

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use holdfast_env::{BiStream, Carried, Connection, Mono, NetError, RecvStream, SendStream, Transport, World};
use holdfast_link_engine::mux::{Ended, Mux, Read, Side, Wake, Write, limits};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

/// Bytes that one read takes at most.
const READ_BYTES: usize = 8 << 10;
/// Bytes that are handed to the byte stream at a time: what a heartbeat waits for at most.
const WRITE_BYTES: usize = 16 << 10;

/// Bytes that TLS 1.3 adds to what one read or write carries: the record's head, its type, its tag (RFC 8446, 5.2).
const RECORD_BYTES: u64 = 5 + 1 + 16;

/// What is known of the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its certificate chain as DER, leaf first; empty when it sent none.
    pub certificates: Vec<Vec<u8>>,
    /// Its address.
    pub address: String,
    /// The address of this end towards it, without the port, where it is known.
    pub local: Option<String>,
    /// What carries the bytes.
    pub transport: Transport,
}

/// A connection over `stream`. Silence of `idle` ends it.
pub fn connection<S>(env: &World, stream: S, side: Side, idle: Duration, peer: Peer) -> Arc<dyn Connection>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mux = Mux::new(side, env.monotonic().0, idle);
    let state = State {
        mux,
        refused: None,
        readers: BTreeMap::new(),
        writers: BTreeMap::new(),
        carried: Carried::default(),
        record_bytes: if peer.transport == Transport::Tcp { RECORD_BYTES } else { 0 },
    };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        driver: Notify::new(),
        accept: Notify::new(),
        open: Notify::new(),
        datagram: Notify::new(),
        ended: Notify::new(),
    });
    // The task owns its own handle: it has to outlive the last handle of the connection, to say goodbye.
    let (keep, kept) = tokio::sync::oneshot::channel::<holdfast_env::Task>();
    let (world, driven) = (env.clone(), shared.clone());
    let drive = async move {
        let _own_handle = kept.await;
        drive(&world, stream, &driven).await;
    };
    let _ = keep.send(env.spawn("link-mux", Box::pin(drive)));
    Arc::new(MuxConnection { owner: Arc::new(Owner(shared)), peer })
}

struct State {
    mux: Mux,
    /// TLS turned us or the peer away.
    refused: Option<NetError>,
    readers: BTreeMap<u32, Arc<Notify>>,
    writers: BTreeMap<u32, Arc<Notify>>,
    carried: Carried,
    record_bytes: u64,
}

struct Shared {
    state: Mutex<State>,
    driver: Notify,
    accept: Notify,
    open: Notify,
    datagram: Notify,
    ended: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the multiplexer, and wakes whom that concerns.
    fn with<T>(&self, act: impl FnOnce(&mut Mux) -> T) -> T {
        let mut state = self.lock();
        let done = act(&mut state.mux);
        for wake in state.mux.wakes() {
            match wake {
                Wake::Accept => self.accept.notify_one(),
                Wake::Open => self.open.notify_one(),
                Wake::Datagram => self.datagram.notify_one(),
                Wake::Reader(stream) => state.readers.get(&stream).into_iter().for_each(|reader| reader.notify_one()),
                Wake::Writer(stream) => state.writers.get(&stream).into_iter().for_each(|writer| writer.notify_one()),
                Wake::All => {
                    let fixed = [&self.accept, &self.open, &self.datagram, &self.ended];
                    fixed.into_iter().for_each(Notify::notify_waiters);
                    state.readers.values().chain(state.writers.values()).for_each(|waiting| waiting.notify_waiters());
                }
            }
        }
        if state.mux.wants_transmit() {
            self.driver.notify_one();
        }
        done
    }

    fn error(&self) -> Option<NetError> {
        let state = self.lock();
        let ended = state.mux.ended()?;
        Some(state.refused.clone().unwrap_or_else(|| NetError::Closed(ended.reason().to_string())))
    }

    /// Waits on `signal` until `ready` finds something, or the connection has ended. Cancel safe.
    async fn until<T>(&self, signal: &Notify, mut ready: impl FnMut(&mut Mux) -> Option<T>) -> Result<T, NetError> {
        loop {
            let mut notified = std::pin::pin!(signal.notified());
            // From here on no signal is missed.
            notified.as_mut().enable();
            if let Some(found) = self.with(&mut ready) {
                return Ok(found);
            }
            if let Some(err) = self.error() {
                return Err(err);
            }
            notified.await;
        }
    }

    /// So many bytes were written at once.
    fn wrote(&self, length: usize) {
        let mut state = self.lock();
        state.carried.sent_bytes += length as u64 + state.record_bytes;
    }

    fn received(&self, now: Duration, data: &[u8]) {
        {
            let mut state = self.lock();
            state.carried.received_bytes += data.len() as u64 + state.record_bytes;
        }
        self.with(|mux| mux.receive(now, data));
    }

    fn lost(&self, err: &std::io::Error) {
        self.lock().refused = crate::tcp::refusal(err);
        self.with(|mux| mux.lost(&format!("the TCP connection broke: {err}")));
    }
}

async fn drive<S: AsyncRead + AsyncWrite + Unpin>(env: &World, stream: S, shared: &Shared) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut inbox = vec![0; READ_BYTES];
    let mut out = BytesMut::new();
    let mut unflushed = false;
    loop {
        if out.is_empty() {
            shared.with(|mux| mux.transmit(&mut out, WRITE_BYTES));
        }
        if shared.error().is_some() {
            break;
        }
        let deadline = shared.lock().mux.next_deadline().unwrap_or_default();
        tokio::select! {
            biased;
            () = env.sleep_until(Mono(deadline)) => shared.with(|mux| mux.tick(env.monotonic().0)),
            pushed = push(&mut writer, &out), if unflushed || !out.is_empty() => match pushed {
                Ok(length) => {
                    unflushed = length > 0;
                    if length > 0 {
                        shared.wrote(length);
                    }
                    out.advance(length);
                }
                Err(err) => shared.lost(&err),
            },
            read = reader.read(&mut inbox) => match read {
                Ok(0) => shared.with(|mux| mux.lost("the peer ended the TCP connection")),
                Ok(length) => shared.received(env.monotonic().0, &inbox[..length]),
                Err(err) => shared.lost(&err),
            },
            () = shared.driver.notified() => {}
        }
    }
    shared.with(|mux| mux.transmit(&mut out, WRITE_BYTES));
    let tells = !matches!(shared.lock().mux.ended(), Some(Ended::There(_) | Ended::Lost(_)));
    if tells {
        let goodbye = async {
            writer.write_all(&out).await?;
            writer.shutdown().await?;
            // A socket that is closed with unread bytes resets the connection, and takes the reason along.
            while reader.read(&mut inbox).await? > 0 {}
            Ok::<_, std::io::Error>(())
        };
        // A peer that takes no bytes, or is gone, does not hear the reason.
        let _ = env.timeout(limits::CLOSE_LINGER, goodbye).await;
    }
}

/// Writes a part of `out`, or flushes when it is empty; how many bytes were taken. Cancel safe.
async fn push<W: AsyncWrite + Unpin>(writer: &mut W, out: &[u8]) -> std::io::Result<usize> {
    if out.is_empty() {
        writer.flush().await?;
        return Ok(0);
    }
    match writer.write(out).await? {
        0 => Err(std::io::ErrorKind::WriteZero.into()),
        length => Ok(length),
    }
}

/// Closes the connection when the last handle is dropped.
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.with(|mux| mux.close("the peer let go of the connection"));
    }
}

struct MuxConnection {
    owner: Arc<Owner>,
    peer: Peer,
}

impl MuxConnection {
    fn shared(&self) -> &Shared {
        &self.owner.0
    }

    fn stream(&self, id: u32) -> BiStream {
        let (reader, writer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut state = self.shared().lock();
        state.readers.insert(id, reader.clone());
        state.writers.insert(id, writer.clone());
        drop(state);
        let sender = MuxSend { owner: self.owner.clone(), id, signal: writer };
        let receiver = MuxRecv { owner: self.owner.clone(), id, signal: reader };
        (Box::new(sender), Box::new(receiver))
    }
}

#[async_trait]
impl Connection for MuxConnection {
    async fn open_bi(&self) -> Result<BiStream, NetError> {
        let id = self.shared().until(&self.shared().open, Mux::open).await?;
        Ok(self.stream(id))
    }

    async fn accept_bi(&self) -> Result<BiStream, NetError> {
        let id = self.shared().until(&self.shared().accept, Mux::accept).await?;
        Ok(self.stream(id))
    }

    fn send_datagram(&self, data: Bytes) -> Result<(), NetError> {
        if let Some(err) = self.shared().error() {
            return Err(err);
        }
        let fits = self.shared().with(|mux| mux.send_datagram(data));
        if fits { Ok(()) } else { Err(NetError::Closed("datagram too large".into())) }
    }

    async fn recv_datagram(&self) -> Result<Bytes, NetError> {
        self.shared().until(&self.shared().datagram, Mux::recv_datagram).await
    }

    fn close(&self, reason: &str) {
        self.shared().with(|mux| mux.close(reason));
    }

    async fn closed(&self) -> NetError {
        match self.shared().until(&self.shared().ended, |_| None::<std::convert::Infallible>).await {
            Err(err) => err,
            Ok(never) => match never {},
        }
    }

    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        self.peer.certificates.clone()
    }

    fn peer_address(&self) -> String {
        self.peer.address.clone()
    }

    fn local_address(&self) -> Option<String> {
        self.peer.local.clone()
    }

    fn transport(&self) -> Transport {
        self.peer.transport
    }

    fn carried(&self) -> Carried {
        self.shared().lock().carried
    }
}

struct MuxSend {
    owner: Arc<Owner>,
    id: u32,
    signal: Arc<Notify>,
}

#[async_trait]
impl SendStream for MuxSend {
    async fn write(&mut self, mut data: Bytes) -> Result<(), NetError> {
        let shared = &self.owner.0;
        while !data.is_empty() {
            let written = shared.until(&self.signal, |mux| match mux.write(self.id, &data) {
                Write::Wait => None,
                other => Some(other),
            });
            match written.await? {
                Write::Taken(length) => data.advance(length),
                Write::Stopped(code) => return Err(NetError::Reset(code)),
                Write::Wait | Write::Ended => {
                    return Err(shared.error().unwrap_or_else(|| NetError::Closed("the stream has ended".into())));
                }
            }
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        self.owner.0.with(|mux| mux.finish(self.id));
        Ok(())
    }

    fn reset(&mut self, code: u64) {
        self.owner.0.with(|mux| mux.reset(self.id, code));
    }

    fn set_priority(&mut self, priority: i32) {
        self.owner.0.with(|mux| mux.set_priority(self.id, priority));
    }
}

impl Drop for MuxSend {
    fn drop(&mut self) {
        self.owner.0.lock().writers.remove(&self.id);
        self.owner.0.with(|mux| mux.release_sender(self.id));
    }
}

struct MuxRecv {
    owner: Arc<Owner>,
    id: u32,
    signal: Arc<Notify>,
}

#[async_trait]
impl RecvStream for MuxRecv {
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        let read = self.owner.0.until(&self.signal, |mux| match mux.read(self.id, max) {
            Read::Wait => None,
            other => Some(other),
        });
        match read.await? {
            Read::Data(piece) => Ok(Some(piece)),
            Read::Reset(code) => Err(NetError::Reset(code)),
            Read::End | Read::Wait => Ok(None),
        }
    }

    fn stop(&mut self, code: u64) {
        self.owner.0.with(|mux| mux.stop(self.id, code));
    }
}

impl Drop for MuxRecv {
    fn drop(&mut self) {
        self.owner.0.lock().readers.remove(&self.id);
        self.owner.0.with(|mux| mux.release_receiver(self.id));
    }
}

#[cfg(test)]
mod tests;
