//! Compares, numbers and collects transactions into a batch. No threads, no I/O: the writer drives it.
//!
//! A transaction is judged against the committed state under two layers of writes that are not durable yet:
//! the batch that is being synced and the batch that is being built. When the synced batch turns out not to
//! have been written, whatever was built on top of it is judged again.

use super::state::Shared;
use crate::limits::{BATCH_BYTES, BATCH_TXNS, QUEUE_PLACE_BYTES, WRITE_QUEUE};
use crate::{Check, Condition, Event, LogBackend, LogEntry, Op, Record, StoreError, Txn, TxnOutcome};
use bytes::Bytes;
use holdfast_core::Revision;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A checked and encoded transaction.
pub(super) struct Prepared {
    checks: Vec<Check>,
    writes: Vec<Write>,
    /// Size of its values, at least 1.
    pub(super) bytes: usize,
}

struct Write {
    key: Arc<str>,
    put: Option<Put>,
}

struct Put {
    value: Bytes,
    encoded: Bytes,
}

impl Prepared {
    /// Checks the rules of [`Txn`] and encodes its values.
    pub(super) fn new(txn: Txn, backend: &dyn LogBackend) -> Result<Prepared, StoreError> {
        txn.validate()?;
        let mut bytes = 1;
        let write = |op| match op {
            Op::Put { key, value } => {
                bytes += value.len();
                let encoded = backend.encode(&value);
                Write { key: key.into(), put: Some(Put { value, encoded }) }
            }
            Op::Delete { key } => Write { key: key.into(), put: None },
        };
        let writes = txn.ops.into_iter().map(write).collect();
        Ok(Prepared { checks: txn.checks, writes, bytes })
    }

    /// How many places it takes in the queue.
    pub(super) fn places(&self) -> u32 {
        let places = (1 + self.bytes / QUEUE_PLACE_BYTES).min(WRITE_QUEUE);
        u32::try_from(places).unwrap_or(u32::MAX)
    }
}

/// A transaction of a batch with its outcome, which counts once the batch is durable. `T` is whom to tell.
pub(super) struct Judged<T> {
    txn: Prepared,
    pub(super) outcome: TxnOutcome,
    pub(super) tell: T,
}

pub(super) struct Batch<T> {
    pub(super) entries: Vec<LogEntry>,
    pub(super) events: Vec<Event>,
    pub(super) judged: Vec<Judged<T>>,
    /// The store's revision once the batch is published.
    pub(super) revision: Revision,
    bytes: usize,
}

type Layer = BTreeMap<Arc<str>, Option<Arc<Record>>>;

pub(super) struct Evaluator<T> {
    shared: Arc<Shared>,
    /// Writes of the batch that is being synced.
    syncing: Layer,
    building: Layer,
    batch: Batch<T>,
}

impl<T> Evaluator<T> {
    pub(super) fn new(shared: Arc<Shared>) -> Evaluator<T> {
        let batch = Batch::new(shared.revision());
        Evaluator { shared, syncing: Layer::new(), building: Layer::new(), batch }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batch.judged.is_empty()
    }

    /// How many transactions and bytes the batch still takes; none when either is 0.
    pub(super) fn room(&self) -> (usize, usize) {
        let txns = BATCH_TXNS.saturating_sub(self.batch.judged.len());
        (txns, BATCH_BYTES.saturating_sub(self.batch.bytes))
    }

    /// Adds a transaction to the batch.
    pub(super) fn add(&mut self, txn: Prepared, tell: T) {
        self.batch.bytes += txn.bytes;
        let failed = txn.checks.iter().enumerate().find_map(|(index, check)| {
            let current = self.lookup(&check.key);
            let holds = match check.condition {
                Condition::Absent => current.is_none(),
                Condition::Exists => current.is_some(),
                Condition::ModifiedAt(revision) => current.as_ref().is_some_and(|now| now.modified == revision),
            };
            (!holds).then_some(TxnOutcome::CheckFailed { index, current })
        });
        let outcome = failed.unwrap_or_else(|| self.write(&txn));
        self.batch.judged.push(Judged { txn, outcome, tell });
    }

    fn write(&mut self, txn: &Prepared) -> TxnOutcome {
        let revision = self.batch.revision.next();
        let mut records = Vec::new();
        let mut wrote = false;
        for write in &txn.writes {
            let previous = self.lookup(&write.key);
            if previous.is_none() && write.put.is_none() {
                continue;
            }
            let created = previous.as_ref().map_or(revision, |record| record.created);
            let key = write.key.clone();
            let record = write.put.as_ref().map(|put| {
                let record = Arc::new(Record::new(key.clone(), put.value.clone(), created, revision));
                records.push(record.clone());
                record
            });
            self.batch.entries.push(LogEntry {
                revision,
                key: key.clone(),
                value: write.put.as_ref().map(|put| put.encoded.clone()),
                created,
                previous: previous.as_ref().map(|record| record.modified),
            });
            self.batch.events.push(Event { revision, key: key.clone(), record: record.clone(), previous });
            self.building.insert(key, record);
            wrote = true;
        }
        if wrote {
            self.batch.revision = revision;
        }
        TxnOutcome::Committed { revision: self.batch.revision, records }
    }

    fn lookup(&self, key: &str) -> Option<Arc<Record>> {
        match self.building.get(key).or_else(|| self.syncing.get(key)) {
            Some(record) => record.clone(),
            None => self.shared.get(key),
        }
    }

    /// Gives the batch away to be synced. The one before it must have been synced.
    pub(super) fn take(&mut self) -> Batch<T> {
        self.syncing = std::mem::take(&mut self.building);
        let revision = self.batch.revision;
        std::mem::replace(&mut self.batch, Batch::new(revision))
    }

    /// The batch that was taken last is durable and published.
    pub(super) fn synced(&mut self) {
        self.syncing.clear();
    }

    /// The batch that was taken last was not written: judges again what was built on top of it.
    pub(super) fn not_written(&mut self) {
        for judged in self.reset() {
            self.add(judged.txn, judged.tell);
        }
    }

    /// Drops all that is not durable; returns the transactions of the batch.
    pub(super) fn reset(&mut self) -> Vec<Judged<T>> {
        self.syncing.clear();
        self.building.clear();
        std::mem::replace(&mut self.batch, Batch::new(self.shared.revision())).judged
    }
}

impl<T> Batch<T> {
    fn new(revision: Revision) -> Batch<T> {
        Batch { entries: Vec::new(), events: Vec::new(), judged: Vec::new(), revision, bytes: 0 }
    }
}
