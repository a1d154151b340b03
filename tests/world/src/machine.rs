//! A machine: power, clocks, a disk, tasks.

use crate::disk::SimDisk;
use crate::rng::Rng;
use crate::universe::{MachineId, Universe, lock};
use holdfast_env::{BoxFuture, Disk, Env, Mono, Task, TaskHandle, Wall};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The slowest and fastest that calls to the disk are, in microseconds.
const DISK_LATENCY_US: (u64, u64) = (100, 8_000);

struct Clocks {
    /// True time of the last boot.
    booted: Duration,
    /// What the wall clock showed at `set`, in nanoseconds since 1970.
    wall: i128,
    /// True time when the wall clock was set last.
    set: Duration,
    /// How much faster than true time the machine's oscillator is, in millionths.
    drift_ppm: i64,
}

/// A machine. It keeps its disk and its clock's settings while processes and power come and go.
pub struct Machine {
    universe: Universe,
    id: MachineId,
    clocks: Mutex<Clocks>,
    disk: SimDisk,
    rng: Mutex<Rng>,
}

fn drifted(elapsed: Duration, ppm: i64) -> Duration {
    let nanos = elapsed.as_nanos() as i128;
    Duration::from_nanos(u64::try_from(nanos + nanos * i128::from(ppm) / 1_000_000).unwrap_or(0))
}

impl Machine {
    /// A machine that is on, with an empty disk and a wall clock that is `wall` now.
    pub fn new(universe: &Universe, id: MachineId, wall: Duration, drift_ppm: i64) -> Arc<Machine> {
        let mut rng = universe.random(Rng::fork);
        let disk = SimDisk::new(rng.fork());
        let now = universe.now();
        let clocks = Clocks { booted: now, wall: wall.as_nanos() as i128, set: now, drift_ppm };
        Arc::new(Machine { universe: universe.clone(), id, clocks: Mutex::new(clocks), disk, rng: Mutex::new(rng) })
    }

    /// Its number.
    pub fn id(&self) -> MachineId {
        self.id
    }

    /// Its disk.
    pub fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Sets the wall clock.
    pub fn set_wall(&self, wall: Duration) {
        let mut clocks = lock(&self.clocks);
        clocks.wall = wall.as_nanos() as i128;
        clocks.set = self.universe.now();
    }

    /// What the wall clock shows.
    pub fn wall(&self) -> Duration {
        let clocks = lock(&self.clocks);
        let elapsed = drifted(self.universe.now().saturating_sub(clocks.set), clocks.drift_ppm);
        Duration::from_nanos(u64::try_from(clocks.wall + elapsed.as_nanos() as i128).unwrap_or(0))
    }

    /// The process dies where it stands: its tasks end, what it wrote stays.
    pub fn crash(&self) {
        self.universe.note(0xDEAD ^ u64::from(self.id));
        self.universe.abort_all(self.id);
        self.disk.process_gone();
    }

    /// The power goes: tasks end, and what was not synced may be lost.
    pub fn cut_power(&self) {
        self.crash();
        self.disk.cut();
    }

    /// The machine is on again.
    pub fn boot(&self) {
        lock(&self.clocks).booted = self.universe.now();
    }

    /// A process on this machine that starts now. Its world is over when the machine's tasks are.
    pub fn process(self: &Arc<Self>) -> Arc<MachineEnv> {
        Arc::new(MachineEnv { machine: self.clone(), started: self.universe.now() })
    }
}

/// The world as one process of a machine sees it.
pub struct MachineEnv {
    machine: Arc<Machine>,
    started: Duration,
}

struct Handle {
    universe: Universe,
    id: u64,
}

impl TaskHandle for Handle {
    fn abort(&self) {
        self.universe.abort(self.id);
    }
    fn is_finished(&self) -> bool {
        self.universe.is_finished(self.id)
    }
}

impl MachineEnv {
    fn drift(&self) -> i64 {
        lock(&self.machine.clocks).drift_ppm
    }
}

impl Env for MachineEnv {
    fn monotonic(&self) -> Mono {
        Mono(drifted(self.machine.universe.now().saturating_sub(self.started), self.drift()))
    }

    fn boottime(&self) -> Duration {
        let clocks = lock(&self.machine.clocks);
        drifted(self.machine.universe.now().saturating_sub(clocks.booted), clocks.drift_ppm)
    }

    fn wall(&self) -> Wall {
        Wall(self.machine.wall())
    }

    fn fill_random(&self, buf: &mut [u8]) {
        let mut rng = lock(&self.machine.rng);
        for chunk in buf.chunks_mut(8) {
            let bytes = rng.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    fn sleep_until(&self, deadline: Mono) -> BoxFuture<()> {
        let rate = 1_000_000 + self.drift();
        let nanos = (deadline.0.as_nanos() * 1_000_000).div_ceil(u128::try_from(rate).unwrap_or(1_000_000));
        // One nanosecond more, so that the machine's own clock has surely reached the deadline by then.
        let elapsed = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)) + Duration::from_nanos(1);
        Box::pin(self.machine.universe.sleep_until(self.started.saturating_add(elapsed)))
    }

    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Task {
        let universe = self.machine.universe.clone();
        let id = universe.spawn(self.machine.id, name, future);
        Task::new(Box::new(Handle { universe, id }))
    }

    fn run_blocking(&self, call: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<()> {
        // As with a thread: once begun it ends, whether or not somebody still waits.
        let universe = self.machine.universe.clone();
        let latency = lock(&self.machine.rng).between(DISK_LATENCY_US.0, DISK_LATENCY_US.1);
        let (done, finished) = tokio::sync::oneshot::channel();
        let wait = universe.sleep(Duration::from_micros(latency));
        universe.spawn(
            self.machine.id,
            "blocking",
            Box::pin(async move {
                wait.await;
                call();
                let _ = done.send(());
            }),
        );
        Box::pin(async move {
            let _ = finished.await;
        })
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.machine.disk.clone())
    }
}
