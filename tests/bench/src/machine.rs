//! What the figures were taken on: the first line of a run.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::Duration;

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    machine: String,
    kernel: String,
    cpus: usize,
    memory_mib: u64,
    /// Share of the CPUs' time that nobody used in the second before the run.
    idle_percent: f64,
    /// Of the folder that the stores lie in.
    file_system: String,
    folder: String,
    programs: String,
}

/// Looks for a second at how idle the machine is.
pub(crate) fn facts(folder: &Path, programs: &Path) -> Result<Machine> {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let before = cpu_times()?;
    std::thread::sleep(Duration::from_secs(1));
    let after = cpu_times()?;
    let total = after.1.saturating_sub(before.1).max(1);
    let model = text("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let memory = text("/proc/meminfo");
    let memory = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let memory: u64 = memory.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    Ok(Machine {
        machine: model.trim_start_matches(['\t', ' ', ':']).to_owned(),
        kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mib: memory / 1024,
        idle_percent: ((after.0.saturating_sub(before.0)) as f64 * 1000.0 / total as f64).round() / 10.0,
        file_system: file_system(folder, &text("/proc/self/mountinfo")),
        folder: folder.display().to_string(),
        programs: programs.display().to_string(),
    })
}

/// Idle (with waiting for the disk) and all ticks so far.
fn cpu_times() -> Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().skip(1).take(8).filter_map(|tick| tick.parse().ok()).collect();
    Ok((ticks.iter().skip(3).take(2).sum(), ticks.iter().sum()))
}

/// The type of the deepest mount that holds the folder.
fn file_system(folder: &Path, mountinfo: &str) -> String {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = left.split(' ').nth(4)?;
        folder.starts_with(point).then(|| (point.len(), right.split(' ').next().unwrap_or_default().to_owned()))
    });
    // Of several mounts on one point the last is seen.
    mounts.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_names_the_file_system() {
        let mountinfo =
            "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n30 22 0:26 / /tmp rw - tmpfs tmpfs rw\n";
        assert_eq!(file_system(Path::new("/tmp/x"), mountinfo), "tmpfs");
        assert_eq!(file_system(Path::new("/tmpx"), mountinfo), "ext4");
    }
}
