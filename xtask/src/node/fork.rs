//! The process between `outer` and `init`: a PID namespace holds only children of the one that asked for it.

use std::process::ExitCode;

use anyhow::{Context, Result};
use nix::sched::CloneFlags;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::myself;
use crate::cli::NodeProcess;

pub(crate) fn run(args: &NodeProcess) -> Result<ExitCode> {
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking for the parent's death signal")?;
    nix::sched::unshare(CloneFlags::CLONE_NEWPID).context("making the node's PID namespace")?;
    // stdin, stdout and stderr are the pipes to `outer` and the log: init inherits them.
    let status = myself("node-init", args).status().context("starting the node's init")?;
    Ok(ExitCode::from(status.code().and_then(|c| u8::try_from(c).ok()).unwrap_or(1)))
}
