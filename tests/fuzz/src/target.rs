//! The targets: a record or a text each, and what its bytes are put through.

use crate::mutate::{Rng, mutate};
use crate::{apply, cel, ends};
use anyhow::{Context, Result, ensure};
use holdfast_link_engine::wire::{self, Payload};
use holdfast_link_engine::{Frame, FrameReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// Golden bytes stand in the test that guards them.
const GOLDEN: &str = include_str!("../../../netmesh/link-engine/tests/golden.rs");

/// Bytes of a frame's head: type and length.
const HEAD: usize = 6;

/// Makes an input of texts.
type Mutator = fn(&mut Rng, &[&'static str]) -> Vec<u8>;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of the record or text.
    pub name: &'static str,
    sort: Sort,
}

#[derive(Clone, Copy)]
enum Sort {
    /// A frame, by its number. It is decoded, and what was read must be read again from what it is written as.
    Frame(u16, fn(&Frame) -> Result<()>),
    /// A text: what inputs are made of, how, and what reads them.
    Text(fn() -> Vec<&'static str>, Mutator, fn(&[u8]) -> Result<()>),
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
                sort: Sort::Frame(<wire::$name as Payload>::KIND, decode::<wire::$name>),
            }),*];
            all.extend([
                Target { name: "FieldsV1", sort: Sort::Text(|| apply::FIELDS.to_vec(), apply::input, apply::fields) },
                Target { name: "ManagedFields", sort: Sort::Text(|| apply::MANAGERS.to_vec(), apply::input, apply::managers) },
                Target { name: "Cel", sort: Sort::Text(cel::corpus, cel::input, cel::take) },
                Target { name: "Configuration", sort: Sort::Text(|| apply::CONFIGURATIONS.to_vec(), apply::input, apply::configuration) },
            ]);
            all
        }
    };
}

targets! {
    Open, Hello, Welcome, SessionReady, Refuse, SyncState, SyncDigests, SyncAsk, SyncEntries, SyncBatch, SyncApplied,
    SyncBatch2, SyncUnfit, FactBatch, FactAck, FactBatch2, CallStart, CallInput, CallOutput, CallOpened, Heartbeat, HeartbeatAnswer, PacedHeartbeat,
    HeartbeatLimits, JoinRequest, JoinReply, RenewRequest, RenewReply,
    TimeResetRequest, TimeResetReply,
}

/// All golden frames.
fn golden() -> &'static [Vec<u8>] {
    static FRAMES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FRAMES.get_or_init(|| GOLDEN.split('"').filter_map(unhex).filter(|bytes| bytes.len() >= HEAD).collect())
}

/// Payloads of the golden frames of this kind.
fn payloads(kind: u16) -> Vec<&'static [u8]> {
    golden().iter().filter(|bytes| bytes[..2] == kind.to_le_bytes()).map(|bytes| &bytes[HEAD..]).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.bytes().map(|b| char::from(b).to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|digits| !digits.is_empty() && digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

impl Target {
    /// The number of the frame, if it is one.
    pub fn kind(&self) -> Option<u16> {
        match self.sort {
            Sort::Frame(kind, _) => Some(kind),
            Sort::Text(..) => None,
        }
    }

    /// What its inputs are made from.
    pub fn corpus(&self) -> Vec<&'static [u8]> {
        match self.sort {
            Sort::Frame(kind, _) => payloads(kind),
            Sort::Text(texts, ..) => texts().into_iter().map(str::as_bytes).collect(),
        }
    }

    /// The input of this number.
    pub fn input(&self, number: u64) -> Vec<u8> {
        let mut rng = Rng::new(number ^ u64::from(self.kind().unwrap_or_default()) << 48);
        if let Sort::Text(texts, input, _) = self.sort {
            return input(&mut rng, &texts());
        }
        let corpus = self.corpus();
        let seed = corpus.get(rng.below(corpus.len())).copied().unwrap_or_default();
        let other = golden().get(rng.below(golden().len())).map_or(&[][..], |frame| &frame[HEAD..]);
        mutate(&mut rng, seed, other)
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
        let (kind, decode) = match self.sort {
            Sort::Frame(kind, decode) => (kind, decode),
            Sort::Text(.., read) => return read(payload),
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
