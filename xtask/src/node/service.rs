//! The node's services and the loop that keeps them running, as `Restart=always` of their systemd units does.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::WaitOptions;

use super::log::Log;
use crate::cluster::{Cluster, Node};

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After this life a service counts as having started well, and the pause is short again.
const GOOD_LIFE: Duration = Duration::from_secs(10);
/// How often ended children are looked for.
const TICK: Duration = Duration::from_millis(50);

/// What of the agent's settings may be changed before a node starts again. How full this machine's disk is says nothing about
/// the node.
const SETTINGS: &str = "eviction-hard = \"memory.available<100Mi\"\n";

pub(crate) struct Service {
    pub(crate) name: &'static str,
    program: PathBuf,
    args: Vec<String>,
    log: Log,
}

/// containerd, holdfast-wasm and the agent, in the order in which they first start; none waits for another.
pub(crate) fn all(cluster: &Cluster, node: &Node) -> Result<Vec<Service>> {
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let config = node.dir.join("containerd.toml");
    fs::write(&config, containerd_config(&text(&node.dir.join("containerd"))))
        .with_context(|| format!("writing {}", config.display()))?;
    let settings = node.dir.join("agent.toml");
    if !settings.exists() {
        fs::write(&settings, SETTINGS).with_context(|| format!("writing {}", settings.display()))?;
    }
    let token = fs::read_to_string(&node.token_file)
        .with_context(|| format!("reading the join token {}", node.token_file.display()))?;
    let strings = |args: &[&str]| args.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
    let service = |name, program: PathBuf, args: Vec<String>, log: &PathBuf| {
        Ok::<_, anyhow::Error>(Service { name, program, args, log: Log::open(log)? })
    };
    Ok(vec![
        service(
            "containerd",
            PathBuf::from("containerd"),
            strings(&["--config", &text(&config)]),
            &node.logs.containerd,
        )?,
        service(
            "holdfast-wasm",
            cluster.bin_dir.join("holdfast-wasm"),
            strings(&["serve", "--socket", "/run/holdfast/wasm.sock", "--data-dir", &text(&node.dir.join("wasm"))]),
            &node.logs.wasm,
        )?,
        service(
            "agent",
            cluster.bin_dir.join("holdfast-edge"),
            strings(&[
                "agent",
                "--hub",
                &format!("{}/{}", node.hub, cluster.hub.api_port),
                "--token",
                token.trim(),
                "--node-name",
                &node.name,
                "--data-dir",
                &text(&node.data_dir),
                "--node-ip",
                &node.ip().to_string(),
                "--containerd-socket",
                "/run/containerd/containerd.sock",
                "--wasm-socket",
                "/run/holdfast/wasm.sock",
                "--cgroup-parent",
                &node.cgroup,
                "--config",
                &text(&settings),
                "--static-pod-path",
                &text(&node.dir.join("manifests")),
                "--shutdown-grace-period",
                "20s",
                "--clock-offset-file",
                &text(&node.clock_offset_file),
            ]),
            &node.logs.agent,
        )?,
    ])
}

/// No CRI (we speak containerd's own API), none of the snapshotters that this machine may lack, and not `opt`, which
/// makes folders under the machine's /opt. Version 2 is read by containerd 1.6 and 2.x alike.
fn containerd_config(root: &str) -> String {
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

struct Life {
    began: Instant,
    pause: Duration,
}

pub(crate) struct Supervisor {
    services: Vec<Service>,
    /// While this file exists, what ends stays down: an orderly stop is under way.
    stopping: PathBuf,
    running: BTreeMap<i32, usize>,
    lives: BTreeMap<usize, Life>,
    /// When which service starts again.
    due: Vec<(Instant, usize)>,
}

impl Supervisor {
    pub(crate) fn new(services: Vec<Service>, stopping: PathBuf) -> Self {
        let due = (0..services.len()).map(|i| (Instant::now(), i)).collect();
        Self { services, stopping, running: BTreeMap::new(), lives: BTreeMap::new(), due }
    }

    /// Never returns but by an error of `started`: the supervisor's end.
    pub(crate) fn run(mut self, mut started: impl FnMut(&str, u32) -> Result<()>) -> Result<()> {
        loop {
            self.reap();
            let now = Instant::now();
            let (ready, later): (Vec<_>, Vec<_>) = self.due.drain(..).partition(|(at, _)| *at <= now);
            self.due = later;
            for (_, index) in ready {
                if self.stopping.exists() {
                    self.due.push((now + FIRST_PAUSE, index));
                } else if let Some(pid) = self.start(index) {
                    started(self.services[index].name, pid)?;
                }
            }
            std::thread::sleep(TICK);
        }
    }

    fn start(&mut self, index: usize) -> Option<u32> {
        let service = &self.services[index];
        let pause = self.lives.get(&index).map_or(FIRST_PAUSE, |l| l.pause);
        self.lives.insert(index, Life { began: Instant::now(), pause });
        let mut command = Command::new(&service.program);
        command.args(&service.args).current_dir("/").stdin(Stdio::null());
        match command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(mut child) => {
                if let Some(out) = child.stdout.take() {
                    service.log.follow(out);
                }
                if let Some(err) = child.stderr.take() {
                    service.log.follow(err);
                }
                // Never waited for through `child`: `reap` collects everything, also strangers that a service left.
                self.running.insert(i32::try_from(child.id()).unwrap_or(i32::MAX), index);
                Some(child.id())
            }
            Err(err) => {
                service.log.line(&format!("node-init: cannot start {}: {err}", service.program.display()));
                self.again(index);
                None
            }
        }
    }

    /// Collects every ended child: as PID 1 we inherit shims and whatever else loses its parent.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if let Some(index) = self.running.remove(&pid.as_raw_nonzero().get()) {
                let status = ExitStatus::from_raw(status.as_raw());
                let service = &self.services[index];
                service.log.line(&format!("node-init: {} ended ({status})", service.name));
                self.again(index);
            }
        }
    }

    fn again(&mut self, index: usize) {
        let now = Instant::now();
        let life = self.lives.entry(index).or_insert(Life { began: now, pause: FIRST_PAUSE });
        if now.duration_since(life.began) >= GOOD_LIFE {
            life.pause = FIRST_PAUSE;
        }
        self.due.push((now + life.pause, index));
        life.pause = (life.pause * 2).min(LONGEST_PAUSE);
    }
}
