//! `down`: takes away everything of a cluster. It needs no `cluster.json`: names follow from DIR, and every process
//! carries a mark in its environment. Every step runs, also after one failed; the first failure is reported.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, umount2};
use rustix::process::Signal;

use crate::cluster::{Cluster, Derived};
use crate::node::power;
use crate::process::{self, wait_until};
use crate::{cgroups, deps, net};

const ORDERLY: Duration = Duration::from_secs(10);
const DEATH: Duration = Duration::from_secs(20);
/// Links of a namespace go when the kernel has taken it apart.
const LINKS: Duration = Duration::from_secs(20);

pub(crate) fn down(dir: &Path) -> Result<()> {
    deps::need_root("down")?;
    let derived = Derived::of(dir)?;
    let there = derived.marker().exists();
    remove(&derived)?;
    match there {
        true => println!("removed; the logs are in {}", derived.dir.display()),
        false => println!("nothing of a cluster is left in {}", derived.dir.display()),
    }
    Ok(())
}

/// Idempotent.
pub(crate) fn remove(derived: &Derived) -> Result<()> {
    let cluster = Cluster::load(&derived.dir).ok();
    let results = [
        processes(derived, cluster.as_ref()),
        links(derived),
        tables(&derived.table()),
        cgroups::remove(&derived.cgroup()),
        mounts(&derived.dir),
        files(derived),
    ];
    results.into_iter().collect()
}

/// The hub first and in order, then nodes by power cut, then whatever else carries the mark.
fn processes(derived: &Derived, cluster: Option<&Cluster>) -> Result<()> {
    if let Some(hub) = cluster.and_then(|c| c.hub.process) {
        hub.signal(Signal::TERM);
        hub.wait_end(ORDERLY);
    }
    let mut result = Ok(());
    for node in cluster.map(|c| c.nodes.as_slice()).unwrap_or_default() {
        result = result.and(power::cut_power(node));
    }
    let gone = wait_until(DEATH, || {
        let left = process::marked(&derived.id);
        left.iter().for_each(|p| p.signal(Signal::KILL));
        left.is_empty()
    });
    if !gone {
        let left: Vec<u32> = process::marked(&derived.id).iter().map(|p| p.pid).collect();
        bail!("these processes do not end: {left:?}");
    }
    result
}

fn links(derived: &Derived) -> Result<()> {
    let mut last = Ok(());
    wait_until(LINKS, || {
        last = net::links(&derived.bridge()).and_then(|names| {
            names.iter().try_for_each(|name| net::remove_link(name))?;
            match net::links(&derived.bridge())? {
                left if left.is_empty() => Ok(()),
                left => bail!("these links cannot be removed: {}", left.join(" ")),
            }
        });
        last.is_ok()
    });
    last
}

/// Our nft tables, of whichever family. `nft` missing means that there can be none.
fn tables(name: &str) -> Result<()> {
    let Ok(list) = process::output(Command::new("nft").args(["list", "tables"])) else {
        return Ok(());
    };
    for line in list.lines() {
        if let ["table", family, table] = line.split_whitespace().collect::<Vec<_>>()[..]
            && table.starts_with(name)
        {
            process::output(Command::new("nft").args(["delete", "table", family, table]))?;
        }
    }
    Ok(())
}

/// A node's mounts end with it; this is for what somebody mounted below DIR by hand.
fn mounts(dir: &Path) -> Result<()> {
    let text = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    let points = text.lines().filter_map(|l| l.split(' ').nth(1)).map(PathBuf::from);
    let mut below: Vec<PathBuf> = points.filter(|p| p.starts_with(dir)).collect();
    below.reverse();
    for point in below {
        umount2(&point, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {}", point.display()))?;
    }
    Ok(())
}

/// Everything in DIR but the logs, if DIR is ours.
fn files(derived: &Derived) -> Result<()> {
    let dir = &derived.dir;
    if !derived.marker().exists() {
        return Ok(());
    }
    let keep = |path: &Path| {
        let below = path.strip_prefix(dir).unwrap_or(path);
        let parts: Vec<String> = below.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        match parts.as_slice() {
            [file] => file.ends_with(".log"),
            [nodes, _, file] => nodes == "nodes" && file.ends_with(".log"),
            _ => false,
        }
    };
    for entry in fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        if path.file_name().is_some_and(|n| n == "nodes") {
            for node in fs::read_dir(&path)?.flatten() {
                for entry in fs::read_dir(node.path())?.flatten().filter(|e| !keep(&e.path())) {
                    delete(&entry.path())?;
                }
            }
        } else if !keep(&path) && path != derived.marker() {
            delete(&path)?;
        }
    }
    // Last, so that an interrupted `down` goes on where it was.
    delete(&derived.marker())
}

fn delete(path: &Path) -> Result<()> {
    let folder = path.symlink_metadata().is_ok_and(|m| m.is_dir());
    let done = if folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    done.with_context(|| format!("removing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_stay_and_data_goes() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("c");
        let derived = Derived::of(&dir).unwrap();
        for file in ["hub.log", "cluster.json", "hub/journal.log", "nodes/edge-1/agent.log", "nodes/edge-1/data/x.log"]
        {
            fs::create_dir_all(dir.join(file).parent().unwrap()).unwrap();
            fs::write(dir.join(file), "x").unwrap();
        }
        files(&derived).unwrap();
        assert!(dir.join("cluster.json").exists(), "a folder without our marker is not touched");
        fs::write(derived.marker(), "").unwrap();
        files(&derived).unwrap();
        let there = |file: &str| dir.join(file).exists();
        assert!(there("hub.log") && there("nodes/edge-1/agent.log"));
        assert!(!there("cluster.json") && !there("hub") && !there("nodes/edge-1/data") && !derived.marker().exists());
    }
}
