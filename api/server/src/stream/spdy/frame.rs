//! Frames (SPDY/3.1, 2.2): control frames are read whole, data frames in the pieces that they arrive in, so that a
//! frame of 16 MiB takes no more memory than a small one. Sans-IO.

use super::headers::{HeaderReader, Headers};
use crate::limits;
use bytes::{Buf, Bytes, BytesMut};

/// Version in control frames: 3.1 differs from 3 in flow control alone.
const VERSION: u16 = 3;
/// Bytes of a frame's head.
const HEAD: usize = 8;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const FIN: u8 = 1;

/// Why a stream is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reset {
    /// The peer broke a rule of the protocol.
    Protocol = 1,
    /// There is no such stream.
    InvalidStream = 2,
    /// There are too many.
    Refused = 3,
    /// Nobody wants it any more.
    Cancel = 5,
}

/// Why a connection cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpdyError {
    /// Not the protocol, or another version of it.
    #[error("a control frame of version {0} where 3 is spoken")]
    Version(u16),
    /// A control frame says that it is larger than is allowed.
    #[error("a control frame of {0} bytes is larger than is allowed")]
    TooLarge(usize),
    /// A control frame is shorter than its sort is.
    #[error("a control frame of type {0} is malformed")]
    Malformed(u16),
    /// A block of headers.
    #[error("a block of headers cannot be read: {0}")]
    Headers(&'static str),
}

/// What a peer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A new stream.
    SynStream {
        /// Its number.
        id: u32,
        /// What it is for.
        headers: Headers,
        /// The peer will send nothing on it.
        fin: bool,
    },
    /// A stream is over, both ways.
    Rst {
        /// Its number.
        id: u32,
    },
    /// An answer is asked for, or given.
    Ping(u32),
    /// No new streams will come.
    GoAway,
    /// Bytes of a stream, not always a whole frame's.
    Data {
        /// Its number.
        id: u32,
        /// The bytes.
        data: Bytes,
        /// They are the last.
        fin: bool,
    },
}

/// Reads frames out of bytes as they come.
#[derive(Default)]
pub struct FrameReader {
    buffer: BytesMut,
    headers: HeaderReader,
    /// A data frame of which this much is still to come.
    within: Option<Within>,
}

#[derive(Clone, Copy)]
struct Within {
    id: u32,
    left: usize,
    fin: bool,
}

impl FrameReader {
    /// Takes in what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that wait for the rest of their frame: at most one control frame beyond what was pushed last.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next frame that says something; `None` until more arrives.
    ///
    /// # Errors
    /// The connection cannot be read on.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, SpdyError> {
        loop {
            if let Some(within) = self.within {
                return Ok(self.data(within));
            }
            let Some(head) = self.buffer.first_chunk::<HEAD>() else { return Ok(None) };
            let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let (flags, len) = (head[4], usize::from(head[5]) << 16 | usize::from(head[6]) << 8 | usize::from(head[7]));
            if first >> 31 == 0 {
                self.buffer.advance(HEAD);
                self.within = Some(Within { id: first, left: len, fin: flags & FIN != 0 });
                continue;
            }
            let (version, kind) = ((first >> 16) as u16 & 0x7fff, (first & 0xffff) as u16);
            if version != VERSION {
                return Err(SpdyError::Version(version));
            }
            if len > limits::SPDY_CONTROL_FRAME {
                return Err(SpdyError::TooLarge(len));
            }
            if self.buffer.len() < HEAD + len {
                return Ok(None);
            }
            self.buffer.advance(HEAD);
            let body = self.buffer.split_to(len).freeze();
            if let Some(frame) = self.control(kind, flags, &body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn data(&mut self, within: Within) -> Option<Frame> {
        let Within { id, left, fin } = within;
        if left > 0 && self.buffer.is_empty() {
            return None;
        }
        let data = self.buffer.split_to(left.min(self.buffer.len())).freeze();
        let left = left - data.len();
        self.within = (left > 0).then_some(Within { id, left, fin });
        Some(Frame::Data { id, data, fin: fin && left == 0 })
    }

    fn control(&mut self, kind: u16, flags: u8, body: &[u8]) -> Result<Option<Frame>, SpdyError> {
        let malformed = SpdyError::Malformed(kind);
        let word = |at: usize| {
            let bytes = body.get(at..at + 4).and_then(|bytes| bytes.first_chunk::<4>());
            bytes.map(|bytes| u32::from_be_bytes(*bytes)).ok_or(malformed)
        };
        let rest = |at: usize| body.get(at..).ok_or(malformed);
        Ok(match kind {
            SYN_STREAM => {
                let id = word(0)? & 0x7fff_ffff;
                let headers = self.headers.read(rest(10)?)?;
                Some(Frame::SynStream { id, headers, fin: flags & FIN != 0 })
            }
            // Nothing in them matters here, but the stream of compressed headers goes through them.
            SYN_REPLY | HEADERS => {
                self.headers.read(rest(4)?)?;
                None
            }
            RST_STREAM => Some(Frame::Rst { id: word(0)? & 0x7fff_ffff }),
            PING => Some(Frame::Ping(word(0)?)),
            GOAWAY => Some(Frame::GoAway),
            // SETTINGS, WINDOW_UPDATE and what may come later.
            _ => None,
        })
    }
}

fn control(kind: u16, flags: u8, body: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(HEAD + body.len());
    frame.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(&(u32::from(flags) << 24 | body.len() as u32 & 0xff_ffff).to_be_bytes());
    frame.extend_from_slice(body);
    frame.into()
}

/// SYN_STREAM with a block of headers.
pub fn syn_stream(id: u32, block: &[u8], fin: bool) -> Bytes {
    let mut body = id.to_be_bytes().to_vec();
    body.extend_from_slice(&[0; 6]);
    body.extend_from_slice(block);
    control(SYN_STREAM, u8::from(fin), &body)
}

/// SYN_REPLY with a block of headers.
pub fn syn_reply(id: u32, block: &[u8]) -> Bytes {
    let mut body = id.to_be_bytes().to_vec();
    body.extend_from_slice(block);
    control(SYN_REPLY, 0, &body)
}

/// RST_STREAM.
pub fn rst(id: u32, why: Reset) -> Bytes {
    let mut body = id.to_be_bytes().to_vec();
    body.extend_from_slice(&(why as u32).to_be_bytes());
    control(RST_STREAM, 0, &body)
}

/// PING, or the answer to one.
pub fn ping(id: u32) -> Bytes {
    control(PING, 0, &id.to_be_bytes())
}

/// GOAWAY: `last` is the last stream that was taken; `error` that the peer broke the protocol.
pub fn go_away(last: u32, error: bool) -> Bytes {
    let mut body = last.to_be_bytes().to_vec();
    body.extend_from_slice(&u32::from(error).to_be_bytes());
    control(GOAWAY, 0, &body)
}

/// A data frame; `data` is shorter than 16 MiB.
pub fn data(id: u32, data: &[u8], fin: bool) -> Bytes {
    let mut frame = Vec::with_capacity(HEAD + data.len());
    frame.extend_from_slice(&(id & 0x7fff_ffff).to_be_bytes());
    frame.extend_from_slice(&(u32::from(fin) << 24 | data.len() as u32 & 0xff_ffff).to_be_bytes());
    frame.extend_from_slice(data);
    frame.into()
}

#[cfg(test)]
mod tests {
    use super::super::headers::HeaderWriter;
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<Frame>, SpdyError> {
        let mut reader = FrameReader::default();
        reader.push(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// Bytes by hand, after the pictures of the draft.
    #[test]
    fn frames_are_the_drafts() {
        assert_eq!(&ping(0x0102_0304)[..], b"\x80\x03\x00\x06\x00\x00\x00\x04\x01\x02\x03\x04");
        assert_eq!(&rst(3, Reset::Cancel)[..], b"\x80\x03\x00\x03\x00\x00\x00\x08\x00\x00\x00\x03\x00\x00\x00\x05");
        assert_eq!(&go_away(5, false)[..], b"\x80\x03\x00\x07\x00\x00\x00\x08\x00\x00\x00\x05\x00\x00\x00\x00");
        assert_eq!(&data(1, b"hi", true)[..], b"\x00\x00\x00\x01\x01\x00\x00\x02hi");
        let frames =
            b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01\x80\x03\x00\x04\x00\x00\x00\x04\x00\x00\x00\x00\
            \x00\x00\x00\x05\x00\x00\x00\x03abc\x80\x03\x00\x03\x00\x00\x00\x08\x00\x00\x00\x05\x00\x00\x00\x05\
            \x00\x00\x00\x07\x01\x00\x00\x00";
        let data = |id, data: &'static [u8], fin| Frame::Data { id, data: Bytes::from_static(data), fin };
        assert_eq!(
            read(frames),
            Ok(vec![Frame::Ping(1), data(5, b"abc", false), Frame::Rst { id: 5 }, data(7, b"", true)])
        );
        let opened = syn_stream(1, &HeaderWriter::default().block(&[("Port", "80")]), true);
        let headers = vec![("port".to_string(), "80".to_string())];
        assert_eq!(read(&opened), Ok(vec![Frame::SynStream { id: 1, headers, fin: true }]));
    }

    #[test]
    fn large_data_is_handed_out_as_it_comes() {
        let mut reader = FrameReader::default();
        reader.push(b"\x00\x00\x00\x01\x01\xff\xff\xffab");
        assert!(matches!(reader.next_frame(), Ok(Some(Frame::Data { id: 1, fin: false, .. }))));
        assert_eq!(reader.next_frame(), Ok(None));
        for _ in 0..255 {
            reader.push(&[0; 65_536]);
            assert!(matches!(reader.next_frame(), Ok(Some(Frame::Data { fin: false, .. }))));
            assert_eq!(reader.buffered(), 0);
        }
        reader.push(&[0; 65_533]);
        assert!(matches!(reader.next_frame(), Ok(Some(Frame::Data { fin: true, .. }))));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(read(b"\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01"), Err(SpdyError::Version(2)));
        assert_eq!(read(b"\x80\x03\x00\x01\x00\xff\xff\xff"), Err(SpdyError::TooLarge(0xff_ffff)));
        assert_eq!(read(b"\x80\x03\x00\x06\x00\x00\x00\x02\x00\x00"), Err(SpdyError::Malformed(6)));
        assert_eq!(read(b"\x80\x03\x00\x01\x00\x00\x00\x02\x00\x00"), Err(SpdyError::Malformed(1)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_pile_up(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut reader = FrameReader::default();
            'all: for piece in pieces {
                reader.push(&piece);
                loop {
                    match reader.next_frame() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'all,
                    }
                }
                prop_assert!(reader.buffered() <= limits::SPDY_CONTROL_FRAME + HEAD);
            }
        }

        #[test]
        fn frames_survive_however_they_are_cut(payload in proptest::collection::vec(any::<u8>(), 0..5000), cut in 1_usize..700) {
            let mut bytes = syn_stream(1, &HeaderWriter::default().block(&[("a", "b")]), false).to_vec();
            bytes.extend_from_slice(&data(1, &payload, true));
            let mut reader = FrameReader::default();
            let (mut got, mut opened, mut ended) = (Vec::new(), false, false);
            for piece in bytes.chunks(cut) {
                reader.push(piece);
                while let Some(frame) = reader.next_frame().unwrap() {
                    match frame {
                        Frame::SynStream { .. } => opened = true,
                        Frame::Data { data, fin, .. } => {
                            prop_assert!(!ended);
                            got.extend_from_slice(&data);
                            ended = fin;
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            prop_assert!(opened && ended && got == payload);
        }
    }
}
