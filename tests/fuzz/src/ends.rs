//! Both ends of the engine, in each phase, and what a frame may do to them.

use anyhow::{Result, ensure};
use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest, content_hash};
use holdfast_link_engine::limits::{FACTS_PER_BATCH, MAX_FRAME_BYTES};
use holdfast_link_engine::wire::{
    FactSort, HeartbeatLimits, Hello, Payload, SessionReady, SyncDigests, SyncEntries, VERSION, VERSION_MIN, Welcome,
    WireFact, encode,
};
use holdfast_link_engine::{
    Frame, FrameReader, HubInput, HubItem, HubLink, HubOutput, HubView, NodeInput, NodeLink, NodeOutput, NodeView,
    Persist, Stream,
};
use std::collections::BTreeMap;
use std::time::Duration;

const NOW: Duration = Duration::from_secs(1);
const STREAMS: [Stream; 4] = [Stream::Control, Stream::Sync, Stream::Facts, Stream::Call];
/// What one frame may make an end say: two full frames and what frames them.
const MAX_SAID: usize = 2 * MAX_FRAME_BYTES + 4096;
/// Objects of the view and of the store.
const ITEMS: usize = 8;

/// Objects that hub and node have, some of them other ones.
struct Things {
    items: BTreeMap<String, (ContentHash, HubItem)>,
    digest: SetDigest,
}

impl Things {
    fn new(differing: bool) -> Things {
        let mut things = Things { items: BTreeMap::new(), digest: SetDigest::default() };
        for number in 0..ITEMS {
            let key = format!("/v1/pods/default/pod-{number}");
            let body = Bytes::from(format!("{{\"number\":{number},\"odd\":{}}}", differing && number % 2 == 1));
            let hash = content_hash(&body);
            things.digest.add(&key, hash);
            things.items.insert(key, (hash, HubItem { revision: Revision(5), body }));
        }
        things
    }
}

impl HubView for Things {
    fn revision(&self) -> Revision {
        Revision(7)
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
    fn needs(&self, _pod: &str) -> Vec<String> {
        Vec::new()
    }
}

impl NodeView for Things {
    fn digest(&self) -> &SetDigest {
        &self.digest
    }
    fn entries(&self, _buckets: u64) -> Vec<(String, ContentHash)> {
        self.items.iter().map(|(key, (hash, _))| (key.clone(), *hash)).collect()
    }
    fn body(&self, key: &str, hash: ContentHash) -> Option<Bytes> {
        self.items.get(key).filter(|(own, _)| *own == hash).map(|(_, item)| item.body.clone())
    }
    fn assigned(&self, key: &str) -> Option<(Lineage, Revision)> {
        self.items.get(key).map(|(_, item)| (Lineage(1), item.revision))
    }
    fn facts_after(&self, after: Seq, max: usize) -> Vec<WireFact> {
        let fact = |seq| WireFact { seq: Seq(seq), sort: FactSort::Log, key: String::new(), body: "{}".into() };
        (after.0.saturating_add(1)..after.0.saturating_add(4)).take(max).map(fact).collect()
    }
}

fn hello() -> Hello {
    Hello {
        version_min: VERSION_MIN,
        version_max: VERSION,
        node_uid: "u".into(),
        node_name: "edge".into(),
        boot: 1,
        lineage: Lineage(1),
        session: Session(0),
        root: 0,
        outbox: OutboxGen(1),
        clock_micros: 0,
    }
}

fn welcome() -> Welcome {
    Welcome {
        version: VERSION,
        lineage: Lineage(1),
        session: Session(1),
        time_micros: 0,
        heartbeat_ms: 10_000,
        mark: Seq(0),
    }
}

fn frame<T: Payload>(record: &T) -> Result<Frame> {
    let mut reader = FrameReader::default();
    reader.push(&encode(record));
    reader.next_frame()?.ok_or_else(|| anyhow::anyhow!("a frame of ours does not read"))
}

/// The node's end, before and after each step to its session.
fn nodes(store: &Things) -> Result<Vec<NodeLink>> {
    let (start, _) = NodeLink::start(NOW, &hello());
    let mut welcomed = start.clone();
    welcomed.handle(NOW, 0, NodeInput::Frame(Stream::Control, frame(&welcome())?), store);
    let mut up = welcomed.clone();
    up.handle(NOW, 0, NodeInput::Persisted, store);
    Ok(vec![start, welcomed, up])
}

/// The hub's end, before and after each step to a session that is in sync.
fn hubs(view: &Things, store: &Things) -> Result<Vec<HubLink>> {
    let mut all = vec![HubLink::start(NOW)];
    let granted = HubInput::Granted {
        lineage: Lineage(1),
        session: Session(1),
        mark: Seq(0),
        heartbeat: Duration::from_secs(10),
        limits: HeartbeatLimits { longest_ms: 20_000, grace_ms: 40_000, address: 1 },
    };
    let steps = [
        HubInput::Frame(Stream::Control, frame(&hello())?),
        granted,
        HubInput::Frame(Stream::Control, frame(&SessionReady { session: Session(1) })?),
        HubInput::Frame(Stream::Sync, frame(&SyncDigests { buckets: NodeView::digest(store).buckets().to_vec() })?),
        HubInput::Frame(Stream::Sync, frame(&SyncEntries { entries: NodeView::entries(store, u64::MAX) })?),
    ];
    for step in steps {
        let mut next = all[all.len() - 1].clone();
        next.handle(NOW, 0, step, view);
        all.push(next);
    }
    Ok(all)
}

fn said(data: usize, sum: &mut usize) -> Result<()> {
    *sum += data;
    ensure!(*sum <= MAX_SAID, "one frame made an end say {sum} bytes");
    Ok(())
}

fn take_node(link: &mut NodeLink, input: NodeInput, store: &Things) -> Result<bool> {
    let mut sum = 0;
    let mut closed = false;
    for output in link.handle(NOW, 0, input, store) {
        ensure!(!closed, "an end says something after it has closed: {output:?}");
        match output {
            NodeOutput::Send(_, data) | NodeOutput::SendHeartbeat { data, .. } => said(data.len(), &mut sum)?,
            NodeOutput::Persist(Persist::Items(batch)) => {
                for (key, hash, _, body) in &batch.puts {
                    ensure!(content_hash(body) == *hash, "{key} is to be kept and does not fit its hash");
                    ensure!(body.len() <= MAX_FRAME_BYTES, "{key} is to be kept and has {} bytes", body.len());
                }
            }
            NodeOutput::Close { .. } => closed = true,
            _ => {}
        }
    }
    Ok(closed)
}

fn take_hub(link: &mut HubLink, input: HubInput, view: &Things) -> Result<bool> {
    let mut sum = 0;
    let mut closed = false;
    for output in link.handle(NOW, 0, input, view) {
        ensure!(!closed, "an end says something after it has closed: {output:?}");
        match output {
            HubOutput::Send(_, data) | HubOutput::SendDatagram(data) => said(data.len(), &mut sum)?,
            HubOutput::Facts(_, facts) => {
                ensure!(facts.windows(2).all(|pair| pair[0].seq < pair[1].seq), "facts out of order are to be applied");
                ensure!(facts.len() <= 16 * FACTS_PER_BATCH, "{} facts are to be applied at once", facts.len());
            }
            HubOutput::Close(_) => closed = true,
            _ => {}
        }
    }
    Ok(closed)
}

/// Gives the frame to each end in each phase on each stream, and as a datagram; twice, as it may come again.
pub(crate) fn take(frame: &Frame) -> Result<()> {
    let (view, store) = (Things::new(true), Things::new(false));
    let mut datagram = frame.kind.to_le_bytes().to_vec();
    datagram.extend(u32::try_from(frame.payload.len())?.to_le_bytes());
    datagram.extend(&frame.payload);
    let datagram = Bytes::from(datagram);
    for node in nodes(&store)? {
        for stream in STREAMS {
            let mut end = node.clone();
            let mut closed = false;
            for _ in 0..2 {
                let now = take_node(&mut end, NodeInput::Frame(stream, frame.clone()), &store)?;
                ensure!(!(closed && now), "an end has closed twice");
                closed |= now;
            }
        }
        take_node(&mut node.clone(), NodeInput::Datagram(datagram.clone()), &store)?;
    }
    for hub in hubs(&view, &store)? {
        for stream in STREAMS {
            let mut end = hub.clone();
            let mut closed = false;
            for _ in 0..2 {
                let now = take_hub(&mut end, HubInput::Frame(stream, frame.clone()), &view)?;
                ensure!(!(closed && now), "an end has closed twice");
                closed |= now;
            }
        }
        take_hub(&mut hub.clone(), HubInput::Datagram(datagram.clone(), 1), &view)?;
    }
    Ok(())
}
