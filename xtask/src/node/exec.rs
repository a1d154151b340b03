//! `node exec`: a command inside the node, as if typed at its console.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use crate::cluster::{Cluster, Node};
use crate::deps;

/// Replaces this process, so that stdin, signals and the exit code are the command's own.
pub(crate) fn exec(dir: &Path, name: &str, command: &[OsString]) -> Result<ExitCode> {
    deps::need_root("node exec")?;
    let cluster = Cluster::load(dir)?;
    let node = cluster.node(name)?;
    let err = inside(&cluster, node, command)?.exec();
    Err(err).context("running nsenter (package util-linux)")
}

/// The command in the node's namespaces, with our programs and kubectl on PATH and the caller's folder.
/// `KUBECONFIG` leads to the node's own API, `HOLDFAST_HUB_KUBECONFIG` to the hub.
pub(crate) fn inside(cluster: &Cluster, node: &Node, command: &[OsString]) -> Result<Command> {
    let init = node.init()?;
    let mut path = OsString::from(&cluster.bin_dir);
    if let Some(folder) = cluster.kubectl.parent() {
        path.push(":");
        path.push(folder);
    }
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into()));
    let mut enter = Command::new("nsenter");
    enter.args(["--target", &init.to_string(), "--mount", "--uts", "--net", "--pid", "--"]);
    enter.arg("env").arg("-C").arg(std::env::current_dir().unwrap_or_else(|_| "/".into()));
    enter.args(command);
    enter.env("PATH", path).env("HOLDFAST_NODE", &node.name);
    // kubectl asks the node itself, which answers with the link down too.
    enter.env("KUBECONFIG", &node.local_kubeconfig).env("HOLDFAST_HUB_KUBECONFIG", &node.kubeconfig);
    Ok(enter)
}
