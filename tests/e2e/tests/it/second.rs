//! A second cluster on the same machine: beside the first, too slow, and crashed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use holdfast_e2e::leftovers::{Snapshot, check_of};
use holdfast_e2e::pods::{answers, identities, pods};
use holdfast_e2e::world::{World, holds, said};
use serde_json::Value;

/// `up` of one node with nothing on it.
fn up<'a>(dir: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["up", "--dir", dir, "--nodes", "1", "--no-sample"], more].concat()
}

fn other_dir(world: &World) -> Result<PathBuf> {
    Ok(world.dir.parent().context("the cluster has no parent folder")?.join("second"))
}

fn cluster(dir: &Path) -> Result<Value> {
    serde_json::from_slice(&std::fs::read(dir.join("cluster.json"))?).context("reading the other cluster.json")
}

fn namespaces(init: u64) -> BTreeSet<String> {
    let links = ["pid", "net", "mnt"].map(|kind| std::fs::read_link(format!("/proc/{init}/ns/{kind}")));
    links.into_iter().flatten().map(|link| link.to_string_lossy().into_owned()).collect()
}

/// Ends the second cluster: nothing of it may be left, and the first one has not noticed.
fn down(world: &World, dir: &Path, before: &Snapshot, inside: &BTreeSet<String>) -> Result<()> {
    let out = world.xtask_elsewhere(&["down", "--dir", &dir.display().to_string()])?;
    ensure!(out.status.success(), "down --dir: {}", said(&out));
    check_of(before, dir, inside)?;
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-1", "node/edge-2", "--timeout=10s"])?;
    answers(world, &pods(world, "web")?)
}

pub(crate) fn two_clusters_stand_side_by_side(world: &mut World) -> Result<()> {
    let (identity, before, dir) = (identities(world)?, Snapshot::take()?, other_dir(world)?);
    let dir_text = dir.display().to_string();
    let out = world.xtask_elsewhere(&up(&dir_text, &["--detach", "--timeout", "120"]))?;
    ensure!(out.status.success(), "up --dir: {} {}", out.status, said(&out));
    let (first, second) = (world.cluster()?, cluster(&dir)?);
    for key in ["bridge", "subnet", "gateway", "cgroup"] {
        ensure!(first[key] != second[key], "both clusters have the {key} {}", first[key]);
    }
    let nodes = Command::new(first["kubectl"].as_str().unwrap_or_default())
        .arg("--kubeconfig")
        .arg(dir.join("kubeconfig"))
        .args(["get", "nodes", "-o", "name"])
        .output()
        .context("asking the second cluster")?;
    ensure!(said(&nodes) == "node/edge-1\n", "the second cluster has the nodes {}", said(&nodes));
    holds(&world.kubectl(&["get", "nodes", "-o", "name"])?, "node/edge-2")?;
    answers(world, &pods(world, "web")?)?;
    let again = world.xtask_elsewhere(&up(&dir_text, &["--detach"]))?;
    ensure!(again.status.code() == Some(1), "a second `up` over the same folder: {}", again.status);
    holds(&said(&again), "a cluster runs in")?;
    let init = second["nodes"][0]["pids"]["init"].as_u64().context("no init in the second cluster")?;
    down(world, &dir, &before, &namespaces(init))?;
    ensure!(identity == identities(world)?, "pods were replaced");
    Ok(())
}

pub(crate) fn up_that_takes_too_long_ends_with_3_and_the_reason(world: &mut World) -> Result<()> {
    let (before, dir) = (Snapshot::take()?, other_dir(world)?);
    let dir_text = dir.display().to_string();
    // With the examples: an empty cluster of one node may well stand within a second.
    let out = world.xtask_elsewhere(&["up", "--dir", &dir_text, "--nodes", "1", "--detach", "--timeout", "1"])?;
    let words = String::from_utf8_lossy(&out.stderr).into_owned();
    let last = words.lines().last().unwrap_or_default();
    ensure!(out.status.code() == Some(3), "up --timeout 1 ended with {}: {words}", out.status);
    ensure!(last.starts_with("failed: ") && last.contains("timed out: "), "the last line is no reason: {words}");
    let init = cluster(&dir)?["nodes"][0]["pids"]["init"].as_u64();
    down(world, &dir, &before, &init.map(namespaces).unwrap_or_default())
}

pub(crate) fn down_works_after_a_crashed_up(world: &mut World) -> Result<()> {
    let (before, dir) = (Snapshot::take()?, other_dir(world)?);
    let (dir_text, bin_dir) = (dir.display().to_string(), world.bin_dir.display().to_string());
    let mut started = world.xtask_started(&up(&dir_text, &["--bin-dir", &bin_dir]))?;
    let end = Instant::now() + Duration::from_secs(60);
    let init = loop {
        if let Some(init) = cluster(&dir).ok().and_then(|c| c["nodes"][0]["pids"]["init"].as_u64()) {
            break init;
        }
        if let Some(status) = started.try_wait()? {
            bail!("the second `up` ended by itself: {status}");
        }
        ensure!(Instant::now() < end, "the second `up` booted no node");
        std::thread::sleep(Duration::from_millis(5));
    };
    let inside = namespaces(init);
    started.kill().context("killing xtask")?;
    started.wait()?;
    ensure!(!inside.is_empty() && dir.join("cluster.json").is_file(), "there is nothing to clear up");
    down(world, &dir, &before, &inside)
}
