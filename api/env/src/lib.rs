//! The world as a parameter.
//!
//! Everything that carries an invariant takes its clocks, randomness, disk, network and tasks from an
//! [`Env`] instead of asking the machine, so that the simulator can drive the shipped code through wrong
//! clocks, power cuts and partitions. [`host::HostEnv`] is the real world.
//!
//! What is deliberately absent: threads and blocking helpers. Code over `Env` may use `tokio::sync`
//! (channels, locks, notify), which runs on any executor, but no `tokio::time`, `tokio::net` or `tokio::fs`.

pub mod disk;
pub mod host;
pub mod net;
pub mod session;
pub mod testing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

pub use disk::{Disk, DiskError, File};
pub use net::{BiStream, Carried, Connection, Dialer, NetError, RecvStream, SendStream, Transport, splice};

/// A boxed future that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send + 'static>>;

/// A reading of the monotonic clock: time since an arbitrary start, never falling, standing still in suspend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub Duration);

impl Mono {
    /// This instant plus `by`, saturating at the end of time.
    #[must_use]
    pub fn after(self, by: Duration) -> Mono {
        Mono(self.0.saturating_add(by))
    }

    /// How long it is from `earlier` to this instant; zero when `earlier` lies later.
    #[must_use]
    pub fn since(self, earlier: Mono) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// A reading of the wall clock: time since 1970-01-01T00:00:00Z. It may be wrong by decades.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(pub Duration);

/// A running task. Dropping the handle cancels the task.
pub trait TaskHandle: Send + Sync {
    /// Asks the task to stop at its next suspension point.
    fn abort(&self);
    /// Whether the task has ended.
    fn is_finished(&self) -> bool;
}

/// An owned task; cancelled when dropped.
pub struct Task(Box<dyn TaskHandle>);

impl Task {
    /// Wraps an executor's handle.
    pub fn new(handle: Box<dyn TaskHandle>) -> Task {
        Task(handle)
    }

    /// Whether the task has ended by itself.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The world. Implementations: [`host::HostEnv`] in production, the simulator's in `tests/sim`.
pub trait Env: Send + Sync + 'static {
    /// The monotonic clock.
    fn monotonic(&self) -> Mono;
    /// Time since boot, suspend included (`CLOCK_BOOTTIME`).
    fn boottime(&self) -> Duration;
    /// The wall clock, as the machine believes it.
    fn wall(&self) -> Wall;
    /// Fills `buf` with unpredictable bytes.
    fn fill_random(&self, buf: &mut [u8]);
    /// Completes once the monotonic clock has reached `deadline`. Cancel safe.
    fn sleep_until(&self, deadline: Mono) -> BoxFuture<()>;
    /// Starts a task; `name` is for logs.
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Task;
    /// Runs a blocking call (disk, a child process) where blocking is allowed; completes when it has returned.
    fn run_blocking(&self, call: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<()>;
    /// The node's or hub's own disk.
    fn disk(&self) -> Arc<dyn Disk>;
}

/// How `Env` is passed around.
pub type World = Arc<dyn Env>;

impl dyn Env {
    /// Completes after `wait`. Cancel safe.
    pub fn sleep(&self, wait: Duration) -> BoxFuture<()> {
        self.sleep_until(self.monotonic().after(wait))
    }

    /// A random number.
    pub fn random_u64(&self) -> u64 {
        let mut buf = [0; 8];
        self.fill_random(&mut buf);
        u64::from_le_bytes(buf)
    }

    /// A random version 4 UUID (RFC 9562), as Kubernetes uses for `metadata.uid`.
    pub fn random_uuid(&self) -> String {
        let mut b = [0; 16];
        self.fill_random(&mut b);
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        let hex: String = b.iter().map(|x| format!("{x:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// Runs a blocking call and returns its result; `None` when the call panicked or the world is ending.
    pub async fn blocking<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let run = self.run_blocking(Box::new(move || {
            let _ = sender.send(call());
        }));
        run.await;
        receiver.await.ok()
    }

    /// Runs `future` for at most `limit`; `None` when it did not finish.
    pub async fn timeout<T>(&self, limit: Duration, future: impl Future<Output = T>) -> Option<T> {
        let mut timer = self.sleep(limit);
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            if let std::task::Poll::Ready(value) = future.as_mut().poll(cx) {
                return std::task::Poll::Ready(Some(value));
            }
            timer.as_mut().poll(cx).map(|()| None)
        })
        .await
    }
}
