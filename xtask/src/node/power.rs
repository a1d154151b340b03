//! Power of a node: off by a cut, on with the disk it had, and the orderly way.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::myself;
use crate::cli::NodeProcess;
use crate::cluster::{Cluster, Node};
use crate::failure::not_done;
use crate::process::{self, MARK, ProcessId, wait_until};
use crate::{cgroups, deps, place};

/// How long the kernel may take to end all processes of a PID namespace.
const DEATH: Duration = Duration::from_secs(20);
/// How long a node may take until its services are started.
const BOOT: Duration = Duration::from_secs(20);
/// How long an orderly stop waits for the services.
const ORDERLY: Duration = Duration::from_secs(20);

pub(crate) fn kill(dir: &Path, name: &str) -> Result<()> {
    deps::need_root("node kill")?;
    let cluster = Cluster::load(dir)?;
    let node = cluster.node(name)?;
    node.init()?;
    cut_power(node)?;
    Cluster::update(dir, |cluster| {
        cluster.node_mut(name)?.went_off();
        Ok(())
    })?;
    println!("{name} is off");
    Ok(())
}

/// Ends all processes of a node, without a word to them. Also takes half-started and half-dead nodes.
pub(crate) fn cut_power(node: &Node) -> Result<()> {
    if let Some(supervisor) = node.supervisor {
        supervisor.signal(Signal::KILL);
    }
    if let Some(namespace) = &node.pid_namespace {
        // A namespace's number may be used again, but only once nobody is in it: check that it is still our init.
        let ours = node.pids.init.and_then(process::pid_namespace).as_ref() == Some(namespace);
        let init = node.pids.init.and_then(ProcessId::of).filter(|_| ours);
        if let Some(init) = init {
            init.signal(Signal::KILL);
            if !wait_until(DEATH, || process::in_namespace(namespace).is_empty()) {
                bail!("processes of {} do not end: {:?}", node.name, process::in_namespace(namespace));
            }
        }
    }
    // After a real power cut there are no cgroups either.
    cgroups::remove(&node.cgroup)
}

pub(crate) fn start(dir: &Path, name: &str) -> Result<()> {
    deps::need_root("node start")?;
    let cluster = Cluster::load(dir)?;
    let node = cluster.node(name)?;
    if node.on().is_some() {
        bail!("{name} is on already");
    }
    boot(&cluster, node, Instant::now() + BOOT)?;
    println!("{name} is on");
    Ok(())
}

/// Starts a node's processes and returns when its services have been started once, by the deadline at the latest.
pub(crate) fn boot(cluster: &Cluster, node: &Node, deadline: Instant) -> Result<()> {
    cut_power(node)?;
    let _ = fs::remove_file(node.dir.join("stopping"));
    Cluster::update(&cluster.dir, |cluster| {
        cluster.node_mut(&node.name)?.went_off();
        Ok(())
    })?;
    let log = File::options().create(true).append(true).open(&node.logs.node);
    let log = log.with_context(|| format!("opening {}", node.logs.node.display()))?;
    let args = NodeProcess { dir: place::absolute(&cluster.dir)?, node: node.name.clone() };
    let mut outer = myself("node-outer", &args)
        .env(MARK, &cluster.id)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("starting {}", node.name))?;
    let mut ended = None;
    let limit = BOOT.min(deadline.saturating_duration_since(Instant::now()));
    let started = wait_until(limit, || {
        ended = outer.try_wait().ok().flatten();
        let now = Cluster::load(&cluster.dir).ok();
        let pids = now.as_ref().and_then(|c| c.node(&node.name).ok()).map(|n| n.pids.clone()).unwrap_or_default();
        ended.is_some() || (pids.containerd.is_some() && pids.wasm.is_some() && pids.agent.is_some())
    });
    let last = || {
        let text = fs::read_to_string(&node.logs.node).unwrap_or_default();
        text.lines().last().unwrap_or("nothing in its log").to_owned()
    };
    match ended {
        Some(status) => bail!("{} did not boot ({status}): {} (see {})", node.name, last(), node.logs.node.display()),
        None if !started => {
            let text = format!("{}'s services did not start; see the logs in {}", node.name, node.dir.display());
            Err(not_done(deadline, text))
        }
        None => Ok(()),
    }
}

pub(crate) fn reboot(dir: &Path, name: &str) -> Result<()> {
    deps::need_root("node reboot")?;
    let cluster = Cluster::load(dir)?;
    let node = cluster.node(name)?;
    node.init()?;
    let stopping = node.dir.join("stopping");
    fs::write(&stopping, "").with_context(|| format!("writing {}", stopping.display()))?;
    for pid in [node.pids.agent, node.pids.wasm, node.pids.containerd] {
        let service = pid.and_then(ProcessId::of);
        if let Some(service) = service {
            service.signal(Signal::TERM);
            if !service.wait_end(ORDERLY) {
                eprintln!("note: process {} of {name} ignored SIGTERM for {} s", service.pid, ORDERLY.as_secs());
            }
        }
    }
    cut_power(node)?;
    boot(&cluster, node, Instant::now() + BOOT)?;
    println!("{name} was rebooted");
    Ok(())
}
