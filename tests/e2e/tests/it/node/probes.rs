//! Probes of containers that run.

use anyhow::{Context, Result, ensure};
use holdfast_e2e::world::{World, text};
use serde_json::{Value, json};

use super::{Batch, container};

/// Seconds that the container which is to be ready late waits.
const INITIAL_DELAY: u32 = 6;

pub(crate) fn probes_restart_and_gate(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("probes");
    let probed = |args: &[&str], probe: &str, handler: Value| {
        let mut handler = handler;
        handler["periodSeconds"] = json!(1);
        handler["failureThreshold"] = json!(if probe == "livenessProbe" { 2 } else { 1 });
        json!({"restartPolicy": "Always", "containers": [{"args": args, probe: handler}]})
    };
    let command = json!({"exec": {"command": ["/agnhost", "cat", "/tmp/health"]}});
    let request = json!({"httpGet": {"path": "/healthz", "port": 8080}});
    let connection = json!({"tcpSocket": {"port": 8080}});
    let short = ["each", "write /tmp/health ok", "sleep 3", "rm /tmp/health", "pause"];
    let long = ["each", "write /tmp/health ok", "pause"];
    let live = "livenessProbe";
    batch.pod("exec-ill", probed(&short, live, command.clone()));
    batch.pod("http-ill", probed(&["netexec", "--healthy=3"], live, request.clone()));
    batch.pod("exec-well", probed(&long, live, command));
    batch.pod("http-well", probed(&["netexec"], live, request.clone()));
    batch.pod("tcp-well", probed(&["netexec"], live, connection));
    let mut late = request.clone();
    late["initialDelaySeconds"] = json!(INITIAL_DELAY);
    batch.pod("ready-late", probed(&["netexec"], "readinessProbe", late));
    let never = json!({"exec": {"command": ["/agnhost", "exit", "1"]}});
    batch.pod("never-ready", probed(&["pause"], "readinessProbe", never));
    batch.start(world)?;

    let restarts = |pod: &Value| container(pod)["restartCount"].as_u64().unwrap_or_default();
    let mut seen = [0; 2];
    world.wait("what is ill is restarted, and counted", 150, || {
        let pods = batch.pods(world)?;
        for (number, name) in ["exec-ill", "http-ill"].iter().enumerate() {
            let now = restarts(&pods[*name]);
            ensure!(now >= seen[number], "the restarts of {name} went from {} to {now}", seen[number]);
            seen[number] = now;
        }
        Ok(seen.iter().all(|count| *count >= 2))
    })?;
    let pods = batch.pods(world)?;
    for name in ["exec-well", "http-well", "tcp-well", "ready-late", "never-ready"] {
        ensure!(restarts(&pods[name]) == 0, "{name} was restarted: {}", pods[name]["status"]);
        ensure!(!container(&pods[name])["state"]["running"].is_null(), "{name} does not run: {}", pods[name]["status"]);
        ensure!(container(&pods[name])["ready"] == (name != "never-ready"), "{name}: {}", pods[name]["status"]);
    }
    let late = &pods["ready-late"];
    let started = seconds(&container(late)["state"]["running"]["startedAt"])?;
    let conditions = late["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().find(|c| c["type"] == "Ready").context("no condition Ready")?;
    let waited = (seconds(&ready["lastTransitionTime"])? - started).rem_euclid(86_400.0);
    // Both times are cut to seconds.
    ensure!(
        waited >= f64::from(INITIAL_DELAY) - 1.0,
        "ready {waited} s after the start, and probed after {INITIAL_DELAY}"
    );
    let events = world.kubectl(&["-n", "node", "events", "--for=pod/http-ill"])?;
    holdfast_e2e::world::holds(&events, "Liveness probe failed: HTTP probe failed with statuscode: 500")?;
    batch.end(world)
}

/// The second of its day of an RFC 3339 time.
fn seconds(time: &Value) -> Result<f64> {
    let clock = text(time).split_once('T').context("no time")?.1.trim_end_matches('Z');
    clock.split(':').try_fold(0.0, |sum, part| Ok(sum * 60.0 + part.parse::<f64>().context("no number")?))
}
