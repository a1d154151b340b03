//! A private node: a box of its own on this machine, with its own mounts, processes, network and host name.
//!
//! Three processes hold it. `outer` stays in the root namespace, plugs the network cable in and writes pids to
//! `cluster.json`; its death is the power cut. `fork` makes the PID namespace (only a child can be in it). `init` is
//! PID 1 in there: it mounts what a boot would, then starts and restarts containerd, holdfast-wasm and the agent.
//! Each dies with the one before it, by the kernel's parent-death signal.

pub(crate) mod exec;
pub(crate) mod fork;
pub(crate) mod init;
pub(crate) mod log;
pub(crate) mod outer;
pub(crate) mod power;
pub(crate) mod service;

use std::process::Command;

use crate::cli::NodeProcess;

/// This very program, also after a build replaced its file.
fn myself(verb: &str, args: &NodeProcess) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(verb).arg("--dir").arg(&args.dir).arg("--node").arg(&args.node);
    command
}
