//! [`EdgeStore`]: state, journal and snapshots together.

use crate::journal::{Journal, Replay};
use crate::limits::{MAX_LAZY_RECORDS, SNAPSHOT_AFTER_SEGMENTS};
use crate::record::Record;
use crate::state::State;
use bytes::Bytes;
use holdfast_core::Seq;
use holdfast_env::{Disk, DiskError};
use holdfast_mutation::broken;
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
    /// The journal ended in a torn frame: a power cut, nothing acknowledged was lost.
    pub torn_tail: bool,
    /// A snapshot was unreadable and the other was taken.
    pub snapshot_fallback: bool,
}

/// The node's durable state.
pub struct EdgeStore {
    disk: Arc<dyn Disk>,
    state: State,
    journal: Journal,
    lazy: Vec<Record>,
    /// The snapshot file that was written last (0 or 1).
    slot: usize,
    written_bytes: u64,
    syncs: u64,
    /// Live segments at which the next snapshot is due.
    snapshot_due: usize,
}

const SNAPSHOTS: [&str; 2] = ["snapshot.a", "snapshot.b"];

impl EdgeStore {
    /// Opens or makes the store on `disk`.
    ///
    /// # Errors
    /// The disk's, or damage that recovery must not hide.
    pub fn open(disk: Arc<dyn Disk>) -> Result<(EdgeStore, OpenReport), StoreError> {
        let mut report = OpenReport::default();
        let mut state = State::default();
        let (mut first, mut slot) = (1, 1);
        let mut best: Option<(u64, usize, Vec<u8>)> = None;
        for (index, path) in SNAPSHOTS.iter().enumerate() {
            match read_snapshot(&*disk, path)? {
                Snapshot::Missing => {}
                Snapshot::Damaged => report.snapshot_fallback = true,
                Snapshot::Good(next, payload) if best.as_ref().is_none_or(|(number, ..)| next > *number) => {
                    best = Some((next, index, payload));
                }
                Snapshot::Good(..) => {}
            }
        }
        if let Some((next, index, payload)) = best {
            (first, slot) = (next, index);
            apply_batch(&mut state, &payload, SNAPSHOTS[index])?;
        }
        let (journal, Replay { frames, torn_tail }) =
            Journal::open(disk.clone(), first, |payload| apply_batch(&mut state, payload, "journal"))?;
        report.frames = frames;
        report.torn_tail = torn_tail;
        // Numbers up to the ceiling may have left the node without being written down.
        let ceiling = state.outbox.ceiling;
        if !broken("numbers-used-twice") {
            state.outbox.next = state.outbox.next.max(ceiling);
        }
        let store = EdgeStore {
            disk,
            state,
            journal,
            lazy: Vec::new(),
            slot,
            written_bytes: 0,
            syncs: 0,
            snapshot_due: SNAPSHOT_AFTER_SEGMENTS,
        };
        Ok((store, report))
    }

    /// The state as of the last commit.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Bytes written and syncs done since opening, for the write budget.
    pub fn written(&self) -> (u64, u64) {
        (self.written_bytes, self.syncs)
    }

    /// Applies a batch: all of it or, after a power cut before this returns, possibly none.
    ///
    /// # Errors
    /// The disk's. [`DiskError::Full`] leaves everything as it was; after any other error stop using the store.
    pub fn commit(&mut self, batch: Vec<Record>, durability: Durability) -> Result<(), StoreError> {
        if batch.is_empty() {
            return Ok(());
        }
        if broken("closure-not-atomic") && batch.len() > 1 {
            return batch.into_iter().try_for_each(|record| self.commit(vec![record], durability));
        }
        if durability == Durability::Lazy && self.lazy.len() < MAX_LAZY_RECORDS {
            self.lazy.extend(batch.iter().cloned());
        } else {
            let mut all = std::mem::take(&mut self.lazy);
            let lazy = all.len();
            all.extend(batch.iter().cloned());
            if let Err(err) = self.append(&all) {
                all.truncate(lazy);
                self.lazy = all;
                return Err(err);
            }
        }
        for record in batch {
            self.state.apply(record);
        }
        if self.journal.live_segments() > self.snapshot_due {
            match self.snapshot() {
                Ok(()) => self.snapshot_due = SNAPSHOT_AFTER_SEGMENTS,
                // The batch is committed; only the journal grows until there is room.
                Err(err @ (StoreError::Disk(DiskError::Full(_)) | StoreError::TooLarge(_))) => {
                    tracing::warn!(%err, "No room for a snapshot of the node's store");
                    self.snapshot_due = self.journal.live_segments() + SNAPSHOT_AFTER_SEGMENTS;
                }
                Err(err) => return Err(err),
            }
        }
        Ok(())
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
        self.numbered(durability, |seq| Record::StateFact { key: key.to_string(), seq, body })
    }

    /// Appends a log fact.
    ///
    /// # Errors
    /// As [`EdgeStore::commit`].
    pub fn push_log_fact(&mut self, body: Bytes, durability: Durability) -> Result<Seq, StoreError> {
        self.numbered(durability, |seq| Record::LogFact { seq, body })
    }

    /// Commits a record under the next number, with a new ceiling first when the number needs one.
    fn numbered(&mut self, durability: Durability, record: impl FnOnce(Seq) -> Record) -> Result<Seq, StoreError> {
        let outbox = &self.state.outbox;
        let before = (outbox.next, outbox.ceiling);
        let (seq, ceiling) = self.state.outbox.take_seq();
        let durability = if ceiling.is_some() { Durability::Synced } else { durability };
        let mut batch: Vec<Record> = ceiling.map(|seq| Record::SeqCeiling { seq }).into_iter().collect();
        batch.push(record(seq));
        if let Err(err) = self.commit(batch, durability) {
            // A ceiling that is not on disk covers no number.
            (self.state.outbox.next, self.state.outbox.ceiling) = before;
            return Err(err);
        }
        Ok(seq)
    }

    fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let payload = encode(records)?;
        self.journal.append(&payload)?;
        self.written_bytes += payload.len() as u64;
        self.syncs += 1;
        Ok(())
    }

    fn snapshot(&mut self) -> Result<(), StoreError> {
        let next = self.journal.roll()?;
        let records: Vec<Record> = self.state.records().collect();
        let payload = encode(&records)?;
        let mut data = Vec::with_capacity(payload.len() + 32);
        crate::frame::write(next, &payload, &mut data);
        let slot = 1 - self.slot;
        self.disk.write_durably(SNAPSHOTS[slot], &data)?;
        self.slot = slot;
        self.written_bytes += data.len() as u64;
        self.syncs += 1;
        // What was lazy is in the snapshot now.
        self.lazy.clear();
        self.journal.release_below(next);
        Ok(())
    }
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

fn encode(records: &[Record]) -> Result<Vec<u8>, StoreError> {
    let payload = postcard::to_allocvec(records)
        .map_err(|_| StoreError::Damaged { path: "journal".into(), reason: "a record does not encode" })?;
    if payload.len() > crate::limits::MAX_FRAME_BYTES {
        return Err(StoreError::TooLarge(payload.len()));
    }
    Ok(payload)
}

fn apply_batch(state: &mut State, payload: &[u8], path: &str) -> Result<(), StoreError> {
    let records: Vec<Record> = postcard::from_bytes(payload)
        .map_err(|_| StoreError::Damaged { path: path.to_string(), reason: "records do not decode" })?;
    for record in records {
        state.apply(record);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
