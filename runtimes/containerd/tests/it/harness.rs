//! A private containerd, a small image, and the removal of everything afterwards.

use holdfast_containerd::{ContainerdConfig, ContainerdRuntime};
use holdfast_runtime::cri_log::parse_line;
use holdfast_runtime::{ContainerInfo, ContainerSpec, ContainerState, Runtime, SandboxSpec};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) const IMAGE: &str = "registry.local/busybox:1";
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Names another containerd than the system's.
const CONTAINERD: &str = "CONTAINERD";

static COUNT: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Node {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) namespace: String,
    containerd: Option<Child>,
    containers: AtomicU32,
}

impl Node {
    pub(crate) fn start() -> Node {
        let dir = tempfile::Builder::new().prefix("hft").tempdir().unwrap();
        let namespace = format!("hft-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut node = Node { dir, namespace, containerd: None, containers: AtomicU32::new(0) };
        node.start_containerd();
        node
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn start_containerd(&mut self) {
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \
             \"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \
             \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.devmapper\", \
             \"io.containerd.internal.v1.opt\"]\n[grpc]\naddress = {:?}\n",
            self.path("root"),
            self.path("state"),
            self.path("c.sock")
        );
        std::fs::write(self.path("config.toml"), config).unwrap();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("containerd.log")).unwrap();
        let mut command = Command::new("containerd");
        if let Some(program) = std::env::var_os(CONTAINERD) {
            // Its shim is the one that lies beside it.
            let beside = Path::new(&program).parent().map(Path::to_path_buf).unwrap_or_default();
            let path = std::env::var_os("PATH").unwrap_or_default();
            let path = std::env::join_paths([beside].into_iter().chain(std::env::split_paths(&path))).unwrap();
            command = Command::new(program);
            command.env("PATH", path);
        }
        let child = command
            .arg("--config")
            .arg(self.path("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.containerd = Some(child);
        let end = Instant::now() + DEADLINE;
        while std::os::unix::net::UnixStream::connect(self.path("c.sock")).is_err() {
            assert!(Instant::now() < end, "containerd does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn kill_containerd(&mut self) {
        let mut child = self.containerd.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What a power cut leaves: nothing that runs, nothing on a tmpfs.
    pub(crate) fn power_cut(&mut self) {
        self.kill_containerd();
        self.kill_shims();
        self.unmount_all();
        let _ = std::fs::remove_dir_all(self.path("run"));
        let _ = std::fs::remove_dir_all(self.path("state"));
        let _ = std::fs::remove_dir_all(format!("/run/containerd/runc/{}", self.namespace));
    }

    pub(crate) fn runtime(&self) -> Arc<ContainerdRuntime> {
        ContainerdRuntime::new(self.config())
    }

    /// Settings of a runtime here.
    pub(crate) fn config(&self) -> ContainerdConfig {
        let mut config = ContainerdConfig::new(self.path("c.sock"), self.path("run"));
        config.namespace = self.namespace.clone();
        config.seccomp_root = self.path("seccomp");
        config.volumes_dir = self.path("volumes");
        config
    }

    /// A runtime that answers and has the image.
    pub(crate) async fn ready(&self) -> Arc<ContainerdRuntime> {
        self.ready_with(self.config()).await
    }

    /// The same with other settings.
    pub(crate) async fn ready_with(&self, config: ContainerdConfig) -> Arc<ContainerdRuntime> {
        let runtime = ContainerdRuntime::new(config);
        until("containerd answers", async || runtime.version().await.is_ok()).await;
        let tar = self.path("image.tar");
        write_image(&tar, IMAGE);
        assert_eq!(runtime.import_image(&tar).await.unwrap(), [IMAGE]);
        runtime
    }

    pub(crate) fn sandbox(&self, id: &str) -> SandboxSpec {
        SandboxSpec {
            id: id.into(),
            pod_uid: format!("uid-{id}"),
            pod_name: "web".into(),
            pod_namespace: "demo".into(),
            hostname: "web-1".into(),
            cgroup_parent: format!("/{}/{id}", self.namespace),
            labels: BTreeMap::from([("app".into(), "web".into())]),
            ..Default::default()
        }
    }

    /// A container that runs a shell script.
    pub(crate) fn container(&self, script: &str) -> ContainerSpec {
        let count = self.containers.fetch_add(1, Ordering::Relaxed);
        ContainerSpec {
            id: format!("pod-web-{count}"),
            name: "web".into(),
            attempt: count,
            image: IMAGE.into(),
            args: vec!["-c".into(), script.into()],
            log_path: self.path(&format!("log-{count}")).display().to_string(),
            ..Default::default()
        }
    }

    /// Makes and starts a container in a ready sandbox.
    pub(crate) async fn run(&self, runtime: &ContainerdRuntime, sandbox: &SandboxSpec, container: &ContainerSpec) {
        runtime.run_sandbox(sandbox).await.unwrap();
        runtime.create_container(sandbox, container).await.unwrap();
        runtime.start_container(&container.id).await.unwrap();
    }

    fn shims(&self) -> Vec<u32> {
        let socket = self.path("c.sock").display().to_string();
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
            .filter(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).into_owned();
                line.contains("containerd-shim") && line.contains(&socket)
            })
            .collect()
    }

    /// The process that holds the PID namespace of the only shared sandbox here.
    pub(crate) fn holder(&self) -> nix::unistd::Pid {
        let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let all = self.shims().into_iter().flat_map(descendants);
        let found: Vec<u32> = all.filter(|pid| name(pid).trim() == "holder").collect();
        assert_eq!(found.len(), 1, "{found:?}");
        nix::unistd::Pid::from_raw(i32::try_from(found[0]).unwrap())
    }

    fn kill_shims(&self) {
        let shims = self.shims();
        let children: Vec<u32> = shims.iter().flat_map(|pid| descendants(*pid)).collect();
        for pid in shims.into_iter().chain(children) {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        }
        let end = Instant::now() + DEADLINE;
        while !self.shims().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn mounts(&self) -> Vec<String> {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let root = self.dir.path().display().to_string();
        table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|at| at.starts_with(&root))
            .map(String::from)
            .collect()
    }

    fn unmount_all(&self) {
        for path in self.mounts().iter().rev() {
            let _ = nix::mount::umount2(path.as_str(), nix::mount::MntFlags::MNT_DETACH);
        }
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let roots = std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path());
        roots.map(|root| root.join(&self.namespace)).filter(|path| path.exists()).collect()
    }

    /// Folders of pods that are left in the cgroup trees.
    pub(crate) fn pod_cgroups(&self) -> Vec<PathBuf> {
        let folders = |path: PathBuf| std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path());
        self.cgroups().into_iter().flat_map(folders).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("containerd.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("containerd's last words:\n{}", lines[lines.len().saturating_sub(25)..].join("\n"));
        }
        self.kill_shims();
        if let Some(mut child) = self.containerd.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.unmount_all();
        let _ = std::fs::remove_dir_all(format!("/run/containerd/runc/{}", self.namespace));
        for path in self.cgroups() {
            remove_tree(&path);
        }
    }
}

fn remove_tree(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(path);
}

fn descendants(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<u32> = children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
    children.iter().copied().chain(children.iter().flat_map(|pid| descendants(*pid))).collect()
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < end, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn info(runtime: &ContainerdRuntime, id: &str) -> ContainerInfo {
    runtime.list_containers().await.unwrap().into_iter().find(|info| info.id == id).unwrap()
}

/// Waits for the end of a container: (exit code, reason, message).
pub(crate) async fn exit(runtime: &ContainerdRuntime, id: &str) -> (i32, String, String) {
    let mut found = None;
    until("the container ends", async || {
        if let ContainerState::Exited { exit_code, reason, message, .. } = info(runtime, id).await.state {
            found = Some((exit_code, reason, message));
        }
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// Texts of a container's log.
pub(crate) fn log(container: &ContainerSpec) -> Vec<String> {
    let bytes = std::fs::read(&container.log_path).unwrap_or_default();
    let lines = bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| String::from_utf8_lossy(parse_line(line).unwrap().text).into_owned()).collect()
}

pub(crate) async fn log_has(container: &ContainerSpec, text: &str) {
    until(&format!("{text:?} is in the log"), async || log(container).iter().any(|line| line == text)).await;
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    builder.append_data(&mut header, path, bytes).unwrap();
}

/// An OCI layout of one layer: busybox and two users.
pub(crate) fn write_image(path: &Path, name: &str) {
    write_image_with(path, name, &[], json!({}));
}

/// The same with further layers, each of files with owners, and more in its configuration.
pub(crate) fn write_image_with(path: &Path, name: &str, more: &[&[(&str, &str, u64)]], config: serde_json::Value) {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "bin/busybox", &std::fs::read("/bin/busybox").unwrap(), 0o755);
    append(&mut layer, "etc/passwd", b"root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n", 0o644);
    append(&mut layer, "etc/group", b"root:x:0:\nlogs:x:40:web\n", 0o644);
    for applet in
        ["sh", "cat", "id", "sleep", "hostname", "echo", "touch", "ls", "unshare", "dd", "env", "stty", "tail"]
    {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let mut layers = vec![layer.into_inner().unwrap()];
    for files in more {
        let mut layer = tar::Builder::new(Vec::new());
        for (path, text, owner) in *files {
            let mut header = tar::Header::new_ustar();
            header.set_mode(if path.ends_with('/') { 0o750 } else { 0o640 });
            header.set_entry_type(if path.ends_with('/') {
                tar::EntryType::Directory
            } else {
                tar::EntryType::Regular
            });
            header.set_uid(*owner);
            header.set_gid(*owner + 1);
            header.set_size(text.len() as u64);
            layer.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        layers.push(layer.into_inner().unwrap());
    }
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{:x}", Sha256::digest(layer))).collect();
    let mut tar = tar::Builder::new(Vec::new());
    let mut blob = |media_type: &str, bytes: &[u8]| {
        let hex = format!("{:x}", Sha256::digest(bytes));
        append(&mut tar, &format!("blobs/sha256/{hex}"), bytes, 0o644);
        json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": bytes.len()})
    };
    let layers: Vec<_> = layers.iter().map(|layer| blob("application/vnd.oci.image.layer.v1.tar", layer)).collect();
    let mut settings = json!({"Entrypoint": ["/bin/sh"], "Env": ["PATH=/bin", "FROM_IMAGE=1"], "WorkingDir": "/etc"});
    settings.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    let config = json!({
        "os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": settings,
    });
    let config = blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
    let mut manifest = blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    manifest["annotations"] = json!({"io.containerd.image.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [manifest]}).to_string();
    append(&mut tar, "index.json", index.as_bytes(), 0o644);
    std::fs::write(path, tar.into_inner().unwrap()).unwrap();
}
