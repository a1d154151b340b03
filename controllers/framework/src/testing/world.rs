//! A world on one thread with virtual time: timers fire in order, and time jumps to the next one.

use holdfast_env::{BoxFuture, Disk, DiskError, Env, File, Mono, Task, TaskHandle, Wall};
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// 2026-01-01T00:00:00Z: where the wall clock of a fake world starts.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

#[derive(Default)]
struct State {
    now: Mono,
    timers: BTreeMap<(Mono, u64), Waker>,
    next_id: u64,
    /// `None` while the task is being polled.
    tasks: BTreeMap<u64, Option<BoxFuture<()>>>,
    random: u64,
}

/// The world of a test.
pub struct FakeWorld {
    state: Arc<Mutex<State>>,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct WakeTask {
    id: u64,
    ready: Arc<Mutex<VecDeque<u64>>>,
}

impl Wake for WakeTask {
    fn wake(self: Arc<Self>) {
        let mut ready = lock(&self.ready);
        if !ready.contains(&self.id) {
            ready.push_back(self.id);
        }
    }
}

struct Handle {
    id: u64,
    state: Weak<Mutex<State>>,
}

impl TaskHandle for Handle {
    fn abort(&self) {
        let Some(state) = self.state.upgrade() else { return };
        // Dropped outside the lock: a task may own other tasks.
        let task = lock(&state).tasks.remove(&self.id);
        drop(task);
    }
    fn is_finished(&self) -> bool {
        self.state.upgrade().is_none_or(|state| !lock(&state).tasks.contains_key(&self.id))
    }
}

struct Sleep {
    deadline: Mono,
    registered: Option<(Mono, u64)>,
    state: Weak<Mutex<State>>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(state) = self.state.upgrade() else { return Poll::Pending };
        let mut state = lock(&state);
        if state.now >= self.deadline {
            return Poll::Ready(());
        }
        let slot = match self.registered {
            Some(slot) => slot,
            None => {
                state.next_id += 1;
                (self.deadline, state.next_id)
            }
        };
        state.timers.insert(slot, cx.waker().clone());
        self.registered = Some(slot);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(slot), Some(state)) = (self.registered, self.state.upgrade()) {
            let waker = lock(&state).timers.remove(&slot);
            drop(waker);
        }
    }
}

impl FakeWorld {
    /// A world at time zero.
    pub fn new(seed: u64) -> Arc<FakeWorld> {
        let state = State { random: seed, ..State::default() };
        Arc::new(FakeWorld { state: Arc::new(Mutex::new(state)), ready: Arc::default() })
    }

    /// The monotonic clock.
    pub fn monotonic_now(&self) -> Mono {
        lock(&self.state).now
    }

    fn start(&self, future: BoxFuture<()>) -> u64 {
        let mut state = lock(&self.state);
        state.next_id += 1;
        let id = state.next_id;
        state.tasks.insert(id, Some(future));
        drop(state);
        lock(&self.ready).push_back(id);
        id
    }

    /// Runs every task until none can go on, at the present time.
    ///
    /// # Panics
    /// When the tasks never rest.
    pub fn settle(&self) {
        for _ in 0..1_000_000 {
            let Some(id) = lock(&self.ready).pop_front() else { return };
            let future = lock(&self.state).tasks.get_mut(&id).and_then(Option::take);
            let Some(mut future) = future else { continue };
            let waker = Waker::from(Arc::new(WakeTask { id, ready: self.ready.clone() }));
            let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
            let mut state = lock(&self.state);
            let left = match state.tasks.get_mut(&id) {
                Some(slot) if !done => {
                    *slot = Some(future);
                    None
                }
                _ => {
                    state.tasks.remove(&id);
                    Some(future)
                }
            };
            drop(state);
            drop(left);
        }
        panic!("the tasks of the fake world never rest");
    }

    /// Fires the next timer, if it is due by `limit`.
    fn step(&self, limit: Mono) -> bool {
        let mut state = lock(&self.state);
        match state.timers.first_key_value().map(|(slot, _)| *slot) {
            Some(slot) if slot.0 <= limit => {
                state.now = state.now.max(slot.0);
                let waker = state.timers.remove(&slot);
                drop(state);
                waker.into_iter().for_each(Waker::wake);
                true
            }
            _ => false,
        }
    }

    /// Lets `by` of time pass, with everything that happens in it.
    pub fn advance(&self, by: Duration) {
        let limit = self.monotonic_now().after(by);
        self.settle();
        while self.step(limit) {
            self.settle();
        }
        lock(&self.state).now = limit;
    }

    /// Lets time pass until `condition` holds; `false` when `limit` passed first.
    pub fn wait_until(&self, limit: Duration, condition: impl Fn() -> bool) -> bool {
        let limit = self.monotonic_now().after(limit);
        self.settle();
        while !condition() {
            if !self.step(limit) {
                return false;
            }
            self.settle();
        }
        true
    }

    /// Runs `future` to its end, letting time pass as it needs.
    ///
    /// # Panics
    /// When it cannot end: nothing is left that could wake it.
    pub fn run<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let result = Arc::new(Mutex::new(None));
        let slot = result.clone();
        self.start(Box::pin(async move {
            let value = future.await;
            *lock(&slot) = Some(value);
        }));
        let ended = self.wait_until(Duration::from_secs(1 << 20), || lock(&result).is_some());
        assert!(ended, "the future waits for something that never comes");
        let value = lock(&result).take();
        value.unwrap_or_else(|| unreachable!("it ended just now"))
    }
}

impl Env for FakeWorld {
    fn monotonic(&self) -> Mono {
        self.monotonic_now()
    }
    fn boottime(&self) -> Duration {
        self.monotonic_now().0
    }
    fn wall(&self) -> Wall {
        Wall(EPOCH + self.monotonic_now().0)
    }
    /// splitmix64
    fn fill_random(&self, buf: &mut [u8]) {
        let mut state = lock(&self.state);
        for chunk in buf.chunks_mut(8) {
            state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = state.random;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
    fn sleep_until(&self, deadline: Mono) -> BoxFuture<()> {
        Box::pin(Sleep { deadline, registered: None, state: Arc::downgrade(&self.state) })
    }
    fn spawn(&self, _name: &'static str, future: BoxFuture<()>) -> Task {
        let id = self.start(future);
        Task::new(Box::new(Handle { id, state: Arc::downgrade(&self.state) }))
    }
    fn run_blocking(&self, call: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<()> {
        Box::pin(async move { call() })
    }
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(NoDisk)
    }
}

/// Controllers have no disk: each use fails.
struct NoDisk;

impl NoDisk {
    fn refuse<T>(path: &str, operation: &'static str) -> Result<T, DiskError> {
        Err(DiskError::from_io(path, operation, std::io::Error::other("a fake world has no disk")))
    }
}

impl Disk for NoDisk {
    fn open(&self, path: &str, _: bool) -> Result<Box<dyn File>, DiskError> {
        NoDisk::refuse(path, "open")
    }
    fn create_dir_all(&self, path: &str) -> Result<(), DiskError> {
        NoDisk::refuse(path, "make folder")
    }
    fn rename(&self, from: &str, _: &str) -> Result<(), DiskError> {
        NoDisk::refuse(from, "rename")
    }
    fn remove(&self, path: &str) -> Result<(), DiskError> {
        NoDisk::refuse(path, "remove")
    }
    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        NoDisk::refuse(dir, "list")
    }
    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        NoDisk::refuse(dir, "sync folder")
    }
    fn free(&self) -> Result<u64, DiskError> {
        NoDisk::refuse(".", "statvfs")
    }
}
