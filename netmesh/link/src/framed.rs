//! Streams of frames.

use crate::traffic::{Purpose, Traffic};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_env::{NetError, RecvStream, SendStream, World};
use holdfast_link_engine::limits::{FRAME, STRANGER_FRAME_BYTES};
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
    /// A frame was begun and not ended.
    #[error("a frame was not finished within {} s", FRAME.as_secs())]
    Slow,
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

    /// Frames of a peer of which nothing is known yet: small ones.
    pub(crate) fn of_stranger(stream: Box<dyn RecvStream>) -> FrameRecv {
        FrameRecv { reader: FrameReader::bounded(STRANGER_FRAME_BYTES), ..FrameRecv::new(stream) }
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
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// What comes after the frames that were read, as bytes.
    pub(crate) fn into_bytes(self) -> Box<dyn RecvStream> {
        Box::new(AfterFrames { rest: self.reader.into_rest(), stream: self.stream, counted: self.counted })
    }

    /// The next frame, for which the peer may take as long as it likes; but a frame that it has begun it must end.
    /// Cancel safe but for the time that the peer then has anew.
    pub(crate) async fn next_in_time(&mut self, env: &World) -> Result<Option<Frame>, LinkError> {
        loop {
            if let Some(frame) = self.reader.next_frame()? {
                return Ok(Some(frame));
            }
            if self.reader.is_mid_frame() {
                return env.timeout(FRAME, self.next()).await.unwrap_or(Err(LinkError::Slow));
            }
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    /// Reads more; false when the peer ended the stream in order. Cancel safe.
    async fn read(&mut self) -> Result<bool, LinkError> {
        match self.stream.read(READ_BYTES).await? {
            Some(data) => {
                if let Some((traffic, purpose)) = &self.counted {
                    traffic.received(*purpose, data.len());
                }
                self.reader.push(&data);
                Ok(true)
            }
            None if self.reader.is_mid_frame() => Err(LinkError::Ended),
            None => Ok(false),
        }
    }

    /// The next frame, which must be a `T`.
    pub async fn expect<T: Payload>(&mut self) -> Result<T, LinkError> {
        Ok(self.next().await?.ok_or(LinkError::Ended)?.decode()?)
    }
}

/// The receiving half of a stream that carries bytes after its frames.
struct AfterFrames {
    rest: Bytes,
    stream: Box<dyn RecvStream>,
    counted: Option<(Arc<Traffic>, Purpose)>,
}

#[async_trait]
impl RecvStream for AfterFrames {
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        if !self.rest.is_empty() {
            return Ok(Some(self.rest.split_to(self.rest.len().min(max))));
        }
        let data = self.stream.read(max).await?;
        if let (Some((traffic, purpose)), Some(data)) = (&self.counted, &data) {
            traffic.received(*purpose, data.len());
        }
        Ok(data)
    }

    fn stop(&mut self, code: u64) {
        self.stream.stop(code);
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
