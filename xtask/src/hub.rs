//! The hub's process: in the root namespace, on its own, so that it outlives the terminal that started it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::cluster::{Cluster, write_private};
use crate::failure::TimedOut;
use crate::process::{self, MARK, ProcessId};
use crate::{deps, kubectl, place};

/// How long an orderly stop may take before it is an error.
const STOP: Duration = Duration::from_secs(30);
/// How long a restarted hub may take to `/readyz`.
const START: Duration = Duration::from_secs(60);

/// Starts the process and records it; does not wait.
pub(crate) fn spawn(cluster: &Cluster) -> Result<ProcessId> {
    let log = File::options().create(true).append(true).open(&cluster.hub.log);
    let log = log.with_context(|| format!("opening {}", cluster.hub.log.display()))?;
    let mut hub = Command::new(cluster.bin_dir.join("holdfast-hub"));
    hub.arg("serve").arg("--data-dir").arg(&cluster.hub.data_dir);
    hub.arg("--listen").arg(format!("0.0.0.0:{}", cluster.hub.api_port));
    // On the bridge alone, so that answers leave from the address that nodes know.
    hub.arg("--link-listen").arg(format!("{}:{}", cluster.gateway, cluster.hub.link_port));
    hub.arg("--advertise").arg(cluster.gateway.to_string());
    hub.args(["--cluster-cidr", &cluster.cluster_cidr, "--service-cidr", &cluster.service_cidr]);
    hub.env(MARK, &cluster.id).current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let child = hub.process_group(0).spawn().context("starting holdfast-hub")?;
    let process = ProcessId::of(child.id()).context("holdfast-hub ended at once")?;
    Cluster::update(&cluster.dir, |cluster| {
        (cluster.hub.pid, cluster.hub.process) = (Some(process.pid), Some(process));
        Ok(())
    })?;
    Ok(process)
}

/// Waits for `/readyz`, and puts the kubeconfigs in their places.
pub(crate) fn wait_ready(cluster: &Cluster, process: ProcessId, deadline: Instant) -> Result<()> {
    let made = cluster.hub.data_dir.join("admin.kubeconfig");
    let mut why = "it wrote no admin.kubeconfig".to_owned();
    loop {
        if !process.alive() {
            bail!("holdfast-hub ended: {} (log: {})", last_line(&cluster.hub.log), cluster.hub.log.display());
        }
        if made.is_file() {
            kubeconfigs(cluster, &made)?;
            match process::output(kubectl::command(cluster).args(["get", "--raw=/readyz"])) {
                Ok(_) => return Ok(()),
                Err(err) => why = format!("{err:#}"),
            }
        }
        if Instant::now() >= deadline {
            return Err(TimedOut(format!("the hub is not ready: {why}")).into());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The admin's for this machine, and one for each node with the hub's address on the bridge.
fn kubeconfigs(cluster: &Cluster, made: &Path) -> Result<()> {
    let text = fs::read_to_string(made).with_context(|| format!("reading {}", made.display()))?;
    write_private(&cluster.kubeconfig, text.as_bytes())?;
    for node in &cluster.nodes {
        let from_node = text.replace("https://127.0.0.1:", &format!("https://{}:", cluster.gateway));
        write_private(&node.kubeconfig, from_node.as_bytes())?;
    }
    Ok(())
}

/// A token with which all nodes of this cluster join.
pub(crate) fn join_token(cluster: &Cluster) -> Result<String> {
    let mut create = Command::new(cluster.bin_dir.join("holdfast-hub"));
    create.args(["token", "create", "--data-dir"]).arg(&cluster.hub.data_dir);
    let said = process::output(&mut create)?;
    let token = said.lines().map(str::trim).find(|l| l.split('.').count() == 3);
    token.map(str::to_owned).with_context(|| format!("holdfast-hub printed no token ID.SECRET.CAHASH: {said:?}"))
}

pub(crate) fn stop(dir: &Path) -> Result<()> {
    let cluster = Cluster::load(dir)?;
    end(&cluster, Signal::TERM)?;
    println!("the hub is stopped");
    Ok(())
}

pub(crate) fn kill(dir: &Path) -> Result<()> {
    let cluster = Cluster::load(dir)?;
    end(&cluster, Signal::KILL)?;
    println!("the hub is killed");
    Ok(())
}

fn end(cluster: &Cluster, signal: Signal) -> Result<()> {
    let process = cluster.hub.process.filter(|p| p.alive()).context("the hub is not running")?;
    process.signal(signal);
    if !process.wait_end(STOP) {
        bail!("the hub (pid {}) did not end within {} s", process.pid, STOP.as_secs());
    }
    forget(&cluster.dir)
}

fn forget(dir: &Path) -> Result<()> {
    Cluster::update(dir, |cluster| {
        (cluster.hub.pid, cluster.hub.process) = (None, None);
        Ok(())
    })
}

pub(crate) fn start_again(dir: &Path) -> Result<()> {
    deps::need_root("hub start")?;
    let cluster = Cluster::load(dir)?;
    if cluster.hub.process.is_some_and(ProcessId::alive) {
        bail!("the hub is running already");
    }
    let began = Instant::now();
    let process = spawn(&cluster)?;
    wait_ready(&cluster, process, began + START)?;
    println!("the hub is ready after {:.2} s", began.elapsed().as_secs_f32());
    Ok(())
}

/// Backs the hub up, whether it runs or not: its own program knows how.
pub(crate) fn backup(dir: &Path, file: &Path) -> Result<()> {
    let cluster = Cluster::load(dir)?;
    process::show(hub(&cluster, "backup").arg(place::absolute(file)?))
}

/// Replaces the hub's data by a backup; a hub that runs is stopped for it, and started again.
pub(crate) fn restore(dir: &Path, file: &Path) -> Result<()> {
    let cluster = Cluster::load(dir)?;
    // Before anything is stopped.
    let file = place::absolute(file)?;
    process::show(hub(&cluster, "check").arg(&file))?;
    let was_running = cluster.hub.process.is_some_and(ProcessId::alive);
    if was_running {
        deps::need_root("hub restore")?;
        stop(dir)?;
    }
    let restored = process::show(hub(&cluster, "restore").arg("--force").arg(&file));
    if was_running {
        // Also when nothing was restored: the hub goes on as it was.
        start_again(dir)?;
    }
    restored
}

fn hub(cluster: &Cluster, verb: &str) -> Command {
    let mut hub = Command::new(cluster.bin_dir.join("holdfast-hub"));
    hub.arg(verb).arg("--data-dir").arg(&cluster.hub.data_dir);
    hub
}

pub(crate) fn last_line(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("nothing in its log").to_owned()
}
