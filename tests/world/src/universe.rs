//! The executor: tasks of all machines on one thread, in virtual time.

use crate::rng::Rng;
use holdfast_env::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Whose task it is; [`Universe::NOBODY`] for what belongs to no machine.
pub type MachineId = u32;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct TaskWaker {
    id: u64,
    queued: AtomicBool,
    ready: Ready,
}

/// Tasks that could run. Ordered, so that the order of wake-ups within one poll does not matter: tokio's `watch` wakes
/// its receivers in an order of its own.
type Ready = Arc<Mutex<BTreeSet<u64>>>;

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            lock(&self.ready).insert(self.id);
        }
    }
}

struct Slot {
    machine: MachineId,
    name: &'static str,
    /// `None` while it is polled.
    future: Option<BoxFuture<()>>,
    waker: Arc<TaskWaker>,
}

struct State {
    now: Duration,
    timers: BTreeMap<(Duration, u64), Waker>,
    tasks: BTreeMap<u64, Slot>,
    next_id: u64,
    rng: Rng,
    polls: u64,
    trace: u64,
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A task of this machine was polled.
    Polled(MachineId, &'static str),
    /// Nothing could run: time has moved to the next timer.
    Waited,
    /// Nothing can run, and no timer is left up to the limit: time stands at the limit.
    Idle,
}

/// One world. Clones are the same world.
#[derive(Clone)]
pub struct Universe {
    state: Arc<Mutex<State>>,
    ready: Ready,
}

impl Universe {
    /// The owner of tasks that outlive every machine.
    pub const NOBODY: MachineId = u32::MAX;

    /// A world at time zero.
    pub fn new(seed: u64) -> Universe {
        let state = State {
            now: Duration::ZERO,
            timers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            next_id: 1,
            rng: Rng::new(seed),
            polls: 0,
            trace: 0xCBF2_9CE4_8422_2325,
        };
        Universe { state: Arc::new(Mutex::new(state)), ready: Arc::default() }
    }

    /// True time since the beginning of the world.
    pub fn now(&self) -> Duration {
        lock(&self.state).now
    }

    /// Draws from the world's own stream.
    pub fn random<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut lock(&self.state).rng)
    }

    /// Mixes a word into the trace: two runs of one seed must end with the same [`Universe::trace`].
    pub fn note(&self, word: u64) {
        let mut state = lock(&self.state);
        state.trace = (state.trace ^ word).wrapping_mul(0x0000_0100_0000_01B3).rotate_left(29);
    }

    /// The hash of all that happened so far.
    pub fn trace(&self) -> u64 {
        lock(&self.state).trace
    }

    /// Polls so far.
    pub fn polls(&self) -> u64 {
        lock(&self.state).polls
    }

    /// Starts a task of `machine`.
    pub fn spawn(&self, machine: MachineId, name: &'static str, future: BoxFuture<()>) -> u64 {
        let mut state = lock(&self.state);
        let id = state.next_id;
        state.next_id += 1;
        let waker = Arc::new(TaskWaker { id, queued: AtomicBool::new(true), ready: self.ready.clone() });
        state.tasks.insert(id, Slot { machine, name, future: Some(future), waker });
        drop(state);
        lock(&self.ready).insert(id);
        id
    }

    /// Whether a task has ended.
    pub fn is_finished(&self, id: u64) -> bool {
        !lock(&self.state).tasks.contains_key(&id)
    }

    /// Ends a task where it stands.
    pub fn abort(&self, id: u64) {
        // Dropped outside the lock: a task may own other tasks.
        let slot = lock(&self.state).tasks.remove(&id);
        drop(slot);
    }

    /// Ends all tasks of `machine` where they stand.
    pub fn abort_all(&self, machine: MachineId) {
        let mut state = lock(&self.state);
        let ids: Vec<u64> = state.tasks.iter().filter(|(_, t)| t.machine == machine).map(|(id, _)| *id).collect();
        let slots: Vec<Slot> = ids.iter().filter_map(|id| state.tasks.remove(id)).collect();
        drop(state);
        drop(slots);
    }

    /// Ends every task and timer: the world is over, and its memory is given back.
    pub fn end(&self) {
        for _ in 0..8 {
            let (tasks, timers) = {
                let mut state = lock(&self.state);
                (std::mem::take(&mut state.tasks), std::mem::take(&mut state.timers))
            };
            if tasks.is_empty() && timers.is_empty() {
                return;
            }
            // What is dropped may start or register something new.
            drop((tasks, timers));
        }
    }

    /// Runs one poll, or moves time to the next timer, but not beyond `limit`.
    pub fn step(&self, limit: Duration) -> Step {
        let next = {
            let mut ready = lock(&self.ready);
            let count = ready.len() as u64;
            // Which of the tasks that could run does run: that is where races come from.
            let at = if count > 1 { lock(&self.state).rng.below(count) } else { 0 };
            let id = ready.iter().nth(usize::try_from(at).unwrap_or(0)).copied();
            if let Some(id) = &id {
                ready.remove(id);
            }
            id
        };
        let Some(id) = next else { return self.wait(limit) };
        let taken = {
            let mut state = lock(&self.state);
            state.tasks.get_mut(&id).and_then(|slot| {
                let future = slot.future.take()?;
                slot.waker.queued.store(false, Ordering::Relaxed);
                Some((future, slot.waker.clone(), slot.machine, slot.name))
            })
        };
        let Some((mut future, waker, machine, name)) = taken else {
            return Step::Polled(Universe::NOBODY, "ended");
        };
        tracing::trace!(target: "poll", at = self.now().as_secs_f64(), id, machine, name);
        let done = future.as_mut().poll(&mut Context::from_waker(&Waker::from(waker))).is_ready();
        let mut state = lock(&self.state);
        state.polls += 1;
        state.trace = (state.trace ^ id ^ u64::from(machine) << 40).wrapping_mul(0x0000_0100_0000_01B3);
        let left = match state.tasks.get_mut(&id) {
            Some(slot) if !done => {
                slot.future = Some(future);
                None
            }
            _ => Some((state.tasks.remove(&id), future)),
        };
        drop(state);
        drop(left);
        Step::Polled(machine, name)
    }

    fn wait(&self, limit: Duration) -> Step {
        let mut state = lock(&self.state);
        match state.timers.first_key_value() {
            Some(((due, _), _)) if *due <= limit => {
                let ((due, _), waker) = state.timers.pop_first().unwrap_or_else(|| unreachable!());
                state.now = state.now.max(due);
                drop(state);
                waker.wake();
                Step::Waited
            }
            _ => {
                state.now = state.now.max(limit);
                Step::Idle
            }
        }
    }

    /// Completes at `due`, in true time.
    pub fn sleep_until(&self, due: Duration) -> Sleep {
        Sleep { due, registered: None, state: Arc::downgrade(&self.state) }
    }

    /// Completes after `wait`, in true time.
    pub fn sleep(&self, wait: Duration) -> Sleep {
        self.sleep_until(self.now().saturating_add(wait))
    }
}

/// A timer in true time.
pub struct Sleep {
    due: Duration,
    registered: Option<(Duration, u64)>,
    state: Weak<Mutex<State>>,
}

impl Future for Sleep {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(state) = self.state.upgrade() else { return Poll::Pending };
        let mut state = lock(&state);
        if state.now >= self.due {
            return Poll::Ready(());
        }
        let slot = match self.registered {
            Some(slot) => slot,
            None => {
                state.next_id += 1;
                (self.due, state.next_id)
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
