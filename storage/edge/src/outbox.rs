//! What the node owes the hub.
//!
//! State facts are the latest word about an object, replaced in place; log facts are a bounded list of what
//! happened. Both are numbered by one sequence, and the hub acknowledges a number when everything up to it
//! is in its store. Log facts stay for a while after that: a hub that is restored from a backup asks for them again.

use crate::limits::{KEPT_LOG_BYTES, KEPT_LOG_FACTS, MAX_LOG_BYTES, MAX_LOG_FACTS};
use crate::record::Record;
use bytes::Bytes;
use holdfast_core::Seq;
use std::collections::{BTreeMap, VecDeque};

/// The sort of a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FactKind {
    /// The latest word about an object.
    State,
    /// Something that happened.
    Log,
}

/// A fact, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Its number.
    pub seq: Seq,
    /// Its sort.
    pub kind: FactKind,
    /// What it is about; empty for log facts.
    pub key: String,
    /// Content.
    pub body: Bytes,
}

/// Log facts that were dropped before the hub had them, and of which nobody has told it yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub count: u64,
    /// When the first of them was appended, in microseconds since 1970; 0 when that is not known.
    pub from_micros: i64,
    /// When the last of them was appended.
    pub to_micros: i64,
}

impl Gap {
    fn add(&mut self, other: Gap) {
        if self.count == 0 {
            *self = other;
            return;
        }
        self.count += other.count;
        // Clocks of boxes go backwards, too.
        self.from_micros = self.from_micros.min(other.from_micros);
        self.to_micros = self.to_micros.max(other.to_micros);
    }
}

#[derive(Clone, Debug)]
struct LogEntry {
    seq: Seq,
    at_micros: i64,
    body: Bytes,
}

/// The outbox.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    pub(crate) state: BTreeMap<String, (Seq, Bytes)>,
    log: VecDeque<LogEntry>,
    log_bytes: usize,
    /// How many of `log`, from its front, are acknowledged, and their bytes.
    kept: (usize, usize),
    gap: Gap,
    pub(crate) acknowledged: Seq,
    pub(crate) next: Seq,
    pub(crate) ceiling: Seq,
}

impl Outbox {
    pub(crate) fn put_state(&mut self, key: String, seq: Seq, body: Bytes) {
        self.state.insert(key, (seq, body));
        self.saw(seq);
    }

    pub(crate) fn push_log(&mut self, seq: Seq, at_micros: i64, body: Bytes) {
        self.saw(seq);
        self.log_bytes += body.len();
        self.log.push_back(LogEntry { seq, at_micros, body });
        // Replayed from a snapshot, it may be one that is only kept.
        self.acknowledge(self.acknowledged);
        while self.log.len() - self.kept.0 > MAX_LOG_FACTS || self.log_bytes > MAX_LOG_BYTES {
            self.drop_oldest();
        }
    }

    pub(crate) fn acknowledge(&mut self, seq: Seq) {
        self.acknowledged = self.acknowledged.max(seq);
        self.saw(seq);
        while let Some(entry) = self.log.get(self.kept.0)
            && entry.seq <= self.acknowledged
        {
            self.kept = (self.kept.0 + 1, self.kept.1 + entry.body.len());
        }
        while self.kept.0 > KEPT_LOG_FACTS || self.kept.1 > KEPT_LOG_BYTES {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(LogEntry { at_micros, body, .. }) = self.log.pop_front() else { return };
        self.log_bytes -= body.len();
        if self.kept.0 > 0 {
            self.kept = (self.kept.0 - 1, self.kept.1 - body.len());
        } else {
            self.gap.add(Gap { count: 1, from_micros: at_micros, to_micros: at_micros });
        }
    }

    /// The hub cannot say any more which of the kept facts it has: they are not sent again.
    pub(crate) fn forget_kept(&mut self) {
        while self.kept.0 > 0 {
            self.drop_oldest();
        }
    }

    pub(crate) fn lose(&mut self, gap: Gap) {
        self.gap.add(gap);
    }

    pub(crate) fn loss_told(&mut self) {
        self.gap = Gap::default();
    }

    pub(crate) fn saw(&mut self, seq: Seq) {
        if seq > Seq(0) {
            self.next = self.next.max(seq.next());
        }
    }

    /// The number of the next fact. It only rises, also over restarts of the node.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Facts that the hub has not acknowledged.
    pub fn backlog(&self) -> usize {
        let state = self.state.values().filter(|(seq, _)| *seq > self.acknowledged).count();
        state + self.log.iter().filter(|entry| entry.seq > self.acknowledged).count()
    }

    /// Everything up to here is in the hub's store.
    pub fn acknowledged(&self) -> Seq {
        self.acknowledged
    }

    /// What was dropped and not told yet.
    pub fn gap(&self) -> Option<Gap> {
        (self.gap.count > 0).then_some(self.gap)
    }

    /// Whether a log fact of this many bytes pushes out none that the hub has not.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.log.len() - self.kept.0 < MAX_LOG_FACTS && self.log_bytes - self.kept.1 + bytes <= MAX_LOG_BYTES
    }

    /// The last word about `key`, with its number.
    pub fn state_fact(&self, key: &str) -> Option<(Seq, &Bytes)> {
        self.state.get(key).map(|(seq, body)| (*seq, body))
    }

    /// Up to `max` facts numbered above `after`, in order of their numbers.
    pub fn after(&self, after: Seq, max: usize) -> Vec<Fact> {
        let state = self.state.iter().filter(|(_, (seq, _))| *seq > after).map(|(key, (seq, body))| Fact {
            seq: *seq,
            kind: FactKind::State,
            key: key.clone(),
            body: body.clone(),
        });
        let from = self.log.partition_point(|entry| entry.seq <= after);
        let log = self.log.range(from..).take(max).map(|entry| Fact {
            seq: entry.seq,
            kind: FactKind::Log,
            key: String::new(),
            body: entry.body.clone(),
        });
        let mut facts: Vec<Fact> = state.chain(log).collect();
        facts.sort_by_key(|fact| fact.seq);
        facts.truncate(max);
        facts
    }

    /// The records that build this outbox from nothing.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let facts = self.state.iter().map(|(key, (seq, body))| Record::StateFact {
            key: key.clone(),
            seq: *seq,
            body: body.clone(),
        });
        let log = self.log.iter().map(|entry| Record::LogFactAt {
            seq: entry.seq,
            at_micros: entry.at_micros,
            body: entry.body.clone(),
        });
        let gap = self.gap().map(|gap| Record::LogFactsLost {
            count: gap.count,
            from_micros: gap.from_micros,
            to_micros: gap.to_micros,
        });
        // What is acknowledged first: else kept facts would count as owed.
        std::iter::once(Record::Acknowledged { seq: self.acknowledged }).chain(facts).chain(log).chain(gap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(outbox: &mut Outbox, seq: u64, bytes: usize) {
        outbox.push_log(Seq(seq), i64::try_from(seq).unwrap() * 1000, vec![7; bytes].into());
    }

    fn rebuilt(outbox: &Outbox) -> Outbox {
        let mut state = crate::State::default();
        outbox.records().for_each(|record| state.apply(record));
        state.outbox
    }

    #[test]
    fn what_gives_way_is_counted_with_its_times() {
        let mut outbox = Outbox::default();
        let total = MAX_LOG_FACTS as u64 + 3;
        (1..=total).for_each(|seq| push(&mut outbox, seq, 10));
        assert_eq!(outbox.gap(), Some(Gap { count: 3, from_micros: 1000, to_micros: 3000 }));
        assert!(!outbox.has_room(1));
        assert_eq!(rebuilt(&outbox).gap(), outbox.gap());
        assert_eq!(outbox.after(Seq(0), 1)[0].seq, Seq(4));
        outbox.acknowledge(Seq(4));
        assert!(outbox.has_room(1));
        outbox.loss_told();
        assert_eq!(outbox.gap(), None);
    }

    #[test]
    fn the_list_is_bounded_by_bytes() {
        let mut outbox = Outbox::default();
        (1..=100).for_each(|seq| push(&mut outbox, seq, MAX_LOG_BYTES / 50));
        assert_eq!(outbox.gap().unwrap().count, 50);
        assert!(outbox.log_bytes <= MAX_LOG_BYTES);
    }

    #[test]
    fn acknowledged_facts_are_sent_again_to_a_hub_that_was_set_back() {
        let mut outbox = Outbox::default();
        (1..=6).for_each(|seq| push(&mut outbox, seq, 10));
        outbox.acknowledge(Seq(5));
        assert_eq!(outbox.after(Seq(2), 9).iter().map(|fact| fact.seq.0).collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(outbox.gap(), None);
        let again = rebuilt(&outbox);
        assert_eq!((again.kept, again.after(Seq(0), 9)), (outbox.kept, outbox.after(Seq(0), 9)));
        // They give way before anything that is owed does, and are no gap.
        (7..=60).for_each(|seq| push(&mut outbox, seq, KEPT_LOG_BYTES / 10));
        outbox.acknowledge(Seq(59));
        assert!(outbox.kept.1 <= KEPT_LOG_BYTES && outbox.kept.0 > 0);
        assert_eq!(rebuilt(&outbox).after(Seq(0), 99), outbox.after(Seq(0), 99));
        outbox.forget_kept();
        assert_eq!(outbox.after(Seq(0), 99).len(), 1);
    }
}
