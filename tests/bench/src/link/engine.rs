//! Sessions through the hub's engine, sans-IO: what one costs in memory, and a status in time.

use crate::figure::Figure;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest, content_hash};
use holdfast_link_engine::wire::{
    FactBatch, FactSort, Frame, HeartbeatLimits, Hello, Payload, SessionReady, SyncState, VERSION, VERSION_MIN,
    WireFact, encode,
};
use holdfast_link_engine::{FrameReader, HubInput, HubItem, HubLink, HubOutput, HubView, Stream};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Objects of a node's view: ten pods with what they need, and the Services of its site.
const ITEMS: usize = 40;
const NOW: Duration = Duration::from_secs(1);
/// Bytes of a pod's status as JSON.
const STATUS_BYTES: usize = 1200;

struct View {
    items: BTreeMap<String, (ContentHash, HubItem)>,
    digest: SetDigest,
}

impl View {
    fn new() -> View {
        let mut view = View { items: BTreeMap::new(), digest: SetDigest::default() };
        for number in 0..ITEMS {
            let key = format!("/v1/pods/default/web-{number:05}");
            let body = Bytes::from(format!("{number}").repeat(300));
            let hash = content_hash(&body);
            view.digest.add(&key, hash);
            view.items.insert(key, (hash, HubItem { revision: Revision(1), body }));
        }
        view
    }
}

impl HubView for View {
    fn revision(&self) -> Revision {
        Revision(1)
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

fn frame<T: Payload>(record: &T) -> Result<Frame> {
    let mut reader = FrameReader::default();
    reader.push(&encode(record));
    reader.next_frame()?.context("a frame of ours does not read")
}

/// A session that is up, with the node's view known to be the hub's.
fn session(view: &View) -> Result<HubLink> {
    let hello = Hello {
        version_min: VERSION_MIN,
        version_max: VERSION,
        node_uid: "00000000-0000-0000-0000-000000000000".into(),
        node_name: "edge".into(),
        boot: 1,
        lineage: Lineage(1),
        session: Session(0),
        root: view.digest.root(),
        outbox: OutboxGen(1),
        clock_micros: 0,
    };
    let mut link = HubLink::start(NOW);
    link.handle(NOW, 0, HubInput::Frame(Stream::Control, frame(&hello)?), view);
    let limits = HeartbeatLimits { longest_ms: 20_000, grace_ms: 40_000, address: 1 };
    let heartbeat = Duration::from_secs(10);
    let granted = HubInput::Granted { lineage: Lineage(1), session: Session(1), mark: Seq(0), heartbeat, limits };
    link.handle(NOW, 0, granted, view);
    let ready = HubInput::Frame(Stream::Control, frame(&SessionReady { session: Session(1) })?);
    let out = link.handle(NOW, 0, ready, view);
    let begun = |output: &HubOutput| matches!(output, HubOutput::Send(Stream::Sync, data) if data.starts_with(&SyncState::KIND.to_le_bytes()));
    if !out.iter().any(begun) {
        bail!("the session does not begin to sync: {out:?}");
    }
    Ok(link)
}

/// Bytes of this process in memory.
fn resident() -> Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).context("/proc/self/statm is short")?.parse()?;
    Ok(pages * 4096)
}

pub(crate) fn measure(sessions: usize) -> Result<()> {
    let view = View::new();
    let before = resident()?;
    let mut links: Vec<HubLink> = (0..sessions).map(|_| session(&view)).collect::<Result<_>>()?;
    let each = (resident()? - before) as f64 / sessions as f64;
    let what = format!("hub engine, {sessions} sessions with {ITEMS} objects each");
    Figure::new(format!("{what}: memory a session"), each, "B", sessions).print();

    let body = Bytes::from(vec![b'x'; STATUS_BYTES]);
    let key = "/v1/pods/default/web-00001".to_string();
    let fact = |seq| WireFact { seq: Seq(seq), sort: FactSort::State, key: key.clone(), body: body.clone() };
    let batch = |seq| FactBatch { session: Session(1), outbox: OutboxGen(1), facts: vec![fact(seq)] };
    let data = frame(&batch(1))?;
    // The floor: the frame is read and its facts are handed on.
    let began = Instant::now();
    for _ in 0..sessions {
        std::hint::black_box(data.decode::<FactBatch>()?);
    }
    let plain = began.elapsed();
    let began = Instant::now();
    for link in &mut links {
        let out = link.handle(NOW, 0, HubInput::Frame(Stream::Facts, data.clone()), &view);
        if !matches!(&out[..], [HubOutput::Facts(_, facts)] if facts.len() == 1) {
            bail!("a status is not handed on: {out:?}");
        }
        link.handle(NOW, 0, HubInput::FactsCommitted { seq: Seq(1) }, &view);
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / sessions as f64;
    Figure::new(format!("{what}: CPU a status"), micros(began.elapsed()), "us", sessions)
        .beside("decoding the frame alone", micros(plain))
        .print();
    Ok(())
}
