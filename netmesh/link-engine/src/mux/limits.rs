//! Bounds of the multiplexer. Those of flow control are part of the protocol: both ends begin with them.

use std::time::Duration;

/// Bytes of a frame's payload; a TLS record holds as many.
pub const PAYLOAD_BYTES: usize = 16 << 10;
/// Bytes that a peer may send on a stream before the application has read some.
pub const STREAM_WINDOW: u32 = 256 << 10;
/// Bytes that a peer may send on all streams together before the application has read some: the windows of as many
/// calls as there may be, and of the link's own streams. Calls that nobody reads (a log whose reader went to lunch)
/// must hold up neither facts nor objects.
pub const CONNECTION_WINDOW: u32 = 67 * STREAM_WINDOW;
/// Streams that the end that dialled may have open: control, facts and few others. A stranger who asks to join can
/// make the hub hold so many windows and no more.
pub const DIALER_STREAMS: u32 = 8;
/// Streams that the end that was dialled may have open: objects, and a stream a call.
pub const LISTENER_STREAMS: u32 = 128;
/// Bytes of a stream that wait to be sent; a writer waits at this.
pub const SEND_BYTES: usize = 64 << 10;
/// Bytes of datagrams that wait to be sent, and of those that wait to be read; the oldest make room.
pub const DATAGRAM_BYTES: usize = 64 << 10;
/// What a waiting datagram counts beside its payload, so that empty ones are bounded too.
pub const DATAGRAM_COST: usize = 64;
/// Bytes of the reason of a close.
pub const REASON_BYTES: usize = 512;
/// Room on a stream is given back to its sender once so many bytes have been read.
pub const STREAM_CREDIT: u32 = STREAM_WINDOW / 4;
/// Room on the connection is given back once so many bytes have been read.
pub const CONNECTION_CREDIT: u32 = STREAM_WINDOW / 2;
/// How long an end that closes may take to say so.
pub const CLOSE_LINGER: Duration = Duration::from_secs(3);

const _: () = assert!(STREAM_WINDOW + CONNECTION_CREDIT < CONNECTION_WINDOW && PAYLOAD_BYTES <= u16::MAX as usize);
const _: () = assert!(REASON_BYTES <= PAYLOAD_BYTES && SEND_BYTES <= STREAM_WINDOW as usize);
