//! Mount, network and process namespaces made for a bench, so that it meets nothing of the machine: [`run`] makes them
//! and waits for the second half, which measures in them. The process namespace's end takes all that was started with it.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

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

/// Runs the first half: its second is to find the programs in `bin_dir`, and a folder of its own below `dir`, which
/// `end` is given when it has ended.
pub(crate) fn run(
    runtime: &Runtime,
    bench: &[&str],
    bin_dir: &Path,
    dir: &Path,
    limit: Duration,
    end: impl FnOnce(&Path),
) -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        bail!("{} needs root: it makes namespaces of its own", bench.first().unwrap_or(&"a bench"));
    }
    let dir = tempfile::Builder::new().prefix("holdfast-bench.").tempdir_in(dir)?;
    let bin_dir = bin_dir.canonicalize().context("the folder of the programs")?;
    let dir_path = dir.path().canonicalize()?;
    let outcome = runtime.block_on(outside(bench, &bin_dir, &dir_path, limit));
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
