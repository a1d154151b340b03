//! The node's end of a connection.

use crate::facts::NodeFacts;
use crate::heartbeat::{Keepalive, Pace, Pulse};
use crate::limits::{HANDSHAKE, LEASE_SHARE, LONGEST_HEARTBEAT};
use crate::sync::node::{ItemBatch, Step, handle as handle_sync};
use crate::wire::{
    FactAck, Frame, Heartbeat, HeartbeatAnswer, HeartbeatLimits, Hello, KINDS, Open, PacedHeartbeat, Payload, Refuse,
    SessionReady, Stream, VERSION, VERSION_MIN, Welcome, WireError, WireFact, encode,
};
use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest};
use holdfast_mutation::broken;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the engine reads of the node's store.
pub trait NodeView {
    /// The digest of the objects.
    fn digest(&self) -> &SetDigest;
    /// Keys and hashes of the objects in these buckets (a bit each).
    fn entries(&self, buckets: u64) -> Vec<(String, ContentHash)>;
    /// The body of the object, if it is there with this hash.
    fn body(&self, key: &str, hash: ContentHash) -> Option<Bytes>;
    /// Which lineage assigned the object, and at what revision.
    fn assigned(&self, key: &str) -> Option<(Lineage, Revision)>;
    /// Up to `max` facts numbered above `after`, in order.
    fn facts_after(&self, after: Seq, max: usize) -> Vec<WireFact>;
    /// The shortest time for which a pod here may run without the hub; `None` when none is bound by that.
    fn shortest_lease(&self) -> Option<Duration> {
        None
    }
}

/// What must be durable before the link goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Persist {
    /// The session that the hub issued.
    Session {
        /// The hub's history.
        lineage: Lineage,
        /// The session.
        session: Session,
    },
    /// Changes of objects.
    Items(ItemBatch),
}

/// What happens to a node's end.
#[derive(Clone, Debug)]
pub enum NodeInput {
    /// A frame came.
    Frame(Stream, Frame),
    /// What was asked to be persisted is on disk; the oldest outstanding one.
    Persisted,
    /// The outbox has news.
    FactsChanged,
    /// A datagram came.
    Datagram(Bytes),
    /// So many bytes have come over the connection so far, whatever they are good for: a peer whose frame is long under
    /// way is not silent.
    Carried(u64),
    /// Nothing but time.
    Tick,
}

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeOutput {
    /// Write to a stream.
    Send(Stream, Bytes),
    /// Send this heartbeat as a datagram.
    SendHeartbeat {
        /// Its number in this connection, from 1.
        count: u64,
        /// The datagram.
        data: Bytes,
    },
    /// Make durable, then say [`NodeInput::Persisted`].
    Persist(Persist),
    /// The hub's store has all facts up to here.
    Acknowledged(Seq),
    /// The session is up. The hub's clock, authenticated, in microseconds since 1970.
    Connected {
        /// The session.
        session: Session,
        /// The hub's clock.
        time_micros: i64,
    },
    /// The hub answered a heartbeat, with its clock.
    Alive {
        /// The heartbeat's number.
        count: u64,
        /// The hub's clock.
        time_micros: i64,
    },
    /// Heartbeats go otherwise from now on, or more is known of the path.
    Paced(Keepalive, Pace),
    /// The node has the hub's whole view at this revision.
    InSync(Revision),
    /// End the connection. The flag says whether trying again soon makes sense.
    Close {
        /// Why.
        reason: String,
        /// Whether the hub refused this node.
        refused: bool,
    },
}

#[derive(Clone, Debug)]
enum Phase {
    Hello { until: Duration },
    Persisting { welcome: Welcome },
    Up { session: Session, lineage: Lineage },
    Closed,
}

/// The node's end.
#[derive(Clone, Debug)]
pub struct NodeLink {
    phase: Phase,
    /// The version that the hub has chosen.
    version: u16,
    outbox: OutboxGen,
    facts: NodeFacts,
    /// Answers that wait for their batch to be durable, oldest first.
    replies: std::collections::VecDeque<(Bytes, Revision, bool)>,
    /// What is known of the path before the session is up.
    known: Keepalive,
    pulse: Option<Pulse>,
    told: Option<(Keepalive, Pace)>,
    carried: u64,
    clock_micros: i64,
    /// Frames that came before the session was durable.
    early: BTreeMap<u64, (Stream, Frame)>,
}

impl NodeLink {
    /// A new connection; the outputs open it. `hello` says who we are.
    pub fn start(now: Duration, hello: &Hello) -> (NodeLink, Vec<NodeOutput>) {
        let link = NodeLink {
            phase: Phase::Hello { until: now + HANDSHAKE },
            version: VERSION_MIN,
            outbox: hello.outbox,
            facts: NodeFacts::default(),
            replies: std::collections::VecDeque::new(),
            known: Keepalive::default(),
            pulse: None,
            told: None,
            carried: 0,
            clock_micros: hello.clock_micros,
            early: BTreeMap::new(),
        };
        let outputs = vec![
            NodeOutput::Send(Stream::Control, encode(&Open { stream: Stream::Control })),
            NodeOutput::Send(Stream::Control, encode(hello)),
        ];
        (link, outputs)
    }

    /// What is known of this path from earlier connections; before the session is up.
    pub fn recall(&mut self, known: Keepalive) {
        self.known = known;
    }

    /// The connection has ended; what is known of its path now. `rebinds`: its packets would have got another address
    /// where a translation had forgotten the node (QUIC); otherwise (TCP) that ends a connection.
    pub fn ended(&mut self, now: Duration, rebinds: bool) -> Keepalive {
        if let Some(pulse) = &mut self.pulse {
            if !rebinds {
                pulse.ended(now);
            }
            self.known = pulse.known();
        }
        self.known
    }

    /// When [`NodeInput::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Hello { until } => Some(*until),
            Phase::Up { .. } => self.pulse.as_ref().map(Pulse::next_deadline),
            Phase::Persisting { .. } | Phase::Closed => None,
        }
    }

    /// Takes what happened at `now` (monotonic). `clock_micros` is the wall clock, for heartbeats.
    pub fn handle(
        &mut self,
        now: Duration,
        clock_micros: i64,
        input: NodeInput,
        view: &dyn NodeView,
    ) -> Vec<NodeOutput> {
        self.clock_micros = clock_micros;
        let mut out = Vec::new();
        if let Some(pulse) = &mut self.pulse {
            match &input {
                NodeInput::Frame(..) => pulse.heard(now),
                NodeInput::Carried(bytes) if *bytes > self.carried => {
                    self.carried = *bytes;
                    pulse.alive(now);
                }
                _ => {}
            }
        }
        if let Err(err) = self.step(now, input, view, &mut out) {
            self.close(err.to_string(), false, &mut out);
        }
        if let Some(pulse) = &mut self.pulse {
            if out.iter().any(|output| matches!(output, NodeOutput::Send(..))) {
                pulse.sent(now);
            }
            let paced = (pulse.known(), pulse.pace());
            if self.told != Some(paced) {
                self.told = Some(paced);
                out.push(NodeOutput::Paced(paced.0, paced.1));
            }
        }
        out
    }

    fn close(&mut self, reason: String, refused: bool, out: &mut Vec<NodeOutput>) {
        self.phase = Phase::Closed;
        out.push(NodeOutput::Close { reason, refused });
    }

    fn step(
        &mut self,
        now: Duration,
        input: NodeInput,
        view: &dyn NodeView,
        out: &mut Vec<NodeOutput>,
    ) -> Result<(), WireError> {
        match (input, self.phase.clone()) {
            (_, Phase::Closed) => Ok(()),
            // A newer release's word.
            (NodeInput::Frame(_, frame), _) if !KINDS.contains(&frame.kind) => Ok(()),
            (NodeInput::Frame(Stream::Control, frame), Phase::Hello { .. }) => self.answered(&frame, out),
            (NodeInput::Tick, Phase::Hello { until }) if now >= until => {
                self.close("the hub did not answer in time".into(), false, out);
                Ok(())
            }
            (NodeInput::Persisted, Phase::Persisting { welcome }) => {
                self.up(now, &welcome, view, out);
                let early = std::mem::take(&mut self.early);
                early
                    .into_values()
                    .try_for_each(|(stream, frame)| self.step(now, NodeInput::Frame(stream, frame), view, out))
            }
            (NodeInput::Frame(stream, frame), Phase::Persisting { .. }) => {
                let index = self.early.len() as u64;
                self.early.insert(index, (stream, frame));
                if index > 16 { Err(WireError::Unexpected(0)) } else { Ok(()) }
            }
            (input, Phase::Up { session, lineage }) => self.while_up(now, input, view, out, (session, lineage)),
            _ => Ok(()),
        }
    }

    fn answered(&mut self, frame: &Frame, out: &mut Vec<NodeOutput>) -> Result<(), WireError> {
        if frame.kind == Refuse::KIND {
            let refuse: Refuse = frame.decode()?;
            self.close(format!("{}: {}", refuse.code, refuse.reason), true, out);
            return Ok(());
        }
        let welcome: Welcome = frame.decode()?;
        if !(VERSION_MIN..=VERSION).contains(&welcome.version) {
            self.close(
                format!("the hub chose protocol version {}, which was not offered", welcome.version),
                false,
                out,
            );
            return Ok(());
        }
        self.version = welcome.version;
        out.push(NodeOutput::Persist(Persist::Session { lineage: welcome.lineage, session: welcome.session }));
        self.phase = Phase::Persisting { welcome };
        Ok(())
    }

    fn up(&mut self, now: Duration, welcome: &Welcome, view: &dyn NodeView, out: &mut Vec<NodeOutput>) {
        let heartbeat = Duration::from_millis(u64::from(welcome.heartbeat_ms.max(100)));
        self.phase = Phase::Up { session: welcome.session, lineage: welcome.lineage };
        self.pulse = Some(Pulse::new(now, heartbeat, self.known));
        let mark = if broken("facts-forgotten-on-reconnect") { Seq(welcome.mark.0 + 20) } else { welcome.mark };
        self.limit(view);
        self.facts = NodeFacts::new(self.version, self.outbox, welcome.session, mark);
        out.push(NodeOutput::Send(Stream::Control, encode(&SessionReady { session: welcome.session })));
        out.push(NodeOutput::Connected { session: welcome.session, time_micros: welcome.time_micros });
        out.push(NodeOutput::Acknowledged(welcome.mark));
        out.push(NodeOutput::Send(Stream::Facts, encode(&Open { stream: Stream::Facts })));
        self.send_facts(view, out);
    }

    fn send_facts(&mut self, view: &dyn NodeView, out: &mut Vec<NodeOutput>) {
        if let Some(batch) = self.facts.poll(|after, max| view.facts_after(after, max)) {
            out.push(NodeOutput::Send(Stream::Facts, batch));
        }
    }

    fn while_up(
        &mut self,
        now: Duration,
        input: NodeInput,
        view: &dyn NodeView,
        out: &mut Vec<NodeOutput>,
        (session, lineage): (Session, Lineage),
    ) -> Result<(), WireError> {
        match input {
            NodeInput::Frame(Stream::Sync, frame) => match handle_sync(&frame, self.version, lineage, view)? {
                Step::Reply(reply) => out.push(NodeOutput::Send(Stream::Sync, reply)),
                Step::InSync(revision) => out.push(NodeOutput::InSync(revision)),
                Step::Persist(batch, reply) => {
                    if broken("ack-before-sync") {
                        out.push(NodeOutput::Send(Stream::Sync, reply));
                        out.push(NodeOutput::Persist(Persist::Items(batch)));
                        return Ok(());
                    }
                    self.replies.push_back((reply, batch.revision, batch.complete));
                    out.push(NodeOutput::Persist(Persist::Items(batch)));
                }
            },
            NodeInput::Persisted => {
                self.limit(view);
                if let Some((reply, revision, complete)) = self.replies.pop_front() {
                    out.push(NodeOutput::Send(Stream::Sync, reply));
                    if complete {
                        out.push(NodeOutput::InSync(revision));
                    }
                }
            }
            NodeInput::Frame(Stream::Facts, frame) => {
                let ack: FactAck = frame.decode()?;
                if let Some(seq) = self.facts.acknowledged(&ack) {
                    out.push(NodeOutput::Acknowledged(seq));
                }
                self.send_facts(view, out);
            }
            NodeInput::FactsChanged => self.send_facts(view, out),
            NodeInput::Frame(Stream::Control, frame) if frame.kind == Refuse::KIND => {
                self.answered(&frame, out)?;
            }
            NodeInput::Frame(Stream::Control, frame) if frame.kind == HeartbeatLimits::KIND => {
                let HeartbeatLimits { longest_ms, grace_ms, address } = frame.decode()?;
                let millis = |count: u32| Duration::from_millis(u64::from(count));
                if let Some(pulse) = &mut self.pulse {
                    pulse.allow(millis(longest_ms).min(LONGEST_HEARTBEAT), millis(grace_ms), address);
                }
            }
            NodeInput::Frame(_, frame) => return Err(WireError::Unexpected(frame.kind)),
            NodeInput::Datagram(data) => {
                let answer = match read_datagram(&data) {
                    Some(Beat::Answer(answer)) if answer.session == session => {
                        Some((answer.count, answer.clock_micros, Some(answer.address)))
                    }
                    Some(Beat::Plain(beat)) if beat.session == session => Some((beat.count, beat.clock_micros, None)),
                    _ => None,
                };
                if let (Some((count, time_micros, address)), Some(pulse)) = (answer, &mut self.pulse) {
                    pulse.answered(now, count, address);
                    out.push(NodeOutput::Alive { count, time_micros });
                }
            }
            NodeInput::Carried(_) => {}
            NodeInput::Tick => self.tick(now, session, out),
        }
        Ok(())
    }

    /// Heartbeats renew the run leases of pods: those bound the interval.
    fn limit(&mut self, view: &dyn NodeView) {
        if let Some(pulse) = &mut self.pulse {
            pulse.limit(view.shortest_lease().map_or(Duration::MAX, |lease| lease / LEASE_SHARE));
        }
    }

    fn tick(&mut self, now: Duration, session: Session, out: &mut Vec<NodeOutput>) {
        let Some(pulse) = &mut self.pulse else { return };
        if pulse.is_dead(now) {
            self.close("the hub has been silent for too long".into(), false, out);
            return;
        }
        let Some((count, interval)) = pulse.beat(now) else { return };
        let clock_micros = self.clock_micros;
        let data = if pulse.is_allowed() {
            let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
            encode(&PacedHeartbeat { session, count, clock_micros, interval_ms })
        } else {
            encode(&Heartbeat { session, count, clock_micros })
        };
        out.push(NodeOutput::SendHeartbeat { count, data });
    }
}

/// What a datagram says.
pub(crate) enum Beat {
    Plain(Heartbeat),
    Paced(PacedHeartbeat),
    Answer(HeartbeatAnswer),
}

/// Reads a datagram; anything strange is `None`, as datagrams may be lost or foreign.
pub(crate) fn read_datagram(data: &Bytes) -> Option<Beat> {
    let mut reader = crate::wire::FrameReader::default();
    reader.push(data);
    let frame = reader.next_frame().ok()??;
    match frame.kind {
        Heartbeat::KIND => frame.decode().ok().map(Beat::Plain),
        PacedHeartbeat::KIND => frame.decode().ok().map(Beat::Paced),
        HeartbeatAnswer::KIND => frame.decode().ok().map(Beat::Answer),
        _ => None,
    }
}
