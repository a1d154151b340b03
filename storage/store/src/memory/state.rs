//! What readers see: the current state, the ring and the watchers, in step with each other.
//!
//! One writer changes it: for an embedded log the writer's second stage, after the log has the batch.
//! Lock order: map, then ring; the hub is locked on its own, or before the ring.

use super::ring::Ring;
use super::watch::WatchHub;
use crate::{Event, Range, RangeRequest, Record, StoreError};
use holdfast_core::Revision;
use std::collections::BTreeMap;
use std::iter;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::Waker;

// A poisoned lock is taken all the same: nothing under these locks leaves a change half made when it panics,
// and readers should go on.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

pub(super) struct Shared {
    map: RwLock<Current>,
    pub(super) ring: RwLock<Ring>,
    pub(super) hub: WatchHub,
}

struct Current {
    records: BTreeMap<Arc<str>, Arc<Record>>,
    revision: Revision,
}

impl Shared {
    pub(super) fn new(records: BTreeMap<Arc<str>, Arc<Record>>, revision: Revision) -> Shared {
        Shared::with_ring(records, revision, Ring::new(revision))
    }

    pub(super) fn with_ring(records: BTreeMap<Arc<str>, Arc<Record>>, revision: Revision, ring: Ring) -> Shared {
        let map = RwLock::new(Current { records, revision });
        Shared { map, ring: RwLock::new(ring), hub: WatchHub::new(revision) }
    }

    pub(super) fn revision(&self) -> Revision {
        read(&self.map).revision
    }

    pub(super) fn get(&self, key: &str) -> Option<Arc<Record>> {
        read(&self.map).records.get(key).cloned()
    }

    /// Makes durable events visible, the last of them at `revision`. Returns the watchers to wake.
    pub(super) fn publish(&self, events: Vec<Event>, revision: Revision) -> Vec<Waker> {
        if events.is_empty() {
            return Vec::new();
        }
        let keys: Vec<Arc<str>> = events.iter().map(|event| event.key.clone()).collect();
        let first = {
            let mut map = write(&self.map);
            let mut ring = write(&self.ring);
            for event in &events {
                match &event.record {
                    Some(record) => map.records.insert(event.key.clone(), record.clone()),
                    None => map.records.remove(&event.key),
                };
            }
            map.revision = revision;
            let first = ring.end();
            ring.push(events);
            first
        };
        self.hub.mark(&keys, first, revision)
    }

    /// Notes that nothing changed up to `revision`.
    pub(super) fn advance(&self, revision: Revision) {
        // Watchers first: nobody may learn of a revision here and find that a watch has not come as far.
        self.hub.advance(revision);
        let mut map = write(&self.map);
        map.revision = map.revision.max(revision);
    }

    /// Another state in place of this one, without the history between them. Returns the watchers to wake: they end.
    pub(super) fn replace(&self, records: BTreeMap<Arc<str>, Arc<Record>>, revision: Revision) -> Vec<Waker> {
        let first = {
            let mut map = write(&self.map);
            let mut ring = write(&self.ring);
            *map = Current { records, revision };
            *ring = ring.successor(revision);
            ring.end()
        };
        self.hub.cut(first, revision)
    }

    /// The events of one revision; `None` when they are no longer held.
    pub(super) fn events_at(&self, revision: Revision) -> Option<Vec<Event>> {
        let ring = read(&self.ring);
        if revision <= ring.compacted() {
            return None;
        }
        let events = ring.since(ring.seq_after(Revision(revision.0.saturating_sub(1))))?;
        Some(events.map(|(_, event)| event).take_while(|event| event.revision == revision).cloned().collect())
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<Range, StoreError> {
        let map = read(&self.map);
        let revision = request.at.unwrap_or(map.revision);
        if revision > map.revision {
            return Err(StoreError::Future { requested: revision, current: map.revision });
        }
        let prefix = request.prefix.as_str();
        let after = request.after.as_deref().filter(|after| *after >= prefix);
        let lower = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let live = map
            .records
            .range::<str, _>((lower, Bound::Unbounded))
            .map(|(key, record)| (&**key, record))
            .take_while(|(key, _)| key.starts_with(prefix));
        if revision == map.revision {
            return Ok(page(live.map(|(_, record)| record), request.limit, revision));
        }
        let ring = read(&self.ring);
        if revision < ring.compacted() {
            return Err(StoreError::Compacted { requested: revision, oldest: ring.compacted() });
        }
        let undone = ring.undo(prefix, revision);
        let undone = undone.into_iter().filter(|(key, _)| after.is_none_or(|after| *key > after));
        Ok(page(merge(live, undone), request.limit, revision))
    }

    /// Forgets the ring's history up to and including `revision`.
    pub(super) fn forget(&self, revision: Revision) -> Result<(), StoreError> {
        let current = self.revision();
        if revision > current {
            return Err(StoreError::Future { requested: revision, current });
        }
        write(&self.ring).drop_through(revision);
        Ok(())
    }
}

fn page<'a>(mut records: impl Iterator<Item = &'a Arc<Record>>, limit: usize, revision: Revision) -> Range {
    let limit = if limit == 0 { usize::MAX } else { limit };
    let found = records.by_ref().take(limit).cloned().collect();
    Range { records: found, revision, remaining: records.count() as u64 }
}

/// Live records by key, where `undone` has the word for the keys that it names.
fn merge<'a>(
    live: impl Iterator<Item = (&'a str, &'a Arc<Record>)>,
    undone: impl Iterator<Item = (&'a str, Option<&'a Arc<Record>>)>,
) -> impl Iterator<Item = &'a Arc<Record>> {
    let mut live = live.peekable();
    let mut undone = undone.peekable();
    iter::from_fn(move || {
        loop {
            match undone.peek().map(|(key, _)| *key) {
                Some(key) if live.peek().is_none_or(|(next, _)| key <= *next) => {
                    live.next_if(|(next, _)| *next == key);
                    if let Some((_, Some(record))) = undone.next() {
                        return Some(record);
                    }
                }
                _ => return live.next().map(|(_, record)| record),
            }
        }
    })
}
