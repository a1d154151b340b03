//! Both ends, their stores in memory, and the wires between them.

use bytes::Bytes;
use holdfast_core::digest::bucket_of;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest, content_hash};
use holdfast_link_engine::control::{SessionVerdict, judge};
use holdfast_link_engine::wire::{
    DropCause, FactBatch, FactBatch2, FactSort, HeartbeatLimits, Hello, ItemBody, ItemDrop, ItemPut, KINDS, Open,
    Payload, SyncBatch, SyncBatch2, VERSION, WireFact, encode,
};
use holdfast_link_engine::{
    Frame, FrameReader, HubInput, HubItem, HubLink, HubOutput, NodeInput, NodeLink, NodeOutput, NodeView, Pace,
    Persist, Stream,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub(crate) const HEARTBEAT: Duration = Duration::from_secs(25);
pub(crate) const LIMITS: HeartbeatLimits = HeartbeatLimits { longest_ms: 60_000, grace_ms: 80_000, address: 5 };
const OUTBOX: OutboxGen = OutboxGen(0xF00D);

/// Content that compresses badly, so that sizes are real.
pub(crate) fn body(seed: u64, size: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect::<Vec<u8>>().into()
}

pub(crate) fn frame(bytes: &Bytes) -> Frame {
    let mut reader = FrameReader::default();
    reader.push(bytes);
    reader.next_frame().unwrap().unwrap()
}

pub(crate) fn batch(hub: &HubView, key: &str, content: &[u8]) -> SyncBatch {
    let put = ItemPut {
        key: key.into(),
        hash: content_hash(content),
        revision: hub.revision,
        body: zstd::bulk::compress(content, 1).unwrap().into(),
    };
    SyncBatch { id: 1, revision: hub.revision, puts: vec![put], drops: vec![], complete: true }
}

/// A batch that the hub sent, of either version.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) keys: Vec<String>,
    pub(crate) deltas: usize,
    pub(crate) drops: Vec<ItemDrop>,
    pub(crate) complete: bool,
    /// Of the frame.
    pub(crate) bytes: usize,
    pub(crate) version: u16,
}

impl Sent {
    fn read(frame: &Frame) -> Option<Sent> {
        let bytes = 6 + frame.payload.len();
        if let Ok(batch) = frame.decode::<SyncBatch>() {
            let keys = batch.puts.into_iter().map(|put| put.key).collect();
            return Some(Sent { keys, deltas: 0, drops: batch.drops, complete: batch.complete, bytes, version: 1 });
        }
        let batch: SyncBatch2 = frame.decode().ok()?;
        let deltas = batch.puts.iter().filter(|put| matches!(put.body, ItemBody::Delta { .. })).count();
        let keys = batch.puts.into_iter().map(|put| put.key).collect();
        Some(Sent { keys, deltas, drops: batch.drops, complete: batch.complete, bytes, version: 2 })
    }
}

#[derive(Clone, Default)]
pub(crate) struct NodeStore {
    items: BTreeMap<String, (ContentHash, Lineage, Revision, Bytes)>,
    digest: SetDigest,
    damaged: BTreeSet<String>,
    facts: Vec<WireFact>,
    pub(crate) session: Session,
    pub(crate) lineage: Lineage,
    pub(crate) acknowledged: Seq,
}

impl NodeStore {
    pub(crate) fn put(&mut self, key: &str, body: Bytes, lineage: Lineage, revision: u64) {
        self.put_hash(key, content_hash(&body), lineage, Revision(revision), body);
    }

    fn put_hash(&mut self, key: &str, hash: ContentHash, lineage: Lineage, revision: Revision, body: Bytes) {
        self.remove(key);
        self.digest.add(key, hash);
        self.damaged.remove(key);
        self.items.insert(key.into(), (hash, lineage, revision, body));
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.items.contains_key(key)
    }

    /// The body is another than the hash says.
    pub(crate) fn damage(&mut self, key: &str) {
        self.items.get_mut(key).unwrap().3 = Bytes::from_static(b"damaged");
        self.damaged.insert(key.into());
    }

    pub(crate) fn take(&mut self, hub: &HubView, key: &str) {
        let (hash, item) = &hub.items[key];
        self.put_hash(key, *hash, hub.lineage, item.revision, item.body.clone());
    }

    pub(crate) fn remove(&mut self, key: &str) {
        if let Some((hash, ..)) = self.items.remove(key) {
            self.digest.remove(key, hash);
        }
    }

    pub(crate) fn keys(&self) -> Vec<&str> {
        self.items.keys().map(String::as_str).collect()
    }

    pub(crate) fn fact(&mut self, seq: u64) {
        self.fact_of(seq, Bytes::from_static(b"{}"));
    }

    pub(crate) fn fact_of(&mut self, seq: u64, body: Bytes) {
        self.facts.push(WireFact { seq: Seq(seq), sort: FactSort::Log, key: String::new(), body });
    }
}

impl NodeView for NodeStore {
    fn digest(&self) -> &SetDigest {
        &self.digest
    }
    fn entries(&self, buckets: u64) -> Vec<(String, ContentHash)> {
        let asked = self.items.iter().filter(|(key, _)| buckets & (1 << bucket_of(key)) != 0);
        asked.map(|(key, (hash, ..))| (key.clone(), *hash)).collect()
    }
    fn body(&self, key: &str, hash: ContentHash) -> Option<Bytes> {
        self.items.get(key).filter(|(held, ..)| *held == hash).map(|(.., body)| body.clone())
    }
    fn assigned(&self, key: &str) -> Option<(Lineage, Revision)> {
        self.items.get(key).map(|(_, lineage, revision, _)| (*lineage, *revision))
    }
    fn facts_after(&self, after: Seq, max: usize) -> Vec<WireFact> {
        self.facts.iter().filter(|fact| fact.seq > after).take(max).cloned().collect()
    }
}

#[derive(Clone)]
pub(crate) struct HubView {
    pub(crate) lineage: Lineage,
    pub(crate) revision: Revision,
    items: BTreeMap<String, (ContentHash, HubItem)>,
    digest: SetDigest,
    pub(crate) issued: Session,
    ready: Session,
    mark: (OutboxGen, Seq),
    pub(crate) facts: Vec<u64>,
    /// What pods need.
    pub(crate) needs: BTreeMap<String, Vec<String>>,
}

impl HubView {
    pub(crate) fn new(lineage: Lineage) -> HubView {
        HubView {
            lineage,
            revision: Revision(10),
            items: BTreeMap::new(),
            digest: SetDigest::default(),
            issued: Session(0),
            ready: Session(0),
            mark: (OutboxGen(0), Seq(0)),
            facts: Vec::new(),
            needs: BTreeMap::new(),
        }
    }

    pub(crate) fn put(&mut self, key: &str, body: Bytes) {
        self.remove(key);
        let hash = content_hash(&body);
        self.digest.add(key, hash);
        self.items.insert(key.into(), (hash, HubItem { revision: self.revision, body }));
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.revision.0 += 1;
        if let Some((hash, _)) = self.items.remove(key) {
            self.digest.remove(key, hash);
        }
    }
}

impl holdfast_link_engine::HubView for HubView {
    fn revision(&self) -> Revision {
        self.revision
    }
    fn digest(&self) -> &SetDigest {
        &self.digest
    }
    fn entries(&self) -> Box<dyn Iterator<Item = (&str, ContentHash)> + '_> {
        Box::new(self.items.iter().map(|(key, (hash, _))| (key.as_str(), *hash)))
    }
    fn get(&self, key: &str) -> Option<HubItem> {
        self.items.get(key).map(|(_, item)| item.clone())
    }
    fn needs(&self, pod: &str) -> Vec<String> {
        self.needs.get(pod).cloned().unwrap_or_default()
    }
}

/// From where: the node, or the hub.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    Node,
    Hub,
}

pub(crate) struct World {
    pub(crate) node: NodeStore,
    pub(crate) hub: HubView,
    pub(crate) node_link: NodeLink,
    pub(crate) hub_link: HubLink,
    pub(crate) hello: Hello,
    pub(crate) now: Duration,
    rng: u64,
    wires: BTreeMap<(From, Stream), (FrameReader, VecDeque<Frame>)>,
    held: Option<(Stream, u16)>,
    datagrams: VecDeque<(From, Bytes)>,
    /// Frames of unknown types go between all others.
    pub(crate) noise: bool,
    pub(crate) drop_datagrams: bool,
    pub(crate) node_connected: Option<Session>,
    pub(crate) hub_online: Option<Session>,
    pub(crate) node_closed: Option<(String, bool)>,
    pub(crate) in_sync: Option<Revision>,
    pub(crate) applied: Option<Revision>,
    pub(crate) sync_from_hub: Vec<u16>,
    pub(crate) batches: Vec<Sent>,
    /// The hub is of the first release: it knows version 1 alone.
    pub(crate) old_hub: bool,
    pub(crate) facts_version: Option<u16>,
    pub(crate) drops: Vec<(String, DropCause)>,
    pub(crate) kept: Vec<String>,
    pub(crate) fact_batches: Vec<usize>,
    pub(crate) last_facts: Option<Bytes>,
    in_flight: usize,
    pub(crate) most_in_flight: usize,
    pub(crate) alive_at_hub: usize,
    pub(crate) alive_at_node: usize,
    pub(crate) pace: Option<Pace>,
    /// The interval that the hub was told last.
    pub(crate) promised: Duration,
}

impl World {
    pub(crate) fn new(seed: u64, node: NodeStore, hub: HubView) -> World {
        let hello = Hello {
            version_min: 1,
            version_max: VERSION,
            node_uid: "uid".into(),
            node_name: "edge".into(),
            boot: 1,
            lineage: Lineage(0),
            session: Session(0),
            root: 0,
            outbox: OUTBOX,
            clock_micros: 0,
        };
        let mut world = World {
            node,
            hub,
            node_link: NodeLink::start(Duration::ZERO, &hello).0,
            hub_link: HubLink::start(Duration::ZERO),
            hello,
            now: Duration::ZERO,
            rng: seed | 1,
            wires: BTreeMap::new(),
            held: None,
            datagrams: VecDeque::new(),
            noise: false,
            drop_datagrams: false,
            node_connected: None,
            hub_online: None,
            node_closed: None,
            in_sync: None,
            applied: None,
            sync_from_hub: Vec::new(),
            batches: Vec::new(),
            old_hub: false,
            facts_version: None,
            drops: Vec::new(),
            kept: Vec::new(),
            fact_batches: Vec::new(),
            last_facts: None,
            in_flight: 0,
            most_in_flight: 0,
            alive_at_hub: 0,
            alive_at_node: 0,
            pace: None,
            promised: Duration::ZERO,
        };
        world.reconnect();
        world
    }

    /// A new connection, with what the node has durably.
    pub(crate) fn reconnect(&mut self) {
        self.hello.lineage = self.node.lineage;
        self.hello.session = self.node.session;
        self.reconnect_as_is();
    }

    pub(crate) fn reconnect_as_is(&mut self) {
        self.hello.root = self.node.digest.root();
        self.wires.clear();
        self.datagrams.clear();
        self.in_flight = 0;
        (self.node_connected, self.hub_online, self.node_closed) = (None, None, None);
        (self.in_sync, self.applied) = (None, None);
        self.sync_from_hub.clear();
        self.batches.clear();
        self.hub_link = HubLink::start(self.now);
        let (link, outputs) = NodeLink::start(self.now, &self.hello);
        self.node_link = link;
        self.node_outputs(outputs);
    }

    pub(crate) fn cut_wires(&mut self) {
        self.wires.clear();
    }

    /// Keeps a frame of the node back, and with it its stream.
    pub(crate) fn hold(&mut self, stream: Stream, kind: u16) {
        self.held = Some((stream, kind));
    }

    pub(crate) fn release(&mut self) {
        self.held = None;
    }

    pub(crate) fn view_changed(&mut self) {
        let outputs = self.hub_input(self.now, HubInput::ViewChanged);
        self.hub_outputs(outputs);
    }

    pub(crate) fn facts_changed(&mut self) {
        let outputs = self.node_input(self.now, NodeInput::FactsChanged);
        self.node_outputs(outputs);
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(due) = self.node_link.next_deadline().filter(|due| *due <= until) {
            self.now = due;
            let outputs = self.node_input(due, NodeInput::Tick);
            self.node_outputs(outputs);
            self.run();
        }
        self.now = until;
    }

    pub(crate) fn node_input(&mut self, now: Duration, input: NodeInput) -> Vec<NodeOutput> {
        self.node_link.handle(now, 7, input, &self.node)
    }

    pub(crate) fn hub_input(&mut self, now: Duration, input: HubInput) -> Vec<HubOutput> {
        self.hub_link.handle(now, 8, input, &self.hub)
    }

    fn send(&mut self, from: From, stream: Stream, data: &Bytes) {
        let (reader, queue) = self.wires.entry((from, stream)).or_default();
        if self.noise {
            reader.push(&[200, 0, 3, 0, 0, 0, 1, 2, 3]);
        }
        reader.push(data);
        while let Some(frame) = reader.next_frame().unwrap() {
            assert!(KINDS.contains(&frame.kind));
            // The drivers read what a stream is for.
            if frame.kind != Open::KIND {
                queue.push_back(frame);
            }
        }
    }

    fn node_outputs(&mut self, outputs: Vec<NodeOutput>) {
        for output in outputs {
            match output {
                NodeOutput::Send(stream, data) => {
                    let sent = frame(&data);
                    if matches!(sent.kind, FactBatch::KIND | FactBatch2::KIND) {
                        self.facts_version = Some(if sent.kind == FactBatch::KIND { 1 } else { 2 });
                        self.in_flight += 1;
                        self.most_in_flight = self.most_in_flight.max(self.in_flight);
                        self.last_facts = Some(data.clone());
                    }
                    match sent.decode::<Hello>() {
                        // What an old hub makes of it.
                        Ok(hello) if self.old_hub => {
                            let hello = Hello { version_max: hello.version_max.min(1), ..hello };
                            self.send(From::Node, stream, &encode(&hello));
                        }
                        _ => self.send(From::Node, stream, &data),
                    }
                }
                NodeOutput::SendHeartbeat { data, .. } => self.datagrams.push_back((From::Node, data)),
                NodeOutput::Persist(what) => {
                    match what {
                        Persist::Session { lineage, session } => {
                            (self.node.lineage, self.node.session) = (lineage, session);
                        }
                        Persist::Items(batch) => {
                            for (key, hash, revision, body) in batch.puts {
                                self.node.put_hash(&key, hash, batch.lineage, revision, body);
                            }
                            batch.drops.iter().for_each(|key| self.node.remove(key));
                            self.kept.extend(batch.kept);
                        }
                    }
                    let outputs = self.node_input(self.now, NodeInput::Persisted);
                    self.node_outputs(outputs);
                }
                NodeOutput::Acknowledged(seq) => self.node.acknowledged = self.node.acknowledged.max(seq),
                NodeOutput::Connected { session, .. } => self.node_connected = Some(session),
                NodeOutput::Alive { .. } => self.alive_at_node += 1,
                NodeOutput::Paced(_, pace) => self.pace = Some(pace),
                NodeOutput::InSync(revision) => self.in_sync = Some(revision),
                NodeOutput::Close { reason, refused } => self.node_closed = Some((reason, refused)),
            }
        }
    }

    fn hub_outputs(&mut self, outputs: Vec<HubOutput>) {
        for output in outputs {
            match output {
                HubOutput::Send(stream, data) => {
                    let sent = frame(&data);
                    if stream == Stream::Sync && sent.kind != Open::KIND {
                        self.sync_from_hub.push(sent.kind);
                        if let Some(batch) = Sent::read(&sent) {
                            self.drops.extend(batch.drops.iter().map(|drop| (drop.key.clone(), drop.cause)));
                            self.batches.push(batch);
                        }
                    }
                    if stream == Stream::Facts {
                        self.in_flight -= 1;
                    }
                    self.send(From::Hub, stream, &data);
                }
                HubOutput::SendDatagram(data) => self.datagrams.push_back((From::Hub, data)),
                HubOutput::Grant(hello, _) => {
                    let input = match judge(self.hub.lineage, self.hub.issued, self.hub.ready, &hello) {
                        SessionVerdict::Next(session) => {
                            self.hub.issued = session;
                            let mark = if self.hub.mark.0 == hello.outbox { self.hub.mark.1 } else { Seq(0) };
                            HubInput::Granted {
                                lineage: self.hub.lineage,
                                session,
                                mark,
                                heartbeat: HEARTBEAT,
                                limits: LIMITS,
                            }
                        }
                        SessionVerdict::Duplicate => {
                            HubInput::Refused { code: "DuplicateIdentity".into(), reason: "twice".into() }
                        }
                    };
                    let outputs = self.hub_input(self.now, input);
                    self.hub_outputs(outputs);
                }
                HubOutput::Online(session) => {
                    self.hub.ready = session;
                    self.hub_online = Some(session);
                }
                HubOutput::Facts(outbox, facts) => {
                    self.fact_batches.push(facts.len());
                    for fact in &facts {
                        self.hub.facts.push(fact.seq.0);
                        self.hub.mark = (outbox, fact.seq);
                    }
                    let seq = self.hub.mark.1;
                    let outputs = self.hub_input(self.now, HubInput::FactsCommitted { seq });
                    self.hub_outputs(outputs);
                }
                HubOutput::Alive { interval, .. } => {
                    self.alive_at_hub += 1;
                    self.promised = interval;
                }
                HubOutput::Applied(revision) => self.applied = Some(revision),
                HubOutput::Close(_) => {}
            }
        }
    }

    /// Delivers one frame of some stream; whether there was one.
    pub(crate) fn step(&mut self) -> bool {
        if let Some((from, data)) = self.datagrams.pop_front() {
            if self.drop_datagrams {
                return true;
            }
            match from {
                From::Node => {
                    let outputs = self.hub_input(self.now, HubInput::Datagram(data, LIMITS.address));
                    self.hub_outputs(outputs);
                }
                From::Hub => {
                    let outputs = self.node_input(self.now, NodeInput::Datagram(data));
                    self.node_outputs(outputs);
                }
            }
            return true;
        }
        let held = self.held;
        let ready: Vec<(From, Stream)> = self
            .wires
            .iter()
            .filter(|((from, stream), (_, queue))| {
                let next = queue.front();
                let back = held.is_some_and(|(held, kind)| {
                    *from == From::Node && held == *stream && next.is_some_and(|frame| frame.kind == kind)
                });
                next.is_some() && !back
            })
            .map(|(wire, _)| *wire)
            .collect();
        if ready.is_empty() {
            return false;
        }
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        let wire = ready[self.rng as usize % ready.len()];
        let Some(frame) = self.wires.get_mut(&wire).and_then(|(_, queue)| queue.pop_front()) else { return false };
        match wire {
            (From::Node, stream) => {
                let outputs = self.hub_input(self.now, HubInput::Frame(stream, frame));
                self.hub_outputs(outputs);
            }
            (From::Hub, stream) => {
                let outputs = self.node_input(self.now, NodeInput::Frame(stream, frame));
                self.node_outputs(outputs);
            }
        }
        true
    }

    pub(crate) fn run(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps < 10_000, "it does not come to rest");
        }
    }

    pub(crate) fn assert_equal(&self) {
        assert_eq!(self.node.digest.root(), self.hub.digest.root());
        assert!(self.node.items.keys().eq(self.hub.items.keys()));
        for (key, (_, item)) in self.hub.items.iter().filter(|(key, _)| !self.node.damaged.contains(*key)) {
            assert_eq!(self.node.items[key].3, item.body, "{key}");
        }
    }
}
