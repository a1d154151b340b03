//! Hooks, init containers and ephemeral containers.

use anyhow::{Context, Result, ensure};
use holdfast_e2e::world::{World, text};
use serde_json::{Value, json};

use super::{Batch, exec};

/// Hooks by command and by request, after the start and before the end; a server keeps what it was asked.
pub(crate) fn hooks_are_called(world: &mut World) -> Result<()> {
    let mut server = Batch::new("hook-server");
    server.pod("hooked-by", json!({"containers": [{"args": ["netexec", "--http-port=8080"]}]})).start(world)?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/hooked-by", "--timeout=90s"])?;
    let address = text(&server.pods(world)?["hooked-by"]["status"]["podIP"]).to_owned();
    ensure!(!address.is_empty(), "the server has no address");
    let mut batch = Batch::new("hooks");
    for hook in ["postStart", "preStop"] {
        let by_command =
            json!({"exec": {"command": ["/agnhost", "wget", format!("http://{address}:8080/echo?msg={hook}-exec")]}});
        let by_request = json!({"httpGet": {"host": address, "port": 8080, "path": format!("/echo?msg={hook}-http")}});
        for (name, handler) in [("exec", by_command), ("http", by_request)] {
            let spec = json!({"terminationGracePeriodSeconds": 15,
                "containers": [{"args": ["pause"], "lifecycle": {hook: handler}}]});
            batch.pod(&format!("{}-{name}", hook.to_lowercase()), spec);
        }
    }
    let asked = |hook: &str| -> Result<bool> {
        let log = world.kubectl(&["-n", "node", "logs", "hooked-by"])?;
        Ok(["exec", "http"].iter().all(|by| log.contains(&format!("GET /echo?msg={hook}-{by} from"))))
    };
    batch.start(world)?;
    world.wait("the hooks after the start are called", 90, || asked("postStart"))?;
    world.kubectl(&[
        "-n",
        "node",
        "wait",
        "--for=condition=Ready",
        "pod/prestop-exec",
        "pod/prestop-http",
        "--timeout=90s",
    ])?;
    let log = world.kubectl(&["-n", "node", "logs", "hooked-by"])?;
    ensure!(!log.contains("preStop"), "a hook for the end is called at the beginning:\n{log}");
    batch.end(world)?;
    world.wait("the hooks before the end are called", 60, || asked("preStop"))?;
    world.wait("all of them end", 60, || Ok(batch.pods(world)?.is_empty()))?;
    server.end(world)
}

fn initialized(pod: &Value, status: &str) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|c| c["type"] == "Initialized" && c["status"] == status)
}

pub(crate) fn init_containers_come_first(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("init");
    let good = json!([{"name": "first", "args": ["echo", "1"]}, {"name": "second", "args": ["echo", "2"]}]);
    let bad = json!([{"name": "first", "args": ["exit", "1"]}, {"name": "second", "args": ["echo", "2"]}]);
    let spec = |init: &Value, policy: &str, args: &[&str]| json!({"initContainers": init, "restartPolicy": policy, "containers": [{"args": args}]});
    batch.pod("good-never", spec(&good, "Never", &["echo", "3"]));
    batch.pod("good-always", spec(&good, "Always", &["pause"]));
    batch.pod("bad-never", spec(&bad, "Never", &["echo", "3"]));
    batch.pod("bad-always", spec(&bad, "Always", &["echo", "3"]));
    batch.start(world)?;
    let ended = |status: &Value, code: u64| status["state"]["terminated"]["exitCode"] == code;
    world.wait("what can start has started, in order", 90, || {
        let pods = batch.pods(world)?;
        let both = |pod: &Value| (0..2).all(|n| ended(&pod["status"]["initContainerStatuses"][n], 0));
        let (never, always) = (&pods["good-never"], &pods["good-always"]);
        Ok(never["status"]["phase"] == "Succeeded"
            && both(never)
            && initialized(never, "True")
            && always["status"]["phase"] == "Running"
            && both(always)
            && initialized(always, "True"))
    })?;
    let untouched = |pod: &Value| {
        let status = &pod["status"];
        let waits = |s: &Value| s["state"]["waiting"]["reason"] == "PodInitializing" && s["restartCount"] == 0;
        waits(&status["initContainerStatuses"][1]) && waits(&status["containerStatuses"][0])
    };
    world.wait("what fails for good has failed", 60, || {
        let pod = &batch.pods(world)?["bad-never"];
        Ok(pod["status"]["phase"] == "Failed"
            && initialized(pod, "False")
            && untouched(pod)
            && ended(&pod["status"]["initContainerStatuses"][0], 1))
    })?;
    world.wait("what may yet succeed is tried again and again", 120, || {
        let pod = &batch.pods(world)?["bad-always"];
        let first = &pod["status"]["initContainerStatuses"][0];
        ensure!(untouched(pod), "a container has started before its time: {}", pod["status"]);
        Ok(pod["status"]["phase"] == "Pending"
            && first["restartCount"].as_u64() >= Some(2)
            && initialized(pod, "False"))
    })?;
    batch.end(world)
}

pub(crate) fn ephemeral_containers_are_added_one_after_another(world: &mut World) -> Result<()> {
    let mut batch = Batch::new("ephemeral");
    batch.pod("debugged", json!({"containers": [{"args": ["netexec"]}]})).start(world)?;
    world.kubectl(&["-n", "node", "wait", "--for=condition=Ready", "pod/debugged", "--timeout=90s"])?;
    let add = |name: &str| {
        let container = format!("--container={name}");
        let args = [
            "-n",
            "node",
            "debug",
            "debugged",
            "--image",
            super::IMAGE,
            &container,
            "--profile=general",
            "--",
            "/agnhost",
            "pause",
        ];
        world.kubectl(&args).map(drop)
    };
    let running = |count: usize| -> Result<bool> {
        let pod = &batch.pods(world)?["debugged"];
        let statuses = pod["status"]["ephemeralContainerStatuses"].as_array().context("none is told")?;
        Ok(statuses.len() == count && statuses.iter().all(|s| !s["state"]["running"].is_null()))
    };
    add("debugger-1")?;
    world.wait("the first runs", 90, || running(1))?;
    // It is in the pod's network.
    let args = [
        "-n",
        "node",
        "exec",
        "debugged",
        "-c",
        "debugger-1",
        "--",
        "/agnhost",
        "wget",
        "http://127.0.0.1:8080/healthz",
    ];
    ensure!(world.kubectl(&args)? == "ok\n", "the container beside it does not answer");
    add("debugger-2")?;
    world.wait("the second runs beside it", 90, || running(2))?;
    ensure!(exec(world, "debugged", &["echo", "still here"])? == "still here\n", "the pod's own container is another");
    batch.end(world)
}
