//! The hub's end of a connection.

use crate::control::agree;
use crate::limits::{HANDSHAKE, MAX_TEXT_BYTES};
use crate::node::{Beat, read_datagram};
use crate::sync::hub::HubSync;
use crate::wire::{
    FactAck, FactBatch, Frame, Heartbeat, HeartbeatAnswer, HeartbeatLimits, Hello, KINDS, Open, Refuse, SessionReady,
    Stream, VERSION_MIN, Welcome, WireError, WireFact, encode,
};
use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest};
use std::time::Duration;

/// An object for a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubItem {
    /// The revision of this content.
    pub revision: Revision,
    /// The projected body, uncompressed.
    pub body: Bytes,
}

/// What the engine reads of the hub: everything that one node is to have.
pub trait HubView {
    /// The revision of the view.
    fn revision(&self) -> Revision;
    /// The digest of the view.
    fn digest(&self) -> &SetDigest;
    /// All keys and hashes.
    fn entries(&self) -> Box<dyn Iterator<Item = (&str, ContentHash)> + '_>;
    /// One object.
    fn get(&self, key: &str) -> Option<HubItem>;
    /// Keys of the objects that this pod names, whether or not they are there.
    fn needs(&self, pod: &str) -> Vec<String>;
    /// Keys that the node kept on its own account and has to drop, if the view does not have them.
    fn ended(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(std::iter::empty())
    }
}

/// What happens to the hub's end.
#[derive(Clone, Debug)]
pub enum HubInput {
    /// A frame came.
    Frame(Stream, Frame),
    /// The session is in the store.
    Granted {
        /// The hub's history.
        lineage: Lineage,
        /// The session.
        session: Session,
        /// The mark of the node's outbox.
        mark: Seq,
        /// Interval of heartbeats to begin with.
        heartbeat: Duration,
        /// How seldom they may come.
        limits: HeartbeatLimits,
    },
    /// The node is not taken in.
    Refused {
        /// For programs.
        code: String,
        /// For people.
        reason: String,
    },
    /// The view changed.
    ViewChanged,
    /// Facts up to here, and the mark, are in the store.
    FactsCommitted {
        /// The number.
        seq: Seq,
    },
    /// A datagram came, from where: see [`crate::heartbeat::address_hash`].
    Datagram(Bytes, u32),
    /// Nothing but time.
    Tick,
}

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubOutput {
    /// Write to a stream; the sync stream is opened by its first frame.
    Send(Stream, Bytes),
    /// Send a datagram.
    SendDatagram(Bytes),
    /// Check the node's identity and put a new session into the store; then [`HubInput::Granted`] or
    /// [`HubInput::Refused`].
    Grant(Box<Hello>, u16),
    /// The node has made the session durable: it is online.
    Online(Session),
    /// Apply these facts of this outbox in order, with the mark, and say [`HubInput::FactsCommitted`].
    Facts(OutboxGen, Vec<WireFact>),
    /// The node is alive; its clock.
    Alive {
        /// The node's clock in microseconds since 1970.
        clock_micros: i64,
        /// Its next heartbeat comes after so long at most.
        interval: Duration,
    },
    /// The node has the whole view of this revision durably.
    Applied(Revision),
    /// End the connection.
    Close(String),
}

#[derive(Clone, Debug)]
enum Phase {
    Hello { until: Duration },
    Granting { hello: Box<Hello>, version: u16 },
    Ready { until: Duration, session: Session, root: u64, outbox: OutboxGen },
    Up { session: Session, outbox: OutboxGen },
    Closed,
}

/// The hub's end.
#[derive(Clone, Debug)]
pub struct HubLink {
    phase: Phase,
    /// The version that was agreed on.
    version: u16,
    sync: HubSync,
    applied: Revision,
    /// The last number of the facts that the driver is committing.
    committing: Option<Seq>,
    /// The store has all facts up to here: none of them comes a second time.
    mark: Seq,
    /// Facts that overtook the node's word on the control stream.
    early_facts: Option<Frame>,
    /// The interval of a node that does not choose its own.
    heartbeat: Duration,
    /// The longest that a node may choose.
    longest: Duration,
}

impl HubLink {
    /// A connection whose control stream is open.
    pub fn start(now: Duration) -> HubLink {
        HubLink {
            phase: Phase::Hello { until: now + HANDSHAKE },
            version: VERSION_MIN,
            sync: HubSync::new(VERSION_MIN),
            applied: Revision(0),
            committing: None,
            mark: Seq(0),
            early_facts: None,
            heartbeat: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }

    /// When [`HubInput::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Hello { until } | Phase::Ready { until, .. } => Some(*until),
            _ => None,
        }
    }

    /// Takes what happened at `now` (monotonic). `clock_micros` is the hub's wall clock.
    pub fn handle(&mut self, now: Duration, clock_micros: i64, input: HubInput, view: &dyn HubView) -> Vec<HubOutput> {
        let mut out = Vec::new();
        if let Err(err) = self.step(now, clock_micros, input, view, &mut out) {
            self.close(err.to_string(), &mut out);
        }
        let applied = self.sync.applied();
        if applied > self.applied {
            self.applied = applied;
            out.push(HubOutput::Applied(applied));
        }
        out
    }

    fn close(&mut self, reason: String, out: &mut Vec<HubOutput>) {
        self.phase = Phase::Closed;
        out.push(HubOutput::Close(reason));
    }

    fn refuse(&mut self, code: &str, reason: &str, out: &mut Vec<HubOutput>) {
        let frame = encode(&Refuse { code: code.into(), reason: reason.into() });
        out.push(HubOutput::Send(Stream::Control, frame));
        self.close(format!("{code}: {reason}"), out);
    }

    fn step(
        &mut self,
        now: Duration,
        clock_micros: i64,
        input: HubInput,
        view: &dyn HubView,
        out: &mut Vec<HubOutput>,
    ) -> Result<(), WireError> {
        match (input, self.phase.clone()) {
            (_, Phase::Closed) => {}
            // A newer release's word.
            (HubInput::Frame(_, frame), _) if !KINDS.contains(&frame.kind) => {}
            (HubInput::Frame(Stream::Control, frame), Phase::Hello { .. }) => self.hello(&frame, out)?,
            (HubInput::Tick, Phase::Hello { until } | Phase::Ready { until, .. }) if now >= until => {
                self.close("the node did not finish its handshake in time".into(), out);
            }
            (HubInput::Granted { lineage, session, mark, heartbeat, limits }, Phase::Granting { hello, version }) => {
                let welcome = Welcome {
                    version,
                    lineage,
                    session,
                    time_micros: clock_micros,
                    heartbeat_ms: u32::try_from(heartbeat.as_millis()).unwrap_or(u32::MAX),
                    mark,
                };
                (self.heartbeat, self.mark) = (heartbeat, mark);
                self.longest = Duration::from_millis(u64::from(limits.longest_ms));
                out.push(HubOutput::Send(Stream::Control, encode(&welcome)));
                out.push(HubOutput::Send(Stream::Control, encode(&limits)));
                (self.version, self.sync) = (version, HubSync::new(version));
                self.phase = Phase::Ready { until: now + HANDSHAKE, session, root: hello.root, outbox: hello.outbox };
            }
            (HubInput::Refused { code, reason }, Phase::Granting { .. } | Phase::Up { .. }) => {
                self.refuse(&code, &reason, out);
            }
            (HubInput::Frame(Stream::Control, frame), Phase::Ready { session, root, outbox, .. }) => {
                let ready: SessionReady = frame.decode()?;
                if ready.session != session {
                    return Err(WireError::Unexpected(frame.kind));
                }
                self.phase = Phase::Up { session, outbox };
                out.push(HubOutput::Online(session));
                out.push(HubOutput::Send(Stream::Sync, encode(&Open { stream: Stream::Sync })));
                out.push(HubOutput::Send(Stream::Sync, self.sync.start(root, view)));
                if let Some(facts) = self.early_facts.take() {
                    self.while_up(clock_micros, HubInput::Frame(Stream::Facts, facts), view, out, session, outbox)?;
                }
            }
            // Streams keep no order among each other; the node sends one batch at a time.
            (HubInput::Frame(Stream::Facts, frame), Phase::Ready { .. }) if self.early_facts.is_none() => {
                self.early_facts = Some(frame);
            }
            (input, Phase::Up { session, outbox }) => {
                self.while_up(clock_micros, input, view, out, session, outbox)?;
            }
            (HubInput::Frame(_, frame), _) => return Err(WireError::Unexpected(frame.kind)),
            _ => {}
        }
        Ok(())
    }

    fn hello(&mut self, frame: &Frame, out: &mut Vec<HubOutput>) -> Result<(), WireError> {
        let hello: Hello = frame.decode()?;
        if hello.node_name.len() > MAX_TEXT_BYTES || hello.node_uid.len() > MAX_TEXT_BYTES {
            return Err(WireError::Malformed(frame.kind));
        }
        match agree(&hello) {
            Some(version) => {
                out.push(HubOutput::Grant(Box::new(hello.clone()), version));
                self.phase = Phase::Granting { hello: Box::new(hello), version };
            }
            None => self.refuse("Version", "the hub and the node have no protocol version in common", out),
        }
        Ok(())
    }

    fn while_up(
        &mut self,
        clock_micros: i64,
        input: HubInput,
        view: &dyn HubView,
        out: &mut Vec<HubOutput>,
        session: Session,
        outbox: OutboxGen,
    ) -> Result<(), WireError> {
        match input {
            HubInput::Frame(Stream::Sync, frame) => {
                out.extend(self.sync.handle(&frame, view)?.map(|reply| HubOutput::Send(Stream::Sync, reply)));
            }
            HubInput::ViewChanged => {
                out.extend(self.sync.poll(view).map(|batch| HubOutput::Send(Stream::Sync, batch)));
            }
            HubInput::Frame(Stream::Facts, frame) => {
                let batch = FactBatch::read(&frame, self.version)?;
                let ordered = batch.facts.windows(2).all(|pair| pair[0].seq < pair[1].seq)
                    && batch.facts.first().is_none_or(|first| first.seq > self.mark);
                if batch.session != session || batch.outbox != outbox || !ordered || self.committing.is_some() {
                    return Err(WireError::Unexpected(frame.kind));
                }
                if let Some(last) = batch.facts.last() {
                    self.committing = Some(last.seq);
                    out.push(HubOutput::Facts(outbox, batch.facts));
                }
            }
            HubInput::FactsCommitted { seq } => {
                (self.committing, self.mark) = (None, seq);
                out.push(HubOutput::Send(Stream::Facts, encode(&FactAck { outbox, seq })));
            }
            HubInput::Datagram(data, address) => match read_datagram(&data) {
                Some(Beat::Plain(beat)) if beat.session == session => {
                    out.push(HubOutput::Alive { clock_micros: beat.clock_micros, interval: self.heartbeat });
                    let answer = Heartbeat { session, count: beat.count, clock_micros };
                    out.push(HubOutput::SendDatagram(encode(&answer)));
                }
                Some(Beat::Paced(beat)) if beat.session == session => {
                    let interval = Duration::from_millis(u64::from(beat.interval_ms)).min(self.longest);
                    out.push(HubOutput::Alive { clock_micros: beat.clock_micros, interval });
                    let answer = HeartbeatAnswer { session, count: beat.count, clock_micros, address };
                    out.push(HubOutput::SendDatagram(encode(&answer)));
                }
                _ => {}
            },
            HubInput::Refused { code, reason } => self.refuse(&code, &reason, out),
            HubInput::Frame(_, frame) => return Err(WireError::Unexpected(frame.kind)),
            HubInput::Granted { .. } | HubInput::Tick => {}
        }
        Ok(())
    }
}
