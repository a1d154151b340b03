//! The work queue: deduplicating, delaying, rate-limited per key, and never the same key twice at a time.
//!
//! [`QueueCore`] decides (no clock, no task); [`WorkQueue`] waits.

use crate::limits::{QUEUE_KEYS, RETRY_CAP, RETRY_INITIAL};
use holdfast_core::Backoff;
use holdfast_env::{Mono, World};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The decisions of a queue.
#[derive(Debug)]
pub struct QueueCore<K> {
    ready: VecDeque<K>,
    queued: BTreeSet<K>,
    running: BTreeSet<K>,
    /// Added while running: goes to `ready` once done.
    again: BTreeSet<K>,
    delayed: BTreeSet<(Mono, K)>,
    due: BTreeMap<K, Mono>,
    failures: BTreeMap<K, Backoff>,
    capacity: usize,
}

impl<K: Ord + Clone> QueueCore<K> {
    /// An empty queue for at most `capacity` distinct keys.
    pub fn new(capacity: usize) -> QueueCore<K> {
        QueueCore {
            ready: VecDeque::new(),
            queued: BTreeSet::new(),
            running: BTreeSet::new(),
            again: BTreeSet::new(),
            delayed: BTreeSet::new(),
            due: BTreeMap::new(),
            failures: BTreeMap::new(),
            capacity,
        }
    }

    /// Makes a key ready now. `false` when the queue is full and the key was dropped.
    pub fn add(&mut self, key: K) -> bool {
        self.undelay(&key);
        if self.running.contains(&key) {
            self.again.insert(key);
            return true;
        }
        if self.queued.contains(&key) {
            return true;
        }
        if self.queued.len() + self.due.len() >= self.capacity {
            return false;
        }
        self.queued.insert(key.clone());
        self.ready.push_back(key);
        true
    }

    /// Makes a key ready at `when`; the earlier of two such times holds. A key that is ready already stays so.
    pub fn add_at(&mut self, key: K, when: Mono) -> bool {
        if self.queued.contains(&key) || self.due.get(&key).is_some_and(|due| *due <= when) {
            return true;
        }
        if !self.due.contains_key(&key) && self.queued.len() + self.due.len() >= self.capacity {
            return false;
        }
        self.undelay(&key);
        self.due.insert(key.clone(), when);
        self.delayed.insert((when, key));
        true
    }

    fn undelay(&mut self, key: &K) {
        if let Some(when) = self.due.remove(key) {
            self.delayed.remove(&(when, key.clone()));
        }
    }

    /// Notes a failure of a key and returns how long to wait; `jitter` in 0..=255 adds up to a tenth.
    pub fn fail(&mut self, key: &K, jitter: u8) -> Duration {
        let backoff = self.failures.entry(key.clone()).or_insert(Backoff::new(RETRY_INITIAL, RETRY_CAP));
        let wait = backoff.fail();
        wait + wait * u32::from(jitter) / 2560
    }

    /// Forgets the failures of a key.
    pub fn forget(&mut self, key: &K) {
        self.failures.remove(key);
    }

    /// The next key to work on. It is running until [`QueueCore::done`].
    pub fn take(&mut self, now: Mono) -> Option<K> {
        while let Some((when, key)) = self.delayed.first().cloned() {
            if when > now {
                break;
            }
            self.add(key);
        }
        let key = self.ready.pop_front()?;
        self.queued.remove(&key);
        let fresh = self.running.insert(key.clone());
        assert!(fresh, "a key is never worked on twice at a time");
        Some(key)
    }

    /// Work on a key ended.
    pub fn done(&mut self, key: &K) {
        self.running.remove(key);
        if self.again.remove(key) {
            self.queued.insert(key.clone());
            self.ready.push_back(key.clone());
        }
    }

    /// When the next delayed key is due.
    pub fn next_deadline(&self) -> Option<Mono> {
        self.delayed.first().map(|(when, _)| *when)
    }

    /// Keys that are ready.
    pub fn depth(&self) -> usize {
        self.ready.len()
    }
}

/// A queue that workers wait on. Clones are the same queue.
pub struct WorkQueue<K> {
    world: World,
    core: Arc<Mutex<QueueCore<K>>>,
    changed: Arc<Notify>,
}

impl<K> Clone for WorkQueue<K> {
    fn clone(&self) -> Self {
        WorkQueue { world: self.world.clone(), core: self.core.clone(), changed: self.changed.clone() }
    }
}

impl<K: Ord + Clone + Debug + Send + 'static> WorkQueue<K> {
    /// An empty queue.
    pub fn new(world: World) -> WorkQueue<K> {
        let core = Arc::new(Mutex::new(QueueCore::new(QUEUE_KEYS)));
        WorkQueue { world, core, changed: Arc::new(Notify::new()) }
    }

    fn core(&self) -> MutexGuard<'_, QueueCore<K>> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a key ready now.
    pub fn add(&self, key: K) {
        let taken = self.core().add(key.clone());
        self.added(taken, &key);
    }

    /// Makes a key ready after `wait`, unless it is due earlier.
    pub fn add_after(&self, key: K, wait: Duration) {
        let when = self.world.monotonic().after(wait);
        let taken = self.core().add_at(key.clone(), when);
        self.added(taken, &key);
    }

    fn added(&self, taken: bool, key: &K) {
        if !taken {
            tracing::error!(?key, limit = QUEUE_KEYS, "The work queue is full and dropped a key");
        }
        self.changed.notify_one();
    }

    /// Makes a key ready after its back-off.
    pub fn retry(&self, key: K) {
        let jitter = self.world.random_u64() as u8;
        let wait = self.core().fail(&key, jitter);
        self.add_after(key, wait);
    }

    /// Forgets the failures of a key.
    pub fn forget(&self, key: &K) {
        self.core().forget(key);
    }

    /// Waits for the next key. Cancel safe.
    pub async fn take(&self) -> K {
        loop {
            let (next, deadline, more) = {
                let mut core = self.core();
                let next = core.take(self.world.monotonic());
                (next, core.next_deadline(), core.depth() > 0)
            };
            if let Some(key) = next {
                // One permit wakes one worker: hand it on while there is work or a deadline to watch.
                if more || deadline.is_some() {
                    self.changed.notify_one();
                }
                return key;
            }
            match deadline {
                None => self.changed.notified().await,
                Some(deadline) => {
                    let wait = deadline.since(self.world.monotonic());
                    self.world.timeout(wait, self.changed.notified()).await;
                }
            }
        }
    }

    /// Work on a key ended.
    pub fn done(&self, key: &K) {
        self.core().done(key);
        self.changed.notify_one();
    }

    /// Keys that are ready.
    pub fn depth(&self) -> usize {
        self.core().depth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeWorld;

    fn at(secs: u64) -> Mono {
        Mono(Duration::from_secs(secs))
    }

    #[test]
    fn a_key_is_queued_once_and_never_runs_twice_at_a_time() {
        let mut queue = QueueCore::new(10);
        assert!(queue.add("a") && queue.add("a") && queue.add("b"));
        assert_eq!(queue.take(at(0)), Some("a"));
        queue.add("a");
        queue.add("a");
        assert_eq!((queue.take(at(0)), queue.take(at(0))), (Some("b"), None));
        queue.done(&"a");
        assert_eq!((queue.take(at(0)), queue.take(at(0))), (Some("a"), None));
        queue.done(&"a");
        assert_eq!(queue.take(at(0)), None);
    }

    #[test]
    fn the_earlier_of_two_delays_holds_and_now_beats_both() {
        let mut queue = QueueCore::new(10);
        queue.add_at("a", at(10));
        queue.add_at("a", at(20));
        assert_eq!(queue.next_deadline(), Some(at(10)));
        queue.add_at("a", at(5));
        assert_eq!((queue.take(at(4)), queue.next_deadline()), (None, Some(at(5))));
        queue.add("a");
        assert_eq!((queue.take(at(4)), queue.next_deadline()), (Some("a"), None));
    }

    #[test]
    fn failures_double_and_are_forgotten() {
        let mut queue = QueueCore::new(10);
        let waits: Vec<u128> = (0..4).map(|_| queue.fail(&"a", 0).as_millis()).collect();
        assert_eq!(waits, [5, 10, 20, 40]);
        assert_eq!(queue.fail(&"b", 0).as_millis(), 5);
        queue.forget(&"a");
        assert_eq!(queue.fail(&"a", 0).as_millis(), 5);
    }

    #[test]
    fn a_full_queue_refuses() {
        let mut queue = QueueCore::new(2);
        assert!(queue.add("a") && queue.add_at("b", at(1)));
        assert!(!queue.add("c") && !queue.add_at("d", at(1)));
        assert!(queue.add("b"), "moving a key takes no room");
    }

    #[test]
    fn workers_wake_for_keys_and_for_deadlines() {
        let world = FakeWorld::new(1);
        let queue = WorkQueue::new(world.clone() as World);
        let started = world.clone().monotonic_now();
        queue.add_after("late", Duration::from_secs(60));
        queue.add("now");
        let both = {
            let queue = queue.clone();
            world.run(async move { (queue.take().await, queue.take().await) })
        };
        assert_eq!(both, ("now", "late"));
        assert_eq!(world.monotonic_now().since(started), Duration::from_secs(60));
    }
}
