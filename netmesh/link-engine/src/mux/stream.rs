//! The two halves of a stream.

use super::limits::{PAYLOAD_BYTES, SEND_BYTES, STREAM_CREDIT, STREAM_WINDOW};
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What an application's read finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A piece.
    Data(Bytes),
    /// Nothing yet.
    Wait,
    /// The end of the stream.
    End,
    /// The peer gave the stream up.
    Reset(u64),
}

/// What an application's write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// So many bytes, more than none, were taken.
    Taken(usize),
    /// The queue is full.
    Wait,
    /// The peer wants no more.
    Stopped(u64),
    /// This half has ended.
    Ended,
}

/// A stream as one end holds it. It stays until both halves have ended on the wire and the application has let go.
#[derive(Debug)]
pub(super) struct Stream {
    /// The peer has not been told yet that this end opened it.
    pub(super) unannounced: bool,
    pub(super) send: Sending,
    pub(super) recv: Receiving,
}

impl Stream {
    pub(super) fn new(unannounced: bool) -> Stream {
        Stream { unannounced, send: Sending::new(), recv: Receiving::new() }
    }

    pub(super) fn is_over(&self) -> bool {
        self.send.told_end && self.send.released && self.recv.ended && self.recv.released
    }
}

/// The half that this end sends on.
#[derive(Debug)]
pub(super) struct Sending {
    /// The higher goes first.
    pub(super) priority: i32,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// What the peer still lets us send.
    credit: u32,
    /// The application has finished.
    finished: bool,
    /// A reset that the peer has not been told.
    resetting: Option<u64>,
    stopped: Option<u64>,
    /// The peer has been told the end: nothing more goes out.
    pub(super) told_end: bool,
    /// The application has let go.
    pub(super) released: bool,
}

impl Sending {
    fn new() -> Sending {
        Sending {
            priority: 0,
            queue: VecDeque::new(),
            queued: 0,
            credit: STREAM_WINDOW,
            finished: false,
            resetting: None,
            stopped: None,
            told_end: false,
            released: false,
        }
    }

    pub(super) fn write(&mut self, data: &Bytes) -> Write {
        if let Some(code) = self.stopped {
            return Write::Stopped(code);
        }
        if self.finished || self.resetting.is_some() || self.told_end {
            return Write::Ended;
        }
        let room = SEND_BYTES.saturating_sub(self.queued);
        let taken = room.min(data.len());
        if taken == 0 {
            return Write::Wait;
        }
        self.queued += taken;
        self.queue.push_back(data.slice(..taken));
        Write::Taken(taken)
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
    }

    pub(super) fn reset(&mut self, code: u64) {
        if self.told_end || self.resetting.is_some() {
            return;
        }
        self.resetting = Some(code);
        self.queue.clear();
        self.queued = 0;
    }

    /// The peer wants no more; it is told that none comes.
    pub(super) fn stop(&mut self, code: u64) {
        if !self.told_end && self.stopped.is_none() {
            self.stopped = Some(code);
            self.reset(code);
        }
    }

    /// The peer has room for more; false when that is more than a window.
    pub(super) fn add_credit(&mut self, bytes: u32) -> bool {
        match self.credit.checked_add(bytes) {
            Some(credit) if credit <= STREAM_WINDOW => {
                self.credit = credit;
                true
            }
            _ => false,
        }
    }

    /// The reset to tell the peer now.
    pub(super) fn take_reset(&mut self) -> Option<u64> {
        let code = self.resetting.take()?;
        self.told_end = true;
        Some(code)
    }

    pub(super) fn wants_reset(&self) -> bool {
        self.resetting.is_some()
    }

    /// Whether bytes can go, if the connection lets them.
    pub(super) fn has_data(&self) -> bool {
        self.queued > 0 && self.credit > 0
    }

    /// Whether the end is to be told.
    pub(super) fn wants_fin(&self) -> bool {
        self.finished && self.queued == 0 && !self.told_end && self.resetting.is_none()
    }

    /// The next piece for a frame, of at most `connection` bytes.
    pub(super) fn take_data(&mut self, connection: u32) -> Option<Bytes> {
        let most = PAYLOAD_BYTES.min(self.credit as usize).min(connection as usize);
        if most == 0 {
            return None;
        }
        let mut piece = self.queue.pop_front()?;
        if piece.len() > most {
            self.queue.push_front(piece.split_off(most));
        }
        self.queued -= piece.len();
        // At most the credit, see above.
        self.credit -= u32::try_from(piece.len()).unwrap_or(self.credit);
        Some(piece)
    }
}

/// The half that this end receives on.
#[derive(Debug)]
pub(super) struct Receiving {
    buffer: BytesMut,
    /// What the peer may still send.
    credit: u32,
    /// What the application has read and the peer has not been told.
    due: u32,
    reset: Option<u64>,
    /// The application wants no more; what comes is dropped.
    stopped: bool,
    /// A stop that the peer has not been told.
    stopping: Option<u64>,
    /// The peer has told the end.
    pub(super) ended: bool,
    /// The application has let go.
    pub(super) released: bool,
}

impl Receiving {
    fn new() -> Receiving {
        Receiving {
            buffer: BytesMut::new(),
            credit: STREAM_WINDOW,
            due: 0,
            reset: None,
            stopped: false,
            stopping: None,
            ended: false,
            released: false,
        }
    }

    /// Bytes came. How many of them nobody will read; `None` when they are more than was allowed.
    pub(super) fn data(&mut self, bytes: &[u8]) -> Option<u32> {
        let length = u32::try_from(bytes.len()).ok()?;
        self.credit = self.credit.checked_sub(length)?;
        if self.stopped {
            return Some(length);
        }
        self.buffer.extend_from_slice(bytes);
        Some(0)
    }

    /// The peer told the end, or gave the stream up. How many bytes nobody will read.
    pub(super) fn end(&mut self, reset: Option<u64>) -> u32 {
        self.ended = true;
        self.stopping = None;
        self.reset = reset;
        if reset.is_some() { self.discard() } else { 0 }
    }

    pub(super) fn read(&mut self, max: usize) -> Read {
        if !self.buffer.is_empty() {
            let piece = self.buffer.split_to(max.min(self.buffer.len())).freeze();
            self.due = self.due.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
            return Read::Data(piece);
        }
        match self.reset {
            Some(code) => Read::Reset(code),
            None if self.ended || self.stopped => Read::End,
            None => Read::Wait,
        }
    }

    /// The application wants no more. How many bytes nobody will read.
    pub(super) fn stop(&mut self, code: u64) -> u32 {
        if self.stopped {
            return 0;
        }
        self.stopped = true;
        if !self.ended {
            self.stopping = Some(code);
        }
        self.discard()
    }

    fn discard(&mut self) -> u32 {
        let dropped = u32::try_from(self.buffer.len()).unwrap_or(u32::MAX);
        self.buffer = BytesMut::new();
        dropped
    }

    /// The stop to tell the peer now.
    pub(super) fn take_stop(&mut self) -> Option<u64> {
        self.stopping.take()
    }

    pub(super) fn wants_stop(&self) -> bool {
        self.stopping.is_some()
    }

    /// Whether the peer is to be told of room.
    pub(super) fn wants_credit(&self) -> bool {
        self.due >= STREAM_CREDIT && !self.ended && !self.stopped
    }

    /// The room to tell the peer of now.
    pub(super) fn take_credit(&mut self) -> Option<u32> {
        if !self.wants_credit() {
            return None;
        }
        let due = std::mem::take(&mut self.due);
        self.credit += due;
        Some(due)
    }
}
