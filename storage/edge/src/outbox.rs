//! What the node owes the hub.
//!
//! State facts are the latest word about an object, replaced in place; log facts are a bounded list of what
//! happened. Both are numbered by one sequence, and the hub acknowledges a number when everything up to it
//! is in its store.

use crate::limits::{MAX_LOG_FACTS, SEQ_BLOCK};
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

/// The outbox.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    pub(crate) state: BTreeMap<String, (Seq, Bytes)>,
    pub(crate) log: VecDeque<(Seq, Bytes)>,
    pub(crate) acknowledged: Seq,
    pub(crate) next: Seq,
    pub(crate) ceiling: Seq,
    pub(crate) dropped_log_facts: u64,
}

impl Outbox {
    /// Takes the next number. When the second value is set, that ceiling must be made durable before the
    /// number leaves the node.
    pub(crate) fn take_seq(&mut self) -> (Seq, Option<Seq>) {
        let seq = if self.next.0 == 0 { Seq(1) } else { self.next };
        self.next = seq.next();
        let ceiling = (self.next > self.ceiling).then(|| Seq(self.next.0 + SEQ_BLOCK));
        if let Some(ceiling) = ceiling {
            self.ceiling = ceiling;
        }
        (seq, ceiling)
    }

    pub(crate) fn put_state(&mut self, key: String, seq: Seq, body: Bytes) {
        self.state.insert(key, (seq, body));
        self.saw(seq);
    }

    pub(crate) fn push_log(&mut self, seq: Seq, body: Bytes) {
        self.log.push_back((seq, body));
        self.saw(seq);
        while self.log.len() > MAX_LOG_FACTS {
            self.log.pop_front();
            self.dropped_log_facts += 1;
        }
    }

    pub(crate) fn acknowledge(&mut self, seq: Seq) {
        self.acknowledged = self.acknowledged.max(seq);
        while self.log.front().is_some_and(|(first, _)| *first <= self.acknowledged) {
            self.log.pop_front();
        }
    }

    pub(crate) fn saw(&mut self, seq: Seq) {
        self.next = self.next.max(seq.next());
    }

    /// The number of the next fact. It only rises, also over restarts of the node.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Facts that the hub has not acknowledged.
    pub fn backlog(&self) -> usize {
        let state = self.state.values().filter(|(seq, _)| *seq > self.acknowledged).count();
        state + self.log.iter().filter(|(seq, _)| *seq > self.acknowledged).count()
    }

    /// Everything up to here is in the hub's store.
    pub fn acknowledged(&self) -> Seq {
        self.acknowledged
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
        let log = self.log.iter().filter(|(seq, _)| *seq > after).map(|(seq, body)| Fact {
            seq: *seq,
            kind: FactKind::Log,
            key: String::new(),
            body: body.clone(),
        });
        let mut facts: Vec<Fact> = state.chain(log).collect();
        facts.sort_by_key(|fact| fact.seq);
        facts.truncate(max);
        facts
    }
}
