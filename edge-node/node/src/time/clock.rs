//! [`NodeClock`]: the machine's world with the node's own idea of the time.
//!
//! It is a decorator of [`Env`] and not a second clock beside it: statuses, Events, probes, heartbeats and TLS
//! all ask `Env::wall` already, so that none of them can be forgotten, and the raw RTC is out of their reach.
//!
//! The floor is a checksummed file of its own and not a note in the journal: it must outlive a journal that is
//! damaged or was removed. It costs one small file an hour at most (two syncs; the budget of an idle node is 200
//! a day).

use super::floor::{FloorRecord, STEP, TimeFloor};
use holdfast_edge_store::file;
use holdfast_env::{BoxFuture, Disk, Env, Mono, Task, Wall, World};
use holdfast_link::tls::{CertificateClock, CertificateTime};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Where the floor is.
const PATH: &str = "time-floor";
/// Boot time that runs a little fast lifts the floor above the hub's time; a hub that is more than this behind was
/// or is wrong.
const SLACK: Duration = Duration::from_secs(24 * 3600);

/// The world of a node: everything is the inner world's but the wall clock, which is the estimate.
pub struct NodeClock {
    inner: World,
    floor: Mutex<TimeFloor>,
    rose: Notify,
}

impl NodeClock {
    /// Reads the floor. `boot` names this boot of the machine (0 when it is not known). Blocks for one small file.
    ///
    /// A floor that cannot be read is as good as none: the node must start.
    pub fn open(inner: World, boot: u128) -> Arc<NodeClock> {
        let record = match file::read(&*inner.disk(), PATH) {
            Ok(bytes) => bytes.and_then(|bytes| postcard::from_bytes::<FloorRecord>(&bytes).ok()),
            Err(err) => {
                tracing::error!(%err, "The time floor cannot be read; it begins anew");
                None
            }
        };
        let floor = TimeFloor::open(record.as_ref(), boot, inner.boottime());
        Arc::new(NodeClock { inner, floor: Mutex::new(floor), rose: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, TimeFloor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hub told its time, in microseconds since 1970, over an authenticated connection.
    pub fn hub_time(&self, micros: i64) {
        let Ok(micros) = u64::try_from(micros) else { return };
        let (boottime, moment) = (self.inner.boottime(), Duration::from_micros(micros));
        let mut floor = self.lock();
        floor.hub_time(boottime, moment);
        let due = floor.due(boottime).is_some();
        drop(floor);
        if due {
            self.rose.notify_one();
        }
    }

    /// Whether the hub's time is so far behind the floor that a reset is worth asking for.
    pub fn is_hub_behind(&self) -> bool {
        self.lock().hub_behind(self.inner.boottime()) > SLACK
    }

    /// The cluster's CA signed something at this moment, since 1970: it is past.
    pub fn certified(&self, moment: Duration) {
        self.lock().certified(self.inner.boottime(), moment);
        self.rose.notify_one();
    }

    /// Lets the floor fall: the CA signed, for a nonce of this node, that it is `moment` now. Durable when this
    /// returns.
    ///
    /// # Errors
    /// Text of the disk's error; then the floor is as it was after the next start.
    pub async fn reset(&self, moment: Duration) -> Result<(), String> {
        self.lock().reset(self.inner.boottime(), moment);
        self.write().await
    }

    /// Whether the hub told the time in this boot.
    pub fn is_trusted(&self) -> bool {
        self.lock().is_trusted()
    }

    /// A moment that is surely past, since 1970.
    pub fn floor(&self) -> Duration {
        self.lock().floor(self.inner.boottime())
    }

    /// Writes the floor whenever it has risen enough, until dropped.
    pub async fn keep(self: Arc<Self>) {
        loop {
            if let Err(err) = self.write().await {
                tracing::warn!(err, "The time floor could not be written");
            }
            tokio::select! {
                biased;
                () = self.rose.notified() => {}
                () = self.inner.sleep(STEP) => {}
            }
        }
    }

    async fn write(&self) -> Result<(), String> {
        let Some(record) = self.lock().due(self.inner.boottime()) else { return Ok(()) };
        let bytes = postcard::to_allocvec(&record).map_err(|err| err.to_string())?;
        let disk = self.inner.disk();
        let written = self.inner.blocking(move || file::write(&*disk, PATH, &bytes)).await;
        written.ok_or("the node is ending")?.map_err(|err| err.to_string())?;
        self.lock().written(&record);
        Ok(())
    }
}

impl Env for NodeClock {
    fn monotonic(&self) -> Mono {
        self.inner.monotonic()
    }
    fn boottime(&self) -> Duration {
        self.inner.boottime()
    }
    fn wall(&self) -> Wall {
        Wall(self.lock().now(self.inner.boottime(), self.inner.wall().0))
    }
    fn fill_random(&self, buf: &mut [u8]) {
        self.inner.fill_random(buf);
    }
    fn sleep_until(&self, deadline: Mono) -> BoxFuture<()> {
        self.inner.sleep_until(deadline)
    }
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Task {
        self.inner.spawn(name, future)
    }
    fn run_blocking(&self, call: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<()> {
        self.inner.run_blocking(call)
    }
    fn disk(&self) -> Arc<dyn Disk> {
        self.inner.disk()
    }
}

impl CertificateClock for NodeClock {
    fn certificate_time(&self) -> CertificateTime {
        let floor = self.lock();
        CertificateTime { at: floor.floor(self.inner.boottime()), trusted: floor.is_trusted() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;

    const NOW: Duration = Duration::from_secs(1_767_225_600);

    fn micros(time: Duration) -> i64 {
        i64::try_from(time.as_micros()).unwrap()
    }

    #[tokio::test]
    async fn the_hubs_time_outlives_a_boot_whatever_the_rtc_says() {
        let dir = tempfile::tempdir().unwrap();
        let host = HostEnv::new(dir.path());
        // Far beyond the window of any floor here.
        host.set_wall_offset(200 * 365 * 24 * 3600);
        let clock = NodeClock::open(host.clone(), 1);
        let CertificateTime { at, trusted } = clock.certificate_time();
        assert!(!trusted && at < Duration::from_secs(60), "{at:?}");
        clock.hub_time(micros(NOW));
        clock.hub_time(-5);
        assert!(clock.is_trusted());
        let world: World = clock.clone();
        let keeper = world.spawn("keeper", Box::pin(clock.clone().keep()));
        let begun = std::time::Instant::now();
        while !dir.path().join(PATH).exists() {
            assert!(begun.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(keeper);
        host.set_wall_offset(-200 * 365 * 24 * 3600);
        let next = NodeClock::open(host.clone(), 2);
        assert!(!next.is_trusted());
        assert!(next.wall().0 >= NOW && next.wall().0 < NOW + Duration::from_secs(60), "{:?}", next.wall());
        // The way down is written at once.
        next.reset(NOW / 2).await.unwrap();
        let after = NodeClock::open(host, 3);
        assert!(after.floor() < NOW && after.floor() >= NOW / 2);
    }

    #[tokio::test]
    async fn a_damaged_floor_does_not_keep_the_node_from_starting() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(PATH), b"nonsense").unwrap();
        let clock = NodeClock::open(HostEnv::new(dir.path()), 1);
        assert!(clock.certificate_time().at < Duration::from_secs(60));
        clock.certified(NOW);
        assert!(clock.floor() >= NOW);
    }
}
