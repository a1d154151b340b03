//! The cluster under test and the ways to ask it: kubectl, xtask, waits with a deadline, a dump of its state.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// No single command may take longer; waits that may are given their own.
const COMMAND_SECONDS: u32 = 180;
/// Once built, `up` is to be ready within this.
const UP_SECONDS: f32 = 90.0;

pub struct World {
    /// The cluster's folder. Kept when something failed.
    pub dir: PathBuf,
    scratch: Option<tempfile::TempDir>,
    pub root: PathBuf,
    pub bin_dir: PathBuf,
    xtask: PathBuf,
    kubectl: PathBuf,
    /// PID and network namespaces that nodes ever had: none may be left in the end.
    pub namespaces: BTreeSet<String>,
    hub: &'static [(&'static str, &'static str)],
}

impl World {
    /// A cluster that is not up; `hub` are settings of the hub, variables of its environment.
    pub fn new(hub: &'static [(&'static str, &'static str)]) -> Result<Self> {
        let root =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().context("finding the repository")?;
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) if !dir.is_empty() => root.join(dir),
            _ => root.join("target"),
        };
        let bin_dir = target.join("debug");
        let scratch = tempfile::Builder::new().prefix("holdfast-e2e-").tempdir().context("making a folder")?;
        Ok(Self {
            dir: scratch.path().join("cluster"),
            scratch: Some(scratch),
            xtask: bin_dir.join("xtask"),
            kubectl: PathBuf::new(),
            namespaces: BTreeSet::new(),
            hub,
            bin_dir,
            root,
        })
    }

    /// Leaves the folder with the logs on disk and says where.
    pub fn keep(&mut self) {
        if let Some(scratch) = self.scratch.take() {
            println!("logs are kept in {}", scratch.keep().display());
        }
    }

    /// `cargo xtask test e2e` has built everything before: the figure is that of a second run.
    pub fn up(&mut self) -> Result<()> {
        let began = Instant::now();
        let out =
            self.run(Command::new("timeout").args(["-k", "10", "900"]).arg(&self.xtask).args(["up", "--detach"]))?;
        let took = began.elapsed().as_secs_f32();
        if let Ok(cluster) = self.cluster() {
            self.kubectl = PathBuf::from(text(&cluster["kubectl"]));
        }
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        anyhow::ensure!(out.status.success(), "cargo xtask up: {} {said}", out.status);
        println!("up was ready after {took:.1} s");
        anyhow::ensure!(took < UP_SECONDS, "up took {took:.1} s, and may take {UP_SECONDS}: {said}");
        self.remember_namespaces();
        Ok(())
    }

    pub fn cluster(&self) -> Result<Value> {
        let path = self.dir.join("cluster.json");
        let json = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&json).context("reading cluster.json")
    }

    /// The entry of one node in `cluster.json`.
    pub fn node(&self, name: &str) -> Result<Value> {
        let cluster = self.cluster()?;
        let nodes = cluster["nodes"].as_array().into_iter().flatten();
        nodes.into_iter().find(|n| n["name"] == name).cloned().with_context(|| format!("no {name} in cluster.json"))
    }

    /// To be called before a node goes off.
    pub fn remember_namespaces(&mut self) {
        let Ok(cluster) = self.cluster() else { return };
        for node in cluster["nodes"].as_array().into_iter().flatten() {
            let Some(init) = node["pids"]["init"].as_u64() else { continue };
            for kind in ["pid", "net", "mnt"] {
                if let Ok(link) = std::fs::read_link(format!("/proc/{init}/ns/{kind}")) {
                    self.namespaces.insert(link.to_string_lossy().into_owned());
                }
            }
        }
    }

    fn run(&self, command: &mut Command) -> Result<Output> {
        self.in_dir(command).output().context("running xtask")
    }

    fn in_dir(&self, command: &Command) -> Command {
        // `--dir` is global to no verb: it comes right after the verbs, before `--`.
        let args: Vec<_> = command.get_args().map(|a| a.to_owned()).collect();
        let at = args.iter().position(|a| a == "--").unwrap_or(args.len());
        let mut full = Command::new(command.get_program());
        full.args(&args[..at]).arg("--dir").arg(&self.dir).args(&args[at..]);
        full.envs(self.hub.iter().copied()).current_dir(&self.root).stdin(Stdio::null());
        full
    }

    fn limited(&self, args: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["-k", "10", &COMMAND_SECONDS.to_string()]).arg(&self.xtask).args(args);
        command
    }

    /// `cargo xtask ARGS --dir DIR`; an error carries what it said.
    pub fn xtask(&self, args: &[&str]) -> Result<String> {
        let out = self.run(&mut self.limited(args))?;
        succeeded(&format!("cargo xtask {}", args.join(" ")), &out)
    }

    /// As `xtask`, with text for its stdin, and whatever its end.
    pub fn xtask_output(&self, args: &[&str], input: &str) -> Result<Output> {
        fed(&mut self.in_dir(&self.limited(args)), input)
    }

    /// `cargo xtask ARGS` as it is, for what has no `--dir` or another one.
    pub fn xtask_elsewhere(&self, args: &[&str]) -> Result<Output> {
        self.limited(args).current_dir(&self.root).stdin(Stdio::null()).output().context("running xtask")
    }

    /// `cargo xtask ARGS`, left running.
    pub fn xtask_started(&self, args: &[&str]) -> Result<Child> {
        let mut command = Command::new(&self.xtask);
        command.args(args).current_dir(&self.root).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().context("starting xtask")
    }

    /// A command inside a node.
    pub fn on_node(&self, node: &str, command: &[&str]) -> Result<String> {
        let args: Vec<&str> = ["node", "exec", node, "--"].iter().chain(command).copied().collect();
        self.xtask(&args)
    }

    fn with_kubeconfig(&self, mut command: Command) -> Command {
        command.env("KUBECONFIG", self.dir.join("kubeconfig")).env("KUBECACHEDIR", self.dir.join("kubectl-cache"));
        command.current_dir(&self.root);
        command
    }

    fn kubectl_output(&self, args: &[&str], input: Option<&str>) -> Result<Output> {
        self.kubectl_as(&[], args, input.unwrap_or_default())
    }

    /// kubectl with settings in its environment, whatever its end.
    pub fn kubectl_as(&self, env: &[(&str, &str)], args: &[&str], input: &str) -> Result<Output> {
        let mut command = Command::new("timeout");
        command.args(["-k", "10", &COMMAND_SECONDS.to_string()]).arg(&self.kubectl).args(args);
        fed(self.with_kubeconfig(command).envs(env.iter().copied()), input)
    }

    /// kubectl, left running, with its output piped.
    pub fn kubectl_started(&self, args: &[&str], env: &[(&str, &str)]) -> Result<Child> {
        let mut command = Command::new(&self.kubectl);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.with_kubeconfig(command).envs(env.iter().copied()).spawn().context("starting kubectl")
    }

    /// kubectl with the cluster's kubeconfig; its stdout.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        succeeded(&format!("kubectl {}", args.join(" ")), &self.kubectl_output(args, None)?)
    }

    pub fn kubectl_with(&self, args: &[&str], input: &str) -> Result<String> {
        succeeded(&format!("kubectl {}", args.join(" ")), &self.kubectl_output(args, Some(input))?)
    }

    /// kubectl that has to fail: exit code and stderr.
    pub fn kubectl_refused(&self, args: &[&str], input: &str) -> Result<(i32, String)> {
        let out = self.kubectl_output(args, Some(input))?;
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if out.status.success() {
            bail!("kubectl {} was accepted: {}", args.join(" "), String::from_utf8_lossy(&out.stdout));
        }
        Ok((out.status.code().unwrap_or(-1), said))
    }

    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let args: Vec<&str> = ["get"].iter().chain(args).chain(&["-o", "json"]).copied().collect();
        serde_json::from_str(&self.kubectl(&args)?).context("reading kubectl's JSON")
    }

    /// Polls until `done` says so; an error counts as "not yet" and is told at the deadline.
    pub fn wait(&self, what: &str, seconds: u64, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            let result = done();
            if matches!(result, Ok(true)) {
                return Ok(());
            }
            if Instant::now() >= end {
                match result {
                    Err(err) => return Err(err).with_context(|| format!("{what}: not within {seconds} s")),
                    Ok(_) => bail!("{what}: not within {seconds} s"),
                }
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Prints what a person would look at.
    pub fn dump(&self) {
        println!("==== state of the cluster");
        let tables: [&[&str]; 4] = [
            &["get", "nodes", "-o", "wide"],
            &["get", "deploy,rs,pods,svc,endpointslices", "-A", "-o", "wide"],
            &["get", "events", "-A", "--sort-by=.metadata.creationTimestamp"],
            &["describe", "pods", "-A"],
        ];
        for args in tables.iter().filter(|_| self.kubectl.is_file()) {
            match self.kubectl_output(args, None) {
                Ok(out) => println!("$ kubectl {}\n{}{}", args.join(" "), tail(&out.stdout, 120), tail(&out.stderr, 5)),
                Err(err) => println!("$ kubectl {}: {err:#}", args.join(" ")),
            }
        }
        let mut logs = vec![self.dir.join("hub.log")];
        for node in ["edge-1", "edge-2"] {
            match self.on_node(node, &["holdfast-edge", "pods"]) {
                Ok(pods) => println!("$ holdfast-edge pods, on {node}\n{pods}"),
                Err(err) => println!("$ holdfast-edge pods, on {node}: {err:#}"),
            }
            logs.extend(
                ["agent.log", "wasm.log", "containerd.log", "node.log"]
                    .map(|l| self.dir.join("nodes").join(node).join(l)),
            );
        }
        for log in logs {
            let text = std::fs::read(&log).unwrap_or_default();
            println!("---- last of {}\n{}", log.display(), tail(&text, 40));
        }
        println!("==== end of the state");
    }
}

/// The last lines, long ones shortened.
fn tail(bytes: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(count)..];
    last.iter().map(|l| l.chars().take(400).collect::<String>() + "\n").collect()
}

/// Runs to the end with this text as its stdin.
fn fed(command: &mut Command, input: &str) -> Result<Output> {
    let name = command.get_program().display().to_string();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let input = input.to_owned();
    // Beside the reading: a program that answers what it reads waits for its output to be taken.
    let feed = child.stdin.take().map(|mut stdin| std::thread::spawn(move || stdin.write_all(input.as_bytes())));
    let out = child.wait_with_output().with_context(|| format!("waiting for {name}"))?;
    match feed.map(std::thread::JoinHandle::join) {
        Some(Ok(Err(err))) if out.status.success() => Err(err).with_context(|| format!("writing to {name}")),
        _ => Ok(out),
    }
}

/// What a program said on stdout and stderr.
pub fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr)
}

fn succeeded(line: &str, out: &Output) -> Result<String> {
    if !out.status.success() {
        bail!(
            "`{line}` failed ({}):\n{}{}",
            out.status,
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A JSON string, or nothing.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The items of a list.
pub fn items(list: &Value) -> Vec<Value> {
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Asserts that `haystack` holds `needle`, and shows both when not.
pub fn holds(haystack: &str, needle: &str) -> Result<()> {
    anyhow::ensure!(haystack.contains(needle), "expected {needle:?} in:\n{haystack}");
    Ok(())
}
