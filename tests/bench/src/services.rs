//! The services of a node in the bench's namespaces: containerd, holdfast-wasm and the agent, as on a real one.

use crate::figure::Figure;
use crate::hub::Hub;
use crate::process::{Process, wait_for};
use anyhow::{Context, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// On our loopback.
pub(crate) const NODE_IP: &str = "172.29.255.1";
pub(crate) const NAME: &str = "bench-1";
const START: Duration = Duration::from_secs(30);
/// How long processes of the bench's namespaces may take to end.
const CGROUPS: Duration = Duration::from_secs(10);

pub(crate) struct Agent {
    pub(crate) agent: Process,
    pub(crate) wasm: Process,
    containerd: Process,
    /// How the agent is started again: over the same folder it needs no token.
    again: Vec<String>,
    program: PathBuf,
    log: PathBuf,
}

impl Agent {
    /// holdfast-edge.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// Kills the agent and starts it over what it left.
    pub(crate) fn restart_agent(&mut self) -> Result<()> {
        // Before: the new one must not find it alive.
        self.agent.kill()?;
        self.agent = Process::spawn(Command::new(&self.program).args(&self.again), &self.log)?;
        Ok(())
    }
}

/// The cgroup of pods.
pub(crate) fn cgroup(dir: &Path) -> String {
    format!("/{}", dir.file_name().unwrap_or_default().display())
}

/// Removes the cgroup, with those below it, from whichever hierarchies it was made in. One that is missing is no error; one
/// whose last process is still ending is waited for.
pub(crate) fn remove_cgroup(cgroup: &str) {
    let root = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let ours = hierarchies.chain([root.to_owned()]).map(|at| at.join(cgroup.trim_start_matches('/')));
    let ours: Vec<PathBuf> = ours.filter(|folder| folder.is_dir()).collect();
    let deadline = Instant::now() + CGROUPS;
    loop {
        ours.iter().for_each(|folder| remove_below(folder));
        if ours.iter().all(|folder| !folder.is_dir()) || Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn remove_below(folder: &Path) {
    for inner in fs::read_dir(folder).into_iter().flatten().flatten().filter(|inner| inner.path().is_dir()) {
        remove_below(&inner.path());
    }
    let _ = fs::remove_dir(folder);
}

/// Starts the node's services; returns when its Node has reported that it is ready.
pub(crate) fn start(runtime: &Runtime, bin_dir: &Path, dir: &Path, hub: &mut Hub) -> Result<Agent> {
    let token = hub.join_token(bin_dir)?;
    let config = dir.join("containerd.toml");
    fs::write(&config, containerd_config(&dir.join("containerd")))?;
    let mut command = Command::new("containerd");
    let mut containerd = Process::spawn(command.arg("--config").arg(&config), &dir.join("containerd.log"))?;
    let socket = Path::new("/run/containerd/containerd.sock");
    wait_for("containerd's socket", START, &mut containerd, || socket.exists())?;

    let mut command = Command::new(bin_dir.join("holdfast-wasm"));
    command.args(["serve", "--socket", "/run/holdfast/wasm.sock", "--data-dir"]).arg(dir.join("wasm"));
    fs::create_dir_all("/run/holdfast")?;
    let mut wasm = Process::spawn(&mut command, &dir.join("wasm.log"))?;
    let socket = Path::new("/run/holdfast/wasm.sock");
    wait_for("holdfast-wasm's socket", START, &mut wasm, || socket.exists())?;

    let program = bin_dir.join("holdfast-edge");
    let data_dir = data_dir(dir).display().to_string();
    let again = ["agent", "--hub", &hub.link_address, "--node-name", NAME, "--node-ip", NODE_IP];
    let folders = ["--data-dir".to_owned(), data_dir, "--cgroup-parent".to_owned(), cgroup(dir)];
    let again: Vec<String> = again.into_iter().map(str::to_owned).chain(folders).collect();
    let log = dir.join("agent.log");
    let mut agent = Process::spawn(Command::new(&program).args(&again).args(["--token", &token]), &log)?;
    let mut client = runtime.block_on(hub.admin.connect())?;
    let path = format!("/api/v1/nodes/{NAME}");
    let began = Instant::now();
    wait_for("the node's readiness", START, &mut agent, || {
        let node = runtime.block_on(client.get(&path)).unwrap_or_default();
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition: &Value| condition["type"] == "Ready" && condition["status"] == "True")
    })
    .with_context(|| format!("the node did not report itself ready ({})", hub.process.log_tail()))?;
    Figure::new("agent start to Ready at the hub (first join)", began.elapsed().as_secs_f64() * 1000.0, "ms", 1)
        .print();
    Ok(Agent { agent, wasm, containerd, again, program, log })
}

pub(crate) fn stop(node: Agent) -> Result<()> {
    node.agent.stop()?;
    node.wasm.stop()?;
    node.containerd.stop()
}

pub(crate) fn data_dir(dir: &Path) -> PathBuf {
    dir.join("agent")
}

/// No CRI and no snapshotters that this machine may lack, as on the nodes of `cargo xtask up`.
fn containerd_config(root: &Path) -> String {
    let root = root.display();
    format!(
        r#"version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
  "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs", "io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp",
]

[grpc]
  address = "/run/containerd/containerd.sock"
"#
    )
}
