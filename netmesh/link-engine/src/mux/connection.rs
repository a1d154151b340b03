//! [`Mux`]: one end of a connection.

use super::limits::{
    CONNECTION_CREDIT, CONNECTION_WINDOW, DATAGRAM_BYTES, DATAGRAM_COST, DIALER_STREAMS, LISTENER_STREAMS,
    PAYLOAD_BYTES, REASON_BYTES,
};
use super::stream::{Read, Stream, Write};
use super::wire::{MuxFrame, MuxReader};
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Which end this is: streams of the two are told apart by their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It dialled; its streams are odd.
    Dialer,
    /// It was dialled; its streams are even.
    Listener,
}

/// How a connection ended. The text says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// This end closed it.
    Here(String),
    /// The peer closed it.
    There(String),
    /// Nothing was heard of the peer.
    Silent(String),
    /// The peer broke a rule; it is told which.
    Broken(String),
    /// The byte stream ended.
    Lost(String),
}

impl Ended {
    /// Why.
    pub fn reason(&self) -> &str {
        match self {
            Ended::Here(text) | Ended::There(text) | Ended::Silent(text) | Ended::Broken(text) | Ended::Lost(text) => {
                text
            }
        }
    }
}

/// Who has something to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Whoever waits for a stream of the peer.
    Accept,
    /// Whoever waits to open a stream.
    Open,
    /// Whoever waits for a datagram.
    Datagram,
    /// The reader of this stream.
    Reader(u32),
    /// The writer of this stream.
    Writer(u32),
    /// Everybody: the connection has ended.
    All,
}

/// A bounded queue of datagrams that drops its oldest.
#[derive(Debug, Default)]
struct Datagrams {
    queue: VecDeque<Bytes>,
    cost: usize,
}

impl Datagrams {
    fn push(&mut self, datagram: Bytes) {
        self.cost += datagram.len() + DATAGRAM_COST;
        self.queue.push_back(datagram);
        while self.cost > DATAGRAM_BYTES {
            self.pop();
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        let datagram = self.queue.pop_front()?;
        self.cost -= datagram.len() + DATAGRAM_COST;
        Some(datagram)
    }
}

/// One end of a connection. Times are those of one monotonic clock.
#[derive(Debug)]
pub struct Mux {
    idle: Duration,
    reader: MuxReader,
    streams: BTreeMap<u32, Stream>,
    /// Parity of this end's streams: the remainder by 2.
    parity: u32,
    next_own: u32,
    next_peer: u32,
    accepting: VecDeque<u32>,
    /// Streams that this end may have open, and those that it may still open.
    most_open: u32,
    may_open: u32,
    /// Streams that the peer may still open, and those that are to be given back to it.
    peer_may_open: u32,
    streams_due: u32,
    /// Bytes that this end may still send.
    send_credit: u32,
    /// Bytes that the peer may still send, and those that are to be given back to it.
    recv_credit: u32,
    recv_due: u32,
    outgoing: Datagrams,
    incoming: Datagrams,
    /// The stream that had the last turn.
    turn: u32,
    heard: Duration,
    /// Something was sent since the peer was last heard: it has reason to answer.
    asked: bool,
    pinged: bool,
    ping: bool,
    pong: bool,
    ended: Option<Ended>,
    /// The reason to tell the peer.
    closing: Option<Bytes>,
    wakes: Vec<Wake>,
}

impl Mux {
    /// An end that calls the peer dead after `idle` of silence, and a frame broken that takes longer.
    pub fn new(side: Side, now: Duration, idle: Duration) -> Mux {
        let (own, peer, may_open, peer_may_open) = match side {
            Side::Dialer => (1, 2, DIALER_STREAMS, LISTENER_STREAMS),
            Side::Listener => (2, 1, LISTENER_STREAMS, DIALER_STREAMS),
        };
        Mux {
            idle,
            reader: MuxReader::default(),
            streams: BTreeMap::new(),
            parity: own % 2,
            next_own: own,
            next_peer: peer,
            accepting: VecDeque::new(),
            most_open: may_open,
            may_open,
            peer_may_open,
            streams_due: 0,
            send_credit: CONNECTION_WINDOW,
            recv_credit: CONNECTION_WINDOW,
            recv_due: 0,
            outgoing: Datagrams::default(),
            incoming: Datagrams::default(),
            turn: 0,
            heard: now,
            asked: false,
            pinged: false,
            ping: false,
            pong: false,
            ended: None,
            closing: None,
            wakes: Vec::new(),
        }
    }

    /// How the connection ended, once it has.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Who has something to look at since the last call.
    pub fn wakes(&mut self) -> Vec<Wake> {
        std::mem::take(&mut self.wakes)
    }

    // What the application does.

    /// Opens a stream; `None` while the peer allows no more.
    pub fn open(&mut self) -> Option<u32> {
        let after = self.next_own.checked_add(2)?;
        if self.ended.is_some() || self.may_open == 0 {
            return None;
        }
        self.may_open -= 1;
        let stream = std::mem::replace(&mut self.next_own, after);
        self.streams.insert(stream, Stream::new(true));
        Some(stream)
    }

    /// The next stream that the peer opened.
    pub fn accept(&mut self) -> Option<u32> {
        self.accepting.pop_front()
    }

    /// Takes as many bytes as there is room for. An empty piece is never taken.
    pub fn write(&mut self, stream: u32, data: &Bytes) -> Write {
        match self.streams.get_mut(&stream) {
            Some(entry) if self.ended.is_none() => entry.send.write(data),
            _ => Write::Ended,
        }
    }

    /// Ends this end's half of a stream in order.
    pub fn finish(&mut self, stream: u32) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.send.finish();
        }
    }

    /// Gives this end's half of a stream up.
    pub fn reset(&mut self, stream: u32, code: u64) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.send.reset(code);
        }
    }

    /// Streams of a higher priority go before those of a lower one; 0 to begin with.
    pub fn set_priority(&mut self, stream: u32, priority: i32) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.send.priority = priority;
        }
    }

    /// Reads at most `max` bytes.
    pub fn read(&mut self, stream: u32, max: usize) -> Read {
        let Some(entry) = self.streams.get_mut(&stream) else { return Read::End };
        let found = entry.recv.read(max);
        if let Read::Data(piece) = &found {
            self.recv_due = self.recv_due.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
        }
        found
    }

    /// Tells the peer to send no more on a stream.
    pub fn stop(&mut self, stream: u32, code: u64) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            self.recv_due = self.recv_due.saturating_add(entry.recv.stop(code));
        }
    }

    /// The application has let go of its sender: what it wrote goes out, then the end.
    pub fn release_sender(&mut self, stream: u32) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.send.finish();
            entry.send.released = true;
        }
        self.forget(stream);
    }

    /// The application has let go of its receiver: what still comes is dropped.
    pub fn release_receiver(&mut self, stream: u32) {
        self.stop(stream, 0);
        if let Some(entry) = self.streams.get_mut(&stream) {
            entry.recv.released = true;
        }
        self.forget(stream);
    }

    /// Sends a datagram; the oldest one that waits makes room. False when it can never fit.
    pub fn send_datagram(&mut self, datagram: Bytes) -> bool {
        let fits = datagram.len() <= PAYLOAD_BYTES;
        if fits && self.ended.is_none() {
            self.outgoing.push(datagram);
        }
        fits
    }

    /// The next datagram of the peer.
    pub fn recv_datagram(&mut self) -> Option<Bytes> {
        self.incoming.pop()
    }

    /// Ends the connection; what was not sent is not sent, and the peer hears `reason`.
    pub fn close(&mut self, reason: &str) {
        self.end(Ended::Here(reason.to_string()), true);
    }

    // What the driver does.

    /// The byte stream ended, or failed.
    pub fn lost(&mut self, reason: &str) {
        self.end(Ended::Lost(reason.to_string()), false);
    }

    /// Takes in what was read.
    pub fn receive(&mut self, now: Duration, data: &[u8]) {
        if self.ended.is_some() {
            return;
        }
        self.reader.push(data);
        while self.ended.is_none() {
            match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    // Only whole frames count, so that drops of one do not keep a connection.
                    self.heard = now;
                    (self.asked, self.pinged) = (false, false);
                    if let Err(rule) = self.frame(frame) {
                        self.end(Ended::Broken(rule), true);
                    }
                }
                Ok(None) => return,
                Err(err) => self.end(Ended::Broken(err.to_string()), true),
            }
        }
    }

    /// When [`Mux::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Duration> {
        if self.ended.is_some() {
            return None;
        }
        let wait = if self.asked && !self.pinged { self.idle / 2 } else { self.idle };
        Some(self.heard.saturating_add(wait))
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        if self.ended.is_some() {
            return;
        }
        let silence = now.saturating_sub(self.heard);
        if silence >= self.idle {
            let seconds = self.idle.as_secs_f32();
            let ended = if self.reader.is_mid_frame() {
                Ended::Broken(format!("a frame was not finished within {seconds} s"))
            } else {
                Ended::Silent(format!("the peer was silent for {seconds} s"))
            };
            self.end(ended, true);
        } else if silence >= self.idle / 2 && self.asked && !self.pinged {
            (self.pinged, self.ping) = (true, true);
        }
    }

    /// Whether [`Mux::transmit`] would write something.
    pub fn wants_transmit(&self) -> bool {
        if self.closing.is_some() {
            return true;
        }
        if self.ended.is_some() {
            return false;
        }
        self.ping
            || self.pong
            || self.streams_due > 0
            || self.wants_connection_credit()
            || !self.outgoing.queue.is_empty()
            || self.streams.values().any(|entry| wants_control(entry) || self.can_send(entry))
    }

    /// Writes frames to `out` until it holds `enough` bytes or there is nothing to send.
    pub fn transmit(&mut self, out: &mut BytesMut, enough: usize) {
        if let Some(reason) = self.closing.take() {
            MuxFrame::Close { reason }.encode(out);
        }
        if self.ended.is_some() {
            return;
        }
        if std::mem::take(&mut self.pong) {
            // An answer asks for none: two idle ends do not keep each other awake.
            MuxFrame::Pong.encode(out);
        }
        let before = out.len();
        self.transmit_control(out);
        while out.len() < enough {
            let turn = out.len();
            // A frame's worth of datagrams, then a frame of a stream: neither starves the other.
            while out.len() < turn + PAYLOAD_BYTES {
                let Some(bytes) = self.outgoing.pop() else { break };
                MuxFrame::Datagram { bytes }.encode(out);
            }
            if let Some(frame) = self.next_of_streams() {
                frame.encode(out);
            }
            if out.len() == turn {
                break;
            }
        }
        self.asked |= out.len() > before;
    }

    fn transmit_control(&mut self, out: &mut BytesMut) {
        if std::mem::take(&mut self.ping) {
            MuxFrame::Ping.encode(out);
        }
        if self.wants_connection_credit() {
            let bytes = std::mem::take(&mut self.recv_due);
            self.recv_credit += bytes;
            MuxFrame::ConnectionCredit { bytes }.encode(out);
        }
        let mut over = Vec::new();
        for (&stream, entry) in self.streams.iter_mut().filter(|(_, entry)| wants_control(entry)) {
            if std::mem::take(&mut entry.unannounced) {
                MuxFrame::Open { stream }.encode(out);
            }
            if let Some(code) = entry.recv.take_stop() {
                MuxFrame::Stop { stream, code }.encode(out);
            }
            if let Some(bytes) = entry.recv.take_credit() {
                MuxFrame::Credit { stream, bytes }.encode(out);
            }
            if let Some(code) = entry.send.take_reset() {
                MuxFrame::Reset { stream, code }.encode(out);
            }
            if entry.is_over() {
                over.push(stream);
            }
        }
        over.into_iter().for_each(|stream| self.forget(stream));
        if self.streams_due > 0 {
            let streams = std::mem::take(&mut self.streams_due);
            self.peer_may_open += streams;
            MuxFrame::StreamCredit { streams }.encode(out);
        }
    }

    /// Streams of the highest priority take turns of one frame.
    fn next_of_streams(&mut self) -> Option<MuxFrame> {
        let able = self.streams.values().filter(|entry| self.can_send(entry));
        let highest = able.map(|entry| entry.send.priority).max()?;
        let able = |(stream, entry): (&u32, &Stream)| {
            (entry.send.priority == highest && self.can_send(entry)).then_some(*stream)
        };
        let after = self.turn.saturating_add(1);
        let stream = self.streams.range(after..).find_map(able);
        let stream = stream.or_else(|| self.streams.range(..after).find_map(able))?;
        self.turn = stream;
        let entry = self.streams.get_mut(&stream)?;
        if entry.send.wants_fin() {
            entry.send.told_end = true;
            self.forget(stream);
            return Some(MuxFrame::Fin { stream });
        }
        let bytes = entry.send.take_data(self.send_credit)?;
        // At most the credit, by the line above.
        self.send_credit -= u32::try_from(bytes.len()).unwrap_or(self.send_credit);
        self.wakes.push(Wake::Writer(stream));
        Some(MuxFrame::Data { stream, bytes })
    }

    fn can_send(&self, entry: &Stream) -> bool {
        entry.send.wants_fin() || (entry.send.has_data() && self.send_credit > 0)
    }

    fn wants_connection_credit(&self) -> bool {
        self.recv_due >= CONNECTION_CREDIT
    }

    fn end(&mut self, ended: Ended, tell: bool) {
        if self.ended.is_some() {
            return;
        }
        if tell {
            let reason = ended.reason();
            let end = (0..=REASON_BYTES.min(reason.len())).rev().find(|at| reason.is_char_boundary(*at));
            self.closing = Some(Bytes::copy_from_slice(&reason.as_bytes()[..end.unwrap_or(0)]));
        }
        self.ended = Some(ended);
        self.outgoing = Datagrams::default();
        self.wakes.push(Wake::All);
    }

    /// Drops a stream that is over for everybody; the peer may open another in its place.
    fn forget(&mut self, stream: u32) {
        if self.streams.get(&stream).is_some_and(Stream::is_over) {
            self.streams.remove(&stream);
            if stream % 2 != self.parity {
                self.streams_due += 1;
            }
        }
    }

    /// What the peer says. An error names the rule that it broke.
    fn frame(&mut self, frame: MuxFrame) -> Result<(), String> {
        match frame {
            MuxFrame::Open { stream } => self.opened(stream),
            MuxFrame::Data { stream, bytes } => self.data(stream, &bytes),
            MuxFrame::Fin { stream } => self.told_end(stream, None),
            MuxFrame::Reset { stream, code } => self.told_end(stream, Some(code)),
            MuxFrame::Stop { stream, code } => {
                if let Some(entry) = self.entry(stream)? {
                    entry.send.stop(code);
                    self.wakes.push(Wake::Writer(stream));
                }
                Ok(())
            }
            MuxFrame::Credit { stream, bytes } => {
                let taken = self.entry(stream)?.is_none_or(|entry| entry.send.add_credit(bytes));
                if taken { Ok(()) } else { Err(format!("more room was given on stream {stream} than its window has")) }
            }
            MuxFrame::ConnectionCredit { bytes } => {
                let credit = self.send_credit.checked_add(bytes).filter(|credit| *credit <= CONNECTION_WINDOW);
                self.send_credit = credit.ok_or("more room was given than the connection's window has")?;
                Ok(())
            }
            MuxFrame::StreamCredit { streams } => {
                let may = self.may_open.checked_add(streams).filter(|may| *may <= self.most_open);
                self.may_open = may.ok_or("more streams were allowed than there may be")?;
                self.wakes.push(Wake::Open);
                Ok(())
            }
            MuxFrame::Datagram { bytes } => {
                // A copy: a slice would keep the whole read in memory.
                self.incoming.push(Bytes::copy_from_slice(&bytes));
                self.wakes.push(Wake::Datagram);
                Ok(())
            }
            MuxFrame::Ping => {
                self.pong = true;
                Ok(())
            }
            MuxFrame::Pong => Ok(()),
            MuxFrame::Close { reason } => {
                let reason = &reason[..reason.len().min(REASON_BYTES)];
                self.end(Ended::There(String::from_utf8_lossy(reason).into_owned()), false);
                Ok(())
            }
        }
    }

    fn opened(&mut self, stream: u32) -> Result<(), String> {
        if stream != self.next_peer {
            return Err(format!("stream {stream} was opened out of turn"));
        }
        self.peer_may_open = self.peer_may_open.checked_sub(1).ok_or("more streams were opened than are allowed")?;
        self.next_peer = stream.checked_add(2).ok_or("the numbers of streams are used up")?;
        self.streams.insert(stream, Stream::new(false));
        self.accepting.push_back(stream);
        self.wakes.push(Wake::Accept);
        Ok(())
    }

    /// A stream's entry; `None` for one that is over.
    fn entry(&mut self, stream: u32) -> Result<Option<&mut Stream>, String> {
        let next = if stream % 2 == self.parity { self.next_own } else { self.next_peer };
        let announced = self.streams.get(&stream).is_none_or(|entry| !entry.unannounced);
        if stream == 0 || stream >= next || !announced {
            return Err(format!("a frame came for the unknown stream {stream}"));
        }
        Ok(self.streams.get_mut(&stream))
    }

    /// A stream on which the peer may still send.
    fn receiving(&mut self, stream: u32) -> Result<&mut Stream, String> {
        match self.entry(stream)? {
            Some(entry) if !entry.recv.ended => Ok(entry),
            _ => Err(format!("a frame came after the end of stream {stream}")),
        }
    }

    fn data(&mut self, stream: u32, bytes: &[u8]) -> Result<(), String> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let unread = self.receiving(stream)?.recv.data(bytes);
        let unread = unread.ok_or_else(|| format!("stream {stream} overran its window"))?;
        self.recv_credit = self.recv_credit.checked_sub(length).ok_or("the streams overran the connection's window")?;
        self.recv_due = self.recv_due.saturating_add(unread);
        self.wakes.push(Wake::Reader(stream));
        Ok(())
    }

    fn told_end(&mut self, stream: u32, reset: Option<u64>) -> Result<(), String> {
        let unread = self.receiving(stream)?.recv.end(reset);
        self.recv_due = self.recv_due.saturating_add(unread);
        self.wakes.push(Wake::Reader(stream));
        self.forget(stream);
        Ok(())
    }
}

fn wants_control(entry: &Stream) -> bool {
    entry.unannounced || entry.recv.wants_stop() || entry.recv.wants_credit() || entry.send.wants_reset()
}
