//! `DIR/cluster.json`: what stands where. It is written before anything is started and after every change, under a
//! lock, so that `down` works whatever happened to `up`. Scripts read it; fields are added, never renamed.

use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::place;
use crate::process::{self, ProcessId};

/// Port of the API when DIR is `.holdfast`.
const DEFAULT_PORT: u16 = 6443;
/// Derived ports lie below the kernel's ephemeral range.
const DERIVED_PORTS: std::ops::Range<u16> = 10_000..30_000;
/// Present in every folder that `up` made: without it `down` deletes no file.
const MARKER: &str = ".holdfast-cluster";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cluster {
    pub(crate) version: u32,
    /// Absolute.
    pub(crate) dir: PathBuf,
    /// Six hex digits of DIR's hash, part of every name in the kernel.
    pub(crate) id: String,
    pub(crate) bin_dir: PathBuf,
    pub(crate) images: PathBuf,
    pub(crate) kubectl: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) bridge: String,
    pub(crate) subnet: String,
    pub(crate) gateway: Ipv4Addr,
    pub(crate) cluster_cidr: String,
    pub(crate) service_cidr: String,
    pub(crate) cgroup: String,
    pub(crate) hub: Hub,
    pub(crate) nodes: Vec<Node>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Hub {
    pub(crate) pid: Option<u32>,
    pub(crate) process: Option<ProcessId>,
    pub(crate) api_port: u16,
    pub(crate) link_port: u16,
    pub(crate) data_dir: PathBuf,
    pub(crate) log: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) addresses: Vec<Ipv4Addr>,
    pub(crate) veth: String,
    pub(crate) mac: String,
    pub(crate) cgroup: String,
    pub(crate) dir: PathBuf,
    pub(crate) data_dir: PathBuf,
    /// `hub` address of the link and the join token's file: what the agent is started with.
    pub(crate) hub: String,
    pub(crate) token_file: PathBuf,
    pub(crate) clock_offset_file: PathBuf,
    /// Leads to the hub.
    pub(crate) kubeconfig: PathBuf,
    /// Leads to the node's own API, from inside the node; the agent writes it.
    #[serde(default)]
    pub(crate) local_kubeconfig: PathBuf,
    pub(crate) logs: Logs,
    /// Null while the node is off.
    pub(crate) netns: Option<PathBuf>,
    pub(crate) pid_namespace: Option<String>,
    /// The process whose death is the power cut.
    pub(crate) supervisor: Option<ProcessId>,
    pub(crate) pids: Pids,
    pub(crate) sockets: Option<Sockets>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Logs {
    pub(crate) agent: PathBuf,
    pub(crate) containerd: PathBuf,
    pub(crate) wasm: PathBuf,
    pub(crate) node: PathBuf,
}

/// Pids as seen from the root namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pids {
    pub(crate) init: Option<u32>,
    pub(crate) agent: Option<u32>,
    pub(crate) containerd: Option<u32>,
    #[serde(rename = "holdfast-wasm")]
    pub(crate) wasm: Option<u32>,
}

/// Sockets on the node's private /run, reached from outside through its init's root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sockets {
    pub(crate) agent: PathBuf,
    pub(crate) containerd: PathBuf,
    pub(crate) wasm: PathBuf,
}

/// Names and numbers that follow from DIR alone.
pub(crate) struct Derived {
    pub(crate) dir: PathBuf,
    pub(crate) id: String,
    hash: u64,
}

impl Derived {
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let dir = place::absolute(dir)?;
        let hash = fnv1a(dir.as_os_str().as_encoded_bytes());
        Ok(Self { id: format!("{:06x}", hash & 0xff_ffff), hash, dir })
    }

    pub(crate) fn bridge(&self) -> String {
        format!("hf{}", self.id)
    }

    /// At most 15 bytes: `hf`, 6 hex digits, `n`, up to 6 digits.
    pub(crate) fn veth(&self, index: u32) -> String {
        format!("hf{}n{index}", self.id)
    }

    pub(crate) fn table(&self) -> String {
        format!("holdfast_{}", self.id)
    }

    pub(crate) fn cgroup(&self) -> String {
        format!("/holdfast-{}", self.id)
    }

    /// Locally administered; `last` 1 is the bridge, 10 + n a node.
    pub(crate) fn mac(&self, last: u32) -> String {
        let h = self.hash.to_be_bytes();
        format!("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", h[5], h[6], h[7], last >> 8 & 0xff, last & 0xff)
    }

    /// Third bytes of 172.29.X.0/24 to try, the preferred one first.
    pub(crate) fn subnets(&self) -> impl Iterator<Item = u8> {
        let first = self.hash.to_be_bytes()[4];
        (0..=255_u8).map(move |step| first.wrapping_add(step))
    }

    /// API ports to try; the link's port is the next one.
    pub(crate) fn ports(&self, asked: Option<u16>) -> Vec<u16> {
        if let Some(port) = asked {
            return vec![port];
        }
        if self.dir.file_name().is_some_and(|n| n == ".holdfast") {
            return vec![DEFAULT_PORT];
        }
        let pairs = u64::from(DERIVED_PORTS.end - DERIVED_PORTS.start) / 2;
        let pair = |step: u64| u16::try_from(2 * ((self.hash.wrapping_add(step)) % pairs)).unwrap_or_default();
        (0..50).map(|step| DERIVED_PORTS.start + pair(step)).collect()
    }

    pub(crate) fn marker(&self) -> PathBuf {
        self.dir.join(MARKER)
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
}

impl Cluster {
    /// Reads `DIR/cluster.json`.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let path = place::absolute(dir)?.join("cluster.json");
        let text = fs::read(&path).with_context(|| {
            format!("no cluster in {} (cannot read cluster.json); start one with `cargo xtask up`", dir.display())
        })?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a cluster.json of this version", path.display()))
    }

    /// Writes it whole, atomically.
    pub(crate) fn save(&self) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        write_private(&self.dir.join("cluster.json"), &json)
    }

    /// Loads, changes and saves under the lock; several node supervisors do so at once.
    pub(crate) fn update<T>(dir: &Path, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let lock_path = place::absolute(dir)?.join(".lock");
        let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.with_context(|| format!("opening {}", lock_path.display()))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("locking the cluster")?;
        let mut cluster = Self::load(dir)?;
        let result = change(&mut cluster)?;
        cluster.save()?;
        Ok(result)
    }

    pub(crate) fn node(&self, name: &str) -> Result<&Node> {
        match self.nodes.iter().find(|n| n.name == name) {
            Some(node) => Ok(node),
            None => bail!("no node {name:?}; there are {}", self.names().join(", ")),
        }
    }

    pub(crate) fn node_mut(&mut self, name: &str) -> Result<&mut Node> {
        let names = self.names().join(", ");
        self.nodes.iter_mut().find(|n| n.name == name).with_context(|| format!("no node {name:?}; there are {names}"))
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.nodes.iter().map(|n| n.name.as_str()).collect()
    }

    /// The hub or a node's supervisor lives.
    pub(crate) fn running(&self) -> bool {
        let processes = self.nodes.iter().map(|n| n.supervisor).chain([self.hub.process]);
        processes.flatten().any(ProcessId::alive)
    }
}

impl Node {
    pub(crate) fn ip(&self) -> Ipv4Addr {
        self.addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// The init's pid while the node is on.
    pub(crate) fn on(&self) -> Option<u32> {
        let on = self.supervisor.is_some_and(ProcessId::alive);
        self.pids.init.filter(|pid| on && process::pid_namespace(*pid) == self.pid_namespace)
    }

    /// As `on`, with an error that says what to do.
    pub(crate) fn init(&self) -> Result<u32> {
        self.on().with_context(|| format!("{} is off; `cargo xtask node start {}` boots it", self.name, self.name))
    }

    /// Forgets all that a power cut ends.
    pub(crate) fn went_off(&mut self) {
        (self.netns, self.pid_namespace, self.supervisor, self.sockets) = (None, None, None, None);
        self.pids = Pids::default();
    }
}

/// Writes a file that only its owner reads, by rename.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = path.with_extension(format!("part{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let written = options.open(&part).and_then(|mut f| f.write_all(bytes)).and_then(|()| fs::rename(&part, path));
    written.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ_by_folder() {
        let (a, b) = (Derived::of(Path::new("/tmp/a")).unwrap(), Derived::of(Path::new("/tmp/b")).unwrap());
        assert_ne!(a.bridge(), b.bridge());
        assert!(a.veth(50).len() <= 15);
        assert_eq!(a.subnets().count(), 256);
    }

    #[test]
    fn the_api_port_is_the_documented_one() {
        let default = Derived::of(Path::new("/x/.holdfast")).unwrap();
        assert_eq!(default.ports(None), [DEFAULT_PORT]);
        assert_eq!(default.ports(Some(7000)), [7000]);
        let other = Derived::of(Path::new("/x/other")).unwrap();
        assert!(other.ports(None).iter().all(|p| DERIVED_PORTS.contains(p) && p % 2 == 0));
    }
}
