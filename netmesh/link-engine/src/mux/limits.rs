//! Bounds of the multiplexer. Those of flow control are part of the protocol: both ends begin with them.

use std::time::Duration;

/// Bytes of a frame's payload; a TLS record holds as many.
pub const PAYLOAD_BYTES: usize = 16 << 10;
/// Bytes that a peer may send on a stream before the application has read some.
pub const STREAM_WINDOW: u32 = 256 << 10;
/// Bytes that a peer may send on all streams together before the application has read some.
pub const CONNECTION_WINDOW: u32 = 1 << 20;
/// Streams that a peer may have open.
pub const STREAMS: u32 = 128;
/// Bytes of a stream that wait to be sent; a writer waits at this.
pub const SEND_BYTES: usize = 64 << 10;
/// Bytes of datagrams that wait to be sent, and of those that wait to be read; the oldest make room.
pub const DATAGRAM_BYTES: usize = 64 << 10;
/// What a waiting datagram counts beside its payload, so that empty ones are bounded too.
pub const DATAGRAM_COST: usize = 64;
/// Bytes of the reason of a close.
pub const REASON_BYTES: usize = 512;
/// Room is given back to a sender once this share of a window has been read.
pub const CREDIT_SHARE: u32 = 4;
/// How long an end that closes may take to say so.
pub const CLOSE_LINGER: Duration = Duration::from_secs(3);

const _: () = assert!(STREAM_WINDOW < CONNECTION_WINDOW && PAYLOAD_BYTES <= u16::MAX as usize);
const _: () = assert!(REASON_BYTES <= PAYLOAD_BYTES && SEND_BYTES <= STREAM_WINDOW as usize);
