//! PID 1 of a node: what a boot does, then what a service manager does.

use std::fs;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::CloneFlags;
use rustix::process::{Signal, set_parent_process_death_signal};

use super::service::{self, Supervisor};
use crate::cli::NodeProcess;
use crate::cluster::Cluster;
use crate::net;
use crate::process::wait_until;

/// How long `outer` may take to plug the cable in.
const PLUG: Duration = Duration::from_secs(10);

pub(crate) fn run(args: &NodeProcess) -> Result<()> {
    if std::process::id() != 1 {
        bail!("node-init is started by `up` and `node start`, as PID 1 of a node");
    }
    set_parent_process_death_signal(Some(Signal::KILL)).context("asking for the parent's death signal")?;
    let flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
    nix::sched::unshare(flags).context("making the node's namespaces")?;
    nix::unistd::sethostname(&args.node).context("naming the node")?;
    mounts()?;
    say("ready")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("waiting for the cable")?;
    if line.trim() != "go" {
        bail!("the supervisor ended before the node's network was there");
    }

    let cluster = Cluster::load(&args.dir)?;
    let node = cluster.node(&args.node)?;
    if !wait_until(PLUG, || Path::new("/proc/sys/net/ipv4/conf/eth0").exists()) {
        bail!("no eth0 came up in the node");
    }
    net::configure(node, cluster.gateway)?;
    Supervisor::new(service::all(&cluster, node)?, node.dir.join("stopping"))
        .run(|name, pid| say(&format!("started {name} {pid}")))
}

/// Mounts of our own over the machine's: nothing that is mounted here is seen outside.
fn mounts() -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making the mounts private")?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("proc"), "/proc", Some("proc"), safe | MsFlags::MS_NOEXEC, none).context("mounting /proc")?;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), safe, Some("mode=755")).context("mounting /run")?;
    for folder in ["/run/lock", "/run/holdfast", "/run/netns", "/run/containerd"] {
        fs::create_dir_all(folder).with_context(|| format!("creating {folder}"))?;
    }
    Ok(())
}

/// A line to `outer`. Its end is our end too, so a broken pipe is an error.
fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("telling the supervisor")
}
