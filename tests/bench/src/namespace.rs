//! Mount, network and process namespaces made for a bench, so that it meets nothing of the machine: [`run`] makes them
//! and waits for the second half, which measures in them. The process namespace's end takes all that was started with it.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Where a bench runs, and how thoroughly.
#[derive(Debug, clap::Args)]
pub(crate) struct Place {
    /// Folder of holdfast-hub, and of what else the bench starts
    #[arg(long, env = "HOLDFAST_BIN_DIR")]
    pub(crate) bin_dir: PathBuf,
    /// Folder on the disk that is measured; a temporary folder is made in it
    #[arg(long, default_value = "/tmp")]
    pub(crate) dir: PathBuf,
    /// Few objects and short times: it shows that the bench works, and its figures mean nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// Set by the bench for its own second half
    #[arg(long, hide = true)]
    pub(crate) inside: bool,
}

/// Starts the second half of a bench (its name and arguments) in its namespaces; ends it when we are told to end.
async fn outside(bench: &[&str], bin_dir: &Path, dir: &Path, limit: Duration) -> Result<()> {
    let mut half = Command::new("unshare");
    half.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]);
    half.arg(std::env::current_exe()?).args(bench).args(["--inside", "--bin-dir"]).arg(bin_dir);
    half.arg("--dir").arg(dir).stdin(Stdio::null()).kill_on_drop(true);
    let mut half = half.spawn().context("starting unshare")?;
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let ended = tokio::select! {
        status = half.wait() => Some(status?),
        () = tokio::time::sleep(limit) => None,
        _ = term.recv() => None,
        _ = int.recv() => None,
    };
    match ended {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("the measuring half ended with {status}"),
        None => {
            half.kill().await?;
            bail!("ended early: by a signal, or over {} s", limit.as_secs())
        }
    }
}

/// Runs the first half: its second, of this name and with these arguments, is to find the programs in the place's folder,
/// and a folder of its own below the other, which `end` is given when it has ended.
pub(crate) fn run(
    runtime: &Runtime,
    bench: &[&str],
    place: &Place,
    limit: Duration,
    end: impl FnOnce(&Path),
) -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        bail!("{} needs root: it makes namespaces of its own", bench.first().unwrap_or(&"a bench"));
    }
    let dir = tempfile::Builder::new().prefix("holdfast-bench.").tempdir_in(&place.dir)?;
    let bin_dir = place.bin_dir.canonicalize().context("the folder of the programs")?;
    let dir_path = dir.path().canonicalize()?;
    let quick = place.quick.then_some("--quick");
    let bench: Vec<&str> = bench.iter().copied().chain(quick).collect();
    let outcome = runtime.block_on(outside(&bench, &bin_dir, &dir_path, limit));
    end(&dir_path);
    outcome
}

/// What the second half needs around it.
pub(crate) fn furnish() -> Result<()> {
    // Sockets of the machine's own containerd and agent must be out of sight.
    system("mount", &["-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"])?;
    system("ip", &["link", "set", "lo", "up"])
}

/// Runs a program of the system.
pub(crate) fn system(program: &str, args: &[&str]) -> Result<()> {
    let status =
        std::process::Command::new(program).args(args).status().with_context(|| format!("running {program}"))?;
    if status.success() { Ok(()) } else { bail!("{program} {}: {status}", args.join(" ")) }
}
