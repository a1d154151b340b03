//! The newest events, in order, bounded by count and by bytes.
//!
//! Owns history in memory: watches read it forwards, lists at an older revision backwards. Revisions enter and
//! leave whole. Each event has a sequence number that never changes, so a reader's place survives eviction.

use crate::limits::{RING_BYTES, RING_EVENTS};
use crate::{Event, Record};
use holdfast_core::Revision;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

pub(super) struct Ring {
    events: VecDeque<Event>,
    /// Sequence number of the first event held.
    first: u64,
    /// Values that only the ring keeps alive: those that its events replaced.
    bytes: usize,
    /// Every event after this revision is held.
    compacted: Revision,
    max_events: usize,
    max_bytes: usize,
}

impl Ring {
    /// An empty ring of a store that is at `revision`.
    pub(super) fn new(revision: Revision) -> Ring {
        Ring::bounded(revision, RING_EVENTS, RING_BYTES)
    }

    pub(super) fn bounded(revision: Revision, max_events: usize, max_bytes: usize) -> Ring {
        Ring { events: VecDeque::new(), first: 0, bytes: 0, compacted: revision, max_events, max_bytes }
    }

    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// An empty ring in place of this one. No number of this one's events is good in it.
    pub(super) fn successor(&self, revision: Revision) -> Ring {
        Ring { first: self.end() + 1, ..Ring::bounded(revision, self.max_events, self.max_bytes) }
    }

    /// The number that the next event will have.
    pub(super) fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The number of the first event after `revision`.
    pub(super) fn seq_after(&self, revision: Revision) -> u64 {
        self.first + self.events.partition_point(|event| event.revision <= revision) as u64
    }

    /// Takes the events of whole revisions and evicts what no longer fits.
    pub(super) fn push(&mut self, events: Vec<Event>) {
        for event in events {
            self.bytes += held(&event);
            self.events.push_back(event);
        }
        while self.events.len() > self.max_events || self.bytes > self.max_bytes {
            let Some(oldest) = self.events.front().map(|event| event.revision) else { break };
            self.drop_through(oldest);
        }
    }

    /// Forgets the events up to and including `revision`.
    pub(super) fn drop_through(&mut self, revision: Revision) {
        while self.events.front().is_some_and(|event| event.revision <= revision) {
            if let Some(event) = self.events.pop_front() {
                self.bytes -= held(&event);
                self.first += 1;
            }
        }
        self.compacted = self.compacted.max(revision);
    }

    /// The events from number `start` on; `None` when some of them are gone.
    pub(super) fn since(&self, start: u64) -> Option<impl Iterator<Item = (u64, &Event)>> {
        let skip = usize::try_from(start.checked_sub(self.first)?).ok()?;
        let skip = skip.min(self.events.len());
        Some((start..).zip(self.events.range(skip..)))
    }

    /// What keys with `prefix` that changed after `revision` held at it.
    pub(super) fn undo(&self, prefix: &str, revision: Revision) -> BTreeMap<&str, Option<&Arc<Record>>> {
        let mut undone = BTreeMap::new();
        // Backwards: the oldest change after `revision` has the last word.
        for event in self.events.iter().rev().take_while(|event| event.revision > revision) {
            if event.key.starts_with(prefix) {
                undone.insert(&*event.key, event.previous.as_ref());
            }
        }
        undone
    }
}

fn held(event: &Event) -> usize {
    event.previous.as_ref().map_or(0, |record| record.value.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn event(revision: u64, key: &str, replaced_bytes: usize) -> Event {
        let key: Arc<str> = key.into();
        let previous = (replaced_bytes > 0).then(|| {
            let value = Bytes::from(vec![0; replaced_bytes]);
            Arc::new(Record::new(key.clone(), value, Revision(1), Revision(1)))
        });
        Event { revision: Revision(revision), key, record: None, previous }
    }

    #[test]
    fn count_bound_evicts_whole_revisions() {
        let mut ring = Ring::bounded(Revision(0), 3, 1000);
        ring.push(vec![event(1, "a", 0), event(1, "b", 0)]);
        ring.push(vec![event(2, "a", 0), event(2, "b", 0)]);
        assert_eq!(ring.compacted(), Revision(1));
        assert!(ring.since(0).is_none());
        assert_eq!(ring.since(2).map(Iterator::count), Some(2));
        assert_eq!((ring.seq_after(Revision(1)), ring.end()), (2, 4));
    }

    #[test]
    fn byte_bound_counts_replaced_values() {
        let mut ring = Ring::bounded(Revision(0), 100, 100);
        ring.push(vec![event(1, "a", 60)]);
        ring.push(vec![event(2, "a", 40)]);
        assert_eq!((ring.compacted(), ring.bytes), (Revision(0), 100));
        ring.push(vec![event(3, "a", 1)]);
        assert_eq!((ring.compacted(), ring.bytes), (Revision(1), 41));
        ring.push(vec![event(4, "a", 500)]);
        assert_eq!((ring.compacted(), ring.bytes), (Revision(4), 0), "an event above the bound leaves at once");
    }
}
