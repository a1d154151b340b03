//! Running programs, and naming processes so that a reused pid is never taken for ours.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::failure::TimedOut;

/// Set in the environment of every process of a cluster, so that `down` finds those whose pid was never written.
pub(crate) const MARK: &str = "HOLDFAST_CLUSTER";

/// A process, told from later ones with the same number by its start time (clock ticks since boot).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    pub(crate) start: u64,
}

impl ProcessId {
    /// `None` when there is no such process.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        stat(pid).map(|s| Self { pid, start: s.start })
    }

    /// Still there, the same one, and no zombie.
    pub(crate) fn alive(self) -> bool {
        stat(self.pid).is_some_and(|s| s.start == self.start && !matches!(s.state, 'Z' | 'X'))
    }

    /// Sends a signal if it is still the same process.
    pub(crate) fn signal(self, signal: Signal) {
        if let (true, Some(pid)) = (self.alive(), i32::try_from(self.pid).ok().and_then(Pid::from_raw)) {
            // It may end between the check and here; then there is nothing to do.
            let _ = kill_process(pid, signal);
        }
    }

    /// Whether it ended within `limit`.
    pub(crate) fn wait_end(self, limit: Duration) -> bool {
        wait_until(limit, || !self.alive())
    }
}

/// Polls until `done`, at most `limit`; the answer is whether it came true.
pub(crate) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Stat {
    state: char,
    parent: u32,
    start: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold spaces and parentheses itself, so fields are counted after the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// All pids now.
pub(crate) fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|e| e.file_name().to_str().and_then(|n| n.parse().ok())).collect()
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|s| s.parent)
}

/// Processes that carry the mark `value`, ours excepted.
pub(crate) fn marked(value: &str) -> Vec<ProcessId> {
    let wanted = format!("{MARK}={value}");
    let own = std::process::id();
    let carries = |pid: &u32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|env| env.split(|b| *b == 0).any(|variable| variable == wanted.as_bytes()))
    };
    pids()
        .into_iter()
        .filter(|pid| *pid != own)
        .filter(carries)
        .filter_map(ProcessId::of)
        .filter(|p| p.alive())
        .collect()
}

/// The PID namespace of a process, as the kernel prints it.
pub(crate) fn pid_namespace(pid: u32) -> Option<String> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok().map(|l| l.to_string_lossy().into_owned())
}

/// Processes in a PID namespace (zombies count: the namespace still stands).
pub(crate) fn in_namespace(namespace: &str) -> Vec<u32> {
    pids().into_iter().filter(|pid| pid_namespace(*pid).as_deref() == Some(namespace)).collect()
}

/// The pid in our namespace of the process that is `inner` in `namespace`.
pub(crate) fn outer_pid(namespace: &str, inner: u32) -> Option<u32> {
    in_namespace(namespace).into_iter().find(|pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap_or_default();
        numbers.split_whitespace().last().and_then(|n| n.parse().ok()) == Some(inner)
    })
}

/// Runs to the end; anything but success is an error that carries what the program said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("running {}", name(command)))?;
    check(command, out)
}

/// As `output`; what has not ended at the deadline is killed, and the error is a time-out.
pub(crate) fn output_by(command: &mut Command, deadline: Instant) -> Result<String> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().with_context(|| format!("running {}", name(command)))?;
    let process = ProcessId::of(child.id());
    let (ended, end) = mpsc::sync_channel(1);
    // Outlives the deadline when a grandchild keeps the pipes open.
    std::thread::spawn(move || ended.send(child.wait_with_output()));
    match end.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        Ok(out) => check(command, out.with_context(|| format!("waiting for {}", name(command)))?),
        Err(_) => {
            process.into_iter().for_each(|p| p.signal(Signal::KILL));
            Err(TimedOut(format!("`{}` had not ended", line(command))).into())
        }
    }
}

/// As `output`, with text for the program's stdin.
pub(crate) fn output_of(command: &mut Command, input: &str) -> Result<String> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("running {}", name(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes()).with_context(|| format!("writing to {}", name(command)))?;
    }
    let out = child.wait_with_output().with_context(|| format!("waiting for {}", name(command)))?;
    check(command, out)
}

fn check(command: &Command, out: Output) -> Result<String> {
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!("`{}` failed ({}): {}", line(command), out.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs with our own stdout and stderr.
pub(crate) fn show(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("running {}", name(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    command.get_args().fold(program, |line, arg| format!("{line} {}", arg.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_fields() {
        let text = "12 (a) b (c) S 7 12 12 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.state, stat.parent, stat.start), ('S', 7, 4711));
        assert!(parse_stat("12 (short) S 1").is_none());
    }

    #[test]
    fn a_process_is_told_from_its_successor() {
        let own = ProcessId::of(std::process::id()).unwrap();
        assert!(own.alive());
        assert!(!ProcessId { start: own.start + 1, ..own }.alive());
    }

    #[test]
    fn failures_carry_what_the_program_said() {
        let err = output(Command::new("sh").args(["-c", "echo broken >&2; exit 4"])).unwrap_err().to_string();
        assert!(err.contains("broken") && err.contains('4'), "{err}");
        assert_eq!(output_of(&mut Command::new("cat"), "text").unwrap(), "text");
    }

    #[test]
    fn a_deadline_ends_what_hangs_and_lets_pass_what_ends() {
        let soon = Instant::now() + Duration::from_millis(50);
        let err = output_by(Command::new("sleep").arg("60"), soon).unwrap_err();
        assert!(err.is::<TimedOut>() && err.to_string() == "timed out: `sleep 60` had not ended", "{err:#}");
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(output_by(Command::new("echo").arg("a"), later).unwrap(), "a\n");
        assert!(!output_by(&mut Command::new("false"), later).unwrap_err().is::<TimedOut>());
    }

    #[test]
    fn marked_processes_are_found_and_only_they() {
        let mark = format!("test-{}", std::process::id());
        let mut child = Command::new("sleep").arg("60").env(MARK, &mark).spawn().unwrap();
        assert!(wait_until(Duration::from_secs(5), || marked(&mark).iter().any(|p| p.pid == child.id())));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(marked(&mark).is_empty());
    }
}
