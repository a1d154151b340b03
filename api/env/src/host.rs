//! The real world: Linux clocks, the kernel's random numbers, tokio tasks and a folder of the file system.
//!
//! A wall-clock offset file lets `xtask node clock` shift the time that TLS, tokens and the floor see.

use crate::disk::{Disk, DiskError, File};
use crate::{BoxFuture, Env, Mono, Task, TaskHandle, Wall};
use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The machine that we run on. Needs a running tokio runtime for tasks and timers.
pub struct HostEnv {
    disk: Arc<HostDisk>,
    wall_offset_secs: AtomicI64,
    start: tokio::time::Instant,
}

impl HostEnv {
    /// A world whose disk is the folder `root`, which must exist.
    pub fn new(root: impl Into<PathBuf>) -> Arc<HostEnv> {
        Arc::new(HostEnv {
            disk: Arc::new(HostDisk { root: root.into() }),
            wall_offset_secs: AtomicI64::new(0),
            start: tokio::time::Instant::now(),
        })
    }

    /// Shifts the wall clock that this world shows by `seconds`.
    pub fn set_wall_offset(&self, seconds: i64) {
        self.wall_offset_secs.store(seconds, Ordering::Relaxed);
    }
}

fn clock(id: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(id);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

struct TokioTask(tokio::task::AbortHandle);

impl TaskHandle for TokioTask {
    fn abort(&self) {
        self.0.abort();
    }
    fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Env for HostEnv {
    fn monotonic(&self) -> Mono {
        Mono(self.start.elapsed())
    }

    fn boottime(&self) -> Duration {
        clock(rustix::time::ClockId::Boottime)
    }

    fn wall(&self) -> Wall {
        let now = clock(rustix::time::ClockId::Realtime);
        let offset = self.wall_offset_secs.load(Ordering::Relaxed);
        let shift = Duration::from_secs(offset.unsigned_abs());
        Wall(if offset < 0 { now.saturating_sub(shift) } else { now.saturating_add(shift) })
    }

    fn fill_random(&self, buf: &mut [u8]) {
        let mut done = 0;
        while done < buf.len() {
            match rustix::rand::getrandom(&mut buf[done..], rustix::rand::GetRandomFlags::empty()) {
                Ok(n) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(err) => panic!("the kernel gave no random numbers: {err}"),
            }
        }
    }

    fn sleep_until(&self, deadline: Mono) -> BoxFuture<()> {
        Box::pin(tokio::time::sleep_until(self.start + deadline.0))
    }

    #[allow(clippy::disallowed_methods, reason = "this is the one place that Env::spawn stands on")]
    fn spawn(&self, name: &'static str, future: BoxFuture<()>) -> Task {
        let _ = name;
        Task::new(Box::new(TokioTask(tokio::spawn(future).abort_handle())))
    }

    fn run_blocking(&self, call: Box<dyn FnOnce() + Send + 'static>) -> BoxFuture<()> {
        let running = tokio::task::spawn_blocking(call);
        Box::pin(async move {
            let _ = running.await;
        })
    }

    fn disk(&self) -> Arc<dyn Disk> {
        self.disk.clone()
    }
}

/// A folder of the file system as a [`Disk`].
pub struct HostDisk {
    root: PathBuf,
}

impl HostDisk {
    /// A disk whose root is `root`, which must exist.
    pub fn new(root: impl Into<PathBuf>) -> HostDisk {
        HostDisk { root: root.into() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

struct HostFile {
    file: std::fs::File,
    path: String,
}

impl HostFile {
    fn error(&self, operation: &'static str, source: std::io::Error) -> DiskError {
        DiskError::from_io(&self.path, operation, source)
    }
}

impl File for HostFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        self.file.read_at(buf, offset).map_err(|err| self.error("read", err))
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(data, offset).map_err(|err| self.error("write", err))
    }
    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.file.set_len(len).map_err(|err| self.error("truncate", err))
    }
    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len)
            .map_err(|err| self.error("allocate", err.into()))
    }
    fn sync_data(&self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(|err| self.error("sync", err))
    }
    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.file.metadata().map_err(|err| self.error("stat", err))?.len())
    }
}

impl Disk for HostDisk {
    fn open(&self, path: &str, create: bool) -> Result<Box<dyn File>, DiskError> {
        let mut flags = OFlags::RDWR | OFlags::CLOEXEC;
        if create {
            flags |= OFlags::CREATE;
        }
        let fd = rustix::fs::open(self.path(path), flags, Mode::from_raw_mode(0o600))
            .map_err(|err| DiskError::from_io(path, "open", err.into()))?;
        Ok(Box::new(HostFile { file: fd.into(), path: path.to_string() }))
    }

    fn create_dir_all(&self, path: &str) -> Result<(), DiskError> {
        std::fs::create_dir_all(self.path(path)).map_err(|err| DiskError::from_io(path, "make folder", err))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        std::fs::rename(self.path(from), self.path(to)).map_err(|err| DiskError::from_io(from, "rename", err))
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        std::fs::remove_file(self.path(path)).map_err(|err| DiskError::from_io(path, "remove", err))
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        let fail = |err| DiskError::from_io(dir, "list", err);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.path(dir)).map_err(fail)? {
            names.push(entry.map_err(fail)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        let sync = |path: &Path| std::fs::File::open(path)?.sync_all();
        sync(&self.path(dir)).map_err(|err| DiskError::from_io(dir, "sync folder", err))
    }

    fn free(&self) -> Result<u64, DiskError> {
        let stat = rustix::fs::statvfs(&self.root).map_err(|err| DiskError::from_io(".", "statvfs", err.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
