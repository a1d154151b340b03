//! What a node costs its network, counted at its veth with the heads of IP, both ways: `cargo xtask test traffic`. Each
//! figure is a line of JSON.
//!
//! Heartbeats come often, which makes the run short; bytes a heartbeat do not depend on it. Nothing asserts a time. A
//! window counts when nothing else than what is measured was said in it: the node may have something to say of itself at
//! any time.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use holdfast_e2e::pods::ready;
use holdfast_e2e::runner::{Case, Suite};
use holdfast_e2e::world::{World, holds, items};

/// In running order.
const CASES: &[Case] = &[
    ("ten_pods_with_probes_are_ready", ten_pods_with_probes_are_ready),
    ("an_idle_node_sends_heartbeats_only", an_idle_node_sends_heartbeats_only),
    ("a_change_of_status_is_small", a_change_of_status_is_small),
    ("a_large_pod_is_small_on_its_way", a_large_pod_is_small_on_its_way),
    ("over_tcp_an_idle_node_sends_heartbeats_only", over_tcp_an_idle_node_sends_heartbeats_only),
    ("over_tcp_a_change_of_status_is_small", over_tcp_a_change_of_status_is_small),
    ("a_metric_shows_bytes_by_purpose", a_metric_shows_bytes_by_purpose),
];

const HUB: &[(&str, &str)] = &[("HOLDFAST_HEARTBEAT", "2s"), ("HOLDFAST_LONGEST_HEARTBEAT", "2s")];

fn main() -> ExitCode {
    Suite { name: "traffic", cases: CASES, hub: HUB }.main()
}

const NODE: &str = "edge-1";
/// Heartbeats of a window.
const WINDOW: u64 = 8;
/// Windows that are tried until one is quiet.
const TRIES: usize = 12;
/// IP bytes both ways that a heartbeat may cost (it, its answer, what acknowledges them): at one in 20 s, a megabyte a day.
const QUIC_HEARTBEAT_BYTES: f64 = 1e6 * 20.0 / 86_400.0;
/// The same over TCP, whose heads are longer.
const TCP_HEARTBEAT_BYTES: f64 = 260.0;
/// IP bytes both ways that a change of a pod's status may cost.
const STATUS_BYTES: f64 = 1000.0;
/// Pods whose status changes while it is counted.
const CHANGES: u64 = 5;
/// Bytes of the sync that a new pod of ten kilobytes may cost.
const POD_BYTES: u64 = 2000;
/// Purposes that an idle node has no bytes of.
const SILENT: [&str; 4] = ["control", "sync", "facts", "calls"];

/// What was counted up to now.
struct Counted {
    at: Instant,
    stats: Value,
}

impl Counted {
    fn read(world: &World) -> Result<Counted> {
        let stats = world.xtask(&["link", "stats", NODE, "-o", "json"])?;
        let stats: Value = serde_json::from_str(&stats).context("reading the figures of the link")?;
        ensure!(stats["link"]["connected"] == true, "the link of {NODE} is down: {stats}");
        Ok(Counted { at: Instant::now(), stats })
    }

    /// Between two heartbeats: the packets are counted before the agent is asked how many heartbeats there were.
    fn now(world: &World) -> Result<Counted> {
        let mut last = Counted::read(world)?;
        for _ in 0..20 {
            let now = Counted::read(world)?;
            if now.heartbeats()? == last.heartbeats()? {
                return Ok(now);
            }
            last = now;
        }
        anyhow::bail!("heartbeats come too often to count anything between them: {}", last.stats)
    }

    fn figure(&self, pointer: &str) -> Result<u64> {
        self.stats.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {}", self.stats))
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

/// What was counted from one moment to another.
struct Window {
    begin: Counted,
    end: Counted,
}

impl Window {
    fn more(&self, figure: impl Fn(&Counted) -> Result<u64>) -> Result<u64> {
        Ok(figure(&self.end)? - figure(&self.begin)?)
    }

    fn heartbeats(&self) -> Result<u64> {
        self.more(Counted::heartbeats)
    }

    /// Bytes between node and hub, both ways, from IP's head on.
    fn ip_bytes(&self) -> Result<u64> {
        Ok(self.more(|at| at.figure("/to_hub_bytes"))? + self.more(|at| at.figure("/from_hub_bytes"))?)
    }

    fn packets(&self) -> Result<u64> {
        Ok(self.more(|at| at.figure("/to_hub_packets"))? + self.more(|at| at.figure("/from_hub_packets"))?)
    }

    fn purpose(&self, name: &str) -> Result<u64> {
        self.more(|at| at.purpose(name))
    }

    fn is_quiet(&self) -> Result<bool> {
        SILENT.iter().try_fold(true, |quiet, name| Ok(quiet && self.purpose(name)? == 0))
    }

    /// IP bytes of a heartbeat; of a quiet window.
    fn heartbeat_bytes(&self) -> Result<f64> {
        Ok(self.ip_bytes()? as f64 / self.heartbeats()? as f64)
    }
}

/// A window in which nothing but heartbeats went.
fn quiet(world: &World) -> Result<Window> {
    let mut begin = Counted::now(world)?;
    for _ in 0..TRIES {
        let window = Window { end: begin.after(world, WINDOW)?, begin };
        if window.is_quiet()? {
            return Ok(window);
        }
        begin = window.end;
    }
    anyhow::bail!("the node had something to say in each of {TRIES} windows: {}", begin.stats)
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

fn an_idle_node(world: &World, transport: &str) -> Result<()> {
    let window = quiet(world)?;
    for at in [&window.begin, &window.end] {
        ensure!(at.stats["link"]["transport"] == transport, "not over {transport}: {}", at.stats);
    }
    let (heartbeats, each) = (window.heartbeats()?, window.heartbeat_bytes()?);
    print(&format!("idle link over {transport}, a heartbeat"), each, "B", heartbeats);
    let packets = window.packets()? as f64 / heartbeats as f64;
    print(&format!("idle link over {transport}, packets a heartbeat"), packets, "1", heartbeats);
    let seconds = window.end.at.duration_since(window.begin.at).as_secs_f64();
    let interval = window.begin.figure("/link/heartbeat/interval_ms")?;
    let day = window.ip_bytes()? as f64 / seconds * 86_400.0;
    print(&format!("idle link over {transport}, as counted, every {interval} ms"), day, "B/day", heartbeats);
    for interval in [20, 30] {
        let day = each * f64::from(86_400 / interval);
        print(&format!("idle link over {transport}, reckoned for every {interval} s"), day, "B/day", heartbeats);
    }
    let most = if transport == "quic" { QUIC_HEARTBEAT_BYTES } else { TCP_HEARTBEAT_BYTES };
    ensure!(each <= most, "{each:.1} IP bytes a heartbeat over {transport}: {}", window.end.stats);
    Ok(())
}

fn an_idle_node_sends_heartbeats_only(world: &mut World) -> Result<()> {
    an_idle_node(world, "quic")
}

fn over_tcp_an_idle_node_sends_heartbeats_only(world: &mut World) -> Result<()> {
    world.xtask(&["link", "block-udp", NODE])?;
    world.wait("the link goes over TCP", 180, || Ok(Counted::now(world)?.stats["link"]["transport"] == "tcp"))?;
    an_idle_node(world, "tcp")
}

/// Pods become Ready a while after all else of them has been told: nothing but that is counted.
fn a_change_of_status(world: &World, transport: &str) -> Result<()> {
    let names: Vec<String> = (1..=CHANGES).map(|number| format!("late-{transport}-{number}")).collect();
    for (name, number) in names.iter().zip(0..) {
        let manifest = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": NODE},
                "containers": [{
                    "name": "c", "image": "registry.local/agnhost:1", "args": ["netexec", "--http-port=8080"],
                    "readinessProbe": {
                        "httpGet": {"path": "/healthz", "port": 8080},
                        "initialDelaySeconds": 40 + 5 * number, "periodSeconds": 5,
                    },
                }],
            },
        });
        world.kubectl_with(&["apply", "-f", "-"], &manifest.to_string())?;
    }
    let pods = |world: &World| -> Result<Vec<Value>> {
        let pods = items(&world.get(&["pods"])?);
        Ok(pods.into_iter().filter(|pod| names.iter().any(|name| pod["metadata"]["name"] == name.as_str())).collect())
    };
    let mut begin = Counted::now(world)?;
    world.wait("the pods run, and nothing more is said of them", 35, || {
        let window =
            Window { end: begin.after(world, 2)?, begin: Counted { at: begin.at, stats: begin.stats.clone() } };
        let quiet = window.is_quiet()?;
        begin = window.end;
        Ok(quiet && pods(world)?.iter().all(|pod| pod["status"]["phase"] == "Running"))
    })?;
    ensure!(!pods(world)?.iter().any(ready), "a pod was Ready too soon to be counted");
    world.wait("the pods are Ready", 120, || Ok(pods(world)?.iter().all(ready)))?;
    let window = Window { end: begin.after(world, 1)?, begin };
    let beat = quiet(world)?.heartbeat_bytes()?;
    let each = |bytes: f64| bytes / CHANGES as f64;
    let bytes = each(window.ip_bytes()? as f64 - window.heartbeats()? as f64 * beat);
    print(&format!("a change of a pod's status over {transport}"), bytes, "B", CHANGES);
    let mut said = 0;
    for name in SILENT {
        let bytes = window.purpose(name)?;
        said += bytes;
        print(&format!("a change of a pod's status over {transport}, {name}"), each(bytes as f64), "B", CHANGES);
    }
    let delete: Vec<&str> =
        ["delete", "pod", "--timeout=60s"].into_iter().chain(names.iter().map(String::as_str)).collect();
    world.kubectl(&delete)?;
    ensure!(bytes >= each(said as f64), "{bytes:.0} IP bytes have carried {:.0} of frames", each(said as f64));
    ensure!(bytes <= STATUS_BYTES, "{bytes:.0} IP bytes for a change of a pod's status over {transport}");
    Ok(())
}

fn a_change_of_status_is_small(world: &mut World) -> Result<()> {
    a_change_of_status(world, "quic")
}

fn over_tcp_a_change_of_status_is_small(world: &mut World) -> Result<()> {
    a_change_of_status(world, "tcp")?;
    world.xtask(&["link", "heal", NODE]).map(drop)
}

/// A new pod with much to say, of which the node knows no other.
fn a_large_pod_is_small_on_its_way(world: &mut World) -> Result<()> {
    let env: Vec<Value> = (0..100)
        .map(|number| {
            let value = format!(
                "http://service-{number:03}.default.svc.cluster.local:80{:02}/api/v{}",
                number % 90,
                number % 3
            );
            json!({"name": format!("SERVICE_{number:03}_ENDPOINT"), "value": value})
        })
        .collect();
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "large", "namespace": "default"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": NODE},
            "containers": [{
                "name": "c", "image": "registry.local/agnhost:1", "args": ["netexec", "--http-port=8080"], "env": env,
            }],
        },
    });
    let begin = quiet(world)?.end;
    world.kubectl_with(&["create", "-f", "-"], &manifest.to_string())?;
    let pod = |world: &World| world.get(&["pod", "large"]);
    world.wait("the pod is Ready", 60, || Ok(ready(&pod(world)?)))?;
    let window = Window { begin, end: quiet(world)?.begin };
    let size = world.kubectl(&["get", "pod", "large", "-o", "json"])?.len();
    let sync = window.purpose("sync")?;
    print("a new pod of 10 kB, sync", sync as f64, "B", 1);
    print("a new pod of 10 kB, facts", window.purpose("facts")? as f64, "B", 1);
    world.kubectl(&["delete", "pod", "large", "--timeout=60s"])?;
    ensure!(size >= 10_000, "the pod has only {size} bytes");
    ensure!(sync <= POD_BYTES, "{sync} bytes of the sync for a new pod of {size}");
    Ok(())
}

fn a_metric_shows_bytes_by_purpose(world: &mut World) -> Result<()> {
    let metrics = world.kubectl(&["get", "--raw", "/metrics"])?;
    for purpose in SILENT.iter().chain(&["heartbeat", "overhead"]) {
        for direction in ["sent", "received"] {
            holds(&metrics, &format!("holdfast_link_bytes_total{{direction=\"{direction}\",purpose=\"{purpose}\"}}"))?;
        }
    }
    Ok(())
}
