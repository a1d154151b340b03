//! Programs that die and files that vanish: pods go on, and everything is found again.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use holdfast_e2e::pods::{answers, identities, pods, ready};
use holdfast_e2e::world::{World, items, text};

/// Restart counts of the demo pods by name.
fn restarts(world: &World) -> Result<Vec<(String, i64)>> {
    let pods = items(&world.get(&["-n", "demo", "pods"])?);
    let count = |p: &serde_json::Value| p["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1);
    Ok(pods.iter().map(|p| (text(&p["metadata"]["name"]).to_owned(), count(p))).collect())
}

fn pid(world: &World, node: &str, service: &str) -> Result<u64> {
    world.node(node)?["pids"][service].as_u64().with_context(|| format!("{service} of {node} is not running"))
}

/// Kills a service; the PID that it had.
fn kill(world: &World, node: &str, service: &str) -> Result<u64> {
    let old = pid(world, node, service)?;
    let killed = Command::new("kill").args(["-KILL", &old.to_string()]).status().context("running kill")?;
    ensure!(killed.success(), "kill {old} failed");
    Ok(old)
}

fn kill_service(world: &World, node: &str, service: &str) -> Result<()> {
    let old = kill(world, node, service)?;
    world.wait(&format!("{service} of {node} is started again"), 30, || {
        let new = pid(world, node, service)?;
        Ok(new != old && std::path::Path::new(&format!("/proc/{new}")).exists())
    })
}

pub(crate) fn pods_outlive_containerd_and_agent(world: &mut World) -> Result<()> {
    let (identity, before) = (identities(world)?, restarts(world)?);
    for service in ["containerd", "agent"] {
        kill_service(world, "edge-2", service)?;
        // A new pod on that node shows that it works again.
        let name = format!("after-{service}");
        let manifest = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "nodeSelector": {"kubernetes.io/hostname": "edge-2"},
                "restartPolicy": "Never",
                "containers": [{"name": "c", "image": "registry.local/agnhost:1", "args": ["echo", "works"]}],
            },
        });
        world.kubectl_with(&["apply", "-f", "-"], &manifest.to_string())?;
        let pod = format!("pod/{name}");
        world.kubectl(&["wait", "--for=jsonpath={.status.phase}=Succeeded", &pod, "--timeout=90s"])?;
        world.kubectl(&["delete", &pod, "--timeout=60s"])?;
    }
    let after = restarts(world)?;
    ensure!(before == after, "containers were restarted:\nbefore {before:?}\nafter  {after:?}");
    ensure!(identity == identities(world)?, "pods were replaced");
    Ok(())
}

/// containerd goes missing altogether: the Node says so and what to do, Wasm and running containers go on, and nothing has
/// been restarted once it is there again.
pub(crate) fn a_missing_containerd_is_said_and_outlived(world: &mut World) -> Result<()> {
    let (identity, before) = (identities(world)?, restarts(world)?);
    let program = world.on_node("edge-2", &["sh", "-c", "command -v containerd"])?;
    let program = program.trim();
    // Only in that node's own mounts.
    world.on_node("edge-2", &["mount", "--bind", "/dev/null", program])?;
    kill(world, "edge-2", "containerd")?;
    world.wait("the node says what is missing", 60, || {
        let node = world.get(&["node", "edge-2"])?;
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let said = |c: &serde_json::Value| {
            c["type"] == "Ready"
                && c["status"] == "False"
                && text(&c["message"]).ends_with("is it installed and running?")
        };
        Ok(conditions.iter().any(said))
    })?;
    let mut here = [pods(world, "web")?, pods(world, "hello-wasm")?].concat();
    here.retain(|pod| pod["spec"]["nodeName"] == "edge-2");
    ensure!(!here.is_empty(), "no pod runs on edge-2");
    answers(world, &here)?;
    world.on_node("edge-2", &["umount", program])?;
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-2", "--timeout=90s"])?;
    let after = restarts(world)?;
    ensure!(before == after, "containers were restarted:\nbefore {before:?}\nafter  {after:?}");
    ensure!(identity == identities(world)?, "pods were replaced");
    Ok(())
}

/// sled holds views only: a node without them rebuilds them from its journal.
pub(crate) fn views_are_rebuilt_when_deleted(world: &mut World) -> Result<()> {
    let identity = identities(world)?;
    world.remember_namespaces();
    world.xtask(&["node", "kill", "edge-2"])?;
    let data = std::path::PathBuf::from(text(&world.node("edge-2")?["data_dir"]));
    let views = data.join("views");
    ensure!(views.is_dir(), "{} holds no folder `views`", data.display());
    std::fs::remove_dir_all(&views).with_context(|| format!("removing {}", views.display()))?;
    world.xtask(&["node", "start", "edge-2"])?;
    world.wait("all pods run and are ready again", 120, || {
        let pods = items(&world.get(&["-n", "demo", "pods"])?);
        Ok(pods.iter().all(|p| p["status"]["phase"] == "Running" && ready(p)))
    })?;
    ensure!(identity == identities(world)?, "pods were replaced");
    let pod = items(&world.get(&["-n", "demo", "pods"])?).into_iter().find(|p| p["spec"]["nodeName"] == "edge-2");
    let pod = text(&pod.context("edge-2 has no pod")?["metadata"]["name"]).to_owned();
    world.wait("the node lists its Events again", 30, || {
        let events = world.on_node("edge-2", &["holdfast-edge", "events", "-n", "demo", &pod])?;
        Ok(events.lines().any(|line| line.contains("Started") && line.contains(&pod)))
    })?;
    ensure!(views.is_dir(), "{} was not made again", views.display());
    Ok(())
}

pub(crate) fn the_hub_comes_back_with_its_data(world: &mut World) -> Result<()> {
    let identity = identities(world)?;
    world.kubectl(&["create", "configmap", "durable", "--from-literal=a=1"])?;
    world.xtask(&["hub", "kill"])?;
    world.xtask(&["hub", "start"])?;
    let value = world.kubectl(&["get", "configmap", "durable", "-o", "jsonpath={.data.a}"])?;
    ensure!(value == "1", "what was acknowledged is gone: a={value:?}");
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-1", "node/edge-2", "--timeout=120s"])?;
    ensure!(identity == identities(world)?, "pods were replaced");
    world.kubectl(&["delete", "configmap", "durable"]).map(drop)
}
