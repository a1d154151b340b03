//! Stands between fjall and the system's fsync(2) and fdatasync(2): this program's own functions of those names are linked
//! before the C library's. They count the syncs of files below a folder, and fail one on demand.

#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{c_int, c_long};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a test wants to know of its folder.
#[derive(Default)]
struct Watched {
    syncs: usize,
    fail_next: bool,
}

static FOLDERS: Mutex<BTreeMap<PathBuf, Watched>> = Mutex::new(BTreeMap::new());

fn folders() -> MutexGuard<'static, BTreeMap<PathBuf, Watched>> {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins to watch a folder.
pub(super) fn watch(folder: &Path) {
    folders().insert(folder.to_owned(), Watched::default());
}

/// Syncs below a watched folder that have ended well.
pub(super) fn count(folder: &Path) -> usize {
    folders()[folder].syncs
}

/// The next sync below a watched folder fails with EIO.
pub(super) fn fail_next(folder: &Path) {
    folders().get_mut(folder).unwrap().fail_next = true;
}

#[unsafe(no_mangle)]
extern "C" fn fsync(file: c_int) -> c_int {
    sync(libc::SYS_fsync, file)
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    sync(libc::SYS_fdatasync, file)
}

fn sync(call: c_long, file: c_int) -> c_int {
    let path = std::fs::read_link(format!("/proc/self/fd/{file}")).unwrap_or_default();
    let fail = {
        let mut folders = folders();
        let watched = folders.iter_mut().find(|(folder, _)| path.starts_with(folder));
        watched.is_some_and(|(_, watched)| std::mem::take(&mut watched.fail_next))
    };
    if fail {
        nix::errno::Errno::EIO.set();
        return -1;
    }
    // SAFETY: both calls take a file descriptor alone, and say EBADF to what is none.
    let done = unsafe { libc::syscall(call, file) };
    if done == 0
        && let Some((_, watched)) = folders().iter_mut().find(|(folder, _)| path.starts_with(folder))
    {
        watched.syncs += 1;
    }
    c_int::try_from(done).unwrap_or(-1)
}
