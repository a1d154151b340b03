//! Expectations: what a controller did and has not yet seen in its cache.
//!
//! A cache lags behind the API. Without this a controller that created three pods would count none of them at its
//! next reconcile and create three more.

use crate::Key;
use crate::limits::EXPECTATION_LIMIT;
use holdfast_env::Mono;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
struct Pending {
    creations: usize,
    /// UIDs of what was deleted.
    deletions: BTreeSet<String>,
    since: Mono,
}

/// Expected creations and deletions of each key.
#[derive(Debug, Default)]
pub struct Expectations(Mutex<BTreeMap<Key, Pending>>);

impl Expectations {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Pending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything expected was seen, or is taken to be lost.
    pub fn fulfilled(&self, key: &Key, now: Mono) -> bool {
        let mut all = self.lock();
        let Some(pending) = all.get(key) else { return true };
        let done = pending.creations == 0 && pending.deletions.is_empty();
        if done || now.since(pending.since) > EXPECTATION_LIMIT {
            all.remove(key);
            return true;
        }
        false
    }

    /// `count` objects are about to be created. Call before creating.
    pub fn expect_creations(&self, key: &Key, count: usize, now: Mono) {
        let mut all = self.lock();
        let pending = all.entry(key.clone()).or_default();
        pending.creations += count;
        pending.since = now;
    }

    /// These objects are about to be deleted. Call before deleting.
    pub fn expect_deletions(&self, key: &Key, uids: impl IntoIterator<Item = String>, now: Mono) {
        let mut all = self.lock();
        let pending = all.entry(key.clone()).or_default();
        pending.deletions.extend(uids);
        pending.since = now;
    }

    /// A creation was seen, or failed.
    pub fn created(&self, key: &Key) {
        if let Some(pending) = self.lock().get_mut(key) {
            pending.creations = pending.creations.saturating_sub(1);
        }
    }

    /// A deletion was seen, or failed.
    pub fn deleted(&self, key: &Key, uid: &str) {
        if let Some(pending) = self.lock().get_mut(key) {
            pending.deletions.remove(uid);
        }
    }

    /// The owner is gone.
    pub fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }
}
