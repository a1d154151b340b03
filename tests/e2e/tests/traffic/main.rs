//! What an idle node costs its network, counted at its veth: `cargo xtask test traffic`. Each figure is a line of JSON.
//!
//! Heartbeats come often, which makes the run short; bytes a heartbeat do not depend on it. Nothing asserts a time.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use holdfast_e2e::pods::ready;
use holdfast_e2e::runner::{Case, Suite};
use holdfast_e2e::world::{World, items};

/// In running order.
const CASES: &[Case] = &[
    ("ten_pods_with_probes_are_ready", ten_pods_with_probes_are_ready),
    ("an_idle_node_sends_heartbeats_only", an_idle_node_sends_heartbeats_only),
    ("a_change_of_status_is_small", a_change_of_status_is_small),
    ("over_tcp_an_idle_node_sends_heartbeats_only", over_tcp_an_idle_node_sends_heartbeats_only),
];

const HUB: &[(&str, &str)] = &[("HOLDFAST_HEARTBEAT", "2s"), ("HOLDFAST_LONGEST_HEARTBEAT", "2s")];

fn main() -> ExitCode {
    Suite { name: "traffic", cases: CASES, hub: HUB }.main()
}

const NODE: &str = "edge-1";
/// Heartbeats of a window.
const WINDOW: u64 = 8;
/// What the node has to say of a change it says within this: it looks at itself every 10 s.
const QUIET_MS: u64 = 25_000;
/// IP bytes both ways that a heartbeat may cost: it, its answer, what acknowledges them.
const HEARTBEAT_BYTES: u64 = 400;
/// IP bytes both ways that a change of a pod's status may cost.
const STATUS_BYTES: u64 = 1500;
/// Purposes that an idle node has no bytes of.
const SILENT: [&str; 4] = ["control", "sync", "facts", "calls"];

/// What was counted up to now.
struct Counted {
    at: Instant,
    stats: Value,
}

impl Counted {
    fn now(world: &World) -> Result<Counted> {
        let stats = world.xtask(&["link", "stats", NODE, "-o", "json"])?;
        let stats: Value = serde_json::from_str(&stats).context("reading the figures of the link")?;
        ensure!(stats["link"]["connected"] == true, "the link of {NODE} is down: {stats}");
        Ok(Counted { at: Instant::now(), stats })
    }

    fn figure(&self, pointer: &str) -> Result<u64> {
        self.stats.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {}", self.stats))
    }

    /// IP bytes between node and hub, both ways.
    fn ip_bytes(&self) -> Result<u64> {
        Ok(self.figure("/to_hub_bytes")? + self.figure("/from_hub_bytes")?)
    }

    fn heartbeats(&self) -> Result<u64> {
        self.figure("/link/heartbeat/answered")
    }

    fn purpose(&self, name: &str) -> Result<u64> {
        let of = |direction: &str| self.figure(&format!("/link/traffic/{name}/{direction}"));
        Ok(of("sent")? + of("received")?)
    }

    /// What was counted after so many heartbeats more.
    fn after(&self, world: &World, heartbeats: u64) -> Result<Counted> {
        let until = self.heartbeats()? + heartbeats;
        let seconds = 30 + heartbeats * 2 * self.figure("/link/heartbeat/interval_ms")?.div_ceil(1000);
        let mut last = None;
        world.wait(&format!("{heartbeats} heartbeats are answered"), seconds, || {
            let now = Counted::now(world)?;
            let done = now.heartbeats()? >= until;
            last = Some(now);
            Ok(done)
        })?;
        last.context("nothing was counted")
    }
}

fn print(name: &str, value: f64, unit: &str, runs: u64) {
    let value = (value * 10.0).round() / 10.0;
    println!("{}", json!({"name": name, "value": value, "unit": unit, "runs": runs}));
}

fn ten_pods_with_probes_are_ready(world: &mut World) -> Result<()> {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 5});
    let manifest = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "idle", "namespace": "default"},
        "spec": {
            "replicas": 10,
            "selector": {"matchLabels": {"app": "idle"}},
            "template": {
                "metadata": {"labels": {"app": "idle"}},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": NODE},
                    "containers": [{
                        "name": "c", "image": "registry.local/agnhost:1", "args": ["netexec", "--http-port=8080"],
                        "readinessProbe": probe, "livenessProbe": probe,
                    }],
                },
            },
        },
    });
    world.kubectl_with(&["apply", "-f", "-"], &manifest.to_string())?;
    world.kubectl(&["rollout", "status", "deploy/idle", "--timeout=120s"]).map(drop)
}

/// Waits until nothing but heartbeats has gone for a while.
fn quiet(world: &World) -> Result<Counted> {
    let mut begin = Counted::now(world)?;
    world.wait("the link is quiet", 300, || {
        let heartbeats = QUIET_MS.div_ceil(begin.figure("/link/heartbeat/interval_ms")?.max(1));
        let now = begin.after(world, heartbeats)?;
        let quiet =
            SILENT.iter().all(|name| matches!((begin.purpose(name), now.purpose(name)), (Ok(a), Ok(b)) if a == b));
        begin = now;
        Ok(quiet)
    })?;
    Ok(begin)
}

/// Counts a window of a quiet link.
fn idle(world: &World, transport: &str) -> Result<()> {
    let begin = quiet(world)?;
    ensure!(begin.stats["link"]["transport"] == transport, "not over {transport}: {}", begin.stats);
    let end = begin.after(world, WINDOW)?;
    ensure!(end.stats["link"]["transport"] == transport, "not over {transport} any more: {}", end.stats);
    for name in SILENT {
        let bytes = end.purpose(name)? - begin.purpose(name)?;
        ensure!(bytes == 0, "an idle node had {bytes} bytes of {name}: {} then {}", begin.stats, end.stats);
    }
    let heartbeats = end.heartbeats()? - begin.heartbeats()?;
    let bytes = end.ip_bytes()? - begin.ip_bytes()?;
    let packets = |counted: &Counted| -> Result<u64> {
        Ok(counted.figure("/to_hub_packets")? + counted.figure("/from_hub_packets")?)
    };
    let each = bytes as f64 / heartbeats as f64;
    let interval = begin.figure("/link/heartbeat/interval_ms")?;
    print(&format!("idle link over {transport}, a heartbeat"), each, "B", heartbeats);
    let packets = (packets(&end)? - packets(&begin)?) as f64 / heartbeats as f64;
    print(&format!("idle link over {transport}, packets a heartbeat"), packets, "1", heartbeats);
    let seconds = end.at.duration_since(begin.at).as_secs_f64();
    let day = bytes as f64 / seconds * 86_400.0;
    print(&format!("idle link over {transport}, as counted, every {interval} ms"), day, "B/day", heartbeats);
    for interval in [20, 30] {
        let day = each * f64::from(86_400 / interval);
        print(&format!("idle link over {transport}, reckoned for every {interval} s"), day, "B/day", heartbeats);
    }
    ensure!(bytes <= heartbeats * HEARTBEAT_BYTES, "{bytes} IP bytes for {heartbeats} heartbeats over {transport}");
    Ok(())
}

fn an_idle_node_sends_heartbeats_only(world: &mut World) -> Result<()> {
    idle(world, "quic")
}

fn over_tcp_an_idle_node_sends_heartbeats_only(world: &mut World) -> Result<()> {
    world.xtask(&["link", "block-udp", NODE])?;
    world.wait("the link goes over TCP", 180, || Ok(Counted::now(world)?.stats["link"]["transport"] == "tcp"))?;
    idle(world, "tcp")?;
    world.xtask(&["link", "heal", NODE]).map(drop)
}

/// A pod becomes Ready a while after all else of it has been told.
fn a_change_of_status_is_small(world: &mut World) -> Result<()> {
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "late", "namespace": "default"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": NODE},
            "containers": [{
                "name": "c", "image": "registry.local/agnhost:1", "args": ["netexec", "--http-port=8080"],
                "readinessProbe": {
                    "httpGet": {"path": "/healthz", "port": 8080}, "initialDelaySeconds": 30, "periodSeconds": 5,
                },
            }],
        },
    });
    world.kubectl_with(&["apply", "-f", "-"], &manifest.to_string())?;
    let pod = |world: &World| -> Result<Value> {
        let pods = items(&world.get(&["pods"])?);
        pods.into_iter().find(|p| p["metadata"]["name"] == "late").context("no pod named late")
    };
    let mut before = Counted::now(world)?;
    world.wait("the pod runs, and nothing more is said of it", 30, || {
        let now = before.after(world, 1)?;
        let quiet =
            now.purpose("facts")? == before.purpose("facts")? && now.purpose("sync")? == before.purpose("sync")?;
        before = now;
        Ok(quiet && pod(world)?["status"]["phase"] == "Running")
    })?;
    ensure!(!ready(&pod(world)?), "the pod was Ready too soon to be counted");
    world.wait("the pod is Ready", 90, || Ok(ready(&pod(world)?)))?;
    let changed = Counted::now(world)?.after(world, 1)?;
    let rest = quiet(world)?;
    let later = rest.after(world, WINDOW)?;
    let beat = (later.ip_bytes()? - rest.ip_bytes()?) / (later.heartbeats()? - rest.heartbeats()?);
    let heartbeats = changed.heartbeats()? - before.heartbeats()?;
    let bytes = (changed.ip_bytes()? - before.ip_bytes()?).saturating_sub(heartbeats * beat);
    print("a change of a pod's status", bytes as f64, "B", 1);
    for name in SILENT {
        print(
            &format!("a change of a pod's status, {name}"),
            (changed.purpose(name)? - before.purpose(name)?) as f64,
            "B",
            1,
        );
    }
    world.kubectl(&["delete", "pod", "late", "--timeout=60s"])?;
    ensure!(bytes <= STATUS_BYTES, "{bytes} IP bytes for a change of a pod's status");
    Ok(())
}
