//! `skeleton`: the hub's start, memory and durable writes; the agent's memory and wake-ups without pods.
//!
//! Everything runs in mount, network and process namespaces made for it, on loopback: `outside` makes them and waits,
//! `inside` measures. The process namespace's end takes all that was started with it.

mod agent;
mod creates;
mod disk;
mod hub;
mod memory;
mod pace;
mod start;

use crate::figure::line;
use crate::machine;
use anyhow::{Context, Result, bail};
use pace::Pace;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// The whole run takes about two minutes; the agent's quiet is one of them.
const LIMIT: Duration = Duration::from_secs(240);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Folder of holdfast-hub, holdfast-edge and holdfast-wasm
    #[arg(long, env = "HOLDFAST_BIN_DIR")]
    bin_dir: PathBuf,
    /// Folder on the disk that is measured; a temporary folder is made in it
    #[arg(long, default_value = "/tmp")]
    dir: PathBuf,
    /// Take seconds instead of minutes: shows that it works, and its figures mean nothing
    #[arg(long)]
    quick: bool,
    /// Set by the bench for its own second half
    #[arg(long, hide = true)]
    inside: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if arguments.inside {
        return inside(arguments, &runtime);
    }
    if !nix::unistd::Uid::effective().is_root() {
        bail!("skeleton needs root: it makes namespaces of its own");
    }
    let dir = tempfile::Builder::new().prefix("holdfast-bench.").tempdir_in(&arguments.dir)?;
    let bin_dir = arguments.bin_dir.canonicalize().context("the folder of the programs")?;
    let dir_path = dir.path().canonicalize()?;
    let cgroup = agent::cgroup(&dir_path);
    let outcome = runtime.block_on(outside(&bin_dir, &dir_path, arguments.quick));
    agent::remove_cgroup(&cgroup);
    outcome
}

/// Starts the second half in its namespaces; ends it when we are told to end.
async fn outside(bin_dir: &Path, dir: &Path, quick: bool) -> Result<()> {
    let mut half = Command::new("unshare");
    half.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]);
    half.arg(std::env::current_exe()?).args(["skeleton", "--inside", "--bin-dir"]).arg(bin_dir);
    half.arg("--dir").arg(dir).args(quick.then_some("--quick")).stdin(Stdio::null()).kill_on_drop(true);
    let mut half = half.spawn().context("starting unshare")?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = tokio::select! {
        status = half.wait() => Some(status?),
        () = tokio::time::sleep(LIMIT) => None,
        _ = term.recv() => None,
        _ = int.recv() => None,
    };
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("the measuring half ended with {status}"),
        None => {
            half.kill().await?;
            bail!("ended early: by a signal, or over {} s", LIMIT.as_secs())
        }
    }
}

fn inside(arguments: &Arguments, runtime: &Runtime) -> Result<()> {
    // Sockets of the machine's own containerd and agent must be out of sight.
    system("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])?;
    system("ip", &["link", "set", "lo", "up"])?;
    system("ip", &["address", "add", &format!("{}/32", agent::NODE_IP), "dev", "lo"])?;
    let (bin_dir, dir) = (&*arguments.bin_dir, &*arguments.dir);
    let pace = if arguments.quick { Pace::QUICK } else { Pace::FULL };
    line(&machine::facts(dir, bin_dir)?);

    // The first hub serves the agent; it stays idle while a second one takes the writes and the agent comes to rest.
    let mut first = start::on_empty_stores(runtime, bin_dir, dir, pace.starts)?;
    memory::print("hub, idle, empty store", &first.process.settled_pss(pace.settle)?);
    let mut agent = agent::start(runtime, bin_dir, dir, &mut first)?;
    creates::measure(runtime, bin_dir, dir, &pace)?;
    agent::measure(&mut agent, dir, &pace)?;
    agent::stop(agent)?;
    creates::fill(runtime, &first, pace.objects)?;
    start::on_a_filled_store(runtime, bin_dir, first, &pace)
}

fn system(program: &str, args: &[&str]) -> Result<()> {
    let status =
        std::process::Command::new(program).args(args).status().with_context(|| format!("running {program}"))?;
    if status.success() { Ok(()) } else { bail!("{program} {}: {status}", args.join(" ")) }
}
