//! Guests, images, a host process, a network namespace.

use holdfast_runtime::*;
use holdfast_wasm_client::{WasmConfig, WasmRuntime};
use sha2::{Digest, Sha256};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longest wait of a test for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Builds a guest from its sources; returns the Wasm.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests");
    holdfast_fixtures::guests::wasm(name, &target).unwrap()
}

/// Writes an OCI artefact with one Wasm layer under `name`.
pub(crate) fn artefact(path: &Path, name: &str, wasm: &[u8], config: serde_json::Value) {
    let mut tar = tar::Builder::new(std::fs::File::create(path).unwrap());
    let mut add = |path: String, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, bytes).unwrap();
    };
    let mut blob = |media_type: &str, bytes: &[u8]| {
        let hex = format!("{:x}", Sha256::digest(bytes));
        add(format!("blobs/sha256/{hex}"), bytes);
        serde_json::json!({ "mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    };
    let config = serde_json::json!({ "architecture": "wasm", "os": "wasip2", "config": config });
    let config = blob("application/vnd.wasm.config.v0+json", &serde_json::to_vec(&config).unwrap());
    let layer = blob("application/wasm", wasm);
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": [layer],
    });
    let mut entry = blob("application/vnd.oci.image.manifest.v1+json", &serde_json::to_vec(&manifest).unwrap());
    entry["annotations"] = serde_json::json!({ "io.containerd.image.name": name });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    add("index.json".to_string(), &serde_json::to_vec(&index).unwrap());
    add("oci-layout".to_string(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    tar.finish().unwrap();
}

/// A host process in its own folder, and a client of it.
pub(crate) struct Node {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) runtime: Arc<WasmRuntime>,
    child: Child,
    flags: Vec<String>,
}

impl Node {
    pub(crate) async fn start() -> Node {
        Node::start_with(&[]).await
    }

    pub(crate) async fn start_with(flags: &[&str]) -> Node {
        let dir = tempfile::tempdir().unwrap();
        let flags: Vec<String> = flags.iter().map(|flag| flag.to_string()).collect();
        let child = spawn(dir.path(), &flags);
        let runtime = WasmRuntime::connect(WasmConfig {
            socket: dir.path().join("run/wasm.sock"),
            spool: dir.path().join("spool"),
        });
        let node = Node { dir, runtime, child, flags };
        node.ready().await;
        node
    }

    pub(crate) async fn ready(&self) {
        let mut events = self.runtime.events();
        let connected = async {
            while self.runtime.version().await.is_err() {
                // The client tells when it has a connection.
                let _ = events.recv().await;
            }
        };
        let connected = tokio::time::timeout(PATIENCE, connected).await;
        assert!(connected.is_ok(), "the host is not reached\n{}", self.stderr());
    }

    /// Ends the process by `signal`; returns its exit code when it exited by itself.
    pub(crate) fn end(&mut self, signal: nix::sys::signal::Signal) -> Option<i32> {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
        self.child.wait().unwrap().code()
    }

    /// Starts the process again in the same folder.
    pub(crate) fn again(&mut self) {
        self.child = spawn(self.dir.path(), &self.flags);
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap_or_default()
    }

    /// Imports Wasm under a name.
    pub(crate) async fn import(&self, name: &str, wasm: &[u8]) -> Result<Vec<String>, RuntimeError> {
        let path = self.dir.path().join("image.tar");
        artefact(&path, name, wasm, serde_json::json!({}));
        self.runtime.import_image(&path).await
    }

    /// A container's specification; its log goes to a file of its own.
    pub(crate) fn container(&self, id: &str, image: &str, args: &[&str]) -> ContainerSpec {
        ContainerSpec {
            id: id.into(),
            name: "main".into(),
            image: image.into(),
            args: args.iter().map(|arg| arg.to_string()).collect(),
            log_path: self.dir.path().join(format!("logs/{id}.log")).display().to_string(),
            ..ContainerSpec::default()
        }
    }

    /// Makes sandbox and container and starts it.
    pub(crate) async fn run(&self, sandbox: &SandboxSpec, container: &ContainerSpec) -> Result<(), RuntimeError> {
        self.runtime.run_sandbox(sandbox).await?;
        self.runtime.create_container(sandbox, container).await?;
        self.runtime.start_container(&container.id).await
    }

    /// Text of a container's log without times: `stdout F …` lines.
    pub(crate) fn log(&self, id: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join(format!("logs/{id}.log"))).unwrap_or_default();
        text.lines().map(|line| line.split_once(' ').unwrap().1.to_string()).collect()
    }

    pub(crate) async fn state(&self, id: &str) -> ContainerState {
        let all = self.runtime.list_containers().await.unwrap();
        all.into_iter().find(|container| container.id == id).unwrap_or_else(|| panic!("no container {id}")).state
    }

    /// Waits for a line of a container's log that ends with `text`.
    pub(crate) async fn said(&self, id: &str, text: &str) {
        let began = Instant::now();
        while !self.log(id).iter().any(|line| line.ends_with(text)) {
            assert!(began.elapsed() < PATIENCE, "{:#?}", self.log(id));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for the end; returns code, reason, message.
    pub(crate) async fn ended(&self, id: &str) -> (i32, String, String) {
        let mut events = self.runtime.events();
        let ended = async {
            loop {
                if let ContainerState::Exited { exit_code, reason, message, .. } = self.state(id).await {
                    return (exit_code, reason, message);
                }
                // Whatever happened, or was missed: it is looked at again.
                let _ = events.recv().await;
            }
        };
        match tokio::time::timeout(PATIENCE, ended).await {
            Ok(ended) => ended,
            Err(_) => panic!("{:?}\n{}", self.state(id).await, self.stderr()),
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, flags: &[String]) -> Child {
    let stderr = std::fs::File::options().append(true).create(true).open(dir.join("stderr")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_holdfast-wasm"))
        .arg("serve")
        .arg("--socket")
        .arg(dir.join("run/wasm.sock"))
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(flags)
        .stdin(Stdio::null())
        .stderr(stderr)
        .spawn()
        .unwrap()
}

/// A sandbox without a network of its own.
pub(crate) fn host_sandbox(id: &str) -> SandboxSpec {
    SandboxSpec { id: id.into(), pod_uid: id.into(), hostname: id.into(), ..SandboxSpec::default() }
}

/// A network namespace with pod addresses on its loopback device.
pub(crate) struct Netns {
    name: String,
}

impl Netns {
    pub(crate) fn new(addresses: &[&str]) -> Netns {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("hfwasm{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let netns = Netns { name };
        ip(&["-n", &netns.name, "link", "set", "lo", "up"]);
        for address in addresses {
            ip(&["-n", &netns.name, "addr", "add", address, "dev", "lo"]);
        }
        netns
    }

    pub(crate) fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// A pod in this namespace.
    pub(crate) fn sandbox(&self, id: &str, address: &str) -> SandboxSpec {
        SandboxSpec { netns_path: self.path(), ips: vec![address.into()], ..host_sandbox(id) }
    }

    pub(crate) fn connect(&self, address: &str) -> std::io::Result<TcpStream> {
        let address: SocketAddr = address.parse().unwrap();
        let namespace = std::fs::File::open(self.path())?;
        let connect = move || {
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        std::thread::spawn(connect).join().unwrap()
    }

    /// One request; returns status and body.
    pub(crate) fn request(
        &self,
        address: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> std::io::Result<(u16, String)> {
        let mut stream = self.connect(address)?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(parse(&answer))
    }

    pub(crate) fn get(&self, address: &str, path: &str) -> (u16, String) {
        self.request(address, "GET", path, "").unwrap()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        ip(&["netns", "del", &self.name]);
    }
}

fn ip(args: &[&str]) {
    let run = Command::new("ip").args(args).output().expect("`ip` (iproute2) is needed");
    assert!(run.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&run.stderr));
}

/// Status and body, chunked or not.
fn parse(answer: &str) -> (u16, String) {
    let (head, mut body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return (status, body.to_string());
    }
    let mut text = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        text.push_str(&rest[..length]);
        body = rest[length..].trim_start_matches("\r\n");
        if length == 0 {
            break;
        }
    }
    (status, text)
}
