//! The network of an [`crate::Env`]: authenticated connections of many streams.
//!
//! Three implementations are meant: QUIC (`netmesh/link`), the same streams over one TLS connection where
//! UDP is blocked, and the simulator's.

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;

/// Why a connection or stream ended.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetError {
    /// The peer could not be reached, or answered nothing in time.
    #[error("{0} is unreachable")]
    Unreachable(String),
    /// The peer was reached and refused, or could not prove who it is.
    #[error("refused: {0}")]
    Refused(String),
    /// The connection ended.
    #[error("connection closed: {0}")]
    Closed(String),
    /// This stream was reset; the connection may live on.
    #[error("stream reset (code {0})")]
    Reset(u64),
}

/// The sending half of a stream. Not cancel safe: a dropped write may have sent a part.
#[async_trait]
pub trait SendStream: Send {
    /// Sends all of `data`, waiting for flow control.
    async fn write(&mut self, data: Bytes) -> Result<(), NetError>;
    /// Ends the stream in order.
    async fn finish(&mut self) -> Result<(), NetError>;
    /// Ends the stream at once with an error code.
    fn reset(&mut self, code: u64);
    /// Where streams of a connection compete for its path, those of the highest number go first; 0 to begin with.
    fn set_priority(&mut self, _priority: i32) {}
}

/// The receiving half of a stream. Cancel safe.
#[async_trait]
pub trait RecvStream: Send {
    /// The next piece of at most `max` bytes; `None` at the end of the stream.
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError>;
    /// Tells the peer to stop sending.
    fn stop(&mut self, code: u64);
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// QUIC over UDP.
    Quic,
    /// One TLS connection over TCP, where UDP is blocked.
    Tcp,
    /// No network at all: a simulator's, a test's.
    Memory,
}

impl Transport {
    /// `quic`, `tcp` or `memory`: for status, logs and people.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Quic => "quic",
            Transport::Tcp => "tcp",
            Transport::Memory => "memory",
        }
    }
}

/// What a connection has carried, as far as its transport knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Bytes sent: payloads of UDP, or of TCP without the TLS handshake. Heads of IP, UDP and TCP are not counted.
    pub sent_bytes: u64,
    /// Bytes received, counted likewise.
    pub received_bytes: u64,
    /// Largest payload of a packet on this path, in bytes.
    pub path_mtu: Option<u32>,
}

/// Both halves of a stream.
pub type BiStream = (Box<dyn SendStream>, Box<dyn RecvStream>);

/// Bytes that one read of [`splice`] takes at most.
const SPLICE_BYTES: usize = 32 << 10;

/// Joins two streams until both of their directions have ended: what one side ends is ended on the other, the rest goes
/// on. Nothing is held but the piece on its way.
///
/// # Errors
/// What broke off first; then both are reset.
pub async fn splice((mut a_send, mut a_recv): BiStream, (mut b_send, mut b_recv): BiStream) -> Result<(), NetError> {
    let (there, back) = (copy(&mut *a_recv, &mut *b_send), copy(&mut *b_recv, &mut *a_send));
    let joined = futures_util::future::try_join(there, back).await.map(|_| ());
    if joined.is_err() {
        for (send, recv) in [(&mut a_send, &mut a_recv), (&mut b_send, &mut b_recv)] {
            send.reset(0);
            recv.stop(0);
        }
    }
    joined
}

async fn copy(from: &mut dyn RecvStream, to: &mut dyn SendStream) -> Result<(), NetError> {
    while let Some(data) = from.read(SPLICE_BYTES).await? {
        to.write(data).await?;
    }
    to.finish().await
}

/// One authenticated connection.
#[async_trait]
pub trait Connection: Send + Sync {
    /// Opens a two-way stream. Cancel safe.
    async fn open_bi(&self) -> Result<BiStream, NetError>;
    /// The next stream that the peer opened. Cancel safe.
    async fn accept_bi(&self) -> Result<BiStream, NetError>;
    /// Sends a datagram, or drops it when the path is full.
    fn send_datagram(&self, data: Bytes) -> Result<(), NetError>;
    /// The next datagram. Cancel safe.
    async fn recv_datagram(&self) -> Result<Bytes, NetError>;
    /// Ends the connection; the peer sees `reason`.
    fn close(&self, reason: &str);
    /// Completes when the connection has ended, with the reason. Cancel safe.
    async fn closed(&self) -> NetError;
    /// The peer's certificate chain as DER, leaf first; empty when it sent none.
    fn peer_certificates(&self) -> Vec<Vec<u8>>;
    /// The peer's address, for logs.
    fn peer_address(&self) -> String;
    /// The address of this side as it goes out, without the port, where it is known.
    fn local_address(&self) -> Option<String>;
    /// What carries it.
    fn transport(&self) -> Transport {
        Transport::Memory
    }
    /// What it has carried so far.
    fn carried(&self) -> Carried {
        Carried::default()
    }
}

/// Opens connections.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// Connects to `address` (`host:port`).
    async fn dial(&self, address: &str) -> Result<Arc<dyn Connection>, NetError>;
}
