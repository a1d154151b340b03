//! The process of a node that lives in the root namespace. Killing it with SIGKILL is the node's power cut.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::myself;
use crate::cli::NodeProcess;
use crate::cluster::{Cluster, Sockets};
use crate::process::{self, ProcessId, wait_until};
use crate::{cgroups, net};

pub(crate) fn run(args: &NodeProcess) -> Result<()> {
    // A session of our own: a closed terminal is not a power cut.
    let _ = rustix::process::setsid();
    let cluster = Cluster::load(&args.dir)?;
    let node = cluster.node(&args.node)?;
    cgroups::create(&node.cgroup)?;

    let mut fork = myself("node-fork", args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(fork.stdout.take().context("no pipe from the node")?).lines();
    match lines.next() {
        Some(Ok(line)) if line == "ready" => {}
        _ => bail!("the node's init ended before it was ready"),
    }
    let init = child_of(fork.id()).context("the node's init is gone")?;
    net::plug(&cluster.bridge, node, init)?;
    let namespace = process::pid_namespace(init).context("the node's init is gone")?;
    Cluster::update(&args.dir, |cluster| {
        let node = cluster.node_mut(&args.node)?;
        node.supervisor = ProcessId::of(std::process::id());
        node.pids.init = Some(init);
        node.pid_namespace = Some(namespace.clone());
        node.netns = Some(format!("/proc/{init}/ns/net").into());
        let run = |socket: &str| format!("/proc/{init}/root/run/{socket}").into();
        node.sockets = Some(Sockets {
            agent: run("holdfast/edge.sock"),
            containerd: run("containerd/containerd.sock"),
            wasm: run("holdfast/wasm.sock"),
        });
        Ok(())
    })?;
    let mut stdin = fork.stdin.take().context("no pipe to the node")?;
    stdin.write_all(b"go\n").context("telling the node that its network is there")?;

    for line in lines {
        let line = line.context("reading from the node")?;
        if let Some((name, inner)) = line.strip_prefix("started ").and_then(|l| l.split_once(' ')) {
            record(args, &namespace, name, inner.parse().context("reading a pid")?)?;
        }
    }
    bail!("the node's init ended")
}

/// Writes a service's pid as seen from here. A service that ended at once leaves null.
fn record(args: &NodeProcess, namespace: &str, name: &str, inner: u32) -> Result<()> {
    let pid = process::outer_pid(namespace, inner);
    Cluster::update(&args.dir, |cluster| {
        let pids = &mut cluster.node_mut(&args.node)?.pids;
        match name {
            "agent" => pids.agent = pid,
            "containerd" => pids.containerd = pid,
            _ => pids.wasm = pid,
        }
        Ok(())
    })
}

fn child_of(parent: u32) -> Option<u32> {
    let mut child = None;
    wait_until(Duration::from_secs(5), || {
        child = process::pids().into_iter().find(|pid| process::parent(*pid) == Some(parent));
        child.is_some()
    });
    child
}
