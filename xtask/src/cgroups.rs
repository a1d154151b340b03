//! A cluster's cgroups: one tree `/holdfast-<id>` in each mounted hierarchy, version 1 or 2.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::process::{ProcessId, wait_until};

/// How long processes of a killed node may take to leave their cgroup.
const DRAIN: Duration = Duration::from_secs(10);

/// Mount points of all hierarchies.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    Ok(parse_mounts(&text))
}

fn parse_mounts(text: &str) -> Vec<PathBuf> {
    let fields = |line: &str| {
        let mut words = line.split(' ');
        Some((words.nth(1)?.to_owned(), words.next()?.to_owned()))
    };
    let mounts = text.lines().filter_map(fields);
    mounts.filter(|(_, kind)| kind == "cgroup" || kind == "cgroup2").map(|(at, _)| at.into()).collect()
}

/// Makes `path` (absolute within each hierarchy), so that everything of a node lies below it.
pub(crate) fn create(path: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let at = hierarchy.join(path.trim_start_matches('/'));
        fs::create_dir_all(&at).with_context(|| format!("creating the cgroup {}", at.display()))?;
    }
    Ok(())
}

/// Kills what is still inside and removes the trees.
pub(crate) fn remove(path: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let at = hierarchy.join(path.trim_start_matches('/'));
        let gone = wait_until(DRAIN, || {
            kill_all(&at);
            remove_tree(&at);
            !at.exists()
        });
        if !gone {
            bail!("the cgroup {} cannot be removed", at.display());
        }
    }
    Ok(())
}

fn children(at: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(at).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn kill_all(at: &Path) {
    let procs = fs::read_to_string(at.join("cgroup.procs")).unwrap_or_default();
    for process in procs.lines().filter_map(|l| l.parse().ok()).filter_map(ProcessId::of) {
        process.signal(Signal::KILL);
    }
    children(at).iter().for_each(|child| kill_all(child));
}

/// Deepest first; what is busy stays for the next round.
fn remove_tree(at: &Path) {
    children(at).iter().for_each(|child| remove_tree(child));
    let _ = fs::remove_dir(at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let text = "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n\
                    cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(parse_mounts(text), [Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup/unified")]);
    }
}
