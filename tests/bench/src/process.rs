//! Programs that the bench starts, and what `/proc` says of them.

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long an orderly stop may take before the process is killed.
const STOP: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// A process of ours; dropping it kills it.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// Memory of a process that no other one shares, and its share of what others share; in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pss {
    pub(crate) all: u64,
    pub(crate) anon: u64,
    pub(crate) file: u64,
}

impl Process {
    /// Starts it with its output in a log file.
    pub(crate) fn spawn(command: &mut Command, log: &Path) -> Result<Process> {
        let out = File::options().create(true).append(true).open(log)?;
        let err = out.try_clone()?;
        let started = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let child = started.with_context(|| format!("starting {}", command.get_program().display()))?;
        Ok(Process { child, log: log.to_owned() })
    }

    /// An error with the log's last lines when it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        bail!("a program ended early ({status}): {}", self.log_tail())
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// SIGTERM, then an end in order or a kill.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        bail!("a program ignored SIGTERM for {} s: {}", STOP.as_secs(), self.log_tail())
    }

    /// Ends it as a crash does, and waits until it has ended.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// CPU time that it has used, its threads' included.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        // After the name, which may hold anything, proc(5) numbers the fields from 3; 14 and 15 are ticks, 100 a second.
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|text| text.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    pub(crate) fn pss(&self) -> Result<Pss> {
        pss_of(self.child.id())
    }

    /// PSS once two looks, a second apart, differ by less than 1 %.
    pub(crate) fn settled_pss(&self, limit: Duration) -> Result<Pss> {
        let deadline = Instant::now() + limit;
        let mut last = self.pss()?;
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let now = self.pss()?;
            if now.all.abs_diff(last.all) * 100 < last.all || Instant::now() >= deadline {
                return Ok(now);
            }
            last = now;
        }
    }

    /// Times that its threads went to sleep of their own will, by the threads' name.
    pub(crate) fn sleeps(&self) -> Result<BTreeMap<String, u64>> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).context("listing threads")?;
        let mut sleeps = BTreeMap::new();
        for task in tasks.flatten() {
            // A thread may have ended since.
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
            *sleeps.entry(field("Name:").to_owned()).or_default() +=
                field("voluntary_ctxt_switches:").parse::<u64>().unwrap_or(0);
        }
        Ok(sleeps)
    }

    pub(crate) fn threads(&self) -> usize {
        fs::read_dir(format!("/proc/{}/task", self.child.id())).map_or(0, Iterator::count)
    }

    /// Whether it holds a file below `dir` open.
    pub(crate) fn holds(&self, dir: &Path) -> bool {
        let files = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        files.is_ok_and(|mut files| {
            files.any(|file| file.is_ok_and(|file| fs::read_link(file.path()).is_ok_and(|to| to.starts_with(dir))))
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a process of these namespaces has of memory.
pub(crate) fn pss_of(pid: u32) -> Result<Pss> {
    let path = format!("/proc/{pid}/smaps_rollup");
    Ok(parse_pss(&fs::read_to_string(&path).with_context(|| format!("reading {path}"))?))
}

fn parse_pss(text: &str) -> Pss {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    };
    Pss { all: field("Pss:"), anon: field("Pss_Anon:"), file: field("Pss_File:") }
}

/// Waits for a condition of a program of ours that has to stay alive meanwhile.
pub(crate) fn wait_for(
    what: &str,
    limit: Duration,
    process: &mut Process,
    mut met: impl FnMut() -> bool,
) -> Result<()> {
    let deadline = Instant::now() + limit;
    loop {
        if met() {
            return Ok(());
        }
        process.check()?;
        if Instant::now() >= deadline {
            bail!("{what} did not come within {} s: {}", limit.as_secs(), process.log_tail());
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pss_is_read_with_its_parts() {
        let text = "55d0-7ffc ---p 0 00:00 0 [rollup]\nRss:  9000 kB\nPss:    8000 kB\nPss_Dirty: 1 kB\nPss_Anon:   5000 kB\nPss_File:  3000 kB\n";
        assert_eq!(parse_pss(text), Pss { all: 8000, anon: 5000, file: 3000 });
    }

    #[test]
    fn an_early_end_is_told_with_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut process = Process::spawn(Command::new("sh").args(["-c", "echo why; exit 3"]), &log).unwrap();
        let err = wait_for("nothing", Duration::from_secs(10), &mut process, || false).unwrap_err().to_string();
        assert!(err.contains("why") && err.contains('3'), "{err}");
    }
}
