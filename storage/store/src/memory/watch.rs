//! Watchers over the ring: who waits for what, and who is woken when.
//!
//! Watchers of one prefix form a group. After a batch is visible the writer marks the groups that it touches;
//! a watcher that was never marked has nothing to read, however far its place in the ring lies behind, so
//! quiet prefixes cost nothing. Small groups are woken at once. Large ones are woken by the thread
//! `store-sweep`, at once for the first event and then at least [`SWEEP_EVERY`] apart.
//! Lock order: hub, then ring. Neither is held across a wake-up.

use super::state::{Shared, lock, read};
use crate::limits::{SWEEP_EVERY, SWEEP_WATCHERS, WATCH_SWEEP};
use crate::{Event, StoreError, Watcher};
use holdfast_core::Revision;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// No event waits.
const NOTHING: u64 = u64::MAX;
/// Wake-ups after which the sweeping thread lets others run.
const WAKES_PER_TURN: usize = 32;

pub(super) struct WatchHub {
    inner: Mutex<Hub>,
    sweep: Condvar,
    /// Groups above this are left to the sweeping thread.
    sweep_above: usize,
}

struct Hub {
    groups: BTreeMap<Arc<str>, Group>,
    next_id: u64,
    /// Groups know of all events up to this revision, and below this number.
    marked: Revision,
    marked_end: u64,
    /// Counts the states that were put in place of others; watches of an earlier one end.
    state: u64,
    sweep_due: bool,
    closed: bool,
}

#[derive(Default)]
struct Group {
    slots: BTreeMap<u64, Slot>,
    due: bool,
}

struct Slot {
    /// Number of the first event that may concern the watcher and that it has not read.
    pending: u64,
    waker: Option<Waker>,
}

impl WatchHub {
    pub(super) fn new(revision: Revision) -> WatchHub {
        let hub = Hub {
            groups: BTreeMap::new(),
            next_id: 0,
            marked: revision,
            marked_end: 0,
            state: 0,
            sweep_due: false,
            closed: false,
        };
        WatchHub { inner: Mutex::new(hub), sweep: Condvar::new(), sweep_above: SWEEP_WATCHERS }
    }

    /// There is no sweeping thread.
    pub(super) fn wake_all_at_once(&mut self) {
        self.sweep_above = usize::MAX;
    }

    /// Notes that `keys` changed, as events from number `first` on, the last at `revision`. Returns whom to wake.
    pub(super) fn mark(&self, keys: &[Arc<str>], first: u64, revision: Revision) -> Vec<Waker> {
        let mut wake = Vec::new();
        let mut hub = lock(&self.inner);
        let mut sweep = false;
        for (prefix, group) in &mut hub.groups {
            let Some(at) = keys.iter().position(|key| key.starts_with(&**prefix)) else { continue };
            let small = group.slots.len() <= self.sweep_above;
            for slot in group.slots.values_mut() {
                slot.pending = slot.pending.min(first + at as u64);
                if small {
                    wake.extend(slot.waker.take());
                }
            }
            group.due |= !small;
            sweep |= !small;
        }
        hub.marked = revision;
        hub.marked_end = first + keys.len() as u64;
        if sweep {
            hub.sweep_due = true;
            self.sweep.notify_one();
        }
        wake
    }

    /// Notes that nothing changed up to `revision`.
    pub(super) fn advance(&self, revision: Revision) {
        let mut hub = lock(&self.inner);
        hub.marked = hub.marked.max(revision);
    }

    /// Ends all watches, as another state at `revision` took the place of theirs, whose next event has number `first`.
    /// Returns whom to wake.
    pub(super) fn cut(&self, first: u64, revision: Revision) -> Vec<Waker> {
        let mut hub = lock(&self.inner);
        hub.state += 1;
        hub.marked = revision;
        hub.marked_end = first;
        hub.groups
            .values_mut()
            .flat_map(|group| group.slots.values_mut())
            .filter_map(|slot| slot.waker.take())
            .collect()
    }

    /// The life of the sweeping thread; returns when the hub closes.
    pub(super) fn sweep_until_closed(&self) {
        let mut last: Option<Instant> = None;
        loop {
            let mut hub = lock(&self.inner);
            while !hub.sweep_due && !hub.closed {
                hub = self.sweep.wait(hub).unwrap_or_else(PoisonError::into_inner);
            }
            while let Some(rest) = last.and_then(|last| SWEEP_EVERY.checked_sub(last.elapsed())) {
                if hub.closed || rest.is_zero() {
                    break;
                }
                hub = self.sweep.wait_timeout(hub, rest).unwrap_or_else(PoisonError::into_inner).0;
            }
            if hub.closed {
                return;
            }
            hub.sweep_due = false;
            let mut wake = Vec::new();
            for group in hub.groups.values_mut().filter(|group| group.due) {
                group.due = false;
                wake.extend(group.slots.values_mut().filter_map(|slot| slot.waker.take()));
            }
            drop(hub);
            for (turn, waker) in wake.into_iter().enumerate() {
                waker.wake();
                if turn % WAKES_PER_TURN == WAKES_PER_TURN - 1 {
                    std::thread::yield_now();
                }
            }
            last = Some(Instant::now());
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.inner).groups.is_empty()
    }

    /// Ends all watches with [`StoreError::Closed`].
    pub(super) fn close(&self) {
        let mut wake = Vec::new();
        let mut hub = lock(&self.inner);
        hub.closed = true;
        for group in hub.groups.values_mut() {
            wake.extend(group.slots.values_mut().filter_map(|slot| slot.waker.take()));
        }
        drop(hub);
        self.sweep.notify_all();
        wake.into_iter().for_each(Waker::wake);
    }
}

impl Hub {
    fn slot(&mut self, prefix: &str, id: u64) -> Option<&mut Slot> {
        self.groups.get_mut(prefix)?.slots.get_mut(&id)
    }
}

/// A watch of one prefix.
pub(super) struct RingWatcher {
    shared: Arc<Shared>,
    prefix: Arc<str>,
    id: u64,
    /// The state that it watches, see [`Hub::state`].
    state: u64,
    after: Revision,
    /// Where the last poll stopped in the middle of what waits; else [`NOTHING`].
    resume: u64,
    progress: Revision,
    ended: Option<StoreError>,
}

impl RingWatcher {
    pub(super) fn open(shared: &Arc<Shared>, prefix: &str, after: Revision) -> Result<RingWatcher, StoreError> {
        let current = shared.revision();
        if after > current {
            return Err(StoreError::Future { requested: after, current });
        }
        let mut hub = lock(&shared.hub.inner);
        if hub.closed {
            return Err(StoreError::Closed);
        }
        let start = {
            let ring = read(&shared.ring);
            if after < ring.compacted() {
                return Err(StoreError::Compacted { requested: after, oldest: ring.compacted() });
            }
            ring.seq_after(after)
        };
        // Events that are in the ring and not marked yet will be marked for this slot as well.
        let pending = if start < hub.marked_end { start } else { NOTHING };
        let id = hub.next_id;
        hub.next_id += 1;
        let prefix = match hub.groups.get_key_value(prefix) {
            Some((known, _)) => known.clone(),
            None => Arc::from(prefix),
        };
        hub.groups.entry(prefix.clone()).or_default().slots.insert(id, Slot { pending, waker: None });
        let state = hub.state;
        drop(hub);
        let shared = shared.clone();
        Ok(RingWatcher { shared, prefix, id, state, after, resume: NOTHING, progress: after, ended: None })
    }

    /// Reads up to number `end`, which belongs to revision `through`. Empty when nothing was for this watcher.
    fn read(&mut self, start: u64, end: u64, through: Revision) -> Result<Vec<Event>, StoreError> {
        let ring = read(&self.shared.ring);
        let Some(events) = ring.since(start) else { return Err(StoreError::Slow) };
        let mut found: Vec<Event> = Vec::new();
        for (seq, event) in events.take_while(|(seq, _)| *seq < end) {
            if event.revision <= self.after || !event.key.starts_with(&*self.prefix) {
                continue;
            }
            if let Some(last) = found.last()
                && found.len() >= WATCH_SWEEP
                && last.revision != event.revision
            {
                self.resume = seq;
                self.progress = last.revision;
                return Ok(found);
            }
            found.push(event.clone());
        }
        self.progress = self.progress.max(through);
        Ok(found)
    }
}

impl Watcher for RingWatcher {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Event>, StoreError>> {
        loop {
            if let Some(error) = &self.ended {
                return Poll::Ready(Err(error.clone()));
            }
            let (start, end, through) = {
                let mut hub = lock(&self.shared.hub.inner);
                let (closed, marked, marked_end) = (hub.closed, hub.marked, hub.marked_end);
                if hub.state != self.state && !closed {
                    self.ended = Some(StoreError::Compacted { requested: self.progress, oldest: marked });
                    continue;
                }
                let Some(slot) = hub.slot(&self.prefix, self.id).filter(|_| !closed) else {
                    self.ended = Some(StoreError::Closed);
                    continue;
                };
                let start = std::mem::replace(&mut slot.pending, NOTHING).min(self.resume);
                self.resume = NOTHING;
                if start == NOTHING {
                    if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                        slot.waker = Some(cx.waker().clone());
                    }
                    self.progress = self.progress.max(marked);
                    return Poll::Pending;
                }
                (start, marked_end, marked)
            };
            match self.read(start, end, through) {
                Ok(events) if events.is_empty() => {}
                Ok(events) => return Poll::Ready(Ok(events)),
                Err(error) => self.ended = Some(error),
            }
        }
    }

    fn progress(&self) -> Revision {
        let mut hub = lock(&self.shared.hub.inner);
        let marked = hub.marked;
        if hub.state != self.state {
            return self.progress;
        }
        match hub.slot(&self.prefix, self.id) {
            // Not marked since the last poll: everything up to `marked` was for others.
            Some(slot) if slot.pending == NOTHING && self.resume == NOTHING && self.ended.is_none() => {
                self.progress.max(marked)
            }
            _ => self.progress,
        }
    }
}

impl Drop for RingWatcher {
    fn drop(&mut self) {
        let mut hub = lock(&self.shared.hub.inner);
        if let Some(group) = hub.groups.get_mut(&self.prefix) {
            group.slots.remove(&self.id);
            if group.slots.is_empty() {
                hub.groups.remove(&self.prefix);
            }
        }
    }
}
