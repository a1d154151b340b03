//! [`EdgeStore`]: state, journal and snapshots together.

use crate::journal::{self, Journal, Place};
use crate::limits::{MAX_LAZY_RECORDS, SEQ_BLOCK, SNAPSHOT_AFTER_SEGMENTS};
use crate::outbox::Gap;
use crate::quarantine;
use crate::record::Record;
use crate::state::State;
use crate::vitals::{Doubt, Held, Vitals, VitalsFile};
use bytes::Bytes;
use holdfast_core::{Lineage, OutboxGen, Seq, Session};
use holdfast_env::{Disk, DiskError};
use holdfast_mutation::broken;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why the store cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk failed, or is full.
    #[error("the node's store: {0}")]
    Disk(#[from] DiskError),
    /// A file is not what was written.
    #[error("{path} is damaged: {reason}")]
    Damaged {
        /// The file.
        path: String,
        /// What does not fit.
        reason: &'static str,
    },
    /// The batch is larger than a frame may be.
    #[error("a batch of {0} bytes is larger than the store takes")]
    TooLarge(usize),
    /// The disk failed before: nothing is written any more until the store is opened anew.
    #[error("the node's store takes nothing since its disk failed")]
    Ended,
}

/// How safe a commit is when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk.
    Synced,
    /// In memory; on disk with the next synced commit. For what can be found out again.
    Lazy,
}

/// What opening found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// Frames replayed from the journal.
    pub frames: usize,
    /// The journal ended in a torn frame: a power cut, nothing acknowledged was lost, unless it is the last frame that is
    /// damaged, which looks the same.
    pub torn_tail: bool,
    /// A snapshot was unreadable and the other was taken.
    pub snapshot_fallback: bool,
    /// The session and the outbox's name were unreadable: both begin anew.
    pub vitals_lost: bool,
    /// What is damaged, and how; what was acknowledged after it is lost. The hub sends it again.
    pub lost: Option<(String, &'static str)>,
    /// Where damaged files were put.
    pub aside: Vec<String>,
}

/// What is written for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Objects from the hub.
    Items,
    /// What the hub is told.
    Facts,
    /// What the node notes for itself.
    Notes,
    /// The state as a whole, so that the journal stays short.
    Snapshots,
    /// The link's session, and blocks of facts' numbers.
    Vitals,
}

impl Purpose {
    /// All of them, with their names.
    pub const ALL: [(Purpose, &'static str); 5] = [
        (Purpose::Items, "items"),
        (Purpose::Facts, "facts"),
        (Purpose::Notes, "notes"),
        (Purpose::Snapshots, "snapshots"),
        (Purpose::Vitals, "vitals"),
    ];

    fn of(record: &Record) -> Purpose {
        match record {
            Record::PutItem { .. } | Record::DropItem { .. } | Record::SyncedTo { .. } => Purpose::Items,
            Record::PutNote { .. } | Record::DropNote { .. } | Record::Follows { .. } => Purpose::Notes,
            Record::StateFact { .. }
            | Record::DropStateFact { .. }
            | Record::LogFact { .. }
            | Record::LogFactAt { .. }
            | Record::LogFactsLost { .. }
            | Record::LossTold
            | Record::Acknowledged { .. }
            | Record::SeqCeiling { .. } => Purpose::Facts,
        }
    }
}

/// How much was written since opening.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes, as given to the disk.
    pub bytes: u64,
    /// Data syncs; one that serves several purposes counts for the one that asked for it.
    pub syncs: u64,
}

/// The node's durable state.
pub struct EdgeStore {
    disk: Arc<dyn Disk>,
    state: State,
    journal: Journal,
    vitals: VitalsFile,
    lazy: Vec<Record>,
    /// The snapshot file that was written last (0 or 1).
    slot: usize,
    /// The first segment that is not in it.
    base: u64,
    written: BTreeMap<Purpose, Written>,
    /// Segments since the last snapshot at which the next is due.
    snapshot_due: usize,
    /// The disk failed: what is lazy stays in memory, and is lost with it.
    has_ended: bool,
}

const SNAPSHOTS: [&str; 2] = ["snapshot.a", "snapshot.b"];
/// Where releases before the vitals kept the session, and the outbox's name.
const OLD_NOTES: [&str; 2] = ["link/session", "link/outbox"];

/// The snapshots as found.
struct Base {
    state: State,
    /// The file that it is from.
    slot: usize,
    /// The first segment that is not in it.
    first: u64,
    /// The first segment that the other snapshot needs.
    kept: u64,
    damaged: Vec<&'static str>,
}

fn base(disk: &dyn Disk) -> Result<Base, StoreError> {
    let mut good: Vec<(u64, usize, Vec<u8>)> = Vec::new();
    let mut damaged = Vec::new();
    for (index, path) in SNAPSHOTS.iter().enumerate() {
        match read_snapshot(disk, path)? {
            Snapshot::Missing => {}
            Snapshot::Damaged => damaged.push(*path),
            Snapshot::Good(next, payload) => good.push((next, index, payload)),
        }
    }
    good.sort();
    let mut state = State::default();
    let Some((first, slot, payload)) = good.pop() else {
        return Ok(Base { state, slot: 1, first: 1, kept: 1, damaged });
    };
    apply_batch(&mut state, decode(&payload, SNAPSHOTS[slot])?);
    // Without another snapshot there was nothing before the first segment.
    let kept = good.pop().map_or(if damaged.is_empty() { 1 } else { first }, |(next, ..)| next);
    Ok(Base { state, slot, first, kept, damaged })
}

impl EdgeStore {
    /// Opens or makes the store on `disk`. What is damaged is put aside, and the store opens with what is whole before
    /// it; [`Vitals::doubt`] then says so until [`EdgeStore::settle`].
    ///
    /// # Errors
    /// The disk's, or records of a newer release.
    pub fn open(disk: Arc<dyn Disk>) -> Result<(EdgeStore, OpenReport), StoreError> {
        let Base { mut state, slot, first, kept, damaged } = base(&*disk)?;
        let scan = journal::scan(disk.clone(), kept, first, |place, payload| {
            let records = decode(payload, "journal")?;
            let follows = match (place, records.first()) {
                (Place::After { end, .. }, Some(Record::Follows { end: wanted })) => end == *wanted,
                // An older release does not say it.
                (Place::After { is_torn, .. }, _) => !is_torn,
                (Place::First | Place::Within, _) => true,
            };
            if follows {
                apply_batch(&mut state, records);
            }
            Ok(follows)
        })?;
        let (mut vitals, held) = VitalsFile::open(&*disk)?;
        let mut report = OpenReport {
            frames: scan.frames,
            torn_tail: scan.is_doubtful,
            snapshot_fallback: !damaged.is_empty(),
            vitals_lost: matches!(held, Held::Doubtful),
            lost: scan.lost.clone(),
            aside: Vec::new(),
        };
        let mut value = *vitals.get();
        match held {
            Held::Nothing => adopt_old_notes(&state, &mut value),
            Held::Doubtful => {
                value.ceiling = value.ceiling.max(state.outbox.ceiling);
                state.outbox.forget_kept();
            }
            Held::Last => {}
        }
        if scan.lost.is_some() {
            value.doubt = Doubt::Loss;
            // Older words than the last; who knows better says them again.
            state.outbox.state.clear();
        } else if scan.is_doubtful {
            value.doubt = value.doubt.max(Doubt::Tail);
        }
        // Before anything is changed, so that a power cut cannot hide it; and at each start, as what was read may be in
        // the page cache alone.
        vitals.set(value)?;
        for path in damaged {
            report.aside.extend(quarantine::put_aside(&*disk, path)?);
        }
        let journal = scan.open(&mut report.aside)?;
        // Numbers up to the ceiling may have left the node without being written down.
        if !broken("numbers-used-twice") {
            state.outbox.saw(Seq(value.ceiling.0.saturating_sub(1)));
        }
        let mut store = EdgeStore {
            disk,
            state,
            journal,
            vitals,
            lazy: Vec::new(),
            slot,
            base: first,
            written: BTreeMap::new(),
            snapshot_due: SNAPSHOT_AFTER_SEGMENTS,
            has_ended: false,
        };
        let old: Vec<Record> = OLD_NOTES
            .iter()
            .filter(|key| store.state.notes().contains_key(**key))
            .map(|key| Record::DropNote { key: (*key).to_string() })
            .collect();
        store.commit(old, Durability::Lazy)?;
        Ok((store, report))
    }

    /// The state as of the last commit.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What must not go back when the journal does.
    pub fn vitals(&self) -> &Vitals {
        self.vitals.get()
    }

    fn set_vitals(&mut self, value: Vitals) -> Result<(), StoreError> {
        if *self.vitals.get() != value {
            if self.has_ended {
                return Err(StoreError::Ended);
            }
            let set = self.vitals.set(value);
            self.ends_by(set)?;
            self.count(Purpose::Vitals, crate::limits::SLOT_BYTES as u64, 1);
        }
        Ok(())
    }

    /// Makes the session that the hub issued durable.
    ///
    /// # Errors
    /// The disk's.
    pub fn set_session(&mut self, lineage: Lineage, session: Session) -> Result<(), StoreError> {
        self.set_vitals(Vitals { lineage, session, ..*self.vitals() })
    }

    /// Names the outbox.
    ///
    /// # Errors
    /// The disk's.
    pub fn set_outbox(&mut self, outbox: OutboxGen) -> Result<(), StoreError> {
        self.set_vitals(Vitals { outbox: Some(outbox), ..*self.vitals() })
    }

    /// The hub has been told of a loss.
    ///
    /// # Errors
    /// The disk's.
    pub fn loss_told(&mut self) -> Result<(), StoreError> {
        match self.vitals().doubt {
            Doubt::Loss => self.set_vitals(Vitals { doubt: Doubt::LossTold, ..*self.vitals() }),
            _ => Ok(()),
        }
    }

    /// The node has the hub's whole view: nothing is in doubt any more. A loss that was not told stays.
    ///
    /// # Errors
    /// The disk's.
    pub fn settle(&mut self) -> Result<(), StoreError> {
        match self.vitals().doubt {
            Doubt::Tail | Doubt::LossTold => self.set_vitals(Vitals { doubt: Doubt::None, ..*self.vitals() }),
            Doubt::None | Doubt::Loss => Ok(()),
        }
    }

    /// Bytes written and syncs done since opening, by purpose.
    pub fn written(&self) -> &BTreeMap<Purpose, Written> {
        &self.written
    }

    /// An error that is neither a full disk nor the batch's own is the last that the disk is asked for: what it has, and
    /// whether that is durable, is known again once the store is opened anew.
    fn ends_by<T>(&mut self, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
        self.has_ended |= outcome
            .as_ref()
            .is_err_and(|err| !matches!(err, StoreError::Disk(DiskError::Full(_)) | StoreError::TooLarge(_)));
        outcome
    }

    fn count(&mut self, purpose: Purpose, bytes: u64, syncs: u64) {
        let written = self.written.entry(purpose).or_default();
        written.bytes += bytes;
        written.syncs += syncs;
    }

    /// Applies a batch: all of it or, after a power cut before this returns, possibly none.
    ///
    /// # Errors
    /// The disk's. [`DiskError::Full`] leaves everything as it was. After any other error nothing is written any more: what
    /// is lazy is still taken, in memory alone, and all else is [`StoreError::Ended`].
    pub fn commit(&mut self, batch: Vec<Record>, durability: Durability) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        if broken("closure-not-atomic") && batch.len() > 1 {
            return batch.into_iter().try_for_each(|record| self.commit(vec![record], durability));
        }
        if self.has_ended {
            if durability == Durability::Synced {
                return Err(StoreError::Ended);
            }
            batch.into_iter().for_each(|record| self.state.apply(record));
            return Ok(());
        }
        if durability == Durability::Lazy && self.lazy.len() < MAX_LAZY_RECORDS {
            self.lazy.extend(batch.iter().cloned());
        } else {
            let mut all = std::mem::take(&mut self.lazy);
            let lazy = all.len();
            all.extend(batch.iter().cloned());
            if let Err(err) = self.append(&all, lazy) {
                all.truncate(lazy);
                self.lazy = all;
                return Err(err);
            }
        }
        for record in batch {
            self.state.apply(record);
        }
        if self.journal.segments_from(self.base) > self.snapshot_due {
            let snapshot = self.snapshot();
            match self.ends_by(snapshot) {
                Ok(()) => self.snapshot_due = SNAPSHOT_AFTER_SEGMENTS,
                // The batch is committed; only the journal grows until there is room.
                Err(err @ (StoreError::Disk(DiskError::Full(_)) | StoreError::TooLarge(_))) => {
                    tracing::warn!(%err, "No room for a snapshot of the node's store");
                    self.snapshot_due = self.journal.segments_from(self.base) + SNAPSHOT_AFTER_SEGMENTS;
                }
                Err(err) => return Err(err),
            }
        }
        Ok(())
    }

    /// Makes durable what is lazy.
    ///
    /// # Errors
    /// As [`EdgeStore::commit`].
    pub fn flush(&mut self) -> Result<(), StoreError> {
        if self.has_ended {
            return Err(StoreError::Ended);
        }
        if self.lazy.is_empty() {
            return Ok(());
        }
        let lazy = std::mem::take(&mut self.lazy);
        let appended = self.append(&lazy, 0);
        if appended.is_err() {
            self.lazy = lazy;
        }
        appended
    }

    /// Sets a state fact. Unchanged content keeps its number and costs nothing.
    ///
    /// # Errors
    /// As [`EdgeStore::commit`].
    pub fn put_state_fact(&mut self, key: &str, body: Bytes, durability: Durability) -> Result<Seq, StoreError> {
        if let Some((seq, old)) = self.state.outbox.state_fact(key)
            && *old == body
        {
            return Ok(seq);
        }
        self.numbered(durability, |seq| vec![Record::StateFact { key: key.to_string(), seq, body }])
    }

    /// Appends a log fact. `at_micros` is when, on the wall clock, in microseconds since 1970.
    ///
    /// # Errors
    /// As [`EdgeStore::commit`].
    pub fn push_log_fact(&mut self, body: Bytes, at_micros: i64, durability: Durability) -> Result<Seq, StoreError> {
        self.numbered(durability, |seq| vec![Record::LogFactAt { seq, at_micros, body }])
    }

    /// Appends a log fact that says which log facts are missing, durably, and forgets the gap with it. `None` when there
    /// is no gap, or no room for the word about it that would not make another.
    ///
    /// # Errors
    /// As [`EdgeStore::commit`].
    pub fn tell_gap(
        &mut self,
        at_micros: i64,
        word: impl FnOnce(Gap) -> Bytes,
    ) -> Result<Option<(Seq, Bytes)>, StoreError> {
        let Some(gap) = self.state.outbox.gap() else { return Ok(None) };
        let body = word(gap);
        if !self.state.outbox.has_room(body.len()) {
            return Ok(None);
        }
        let fact = body.clone();
        let seq = self.numbered(Durability::Synced, |seq| {
            vec![Record::LogFactAt { seq, at_micros, body: fact }, Record::LossTold]
        })?;
        Ok(Some((seq, body)))
    }

    /// Commits records under the next number, with a new ceiling first when the number needs one.
    fn numbered(
        &mut self,
        durability: Durability,
        records: impl FnOnce(Seq) -> Vec<Record>,
    ) -> Result<Seq, StoreError> {
        let seq = self.state.outbox.next.max(Seq(1));
        if seq >= self.vitals().ceiling {
            self.set_vitals(Vitals { ceiling: Seq(seq.0 + SEQ_BLOCK), ..*self.vitals() })?;
        }
        self.commit(records(seq), durability)?;
        Ok(seq)
    }

    /// Writes records; the first `lazy` of them wait for the others' sync.
    fn append(&mut self, records: &[Record], lazy: usize) -> Result<(), StoreError> {
        let (mut payload, mut sizes) = encode(records.iter())?;
        let room = self.journal.make_room(payload.len());
        self.ends_by(room)?;
        if let Some(end) = self.journal.previous_end() {
            (payload, sizes) = encode(std::iter::once(&Record::Follows { end }).chain(records))?;
        }
        let appended = self.journal.append(&payload);
        self.ends_by(appended)?;
        sizes.into_iter().for_each(|(purpose, bytes)| self.count(purpose, bytes, 0));
        let asks = records.get(lazy).or(records.first()).map_or(Purpose::Notes, Purpose::of);
        self.count(asks, (crate::frame::HEADER * 2) as u64, 1);
        Ok(())
    }

    fn snapshot(&mut self) -> Result<(), StoreError> {
        let next = self.journal.roll()?;
        let records: Vec<Record> = self.state.records().collect();
        let (payload, _) = encode(records.iter())?;
        let mut data = Vec::with_capacity(payload.len() + crate::frame::HEADER);
        crate::frame::write(next, &payload, &mut data);
        let slot = 1 - self.slot;
        self.disk.write_durably(SNAPSHOTS[slot], &data)?;
        self.slot = slot;
        self.count(Purpose::Snapshots, data.len() as u64, 1);
        // What was lazy is in the snapshot now.
        self.lazy.clear();
        // The snapshot before this one stays good for as long as its segments are there.
        self.journal.release_below(self.base);
        self.base = next;
        Ok(())
    }
}

/// Takes over what older releases kept in notes.
fn adopt_old_notes(state: &State, vitals: &mut Vitals) {
    let note = |key: &str| state.notes().get(key).map(Vec::as_slice);
    let session = note(OLD_NOTES[0]).and_then(|bytes| postcard::from_bytes::<(Lineage, Session)>(bytes).ok());
    (vitals.lineage, vitals.session) = session.unwrap_or_default();
    let outbox = note(OLD_NOTES[1]).and_then(|bytes| <[u8; 8]>::try_from(bytes).ok());
    vitals.outbox = outbox.map(|bytes| OutboxGen(u64::from_le_bytes(bytes)));
    vitals.ceiling = state.outbox.ceiling;
}

enum Snapshot {
    Missing,
    Damaged,
    /// The first journal segment after it, and its records.
    Good(u64, Vec<u8>),
}

fn read_snapshot(disk: &dyn Disk, path: &str) -> Result<Snapshot, StoreError> {
    let Some(data) = disk.read(path)? else { return Ok(Snapshot::Missing) };
    let Some(number) = data.get(8..16).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes) else {
        return Ok(Snapshot::Damaged);
    };
    Ok(match crate::frame::read(&data, 0, number) {
        crate::frame::Read::Frame(payload, _) => Snapshot::Good(number, payload.to_vec()),
        _ => Snapshot::Damaged,
    })
}

/// Encodes a batch, as postcard does a list of records, and says how much of it is for what.
fn encode<'a>(
    records: impl Iterator<Item = &'a Record> + Clone,
) -> Result<(Vec<u8>, BTreeMap<Purpose, u64>), StoreError> {
    let fault = |_| StoreError::Damaged { path: "journal".into(), reason: "a record does not encode" };
    let mut payload = postcard::to_allocvec(&records.clone().count()).map_err(fault)?;
    let mut sizes = BTreeMap::new();
    for record in records {
        let before = payload.len();
        payload = postcard::to_extend(record, payload).map_err(fault)?;
        *sizes.entry(Purpose::of(record)).or_default() += (payload.len() - before) as u64;
    }
    if payload.len() > crate::limits::MAX_FRAME_BYTES {
        return Err(StoreError::TooLarge(payload.len()));
    }
    Ok((payload, sizes))
}

/// What does not decode although its checksum fits is no damage: a newer release has written it.
fn decode(payload: &[u8], path: &str) -> Result<Vec<Record>, StoreError> {
    postcard::from_bytes(payload)
        .map_err(|_| StoreError::Damaged { path: path.to_string(), reason: "a newer release has written it" })
}

fn apply_batch(state: &mut State, records: Vec<Record>) {
    for record in records {
        state.apply(record);
    }
}

#[cfg(test)]
mod tests;
