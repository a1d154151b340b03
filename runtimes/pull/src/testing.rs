//! A real registry for tests of this crate and of others: Debian's `docker-registry`, over a folder that images are written
//! into. `cargo xtask test` names the one it keeps in `DOCKER_REGISTRY`, and then it must run; without that, the one on the
//! PATH does, if there is one.
//!
//! Each has a folder and a port of its own on loopback, and ends with its owner. Beside it a [`Gate`], which lets through as
//! much as a test allows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests fail the test")]

use holdfast_runtime::digest::sha256;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long it may take to come up.
const SOON: Duration = Duration::from_secs(30);
/// Another process may take a free port before the registry does.
const TRIES: usize = 5;

/// Media types that tests write.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Docker's.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// An index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// A configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A plain layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A registry.
pub struct DockerRegistry {
    program: String,
    /// Its folder; images lie in `data`.
    folder: PathBuf,
    /// More of its configuration, as YAML.
    more: String,
    tls: bool,
    port: u16,
    child: Option<Child>,
}

impl DockerRegistry {
    /// Starts one. `more` is put beside `http:` (such as `auth:`), `tls` names certificate and key. `None`, saying so, when
    /// this machine has none.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn start(more: &str, tls: Option<(&Path, &Path)>) -> Option<DockerRegistry> {
        let program = find()?;
        let folder = new_folder();
        let secured = match tls {
            Some((chain, key)) => {
                format!("  tls:\n    certificate: {}\n    key: {}\n", chain.display(), key.display())
            }
            None => String::new(),
        };
        let mut registry = DockerRegistry {
            program,
            folder,
            more: format!("{secured}{more}"),
            tls: tls.is_some(),
            port: 0,
            child: None,
        };
        for _ in 0..TRIES {
            registry.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            registry.spawn();
            if registry.comes_up() {
                return Some(registry);
            }
        }
        panic!("the registry does not come up:\n{}", registry.log());
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.address())
    }

    /// What it has said. A request may be answered before its line is here.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The same when the requests that it has answered are in it: a further one, which is told to nobody else, stands behind
    /// them. Only of one that speaks without TLS.
    pub fn settled_log(&self) -> String {
        static MARKS: AtomicU32 = AtomicU32::new(0);
        let mark = format!("/v2/?mark={}", MARKS.fetch_add(1, Ordering::Relaxed));
        let mut stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).unwrap();
        stream.write_all(format!("GET {mark} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
        let begun = Instant::now();
        loop {
            let log = self.log();
            if log.contains(&format!("{mark} ")) {
                return log;
            }
            assert!(begun.elapsed() < SOON, "the registry does not say what it was asked:\n{log}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// How many requests it has answered whose line in the log has all of these parts.
    pub fn asked(&self, parts: &[&str]) -> usize {
        let log = self.settled_log();
        let requests = log.lines().filter(|line| line.contains("] \"GET ") || line.contains("] \"HEAD "));
        requests.filter(|line| parts.iter().all(|part| line.contains(part))).count()
    }

    /// Kills it as a crash would, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again at its place.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn();
        assert!(self.comes_up(), "the registry does not come up again:\n{}", self.log());
    }

    /// Puts a blob into a repository; returns its descriptor.
    pub fn put_blob(&self, repository: &str, media_type: &str, bytes: &[u8]) -> Value {
        let digest = sha256(bytes);
        let hex = digest.trim_start_matches("sha256:");
        self.write(&format!("blobs/sha256/{}/{hex}/data", &hex[..2]), bytes);
        self.write(&format!("repositories/{repository}/_layers/sha256/{hex}/link"), digest.as_bytes());
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Puts a manifest or index into a repository; returns its descriptor.
    pub fn put_manifest(&self, repository: &str, document: &Value) -> Value {
        let bytes = document.to_string();
        let descriptor = self.put_blob(repository, document["mediaType"].as_str().unwrap(), bytes.as_bytes());
        let digest = descriptor["digest"].as_str().unwrap();
        let hex = digest.trim_start_matches("sha256:");
        self.write(&format!("repositories/{repository}/_manifests/revisions/sha256/{hex}/link"), digest.as_bytes());
        descriptor
    }

    /// Lets a tag name a manifest.
    pub fn tag(&self, repository: &str, tag: &str, descriptor: &Value) {
        let digest = descriptor["digest"].as_str().unwrap();
        let tags = format!("repositories/{repository}/_manifests/tags/{tag}");
        let hex = digest.trim_start_matches("sha256:");
        self.write(&format!("{tags}/index/sha256/{hex}/link"), digest.as_bytes());
        self.write(&format!("{tags}/current/link"), digest.as_bytes());
    }

    /// Puts an image of plain layers for this machine under a tag; returns the manifest's descriptor.
    pub fn put_image(&self, repository: &str, tag: &str, layers: &[&[u8]], config: &Value) -> Value {
        let mut config = config.clone();
        config["os"] = json!("linux");
        config["architecture"] = json!(holdfast_runtime::platform::host_architecture());
        let ids: Vec<String> = layers.iter().map(|layer| sha256(layer)).collect();
        config["rootfs"] = json!({"type": "layers", "diff_ids": ids});
        let config = self.put_blob(repository, CONFIG, config.to_string().as_bytes());
        let layers: Vec<Value> = layers.iter().map(|layer| self.put_blob(repository, LAYER, layer)).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let descriptor = self.put_manifest(repository, &manifest);
        self.tag(repository, tag, &descriptor);
        descriptor
    }

    /// Overwrites the content of a blob with something else of the same length.
    pub fn spoil(&self, digest: &str) {
        let hex = digest.trim_start_matches("sha256:");
        let path = self.root().join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]));
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::write(path, vec![b'!'; usize::try_from(length).unwrap()]).unwrap();
    }

    fn root(&self) -> PathBuf {
        self.folder.join("data/docker/registry/v2")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn spawn(&mut self) {
        let config = format!(
            "version: 0.1\nlog:\n  accesslog:\n    disabled: false\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: {}\n  secret: x\n{}",
            self.folder.join("data").display(),
            self.address(),
            self.more
        );
        std::fs::create_dir_all(self.root()).unwrap();
        std::fs::write(self.folder.join("config.yml"), config).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("serve").arg(self.folder.join("config.yml"));
        command.env("OTEL_TRACES_EXPORTER", "none");
        self.child = Some(command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    /// It takes connections once it serves; `false` when it ended instead.
    fn comes_up(&mut self) -> bool {
        let begun = Instant::now();
        loop {
            if self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some()) {
                return false;
            }
            if TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], self.port))).is_ok() {
                return true;
            }
            assert!(begun.elapsed() < SOON, "the registry does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the registry's last words:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A folder that no other test has.
pub fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("holdfast-registry-{}-{number}", std::process::id()));
    // What an earlier process of the same number left, that was killed.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn find() -> Option<String> {
    let named = std::env::var("DOCKER_REGISTRY").ok();
    let program = named.clone().unwrap_or_else(|| "docker-registry".into());
    let found = Command::new(&program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        assert!(named.is_none(), "DOCKER_REGISTRY={program} does not run");
        eprintln!("skipped: no docker-registry on this machine");
    }
    found.then_some(program)
}

/// Lets bytes from a server through, as many as are allowed.
pub struct Gate {
    port: u16,
    state: Arc<(Mutex<Allowed>, Condvar)>,
}

#[derive(Default)]
struct Allowed {
    most: u64,
    passed: u64,
    /// Connections are closed when their turn is over, instead of waiting.
    cut: bool,
}

impl Gate {
    /// In front of a server on loopback. Nothing passes yet.
    pub fn new(server: SocketAddr) -> Gate {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<(Mutex<Allowed>, Condvar)> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(upstream) = TcpStream::connect(server) else { continue };
                let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
                let shared = shared.clone();
                std::thread::spawn(move || pass(upstream, client, &shared));
            }
        });
        Gate { port, state }
    }

    /// Host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// So many bytes may pass from now on; then connections wait.
    pub fn allow(&self, bytes: u64) {
        let mut allowed = self.state.0.lock().unwrap();
        allowed.most = allowed.passed.saturating_add(bytes);
        allowed.cut = false;
        self.state.1.notify_all();
    }

    /// So many bytes may pass from now on; then connections are cut, each that wants more.
    pub fn cut_after(&self, bytes: u64) {
        let mut allowed = self.state.0.lock().unwrap();
        allowed.most = allowed.passed.saturating_add(bytes);
        allowed.cut = true;
        self.state.1.notify_all();
    }

    /// Bytes that have passed.
    pub fn passed(&self) -> u64 {
        self.state.0.lock().unwrap().passed
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &(Mutex<Allowed>, Condvar)) {
    let mut buffer = [0; 16 << 10];
    loop {
        let mut allowed = state.0.lock().unwrap();
        while allowed.passed >= allowed.most && !allowed.cut {
            allowed = state.1.wait(allowed).unwrap();
        }
        let room = usize::try_from(allowed.most.saturating_sub(allowed.passed)).unwrap_or(usize::MAX);
        drop(allowed);
        let read = match from.read(&mut buffer[..room.clamp(1, 16 << 10)]) {
            Ok(read) if read > 0 && room > 0 => read,
            _ => break,
        };
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        state.0.lock().unwrap().passed += read as u64;
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
