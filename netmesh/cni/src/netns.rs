//! Network namespaces: made, found, entered, removed.
//!
//! A namespace is entered by a thread that ends afterwards, never by one that someone else may use.

use crate::net::Net;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::task::JoinSet;

/// Magic number of the file system of namespaces (linux/magic.h).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;
/// Bound of one piece of work in the kernel's tables.
const WORK_LIMIT: Duration = Duration::from_secs(30);

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct NetError {
    /// What was tried, on what.
    pub what: String,
    /// The kernel's words.
    pub reason: String,
    /// Its number, 0 when it did not come from the kernel.
    pub errno: i32,
}

impl NetError {
    pub(crate) fn new(what: impl Into<String>, reason: impl std::fmt::Display) -> NetError {
        NetError { what: what.into(), reason: reason.to_string(), errno: 0 }
    }

    pub(crate) fn io(what: impl Into<String>, err: &io::Error) -> NetError {
        NetError { what: what.into(), reason: err.to_string(), errno: err.raw_os_error().unwrap_or(0) }
    }
}

/// Whether a path is a living namespace.
pub fn is_namespace(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type == NSFS_MAGIC)
}

/// Makes a network namespace and keeps it by a bind mount at `path`. False when there is one already. Blocks.
///
/// # Errors
/// When the kernel refuses.
pub fn create(path: &Path) -> Result<bool, NetError> {
    if is_namespace(path) {
        return Ok(false);
    }
    let what = format!("making network namespace {}", path.display());
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|err| NetError::io(&what, &err))?;
    }
    File::create(path).map_err(|err| NetError::io(&what, &err))?;
    let target = path.to_path_buf();
    let made = run_thread(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
    });
    made.map_err(|err| NetError::io(&what, &err))?.map_err(|err| NetError::io(&what, &err.into()))?;
    Ok(true)
}

/// Removes a namespace. Fine when it is gone. Blocks.
///
/// # Errors
/// When the file cannot be removed.
pub fn remove(path: &Path) -> Result<(), NetError> {
    while umount2(path, MntFlags::MNT_DETACH).is_ok() {}
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(NetError::io(format!("removing network namespace {}", path.display()), &err))
        }
        _ => Ok(()),
    }
}

fn run_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let thread = std::thread::Builder::new().name("netns".into()).spawn(work)?;
    thread.join().map_err(|_| io::Error::other("the thread in the namespace panicked"))
}

/// Runs blocking work inside a namespace, or in the caller's for `None`, on a thread of its own.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn enter<T: Send + 'static>(
    netns: Option<&Path>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NetError> {
    let netns = netns.map(Path::to_path_buf);
    let entered = run_thread(move || {
        if let Some(path) = &netns {
            let what = format!("entering network namespace {}", path.display());
            let file = File::open(path).map_err(|err| NetError::io(&what, &err))?;
            setns(&file, CloneFlags::CLONE_NEWNET).map_err(|err| NetError::io(&what, &err.into()))?;
        }
        Ok(work())
    });
    entered.map_err(|err| NetError::io("starting a thread", &err))?
}

/// Runs netlink work inside a namespace, with a deadline. Blocks.
pub(crate) fn with_net<T, F, Fut>(netns: Option<PathBuf>, work: F) -> Result<T, NetError>
where
    T: Send + 'static,
    F: FnOnce(Net) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, NetError>>,
{
    enter(netns.as_deref(), move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|err| NetError::io("starting a runtime", &err))?;
        runtime.block_on(async {
            let (connection, handle, _) =
                rtnetlink::new_connection().map_err(|err| NetError::io("opening netlink", &err))?;
            let mut tasks = JoinSet::new();
            tasks.spawn(connection);
            match tokio::time::timeout(WORK_LIMIT, work(Net::new(handle))).await {
                Ok(result) => result,
                Err(_) => Err(NetError::new("netlink", "the kernel did not answer in time")),
            }
        })
    })?
}
