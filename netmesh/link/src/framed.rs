//! Streams of frames.

use crate::traffic::{Purpose, Traffic};
use bytes::Bytes;
use holdfast_env::{NetError, RecvStream, SendStream};
use holdfast_link_engine::wire::{Open, Payload, encode};
use holdfast_link_engine::{Frame, FrameReader, Stream, WireError};
use std::sync::Arc;

/// Bytes that one read takes at most.
const READ_BYTES: usize = 32 << 10;

/// Why a connection's work ended.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum LinkError {
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The peer's bytes.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The stream ended where it should not.
    #[error("the peer ended the stream early")]
    Ended,
    /// The peer did not answer in time.
    #[error("the peer did not answer in time")]
    Timeout,
}

/// The receiving half of a stream of frames.
pub struct FrameRecv {
    stream: Box<dyn RecvStream>,
    reader: FrameReader,
    counted: Option<(Arc<Traffic>, Purpose)>,
}

impl FrameRecv {
    /// Frames of `stream`.
    pub fn new(stream: Box<dyn RecvStream>) -> FrameRecv {
        FrameRecv { stream, reader: FrameReader::default(), counted: None }
    }

    /// From now on, counts what comes.
    pub(crate) fn count(&mut self, traffic: Arc<Traffic>, purpose: Purpose) {
        self.counted = Some((traffic, purpose));
    }

    /// The next frame; `None` when the peer ended the stream in order. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Frame>, LinkError> {
        loop {
            if let Some(frame) = self.reader.next_frame()? {
                return Ok(Some(frame));
            }
            match self.stream.read(READ_BYTES).await? {
                Some(data) => {
                    if let Some((traffic, purpose)) = &self.counted {
                        traffic.received(*purpose, data.len());
                    }
                    self.reader.push(&data);
                }
                None if self.reader.is_mid_frame() => return Err(LinkError::Ended),
                None => return Ok(None),
            }
        }
    }

    /// The next frame, which must be a `T`.
    pub async fn expect<T: Payload>(&mut self) -> Result<T, LinkError> {
        Ok(self.next().await?.ok_or(LinkError::Ended)?.decode()?)
    }
}

/// Writes one record as a frame.
pub async fn send<T: Payload>(stream: &mut Box<dyn SendStream>, record: &T) -> Result<(), LinkError> {
    Ok(stream.write(encode(record)).await?)
}

/// The frame that says what a stream is for.
pub fn opening(stream: Stream) -> Bytes {
    encode(&Open { stream })
}
