//! The node's `resourceVersion`s: a counter over the changes that were seen, and the recent changes themselves.

use super::source::{Marks, Raw};
use holdfast_core::{Object, Revision};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Changes that a watch can still go on from. An older one is answered 410, and the client lists anew.
const MAX_CHANGES: usize = 512;

/// One change of one object.
#[derive(Clone)]
pub(super) struct Change {
    pub(super) revision: Revision,
    pub(super) plural: &'static str,
    pub(super) old: Option<Arc<Object>>,
    pub(super) new: Option<Arc<Object>>,
}

struct Known {
    marks: Marks,
    object: Arc<Object>,
}

/// What was seen of each kind that was asked for, by plural (unique among the kinds of a node).
pub(super) struct Versions {
    now: u64,
    /// Changes up to here are no longer told.
    floor: u64,
    kinds: BTreeMap<&'static str, BTreeMap<String, Known>>,
    changes: VecDeque<Change>,
}

impl Versions {
    /// Counts on from `start`.
    pub(super) fn new(start: u64) -> Versions {
        Versions { now: start, floor: start, kinds: BTreeMap::new(), changes: VecDeque::new() }
    }

    /// The version of the newest change that was seen.
    pub(super) fn now(&self) -> Revision {
        Revision(self.now)
    }

    /// Lets go of all objects. Whoever watched before must list anew.
    pub(super) fn forget(&mut self) {
        *self = Versions::new(self.now + 1);
    }

    /// Takes what a kind is now, and numbers what has changed since it was last looked at.
    pub(super) fn observe(&mut self, plural: &'static str, current: BTreeMap<String, Raw>) {
        let first = !self.kinds.contains_key(plural);
        let mut known = self.kinds.remove(plural).unwrap_or_default();
        let mut seen = BTreeMap::new();
        for (key, raw) in current {
            let old = known.remove(&key);
            if let Some(old) = old.as_ref().filter(|old| old.marks == raw.marks) {
                seen.insert(key, Known { marks: raw.marks, object: old.object.clone() });
                continue;
            }
            let marks = raw.marks;
            let object = match raw.object() {
                Ok(object) => object,
                Err(err) => {
                    tracing::error!(plural, key, %err, "An object cannot be shown");
                    continue;
                }
            };
            let old = old.map(|old| old.object);
            let object = match old {
                // Nobody can have seen the kind before: what is there is no change.
                None if first => Arc::new(object.at_revision(Revision(self.now))),
                Some(old) if old.body() == object.body() => old,
                old => {
                    let revision = self.next();
                    let object = Arc::new(object.at_revision(revision));
                    self.note(Change { revision, plural, old, new: Some(object.clone()) });
                    object
                }
            };
            seen.insert(key, Known { marks, object });
        }
        for gone in known.into_values() {
            let revision = self.next();
            self.note(Change { revision, plural, old: Some(gone.object), new: None });
        }
        self.kinds.insert(plural, seen);
    }

    fn next(&mut self) -> Revision {
        self.now += 1;
        Revision(self.now)
    }

    fn note(&mut self, change: Change) {
        self.changes.push_back(change);
        if self.changes.len() > MAX_CHANGES
            && let Some(dropped) = self.changes.pop_front()
        {
            self.floor = dropped.revision.0;
        }
    }

    /// The objects of a kind, as last observed, by key.
    pub(super) fn objects(&self, plural: &str) -> impl Iterator<Item = (&String, &Arc<Object>)> {
        self.kinds.get(plural).into_iter().flatten().map(|(key, known)| (key, &known.object))
    }

    /// The changes of a kind after a version; `None` when that is not of this life, or too long ago.
    pub(super) fn after(&self, plural: &str, version: Revision) -> Option<Vec<Change>> {
        if version.0 < self.floor || version.0 > self.now {
            return None;
        }
        let later = self.changes.iter().filter(|change| change.revision > version && change.plural == plural);
        Some(later.cloned().collect())
    }
}
