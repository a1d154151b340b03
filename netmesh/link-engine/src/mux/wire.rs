//! Frames of the multiplexer: kind (u8), stream (u32), length (u16), payload; little endian.
//!
//! Kinds never change their meaning; new ones get new numbers, and unknown ones are skipped.

use super::limits::PAYLOAD_BYTES;
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the payload.
const HEAD_BYTES: usize = 7;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MuxFrame {
    /// The sender opens its next stream.
    Open { stream: u32 },
    /// Bytes of a stream.
    Data { stream: u32, bytes: Bytes },
    /// The sender's half of a stream ends in order.
    Fin { stream: u32 },
    /// The sender gives its half of a stream up.
    Reset { stream: u32, code: u64 },
    /// The sender wants no more bytes of a stream.
    Stop { stream: u32, code: u64 },
    /// So many bytes more may be sent on a stream.
    Credit { stream: u32, bytes: u32 },
    /// So many bytes more may be sent on all streams together.
    ConnectionCredit { bytes: u32 },
    /// So many streams more may be opened.
    StreamCredit { streams: u32 },
    /// A datagram.
    Datagram { bytes: Bytes },
    /// Asks for a `Pong`.
    Ping,
    /// Answers a `Ping`.
    Pong,
    /// The sender ends the connection, and says why.
    Close { reason: Bytes },
}

/// Why bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MuxWireError {
    #[error("a frame of {0} bytes is larger than is allowed")]
    TooLarge(usize),
    #[error("a frame of kind {0} is malformed")]
    Malformed(u8),
}

impl MuxFrame {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            MuxFrame::Open { stream } => head(out, 0, *stream, 0),
            MuxFrame::Data { stream, bytes } => body(out, 1, *stream, bytes),
            MuxFrame::Fin { stream } => head(out, 2, *stream, 0),
            MuxFrame::Reset { stream, code } => {
                head(out, 3, *stream, 8);
                out.put_u64_le(*code);
            }
            MuxFrame::Stop { stream, code } => {
                head(out, 4, *stream, 8);
                out.put_u64_le(*code);
            }
            MuxFrame::Credit { stream, bytes } => {
                head(out, 5, *stream, 4);
                out.put_u32_le(*bytes);
            }
            MuxFrame::ConnectionCredit { bytes } => {
                head(out, 6, 0, 4);
                out.put_u32_le(*bytes);
            }
            MuxFrame::StreamCredit { streams } => {
                head(out, 7, 0, 4);
                out.put_u32_le(*streams);
            }
            MuxFrame::Datagram { bytes } => body(out, 8, 0, bytes),
            MuxFrame::Ping => head(out, 9, 0, 0),
            MuxFrame::Pong => head(out, 10, 0, 0),
            MuxFrame::Close { reason } => body(out, 11, 0, reason),
        }
    }
}

fn head(out: &mut BytesMut, kind: u8, stream: u32, length: u16) {
    out.put_u8(kind);
    out.put_u32_le(stream);
    out.put_u16_le(length);
}

fn body(out: &mut BytesMut, kind: u8, stream: u32, bytes: &Bytes) {
    debug_assert!(bytes.len() <= PAYLOAD_BYTES, "the sender cuts payloads");
    head(out, kind, stream, u16::try_from(bytes.len()).unwrap_or(u16::MAX));
    out.put_slice(bytes);
}

/// Cuts a byte stream into frames. Holds at most one frame that is not whole, and what was pushed last.
#[derive(Debug, Default)]
pub(super) struct MuxReader {
    buffer: BytesMut,
}

impl MuxReader {
    pub(super) fn push(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    /// Whether bytes of a frame that is not whole are waiting.
    pub(super) fn is_mid_frame(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next whole frame of a known kind.
    pub(super) fn next_frame(&mut self) -> Result<Option<MuxFrame>, MuxWireError> {
        loop {
            let Some(head) = self.buffer.get(..HEAD_BYTES) else { return Ok(None) };
            let kind = head[0];
            let stream = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
            let length = usize::from(u16::from_le_bytes([head[5], head[6]]));
            if length > PAYLOAD_BYTES {
                return Err(MuxWireError::TooLarge(length));
            }
            if self.buffer.len() < HEAD_BYTES + length {
                return Ok(None);
            }
            self.buffer.advance(HEAD_BYTES);
            let payload = self.buffer.split_to(length).freeze();
            if let Some(frame) = decode(kind, stream, payload)? {
                return Ok(Some(frame));
            }
        }
    }
}

/// `None` for a kind of a newer release.
fn decode(kind: u8, stream: u32, payload: Bytes) -> Result<Option<MuxFrame>, MuxWireError> {
    let malformed = || MuxWireError::Malformed(kind);
    let empty = |frame| if payload.is_empty() { Ok(frame) } else { Err(malformed()) };
    let word = || <[u8; 4]>::try_from(&payload[..]).map(u32::from_le_bytes).map_err(|_| malformed());
    let long = || <[u8; 8]>::try_from(&payload[..]).map(u64::from_le_bytes).map_err(|_| malformed());
    Ok(Some(match kind {
        0 => empty(MuxFrame::Open { stream })?,
        1 => MuxFrame::Data { stream, bytes: payload },
        2 => empty(MuxFrame::Fin { stream })?,
        3 => MuxFrame::Reset { stream, code: long()? },
        4 => MuxFrame::Stop { stream, code: long()? },
        5 => MuxFrame::Credit { stream, bytes: word()? },
        6 => MuxFrame::ConnectionCredit { bytes: word()? },
        7 => MuxFrame::StreamCredit { streams: word()? },
        8 => MuxFrame::Datagram { bytes: payload },
        9 => empty(MuxFrame::Ping)?,
        10 => empty(MuxFrame::Pong)?,
        11 => MuxFrame::Close { reason: payload },
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes on the wire: a change here breaks nodes in the field.
    #[test]
    fn golden_bytes() {
        let bytes = Bytes::from_static(b"hi");
        let all: [(MuxFrame, &[u8]); 12] = [
            (MuxFrame::Open { stream: 3 }, &[0, 3, 0, 0, 0, 0, 0]),
            (MuxFrame::Data { stream: 258, bytes: bytes.clone() }, &[1, 2, 1, 0, 0, 2, 0, b'h', b'i']),
            (MuxFrame::Fin { stream: 3 }, &[2, 3, 0, 0, 0, 0, 0]),
            (MuxFrame::Reset { stream: 3, code: 7 }, &[3, 3, 0, 0, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
            (MuxFrame::Stop { stream: 3, code: 7 }, &[4, 3, 0, 0, 0, 8, 0, 7, 0, 0, 0, 0, 0, 0, 0]),
            (MuxFrame::Credit { stream: 3, bytes: 9 }, &[5, 3, 0, 0, 0, 4, 0, 9, 0, 0, 0]),
            (MuxFrame::ConnectionCredit { bytes: 9 }, &[6, 0, 0, 0, 0, 4, 0, 9, 0, 0, 0]),
            (MuxFrame::StreamCredit { streams: 9 }, &[7, 0, 0, 0, 0, 4, 0, 9, 0, 0, 0]),
            (MuxFrame::Datagram { bytes: bytes.clone() }, &[8, 0, 0, 0, 0, 2, 0, b'h', b'i']),
            (MuxFrame::Ping, &[9, 0, 0, 0, 0, 0, 0]),
            (MuxFrame::Pong, &[10, 0, 0, 0, 0, 0, 0]),
            (MuxFrame::Close { reason: bytes }, &[11, 0, 0, 0, 0, 2, 0, b'h', b'i']),
        ];
        let mut reader = MuxReader::default();
        for (frame, golden) in all {
            let mut out = BytesMut::new();
            frame.encode(&mut out);
            assert_eq!(out, golden, "{frame:?}");
            // Byte by byte, and after a frame of a newer release.
            for byte in [&[200, 0, 0, 0, 0, 1, 0, 0], golden].concat() {
                assert_eq!(reader.next_frame(), Ok(None));
                reader.push(&[byte]);
            }
            assert_eq!(reader.next_frame(), Ok(Some(frame)));
            assert!(!reader.is_mid_frame());
        }
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let read = |bytes: &[u8]| {
            let mut reader = MuxReader::default();
            reader.push(bytes);
            reader.next_frame()
        };
        assert_eq!(read(&[1, 0, 0, 0, 0, 1, 64]), Err(MuxWireError::TooLarge(16385)));
        assert_eq!(read(&[2, 3, 0, 0, 0, 1, 0, 0]), Err(MuxWireError::Malformed(2)));
        assert_eq!(read(&[3, 3, 0, 0, 0, 2, 0, 0, 0]), Err(MuxWireError::Malformed(3)));
    }
}
