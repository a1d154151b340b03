//! The scheduling queue: active, backing off, and unschedulable until something happens that may help. Pure.

use crate::limits::{POD_BACKOFF_CAP, POD_BACKOFF_INITIAL, UNSCHEDULABLE_LIMIT};
use crate::{ClusterEvent, Framework, PodInfo};
use holdfast_controller::Key;
use holdfast_core::Backoff;
use holdfast_env::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug)]
enum Place {
    /// Ready: rank and arrival.
    Active((i64, u64)),
    /// Ready once the back-off ends.
    Backoff(Mono),
    /// Waits for an event, or for the limit.
    Unschedulable { plugins: BTreeSet<&'static str>, since: Mono },
    /// Has scheduling gates.
    Gated,
    /// Being scheduled; what happened meanwhile counts once it fails.
    InFlight { events: BTreeSet<ClusterEvent>, changed: bool },
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    place: Place,
    backoff: Backoff,
    /// When the back-off of the last failure ends.
    ready_at: Mono,
}

/// Pods that wait for a node.
#[derive(Debug, Default)]
pub struct SchedulingQueue {
    entries: BTreeMap<Key, Entry>,
    active: BTreeSet<(i64, u64, Key)>,
    arrivals: u64,
}

impl SchedulingQueue {
    /// How many pods wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no pod waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// A pod came or changed. A change of what matters to scheduling makes it ready; the echo of our own status
    /// write does not.
    pub fn put(&mut self, framework: &Framework, pod: Arc<PodInfo>) {
        let key = pod.key.clone();
        match self.entries.get_mut(&key) {
            Some(entry) if entry.pod.uid == pod.uid => {
                let same = same_wishes(&entry.pod, &pod);
                entry.pod = pod;
                match &mut entry.place {
                    Place::InFlight { changed, .. } => *changed |= !same,
                    _ if same => {}
                    _ => self.activate(framework, &key),
                }
            }
            _ => {
                self.remove(&key);
                let backoff = Backoff::new(POD_BACKOFF_INITIAL, POD_BACKOFF_CAP);
                let entry = Entry { pod, place: Place::Gated, backoff, ready_at: Mono::default() };
                self.entries.insert(key.clone(), entry);
                self.activate(framework, &key);
            }
        }
    }

    /// A pod went, or was bound.
    pub fn remove(&mut self, key: &Key) {
        if let Some(Entry { place: Place::Active((rank, arrival)), .. }) = self.entries.remove(key) {
            self.active.remove(&(rank, arrival, key.clone()));
        }
    }

    fn activate(&mut self, framework: &Framework, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Place::Active((rank, arrival)) = entry.place {
            self.active.remove(&(rank, arrival, key.clone()));
        }
        if entry.pod.gated {
            entry.place = Place::Gated;
            return;
        }
        self.arrivals += 1;
        let rank = framework.queue_sort.rank(&entry.pod);
        entry.place = Place::Active((rank, self.arrivals));
        self.active.insert((rank, self.arrivals, key.clone()));
    }

    /// Something happened in the cluster.
    pub fn happened(&mut self, framework: &Framework, now: Mono, event: ClusterEvent) {
        let mut helped = Vec::new();
        for (key, entry) in &mut self.entries {
            match &mut entry.place {
                Place::Unschedulable { plugins, .. } if plugins.is_empty() || framework.may_help(event, plugins) => {
                    helped.push(key.clone());
                }
                Place::InFlight { events, .. } => {
                    events.insert(event);
                }
                _ => {}
            }
        }
        helped.into_iter().for_each(|key| self.release(framework, now, &key));
    }

    /// To the active queue, by way of what is left of the back-off.
    fn release(&mut self, framework: &Framework, now: Mono, key: &Key) {
        match self.entries.get_mut(key) {
            Some(entry) if entry.ready_at > now => entry.place = Place::Backoff(entry.ready_at),
            _ => self.activate(framework, key),
        }
    }

    /// The next pod to schedule.
    pub fn take(&mut self, framework: &Framework, now: Mono) -> Option<Arc<PodInfo>> {
        let due = |entry: &Entry| match entry.place {
            Place::Backoff(until) => until <= now,
            Place::Unschedulable { since, .. } => now.since(since) >= UNSCHEDULABLE_LIMIT,
            _ => false,
        };
        let due: Vec<Key> = self.entries.iter().filter(|(_, entry)| due(entry)).map(|(key, _)| key.clone()).collect();
        due.iter().for_each(|key| self.activate(framework, key));
        let (_, _, key) = self.active.pop_first()?;
        let entry = self.entries.get_mut(&key)?;
        entry.place = Place::InFlight { events: BTreeSet::new(), changed: false };
        Some(entry.pod.clone())
    }

    /// A pod could not be scheduled because of `plugins`; none when it failed for another reason (no node, a refused
    /// binding). Whatever happened since it was taken counts.
    pub fn failed(
        &mut self,
        framework: &Framework,
        now: Mono,
        key: &Key,
        plugins: BTreeSet<&'static str>,
        again: bool,
    ) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Place::InFlight { events, changed } = &entry.place else { return };
        let helped = events.iter().any(|event| plugins.is_empty() || framework.may_help(*event, &plugins));
        let again = again || helped || *changed;
        entry.ready_at = now.after(entry.backoff.fail());
        entry.place = match again {
            true => Place::Backoff(entry.ready_at),
            false => Place::Unschedulable { plugins, since: now },
        };
    }

    /// When a pod becomes ready by itself.
    pub fn next_deadline(&self) -> Option<Mono> {
        let due = |entry: &Entry| match entry.place {
            Place::Backoff(until) => Some(until),
            Place::Unschedulable { since, .. } => Some(since.after(UNSCHEDULABLE_LIMIT)),
            _ => None,
        };
        self.entries.values().filter_map(due).min()
    }
}

/// Whether a change of a pod cannot matter to where it fits.
fn same_wishes(a: &PodInfo, b: &PodInfo) -> bool {
    a.gated == b.gated
        && a.labels == b.labels
        && a.tolerations == b.tolerations
        && a.node_selector == b.node_selector
        && a.required_affinity == b.required_affinity
        && a.requests == b.requests
        && a.spread == b.spread
}
