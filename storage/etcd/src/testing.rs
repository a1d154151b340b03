//! A real etcd for tests of this crate and of others. `cargo xtask test` names the one it keeps in `ETCD`, and then it must
//! run; without that, the one on the PATH does, if there is one.
//!
//! Each server has a folder and ports of its own on loopback, and ends with its owner.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long it may take to come up, or to go.
const SOON: Duration = Duration::from_secs(30);
/// Another process may take a free port before etcd does.
const TRIES: usize = 5;
/// Below the kernel's `ip_local_port_range`.
const PORTS: Range<u16> = 12_000..32_000;

/// An etcd of one member.
pub struct EtcdServer {
    program: String,
    flags: Vec<String>,
    folder: PathBuf,
    client: u16,
    peer: u16,
    scheme: &'static str,
    child: Option<Child>,
}

impl EtcdServer {
    /// Starts one that syncs what it acknowledges. `None`, saying so, when this machine has no etcd.
    pub fn start() -> Option<EtcdServer> {
        EtcdServer::start_with(&[])
    }

    /// One for tests that kill nobody, and write many keys at once: it does not sync.
    pub fn start_quick() -> Option<EtcdServer> {
        EtcdServer::start_with(&["--unsafe-no-fsync", "--max-txn-ops=1024"])
    }

    /// Starts one with more flags; with `--cert-file` it is reached by https.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start_with(flags: &[&str]) -> Option<EtcdServer> {
        let program = find()?;
        let folder = new_folder();
        let scheme = if flags.iter().any(|flag| flag.starts_with("--cert-file")) { "https" } else { "http" };
        let flags = flags.iter().map(ToString::to_string).collect();
        let mut server = EtcdServer { program, flags, folder, client: 0, peer: 0, scheme, child: None };
        for _ in 0..TRIES {
            // Both are held while the other is drawn, so that they differ.
            let (client, peer) = (free_port(), free_port());
            server.client = client.local_addr().unwrap().port();
            server.peer = peer.local_addr().unwrap().port();
            drop((client, peer));
            server.spawn();
            if server.comes_up() {
                return Some(server);
            }
        }
        panic!("etcd does not come up:\n{}", server.log());
    }

    /// What a client is told.
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client)
    }

    /// What it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again over its folder, at its place.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
        assert!(self.comes_up(), "etcd does not come up again:\n{}", self.log());
    }

    /// Begins again with nothing, at its place.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn wipe(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
        self.restart();
    }

    /// Stops it (`SIGSTOP`), or lets it go on: it takes connections meanwhile, and answers nothing.
    ///
    /// # Panics
    /// When it does not run.
    pub fn hold(&self, held: bool) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let signal = if held { "-STOP" } else { "-CONT" };
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn spawn(&mut self) {
        let (client, peer) = (self.endpoint(), format!("http://127.0.0.1:{}", self.peer));
        let cluster = format!("one={peer}");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut etcd = Command::new(&self.program);
        etcd.arg("--data-dir").arg(self.data());
        for (flag, value) in [
            ("--name", "one"),
            ("--listen-client-urls", client.as_str()),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &cluster),
            ("--logger", "zap"),
            ("--log-level", "warn"),
        ] {
            etcd.args([flag, value]);
        }
        etcd.args(&self.flags).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // Settings of the machine's own etcd are none of a test's.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
            etcd.env_remove(name);
        }
        self.child = Some(etcd.spawn().unwrap());
    }

    /// It takes connections once it serves; `false` when it ended instead.
    fn comes_up(&mut self) -> bool {
        let address = SocketAddr::from(([127, 0, 0, 1], self.client));
        let begun = Instant::now();
        loop {
            if self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()) {
                return false;
            }
            if self.answers(address).unwrap_or(false) {
                return true;
            }
            assert!(begun.elapsed() < SOON, "etcd does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether it says that it is healthy. One that is killed before it was, though it took connections already, may have
    /// written down no more than that it wants to be a member, and comes never up again.
    fn answers(&self, address: SocketAddr) -> std::io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        if self.scheme == "https" {
            return Ok(true);
        }
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.contains("\"health\":\"true\""))
    }
}

impl Drop for EtcdServer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("holdfast-etcd-{}-{number}", std::process::id()));
    // What an earlier process of the same number left, that was killed.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Not one that the kernel gives to whoever connects: while etcd is down, a client that dials it again and again would some
/// time be given etcd's own port, reach itself, and keep etcd from coming back.
fn free_port() -> TcpListener {
    loop {
        let drawn = RandomState::new().build_hasher().finish() % u64::from(PORTS.end - PORTS.start);
        let port = PORTS.start + u16::try_from(drawn).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}

fn find() -> Option<String> {
    let named = std::env::var("ETCD").ok();
    let program = named.clone().unwrap_or_else(|| "etcd".into());
    let found = Command::new(&program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        assert!(named.is_none(), "ETCD={program} does not run");
        eprintln!("skipped: no etcd on this machine");
    }
    found.then_some(program)
}
