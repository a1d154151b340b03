//! What a node costs while nothing happens, and how soon a new agent has its pods.

use super::Pace;
use super::disk::Disk;
use crate::figure::Figure;
use crate::memory;
use crate::process::{Pss, pss_of, wait_for};
use crate::services::{Agent, data_dir};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const DAY: f64 = 86_400.0;
const ADOPT: Duration = Duration::from_secs(60);
/// Programs that are not the node's.
const NOT_OF_THE_NODE: [&str; 2] = ["holdfast-hub", "holdfast-bench"];

/// Memory of the agent and of the whole node; CPU, wake-ups and writes of a while without work.
pub(super) fn measure(node: &mut Agent, disk: &Disk, dir: &Path, count: usize, pace: &Pace) -> Result<()> {
    let views = data_dir(dir).join("views");
    std::thread::sleep(pace.quiet);
    node.agent.check()?;
    let open = if node.agent.holds(&views) { ", its view of Events open" } else { "" };
    memory::print(&format!("agent, {count} pods{open}"), &node.agent.pss()?);
    let mut all = 0;
    for (program, pss) in by_program()? {
        all += pss;
        Figure::new(format!("node, {count} pods: PSS of all {program}"), pss as f64 / 1024.0, "MiB", 1).print();
    }
    Figure::new(format!("node, {count} pods: PSS of everything"), all as f64 / 1024.0, "MiB", 1).print();

    let sum = |sleeps: BTreeMap<String, u64>| sleeps.values().sum::<u64>();
    let (cpu, sleeps, written) = (node.agent.cpu()?, sum(node.agent.sleeps()?), disk.written()?);
    let syncs = synced(node)?;
    let began = Instant::now();
    std::thread::sleep(pace.look);
    let seconds = began.elapsed().as_secs_f64();
    let now = disk.written()?;
    let what = format!("agent, {count} pods with probes, nothing happens");
    let used = node.agent.cpu()?.saturating_sub(cpu).as_secs_f64();
    Figure::new(format!("{what}: CPU"), used / seconds * 3600.0, "s/h", 1).print();
    let woken = sum(node.agent.sleeps()?).saturating_sub(sleeps) as f64;
    Figure::new(format!("{what}: voluntary context switches"), woken / seconds * 60.0, "1/min", 1).print();
    let synced = synced(node)?.saturating_sub(syncs) as f64;
    Figure::new(format!("{what}: syncs of the journal"), synced / seconds * DAY, "1/d", 1).print();
    let megabytes = now.bytes.saturating_sub(written.bytes) as f64 / 1e6;
    let device = format!("node, {count} pods with probes, nothing happens: the block device");
    Figure::new(format!("{device}, written"), megabytes / seconds * DAY, "MB/d", 1).print();
    let writes = now.writes.saturating_sub(written.writes) as f64;
    Figure::new(format!("{device}, writes"), writes / seconds * DAY, "1/d", 1).print();
    Ok(())
}

/// PSS in KiB of all processes of our process namespace, by their program's name.
fn by_program() -> Result<BTreeMap<String, u64>> {
    let mut sums = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("listing processes")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // It may have ended since.
        let Ok(name) = fs::read_to_string(entry.path().join("comm")) else { continue };
        let Pss { all, .. } = pss_of(pid).unwrap_or_default();
        if !NOT_OF_THE_NODE.iter().any(|other| other.starts_with(name.trim())) && name.trim() != "unshare" {
            *sums.entry(name.trim().to_owned()).or_default() += all;
        }
    }
    Ok(sums)
}

/// What the agent says of its journal.
fn synced(node: &Agent) -> Result<u64> {
    let status = local(node, &["status", "-o", "json"])?;
    // Bytes and syncs.
    status["written"][1].as_u64().context("the status tells nothing of the journal")
}

fn local(node: &Agent, args: &[&str]) -> Result<Value> {
    let text = super::output(Command::new(node.program()).args(args))?;
    serde_json::from_str(&text).context("reading what holdfast-edge says")
}

/// From a new agent's start, after the old one was killed, until it tells that all pods run.
pub(super) fn adopt(node: &mut Agent, count: usize) -> Result<()> {
    let began = Instant::now();
    node.restart_agent()?;
    let program = node.program().to_owned();
    wait_for("the pods", ADOPT, &mut node.agent, || {
        let told = super::output(Command::new(&program).args(["pods", "-o", "json"]));
        let pods: Value = told.ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let pods = pods["items"].as_array().or_else(|| pods.as_array()).cloned().unwrap_or_default();
        pods.iter().filter(|pod| pod["status"] == "Running").count() >= count
    })?;
    let name = format!("killed agent, {count} pods: from its start until it has adopted all");
    Figure::new(name, began.elapsed().as_secs_f64() * 1000.0, "ms", 1).print();
    Ok(())
}
