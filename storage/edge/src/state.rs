//! The state that the journal's records build, in memory.

use crate::outbox::{Gap, Outbox};
use crate::record::{Item, Record};
use holdfast_core::{Lineage, Revision, SetDigest};
use std::collections::BTreeMap;

/// Everything that the node knows durably.
#[derive(Clone, Debug, Default)]
pub struct State {
    items: BTreeMap<String, Item>,
    digest: SetDigest,
    notes: BTreeMap<String, Vec<u8>>,
    pub(crate) outbox: Outbox,
    synced: (Lineage, Revision),
}

impl State {
    /// The objects from the hub, by key.
    pub fn items(&self) -> &BTreeMap<String, Item> {
        &self.items
    }

    /// The objects whose keys begin with `prefix`.
    pub fn items_with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a String, &'a Item)> {
        self.items.range(prefix.to_string()..).take_while(move |(key, _)| key.starts_with(prefix))
    }

    /// The digest of the objects.
    pub fn digest(&self) -> &SetDigest {
        &self.digest
    }

    /// The node's notes.
    pub fn notes(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.notes
    }

    /// What is owed to the hub.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The lineage and revision up to which the hub's state is here.
    pub fn synced_to(&self) -> (Lineage, Revision) {
        self.synced
    }

    /// Applies one record.
    pub(crate) fn apply(&mut self, record: Record) {
        match record {
            Record::PutItem { key, item } => {
                self.digest.add(&key, item.hash);
                if let Some(old) = self.items.insert(key.clone(), item) {
                    self.digest.remove(&key, old.hash);
                }
            }
            Record::DropItem { key } => {
                if let Some(old) = self.items.remove(&key) {
                    self.digest.remove(&key, old.hash);
                }
            }
            Record::PutNote { key, value } => {
                self.notes.insert(key, value);
            }
            Record::DropNote { key } => {
                self.notes.remove(&key);
            }
            Record::StateFact { key, seq, body } => self.outbox.put_state(key, seq, body),
            Record::DropStateFact { key } => {
                self.outbox.state.remove(&key);
            }
            Record::LogFact { seq, body } => self.outbox.push_log(seq, 0, body),
            Record::LogFactAt { seq, at_micros, body } => self.outbox.push_log(seq, at_micros, body),
            Record::LogFactsLost { count, from_micros, to_micros } => {
                self.outbox.lose(Gap { count, from_micros, to_micros });
            }
            Record::LossTold => self.outbox.loss_told(),
            Record::Acknowledged { seq } => self.outbox.acknowledge(seq),
            Record::SeqCeiling { seq } => {
                self.outbox.ceiling = self.outbox.ceiling.max(seq);
            }
            Record::SyncedTo { lineage, revision } => self.synced = (lineage, revision),
            // The journal's own.
            Record::Follows { .. } => {}
        }
    }

    /// The records that build this state from nothing.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let items = self.items.iter().map(|(key, item)| Record::PutItem { key: key.clone(), item: item.clone() });
        let notes = self.notes.iter().map(|(key, value)| Record::PutNote { key: key.clone(), value: value.clone() });
        let synced = Record::SyncedTo { lineage: self.synced.0, revision: self.synced.1 };
        items.chain(notes).chain(self.outbox.records()).chain(std::iter::once(synced))
    }
}
