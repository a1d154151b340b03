//! The agent is killed after each durable write in turn, before it hears that the write is durable.
//!
//! This very program, started again, is the tracer: it follows the agent's threads by ptrace(2), counts the ends of
//! fsync(2) and fdatasync(2), and kills the agent in the one that it was told. It says each number on a line.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use holdfast_e2e::world::{World, items, text};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// First argument of the tracer; a PID and a number follow.
pub(crate) const TRACE: &str = "--trace-syncs";
/// More durable writes than a pod's life has.
const MANY: u64 = 60;

/// The tracer.
pub(crate) fn trace(mut args: impl Iterator<Item = String>) -> ExitCode {
    let mut number = || args.next().and_then(|arg| arg.parse::<u64>().ok());
    let (Some(pid), Some(fatal)) = (number(), number()) else { return ExitCode::from(2) };
    match follow(Pid::from_raw(i32::try_from(pid).unwrap_or(-1)), fatal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("tracing {pid}: {err:#}");
            ExitCode::FAILURE
        }
    }
}

/// Follows a process to its end.
fn follow(process: Pid, fatal: u64) -> Result<()> {
    let folder = format!("/proc/{process}/task");
    for task in std::fs::read_dir(&folder).with_context(|| format!("reading {folder}"))?.flatten() {
        let Some(thread) = task.file_name().to_str().and_then(|name| name.parse().ok()).map(Pid::from_raw) else {
            continue;
        };
        // A thread that ends meanwhile is none of ours.
        if ptrace::seize(thread, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE).is_ok() {
            ptrace::interrupt(thread).context("interrupting a thread")?;
        }
    }
    say("ready")?;
    let mut syncing: BTreeMap<Pid, bool> = BTreeMap::new();
    let mut count = 0;
    loop {
        let stopped = match waitpid(None, Some(WaitPidFlag::__WALL)) {
            Err(Errno::ECHILD) => return Ok(()),
            stopped => stopped.context("waiting for a thread")?,
        };
        let (thread, signal) = match stopped {
            WaitStatus::PtraceSyscall(thread) => {
                let Ok(info) = ptrace::syscall_info(thread) else { continue };
                if info.op == libc::PTRACE_SYSCALL_INFO_ENTRY {
                    syncing.insert(thread, is_sync(thread));
                } else if syncing.remove(&thread) == Some(true) {
                    count += 1;
                    say(&count.to_string())?;
                    if count == fatal {
                        kill(process, Signal::SIGKILL).context("killing the agent")?;
                    }
                }
                (thread, None)
            }
            // A stop that a signal caused hands it on; those of ptrace itself do not.
            WaitStatus::Stopped(thread, signal) if signal != Signal::SIGSTOP => (thread, Some(signal)),
            WaitStatus::Stopped(thread, _) | WaitStatus::PtraceEvent(thread, ..) => (thread, None),
            _ => continue,
        };
        // Fails for a thread that was killed meanwhile.
        let _ = ptrace::syscall(thread, signal);
    }
}

/// Whether the system call that a stopped thread is in is a sync (proc_pid_syscall(5): its number comes first).
fn is_sync(thread: Pid) -> bool {
    let said = std::fs::read_to_string(format!("/proc/{thread}/syscall")).unwrap_or_default();
    let number = said.split_whitespace().next().and_then(|number| number.parse::<libc::c_long>().ok());
    number.is_some_and(|number| number == libc::SYS_fsync || number == libc::SYS_fdatasync)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("telling the test")
}

/// A running tracer; dropped, it lets the agent go.
struct Tracer {
    child: Child,
    seen: Arc<AtomicU64>,
}

impl Tracer {
    /// Follows the agent of a node, and kills it in its sync of this number.
    fn attach(world: &World, node: &str, fatal: u64) -> Result<Tracer> {
        let pid = world.node(node)?["pids"]["agent"].as_u64().context("the agent is not running")?;
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.args([TRACE, &pid.to_string(), &fatal.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting the tracer")?;
        let mut lines = BufReader::new(child.stdout.take().context("the tracer has no output")?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        ensure!(first == "ready", "the tracer did not get to the agent: {first:?}");
        let seen = Arc::new(AtomicU64::new(0));
        let counter = seen.clone();
        std::thread::spawn(move || {
            for count in lines.map_while(Result::ok).filter_map(|line| line.parse().ok()) {
                counter.store(count, Ordering::SeqCst);
            }
        });
        Ok(Tracer { child, seen })
    }

    fn seen(&self) -> u64 {
        self.seen.load(Ordering::SeqCst)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // It may have ended with the agent.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is to stay as it is: ids, starts and restarts of the containers of the demo.
fn containers(world: &World) -> Result<BTreeMap<String, Value>> {
    let pods = items(&world.get(&["-n", "demo", "pods"])?);
    let of = |pod: &Value| {
        let status = &pod["status"]["containerStatuses"][0];
        json!([status["containerID"], status["restartCount"], status["state"]["running"]])
    };
    Ok(pods.iter().map(|pod| (text(&pod["metadata"]["uid"]).to_owned(), of(pod))).collect())
}

/// A pod runs once to its end and is deleted while the agent is followed; how many syncs were seen.
fn run_once(world: &World, fatal: u64) -> Result<u64> {
    let tracer = Tracer::attach(world, "edge-2", fatal)?;
    let name = format!("once-{fatal}");
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": "edge-2"},
            "restartPolicy": "Never",
            "containers": [{"name": "c", "image": "registry.local/agnhost:1", "args": ["echo", "once"]}],
        },
    });
    world.kubectl_with(&["apply", "-f", "-"], &pod.to_string())?;
    let target = format!("pod/{name}");
    world.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", &target, "--timeout=90s"])?;
    world.wait("the log can be read", 60, || Ok(!world.kubectl(&["logs", &name])?.is_empty()))?;
    let log = world.kubectl(&["logs", &name])?;
    ensure!(log == "once\n", "a pod that is to run once wrote {log:?}");
    world.kubectl(&["delete", &target, "--timeout=90s"])?;
    Ok(tracer.seen())
}

pub(crate) fn an_agent_killed_after_each_durable_write_touches_nothing(world: &mut World) -> Result<()> {
    let before = containers(world)?;
    let quiet = run_once(world, MANY)?;
    ensure!((3..MANY).contains(&quiet), "a pod's life took {quiet} syncs");
    for fatal in 1..=quiet {
        let agent = world.node("edge-2")?["pids"]["agent"].clone();
        let seen = run_once(world, fatal).with_context(|| format!("killed after sync {fatal} of {quiet}"))?;
        if seen >= fatal {
            world.wait("the agent is started again", 30, || {
                let now = world.node("edge-2")?["pids"]["agent"].clone();
                Ok(now != agent && now.is_u64())
            })?;
        }
        let after = containers(world)?;
        ensure!(before == after, "killed after sync {fatal}: containers were {before:?}, are {after:?}");
    }
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-2", "--timeout=60s"]).map(drop)
}
