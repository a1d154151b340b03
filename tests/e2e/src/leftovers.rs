//! What a cluster may leave behind: logs. Everything else is compared with the machine before `up`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::world::World;

/// The kernel takes namespaces apart after the last process is gone.
const SETTLE: Duration = Duration::from_secs(15);
/// Places of the machine that programs of a node could write to by mistake.
const SHARED_FOLDERS: [&str; 8] = [
    "/run/holdfast",
    "/run/containerd",
    "/run/netns",
    "/opt/containerd",
    "/opt/cni",
    "/etc/cni",
    "/var/lib/holdfast",
    "/var/lib/containerd",
];

#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    links: BTreeSet<String>,
    tables: BTreeSet<String>,
    mounts: BTreeSet<String>,
    routes: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl Snapshot {
    pub fn take() -> Result<Self> {
        let links = lines("ip", &["-o", "link"])?;
        let name = |l: &String| l.split(": ").nth(1).unwrap_or_default().to_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").context("reading mounts")?;
        Ok(Self {
            links: links.iter().map(name).collect(),
            tables: lines("nft", &["list", "tables"])?,
            routes: lines("ip", &["route", "show", "table", "all"])?,
            cgroups: holdfast_cgroups(&mounts),
            mounts: mounts.lines().map(str::to_owned).collect(),
            folders: SHARED_FOLDERS.iter().filter(|f| Path::new(f).exists()).flat_map(|f| listing(f)).collect(),
        })
    }
}

fn lines(program: &str, args: &[&str]) -> Result<BTreeSet<String>> {
    let out = Command::new(program).args(args).output().with_context(|| format!("running {program}"))?;
    Ok(String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect())
}

fn listing(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|e| e.path().display().to_string()).chain([folder.to_owned()]).collect()
}

/// Top-level cgroups of ours in every hierarchy.
fn holdfast_cgroups(mounts: &str) -> BTreeSet<String> {
    let fields = mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>());
    let hierarchies = fields.filter(|f| f.len() > 2 && f[2].starts_with("cgroup")).map(|f| f[1].to_owned());
    hierarchies.flat_map(|h| listing(&h)).filter(|path| path.contains("/holdfast")).collect()
}

/// Fails with a list of what is there and was not before.
pub fn check(before: &Snapshot, world: &World) -> Result<()> {
    check_of(before, &world.dir, &world.namespaces)
}

/// The same for a cluster in this folder, whose nodes had these namespaces.
pub fn check_of(before: &Snapshot, dir: &Path, namespaces: &BTreeSet<String>) -> Result<()> {
    let end = Instant::now() + SETTLE;
    loop {
        let found = find(before, dir, namespaces)?;
        if found.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("left behind:\n{}", found.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn find(before: &Snapshot, dir: &Path, namespaces: &BTreeSet<String>) -> Result<Vec<String>> {
    let after = Snapshot::take()?;
    let mut found = Vec::new();
    for (what, old, new) in [
        ("link", &before.links, &after.links),
        ("nft table", &before.tables, &after.tables),
        ("mount", &before.mounts, &after.mounts),
        ("route", &before.routes, &after.routes),
        ("cgroup", &before.cgroups, &after.cgroups),
        ("file", &before.folders, &after.folders),
    ] {
        found.extend(new.difference(old).map(|thing| format!("{what} {thing}")));
    }
    found.extend(processes(dir, namespaces));
    if dir.exists() {
        files(dir, &mut found)?;
    }
    Ok(found)
}

/// Processes in a namespace that a node had, and those that name the cluster's folder.
fn processes(dir: &Path, namespaces: &BTreeSet<String>) -> Vec<String> {
    let own = std::process::id();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|e| e.file_name().to_str().and_then(|n| n.parse::<u32>().ok())).filter(|p| *p != own);
    let folder = dir.display().to_string();
    let mut found = Vec::new();
    for pid in pids {
        let proc = format!("/proc/{pid}");
        let line = fs::read(format!("{proc}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let inside = ["pid", "net", "mnt"].iter().any(|kind| {
            fs::read_link(format!("{proc}/ns/{kind}")).is_ok_and(|l| namespaces.contains(l.to_string_lossy().as_ref()))
        });
        if inside || line.contains(&folder) {
            found.push(format!("process {pid}: {line}"));
        }
    }
    found
}

/// Only logs may stay in the cluster's folder.
fn files(folder: &Path, found: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found)?;
        } else if path.extension().is_none_or(|e| e != "log") {
            found.push(format!("file {}", path.display()));
        }
    }
    Ok(())
}
