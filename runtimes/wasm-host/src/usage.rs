//! What the guests of a container use: time on CPUs while their code runs, and the linear memory of their instances.
//!
//! A guest runs on the thread that polls it, and on no other, so the time of that thread around each poll is the guest's, with
//! what the host does for it there. What others do for it (reading and writing files) is not counted.

use rustix::time::{ClockId, clock_gettime};
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts for one container.
#[derive(Debug, Default)]
pub struct Meter {
    cpu_nanos: AtomicU64,
    memory_bytes: AtomicU64,
}

impl Meter {
    /// Time on CPUs so far, in nanoseconds.
    pub fn cpu_nanos(&self) -> u64 {
        self.cpu_nanos.load(Ordering::Relaxed)
    }

    /// Linear memory now, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed)
    }

    /// An instance has got this much more memory.
    pub fn grown(&self, bytes: usize) {
        self.memory_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// An instance has gone that had this much.
    pub fn gone(&self, bytes: usize) {
        self.memory_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
    }

    /// Runs a guest. Dropping the future ends it, and what it has used until then is counted.
    pub async fn run<T>(&self, guest: impl Future<Output = T>) -> T {
        let mut guest = pin!(guest);
        poll_fn(|context| {
            let began = thread_nanos();
            let polled = guest.as_mut().poll(context);
            self.cpu_nanos.fetch_add(thread_nanos().saturating_sub(began), Ordering::Relaxed);
            polled
        })
        .await
    }
}

/// The time that this thread has had on CPUs.
fn thread_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u64::try_from(time.tv_nsec));
    seconds.unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(nanos.unwrap_or(0))
}
