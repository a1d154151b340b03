//! With a real dockerd, in a network namespace of the test. Without dockerd they say that they are skipped.

use super::*;
use bytes::Bytes;
use holdfast_containerd::{ContainerdConfig, ContainerdRuntime};
use holdfast_runtime::{ContainerSpec, ContainerState, Runtime, SandboxSpec};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

const DEADLINE: Duration = Duration::from_secs(60);

/// Whether there is a dockerd; if not, that is said where the test harness does not swallow it.
fn has_dockerd(test: &str) -> bool {
    let found = Command::new("dockerd").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: there is no dockerd here (apt-get install docker.io)");
    }
    found
}

/// Runs in a network namespace of its own.
fn apart<F: Future<Output = ()>>(work: impl FnOnce() -> F + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        run("ip", "link set lo up");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(work());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn run(program: &str, args: &str) {
    let output = Command::new(program).args(args.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "{program} {args}: {}", String::from_utf8_lossy(&output.stderr));
}

struct Docker {
    dir: tempfile::TempDir,
    options: Vec<&'static str>,
    daemon: Option<Child>,
}

impl Docker {
    async fn start(options: &[&'static str]) -> Docker {
        let dir = tempfile::Builder::new().prefix("hfd").tempdir().unwrap();
        let mut docker = Docker { dir, options: options.to_vec(), daemon: None };
        docker.run().await;
        docker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn run(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = Command::new("dockerd");
        command.arg("--data-root").arg(self.path("data")).arg("--exec-root").arg(self.path("exec"));
        command.arg("--pidfile").arg(self.path("pid")).arg("-H").arg(format!("unix://{}", self.path("s").display()));
        command.args(&self.options).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.daemon = Some(command.spawn().unwrap());
        let end = Instant::now() + DEADLINE;
        while !matches!(self.api("GET", "/_ping", Bytes::new()).await, Some((StatusCode::OK, _))) {
            assert!(Instant::now() < end, "dockerd does not start:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// An answer of the API, if there is one.
    async fn api(&self, method: &str, path: &str, body: Bytes) -> Option<(StatusCode, String)> {
        let stream = UnixStream::connect(self.path("s")).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(connection);
        let request = Request::builder().method(method).uri(path).header("host", "docker");
        let request = request.header("content-type", "application/x-tar").body(Full::new(body)).unwrap();
        let response = sender.send_request(request).await.ok()?;
        let status = response.status();
        let body = response.into_body().collect().await.ok()?.to_bytes();
        Some((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Builds an image of a Dockerfile and busybox.
    async fn build(&self, name: &str, dockerfile: &str) {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes, mode) in [
            ("Dockerfile", dockerfile.as_bytes().to_vec(), 0o644),
            ("busybox", std::fs::read("/bin/busybox").unwrap(), 0o755),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(mode);
            tar.append_data(&mut header, path, &bytes[..]).unwrap();
        }
        let context = tar.into_inner().unwrap().into();
        let (status, said) = self.api("POST", &format!("/build?t={name}"), context).await.unwrap();
        assert!(status == StatusCode::OK && said.contains("Successfully tagged"), "{status} {said}");
    }

    /// Ends it; with `SIGKILL` as a crash would.
    fn end(&mut self, signal: Signal) {
        let Some(mut child) = self.daemon.take() else { return };
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        child.wait().unwrap();
        // Its containerd dies with it. Where nobody reaps that, the next dockerd would wait for it.
        for name in ["pid", "exec/containerd/containerd.pid"] {
            let _ = std::fs::remove_file(self.path(name));
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("dockerd's last words:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
        }
        self.end(Signal::SIGTERM);
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let at = table
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .filter(|at| at.starts_with(self.dir.path().to_str().unwrap()));
        for path in at.collect::<Vec<_>>().into_iter().rev() {
            let _ = nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < end, "timed out: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

const DOCKERFILE: &str = "FROM scratch AS one\nCOPY busybox /bin/busybox\nCOPY busybox /gone/old\n\
                          FROM scratch\nCOPY --from=one /bin/busybox /bin/sh\nENV WHO=docker\nWORKDIR /home/me\n\
                          ENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"echo built by $WHO in $PWD\"]\n";

#[test]
fn what_docker_built_runs_on_dockers_own_containerd() {
    if !has_dockerd("what_docker_built_runs_on_dockers_own_containerd") {
        return;
    }
    apart(|| async {
        let docker = Docker::start(&["--bridge=none", "--iptables=false", "--ip-forward=false"]).await;
        docker.build("hf/app:v1", DOCKERFILE).await;
        let (socket, spool) = (docker.path("s"), docker.path("spool"));
        let err = engine::fetch(&socket, "hf/app", &spool).await.unwrap_err();
        assert!(err.contains("has no image \"docker.io/hf/app:latest\""), "{err}");
        let file = engine::fetch(&socket, "hf/app:v1", &spool).await.unwrap();

        let mut config = ContainerdConfig::new(docker.path("exec/containerd/containerd.sock"), docker.path("run"));
        config.namespace = format!("hfd-{}", std::process::id());
        let cgroup = format!("/{}", config.namespace);
        let runtime = ContainerdRuntime::new(config);
        until("containerd answers", async || runtime.version().await.is_ok()).await;
        assert_eq!(runtime.import_image(file.path()).await.unwrap(), ["docker.io/hf/app:v1"]);
        drop(file);
        assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0, "the archive is gone");

        let id = format!("hfd-{}", std::process::id());
        let sandbox =
            SandboxSpec { id: id.clone(), pod_uid: "u".into(), cgroup_parent: cgroup, ..SandboxSpec::default() };
        let log_path = docker.path("out").display().to_string();
        let container =
            ContainerSpec { id: format!("{id}-c"), image: "hf/app:v1".into(), log_path, ..ContainerSpec::default() };
        runtime.run_sandbox(&sandbox).await.unwrap();
        runtime.create_container(&sandbox, &container).await.unwrap();
        runtime.start_container(&container.id).await.unwrap();
        until("it ends", async || {
            let all = runtime.list_containers().await.unwrap();
            matches!(all[0].state, ContainerState::Exited { exit_code: 0, .. })
        })
        .await;
        let said = std::fs::read_to_string(&container.log_path).unwrap();
        assert!(said.ends_with("stdout F built by docker in /home/me\n"), "{said}");
        // To Docker none of this is there.
        let (_, theirs) = docker.api("GET", "/containers/json?all=1", Bytes::new()).await.unwrap();
        assert_eq!(theirs.trim(), "[]");
        runtime.remove_sandbox(&id).await.unwrap();
        for image in runtime.list_images().await.unwrap() {
            runtime.remove_image(&image.id).await.unwrap();
        }
    });
}

#[tokio::test]
async fn without_docker_it_is_said_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let said = async |name: &str| engine::fetch(&socket, name, dir.path()).await.unwrap_err();
    assert!(said("app").await.starts_with("there is no Docker Engine on this machine: no socket "));
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(said("app").await.starts_with("Docker Engine does not run: nobody listens on "));
    assert!(said("App").await.contains("repository name must be lowercase"));
}

/// A host behind a veth, with an address, that sends what is not its own through the machine.
struct Behind(Child);

impl Behind {
    fn new(link: &str, net: &str) -> Behind {
        let child = Command::new("unshare").args(["-n", "sleep", "1000"]).spawn().unwrap();
        let behind = Behind(child);
        let (own, pid) = (std::fs::read_link("/proc/thread-self/ns/net").unwrap(), behind.0.id());
        let end = Instant::now() + DEADLINE;
        while std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|ns| ns == own) {
            assert!(Instant::now() < end, "no namespace");
            std::thread::sleep(Duration::from_millis(5));
        }
        run("ip", &format!("link add {link} type veth peer name eth0 netns {pid}"));
        run("ip", &format!("addr add {net}.1/24 dev {link}"));
        run("ip", &format!("link set {link} up"));
        behind.inside(&format!("ip addr add {net}.2/24 dev eth0"));
        behind.inside("ip link set eth0 up");
        behind.inside(&format!("ip route add default via {net}.1"));
        behind
    }

    fn inside(&self, command: &str) {
        run("nsenter", &format!("-n -t {} {command}", self.0.id()));
    }

    /// Whether an address answers it.
    fn reaches(&self, address: &str) -> bool {
        let target = self.0.id().to_string();
        let words = ["-n", "-t", &target, "busybox", "ping", "-c", "1", "-W", "1", address];
        Command::new("nsenter").args(words).stdout(Stdio::null()).status().unwrap().success()
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn dockers_firewall_lets_pods_through_for_as_long_as_we_are_there() {
    if !has_dockerd("dockers_firewall_lets_pods_through_for_as_long_as_we_are_there") {
        return;
    }
    apart(|| async {
        let pods = "10.42.0.0/16";
        let (pod, outside, other) =
            (Behind::new("p", "10.42.0"), Behind::new("o", "10.99.0"), Behind::new("x", "10.98.0"));
        let mut docker = Docker::start(&[]).await;
        until("Docker drops what pods send", async || !pod.reaches("10.99.0.2")).await;
        let world = holdfast_env::host::HostEnv::new(docker.dir.path());
        let kept = forward::keep(world, docker.path("s"), pods.to_string());
        let mut task = JoinSet::new();
        task.spawn(kept);
        until("a pod reaches the outside", async || pod.reaches("10.99.0.2")).await;
        assert!(outside.reaches("10.42.0.2"), "and the outside reaches it");
        assert!(!other.reaches("10.99.0.2"), "nobody else is let through");
        task.abort_all();
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            docker.end(signal);
            assert!(pod.reaches("10.99.0.2"), "without dockerd");
            docker.run().await;
            assert!(pod.reaches("10.99.0.2"), "dockerd was started again");
        }
        assert_eq!(forward::forget().await, Ok(true));
        assert!(!pod.reaches("10.99.0.2"), "as Docker has it");
        assert_eq!(forward::forget().await, Ok(false));
        // Whoever empties the firewall while we are there loses nothing of ours for long.
        let emptied = "*filter\n:DOCKER-USER - [0:0]\nCOMMIT\n";
        let mut child = Command::new("iptables-restore").arg("--noflush").stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(emptied.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        let world = holdfast_env::host::HostEnv::new(docker.dir.path());
        task.spawn(forward::keep(world, docker.path("s"), pods.to_string()));
        until("a pod reaches the outside again", async || pod.reaches("10.99.0.2")).await;
    });
}
