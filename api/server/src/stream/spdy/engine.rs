//! The streams of one connection: which are open, which way, and what is to be answered. Sans-IO.

use super::frame::{self, Frame, FrameReader, Reset, SpdyError};
use super::headers::{HeaderWriter, Headers};
use crate::limits;
use bytes::Bytes;
use std::collections::BTreeMap;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The peer opened a stream; [`Engine::accept`] or [`Engine::refuse`] answers it.
    Opened {
        /// Its number.
        id: u32,
        /// What it is for.
        headers: Headers,
        /// The peer will send nothing on it.
        fin: bool,
    },
    /// Bytes of an open stream; both may be said at once.
    Data {
        /// Its number.
        id: u32,
        /// The bytes.
        data: Bytes,
        /// They are the last.
        fin: bool,
    },
    /// The peer gave a stream up.
    Reset {
        /// Its number.
        id: u32,
    },
}

/// Which directions of a stream are open.
#[derive(Clone, Copy, Debug)]
struct Halves {
    from_peer: bool,
    to_peer: bool,
}

/// The server's end of a connection.
#[derive(Default)]
pub struct Engine {
    reader: FrameReader,
    headers: HeaderWriter,
    streams: BTreeMap<u32, Halves>,
    /// The highest number that the peer has used.
    last: u32,
    gone_away: bool,
    output: Vec<Bytes>,
}

impl Engine {
    /// Takes in what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reader.push(bytes);
    }

    /// What happened next; `None` until more arrives.
    ///
    /// # Errors
    /// The peer's bytes cannot be read on; [`Engine::go_away`] is all that is left to say.
    pub fn next_event(&mut self) -> Result<Option<Event>, SpdyError> {
        while let Some(frame) = self.reader.next_frame()? {
            if let Some(event) = self.take(frame) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn take(&mut self, frame: Frame) -> Option<Event> {
        match frame {
            Frame::SynStream { id, headers, fin } => {
                if self.gone_away {
                    return None;
                }
                // Clients number their streams with odd numbers that rise.
                if id % 2 == 0 || id <= self.last {
                    self.output.push(frame::rst(id, Reset::Protocol));
                    return None;
                }
                self.last = id;
                if self.streams.len() >= limits::SPDY_STREAMS {
                    self.output.push(frame::rst(id, Reset::Refused));
                    return None;
                }
                self.streams.insert(id, Halves { from_peer: !fin, to_peer: true });
                Some(Event::Opened { id, headers, fin })
            }
            Frame::Data { id, data, fin } => {
                // What comes for a stream that is over was on its way.
                let halves = self.streams.get_mut(&id).filter(|halves| halves.from_peer)?;
                if fin {
                    halves.from_peer = false;
                    if !halves.to_peer {
                        self.streams.remove(&id);
                    }
                }
                (fin || !data.is_empty()).then_some(Event::Data { id, data, fin })
            }
            Frame::Rst { id } => self.streams.remove(&id).map(|_| Event::Reset { id }),
            Frame::Ping(id) => {
                // Even numbers are answers to ours.
                if id % 2 == 1 {
                    self.output.push(frame::ping(id));
                }
                None
            }
            Frame::GoAway => {
                self.gone_away = true;
                None
            }
        }
    }

    /// Takes a stream that the peer opened.
    pub fn accept(&mut self, id: u32) {
        let block = self.headers.block(&[]);
        self.output.push(frame::syn_reply(id, &block));
    }

    /// Gives a stream up: one that was not wanted, or is not any more.
    pub fn reset(&mut self, id: u32) {
        if self.streams.remove(&id).is_some() {
            self.output.push(frame::rst(id, Reset::Cancel));
        }
    }

    /// Nothing more will be sent on a stream.
    pub fn finished(&mut self, id: u32) {
        if let Some(halves) = self.streams.get_mut(&id) {
            halves.to_peer = false;
            if !halves.from_peer {
                self.streams.remove(&id);
            }
        }
    }

    /// Whether a stream is open in any direction.
    pub fn is_open(&self, id: u32) -> bool {
        self.streams.contains_key(&id)
    }

    /// The word at the end of a connection.
    pub fn go_away(&mut self, error: bool) {
        self.output.push(frame::go_away(self.last, error));
    }

    /// What is to be sent now, in order. Bounded by the streams and by what was pushed last.
    pub fn take_output(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A client's frames.
    struct Client(HeaderWriter, Engine);

    impl Client {
        fn new() -> Client {
            Client(HeaderWriter::default(), Engine::default())
        }

        fn open(&mut self, id: u32, fin: bool) -> Vec<Event> {
            let block = self.0.block(&[("streamtype", "data")]);
            self.send(&frame::syn_stream(id, &block, fin))
        }

        fn send(&mut self, bytes: &[u8]) -> Vec<Event> {
            self.1.push(bytes);
            std::iter::from_fn(|| self.1.next_event().unwrap()).collect()
        }
    }

    #[test]
    fn streams_open_and_end_half_by_half() {
        let mut client = Client::new();
        assert!(matches!(&client.open(1, false)[..], [Event::Opened { id: 1, fin: false, .. }]));
        client.1.accept(1);
        assert_eq!(client.1.take_output().len(), 1);
        let data = Bytes::from_static(b"x");
        assert_eq!(client.send(&frame::data(1, b"x", true)), [Event::Data { id: 1, data, fin: true }]);
        assert!(client.send(&frame::data(1, b"late", false)).is_empty() && client.1.is_open(1));
        client.1.finished(1);
        assert!(!client.1.is_open(1));
        client.open(3, true);
        client.1.finished(3);
        assert!(!client.1.is_open(3));
    }

    #[test]
    fn numbers_that_do_not_rise_and_streams_beyond_the_bound_are_reset() {
        let mut client = Client::new();
        client.open(5, false);
        for id in [5, 3, 6, 0] {
            assert!(client.open(id, false).is_empty());
            assert_eq!(client.1.take_output(), [frame::rst(id, Reset::Protocol)]);
        }
        let ids = (7..).step_by(2).take(limits::SPDY_STREAMS);
        let opened: Vec<u32> = ids.filter(|id| !client.open(*id, false).is_empty()).collect();
        assert_eq!(opened.len(), limits::SPDY_STREAMS - 1);
        assert_eq!(client.1.take_output().len(), 1);
        assert_eq!(client.send(&frame::rst(7, Reset::Cancel)), [Event::Reset { id: 7 }]);
        assert!(!client.open(9001, false).is_empty());
        client.1.reset(9001);
        assert_eq!(client.1.take_output(), [frame::rst(9001, Reset::Cancel)]);
    }

    #[test]
    fn pings_are_answered_and_a_goodbye_ends_new_streams() {
        let mut client = Client::new();
        client.send(&frame::ping(7));
        client.send(&frame::ping(2));
        assert_eq!(client.1.take_output(), [frame::ping(7)]);
        client.open(1, false);
        client.send(&frame::go_away(0, false));
        assert!(client.open(3, false).is_empty() && client.1.is_open(1));
        client.1.go_away(false);
        assert_eq!(client.1.take_output(), [frame::go_away(1, false)]);
    }

    proptest! {
        #[test]
        fn any_frames_are_taken(frames in proptest::collection::vec((0_u16..10, 0_u8..4, proptest::collection::vec(any::<u8>(), 0..40)), 0..40)) {
            let mut engine = Engine::default();
            for (kind, flags, body) in frames {
                let mut bytes = vec![0x80, 3];
                bytes.extend_from_slice(&kind.to_be_bytes());
                bytes.push(flags);
                bytes.extend_from_slice(&[0, 0, body.len() as u8]);
                bytes.extend_from_slice(&body);
                engine.push(&bytes);
                while let Ok(Some(event)) = engine.next_event() {
                    if let Event::Opened { id, .. } = event {
                        engine.accept(id);
                    }
                }
            }
            prop_assert!(engine.take_output().len() <= 80);
        }
    }
}
