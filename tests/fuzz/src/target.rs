//! The targets: a record of the link, a codec or a text each, and what its bytes are put through.

use crate::mutate::{Rng, mutate};
use crate::texts::{field_selector, label_selector, quantity, yaml};
use crate::{apply, cel, codecs, ends, patches, registries, texts as short};
use anyhow::{Context, Result, ensure};
use holdfast_link_engine::wire::{self, Payload};
use holdfast_link_engine::{Frame, FrameReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// Golden bytes stand in the test that guards them.
const GOLDEN: &str = include_str!("../../../netmesh/link-engine/tests/golden.rs");

/// Bytes of a frame's head: type and length.
const HEAD: usize = 6;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The record's name, or the codec's.
    pub name: &'static str,
    of: Of,
}

#[derive(Clone, Copy)]
enum Of {
    /// A frame of the link.
    Frame {
        /// The number of its frame.
        kind: u16,
        /// Decodes it; what was read must be read again from what it is written as.
        decode: fn(&Frame) -> Result<()>,
    },
    /// A codec, or what reads a text.
    Codec {
        /// What its inputs are made of.
        corpus: fn() -> Vec<Vec<u8>>,
        /// How.
        input: fn(&mut Rng, &[Vec<u8>]) -> Vec<u8>,
        run: fn(&[u8]) -> Result<()>,
    },
}

/// One of a corpus with pieces of another.
fn mixed(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let (seed, other) = (pick(rng, corpus), pick(rng, corpus));
    mutate(rng, seed, other)
}

fn pick<'c>(rng: &mut Rng, from: &'c [Vec<u8>]) -> &'c [u8] {
    from.get(rng.below(from.len())).map_or(&[], Vec::as_slice)
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// The targets that are no frames.
fn others() -> Vec<Target> {
    let codec = |name, corpus, run| Target { name, of: Of::Codec { corpus, input: mixed, run } };
    let text = |name, corpus, input, run| Target { name, of: Of::Codec { corpus, input, run } };
    vec![
        codec("spdy", codecs::spdy_corpus, codecs::spdy),
        codec("WebSocket", codecs::websocket_corpus, codecs::websocket),
        codec("channels", codecs::channel_corpus, codecs::channels),
        codec("Protobuf", codecs::protobuf_corpus, codecs::protobuf),
        codec("Cel", || texts(&cel::corpus()), cel::take),
        text("FieldsV1", || texts(apply::FIELDS), |rng, _| apply::input(rng, apply::FIELDS), apply::fields),
        text("ManagedFields", || texts(apply::MANAGERS), |rng, _| apply::input(rng, apply::MANAGERS), apply::managers),
        text(
            "Configuration",
            || texts(apply::CONFIGURATIONS),
            |rng, _| apply::input(rng, apply::CONFIGURATIONS),
            apply::configuration,
        ),
        text(
            "JsonPatch",
            || texts(patches::JSON_PATCHES),
            |rng, _| apply::input(rng, patches::JSON_PATCHES),
            patches::json,
        ),
        text(
            "MergePatch",
            || texts(patches::MERGE_PATCHES),
            |rng, _| apply::input(rng, patches::MERGE_PATCHES),
            patches::merge,
        ),
        text(
            "StrategicPatch",
            || texts(patches::STRATEGIC_PATCHES),
            |rng, _| apply::input(rng, patches::STRATEGIC_PATCHES),
            patches::strategic,
        ),
        codec("LabelSelector", || texts(short::LABELS), label_selector),
        codec("FieldSelector", || texts(short::FIELDS), field_selector),
        codec("Quantity", || texts(short::QUANTITIES), quantity),
        codec("Yaml", || texts(short::YAML), yaml),
        codec("ImageManifest", || texts(registries::MANIFESTS), registries::manifest),
        codec("WwwAuthenticate", || texts(registries::CHALLENGES), registries::www_authenticate),
        codec("HostsToml", || texts(registries::HOSTS), registries::hosts_toml),
    ]
}

fn decode<T: Payload + PartialEq + std::fmt::Debug>(frame: &Frame) -> Result<()> {
    let Ok(record) = frame.decode::<T>() else { return Ok(()) };
    let written = wire::encode(&record);
    let mut reader = FrameReader::default();
    reader.push(&written);
    let again = reader.next_frame()?.context("what was written is no frame")?.decode::<T>()?;
    ensure!(again == record, "read {record:?}, wrote it, and read {again:?}");
    Ok(())
}

macro_rules! targets {
    ($($name:ident),* $(,)?) => {
        /// All targets.
        pub fn targets() -> Vec<Target> {
            let mut all = vec![$(Target {
                name: stringify!($name),
                of: Of::Frame { kind: <wire::$name as Payload>::KIND, decode: decode::<wire::$name> },
            }),*];
            all.extend(others());
            all
        }
    };
}

targets! {
    Open, Hello, Welcome, SessionReady, Refuse, SyncState, SyncDigests, SyncAsk, SyncEntries, SyncBatch, SyncApplied,
    SyncBatch2, SyncUnfit, FactBatch, FactAck, FactBatch2, CallStart, CallInput, CallOutput, CallOpened, PageOpened, Heartbeat, HeartbeatAnswer, PacedHeartbeat,
    HeartbeatLimits, JoinRequest, JoinReply, RenewRequest, RenewReply,
    TimeResetRequest, TimeResetReply, RelayRequest, RelayReply,
}

/// All golden frames.
fn golden() -> &'static [Vec<u8>] {
    static FRAMES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FRAMES.get_or_init(|| GOLDEN.split('"').filter_map(unhex).filter(|bytes| bytes.len() >= HEAD).collect())
}

fn payloads(frames: impl Iterator<Item = &'static Vec<u8>>) -> Vec<Vec<u8>> {
    frames.map(|bytes| bytes[HEAD..].to_vec()).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.bytes().map(|b| char::from(b).to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

impl Target {
    /// The number of its frame; `None` for a codec.
    pub fn kind(&self) -> Option<u16> {
        match self.of {
            Of::Frame { kind, .. } => Some(kind),
            Of::Codec { .. } => None,
        }
    }

    /// What its inputs are made of: for a frame the payloads of its golden bytes.
    pub fn corpus(&self) -> Vec<Vec<u8>> {
        match self.of {
            Of::Frame { kind, .. } => payloads(golden().iter().filter(|bytes| bytes[..2] == kind.to_le_bytes())),
            Of::Codec { corpus, .. } => corpus(),
        }
    }

    /// The input of this number.
    pub fn input(&self, number: u64) -> Vec<u8> {
        let mut rng = Rng::new(number ^ u64::from(self.kind().unwrap_or_default()) << 48);
        let corpus = self.corpus();
        match self.of {
            Of::Frame { .. } => {
                let others = payloads(golden().iter());
                let (seed, other) = (pick(&mut rng, &corpus), pick(&mut rng, &others));
                mutate(&mut rng, seed, other)
            }
            Of::Codec { input, .. } => input(&mut rng, &corpus),
        }
    }

    /// Puts a payload through everything.
    ///
    /// # Errors
    /// What went wrong; a panic is one of it.
    pub fn run(&self, payload: &[u8]) -> Result<()> {
        let whole = catch_unwind(AssertUnwindSafe(|| self.put_through(payload)));
        whole.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            anyhow::bail!("panic: {said}")
        })
    }

    fn put_through(&self, payload: &[u8]) -> Result<()> {
        let (kind, decode) = match self.of {
            Of::Frame { kind, decode } => (kind, decode),
            Of::Codec { run, .. } => return run(payload),
        };
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(u32::try_from(payload.len())?.to_le_bytes());
        bytes.extend(payload);
        // However the network cuts the bytes up, the frame is the same.
        let mut reader = FrameReader::default();
        let mut found = None;
        for piece in bytes.chunks(1 + payload.len() % 7) {
            ensure!(found.is_none(), "a frame came before its end");
            reader.push(piece);
            found = reader.next_frame()?;
        }
        let frame = found.context("the frame did not come")?;
        ensure!(frame.kind == kind && frame.payload == payload, "the reader changed the frame");
        decode(&frame)?;
        ends::take(&frame)
    }
}
