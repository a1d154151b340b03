//! A host of its own: a network namespace in which a test runs, and a folder.

use holdfast_cni::netns;
use holdfast_cni::{PodNetwork, PodNetworkConfig, PodRef};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);

pub(crate) struct Host {
    pub(crate) dir: tempfile::TempDir,
}

/// Runs a test as if it were alone on a machine.
pub(crate) fn on_a_host(test: impl AsyncFnOnce(&Host) + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        let host = Host { dir: tempfile::Builder::new().prefix("hfcni").tempdir().unwrap() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(&host));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let root = self.dir.path().display().to_string();
        for path in table.lines().filter_map(|line| line.split(' ').nth(4)).filter(|path| path.starts_with(&root)) {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

impl Host {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A fresh namespace.
    pub(crate) fn netns(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        assert!(netns::create(&path).unwrap());
        path
    }

    pub(crate) fn config(&self) -> PodNetworkConfig {
        PodNetworkConfig {
            conf_dir: self.path("conf"),
            plugin_dirs: vec![self.path("plugins")],
            state_dir: self.path("state"),
            netns_dir: self.path("netns"),
            pod_cidrs: vec!["10.42.1.0/24".parse().unwrap()],
            cluster_cidrs: vec!["10.42.0.0/16".parse().unwrap()],
            bridge: "hf0".into(),
            mtu: 1400,
        }
    }

    pub(crate) fn network(&self) -> PodNetwork {
        PodNetwork::new(self.config()).unwrap()
    }

    pub(crate) fn conf(&self) -> Value {
        json!({
            "cniVersion": "1.1.0", "name": "test", "type": "holdfast-cni", "dataDir": self.path("data"),
            "ranges": [{"subnet": "10.42.1.0/24"}], "clusterCIDRs": ["10.42.0.0/16"],
        })
    }
}

pub(crate) fn pod(uid: &str) -> PodRef {
    PodRef { uid: uid.into(), name: format!("name-{uid}"), namespace: "demo".into() }
}

/// Runs the plugin: (exit code, output).
pub(crate) fn plugin(env: &[(&str, &str)], input: &str) -> (i32, Value) {
    let env: BTreeMap<String, String> = env.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    let mut output = Vec::new();
    let code = holdfast_cni::plugin_main(&env, &mut input.as_bytes(), &mut output);
    (code, if output.is_empty() { Value::Null } else { serde_json::from_slice(&output).unwrap() })
}

/// `ip` in the namespace of this thread.
pub(crate) fn ip(words: &str) -> String {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn nft(rules: &str) -> String {
    let output = Command::new("nft").arg(rules).output().unwrap();
    assert!(output.status.success(), "nft {rules}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A server in a namespace that answers each connection with the caller's address.
pub(crate) fn serve(netns: &Path, address: IpAddr, port: u16) {
    let listener = netns::enter(Some(netns), move || TcpListener::bind((address, port)).unwrap()).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let text = stream.peer_addr().unwrap().ip().to_string();
            let _ = stream.write_all(text.as_bytes());
        }
    });
}

/// Asks such a server from a namespace (`None`: the host) and an address there.
pub(crate) fn ask(netns: Option<&Path>, from: Option<IpAddr>, to: IpAddr, port: u16) -> Result<String, String> {
    let to = SocketAddr::new(to, port);
    let work = move || {
        let mut stream = connect(from, to).map_err(|err| format!("{to}: {err}"))?;
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).map_err(|err| err.to_string())?;
        Ok(text)
    };
    netns::enter(netns, work).unwrap()
}

fn connect(from: Option<IpAddr>, to: SocketAddr) -> std::io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect_timeout(&to, LIMIT) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        tokio::time::timeout(LIMIT, socket.connect(to)).await?
    })?;
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

pub(crate) fn v4(text: &str) -> IpAddr {
    IpAddr::V4(text.parse::<Ipv4Addr>().unwrap())
}
