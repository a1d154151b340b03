//! Pods as kubectl and as a node show them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::world::{World, items, text};

pub fn pods(world: &World, app: &str) -> Result<Vec<Value>> {
    Ok(items(&world.get(&["-n", "demo", "pods", "-l", &format!("app={app}")])?))
}

/// Pod name to UID.
pub fn identities(world: &World) -> Result<BTreeMap<String, String>> {
    let pods = items(&world.get(&["-n", "demo", "pods"])?);
    let metadata = pods.iter().map(|p| &p["metadata"]);
    Ok(metadata.map(|m| (text(&m["name"]).to_owned(), text(&m["uid"]).to_owned())).collect())
}

pub fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// GET from within a node.
pub fn fetch(world: &World, node: &str, url: &str) -> Result<String> {
    world
        .on_node(node, &["timeout", "5", "busybox", "wget", "-q", "-O", "-", url])
        .with_context(|| format!("{url} on {node}"))
}

/// Every one of the pods answers on its own node.
pub fn answers(world: &World, pods: &[Value]) -> Result<()> {
    for pod in pods {
        let (node, address) = (text(&pod["spec"]["nodeName"]), text(&pod["status"]["podIP"]));
        fetch(world, node, &format!("http://{address}:8080/"))?;
    }
    Ok(())
}

pub fn local_pods(world: &World) -> Result<String> {
    world.on_node("edge-1", &["holdfast-edge", "pods", "-o", "json"])
}

/// The table of `holdfast-edge pods`: NAMESPACE NAME STATUS RESTARTS IP AGE.
pub fn table(world: &World) -> Result<Vec<Vec<String>>> {
    let table = world.on_node("edge-1", &["holdfast-edge", "pods"])?;
    let rows: Vec<Vec<String>> = table.lines().map(|l| l.split_whitespace().map(str::to_owned).collect()).collect();
    let head = rows.first().context("an empty table")?;
    ensure!(*head == ["NAMESPACE", "NAME", "STATUS", "RESTARTS", "IP", "AGE"], "holdfast-edge pods prints {head:?}");
    Ok(rows.into_iter().skip(1).collect())
}

pub fn all_running(world: &World, pods: &[Value]) -> Result<bool> {
    let rows = table(world)?;
    Ok(pods.iter().all(|pod| {
        let name = text(&pod["metadata"]["name"]);
        rows.iter().any(|row| row.len() >= 3 && row[0] == "demo" && row[1] == name && row[2] == "Running")
    }))
}

/// By the addresses that the node itself tells: they may have changed with the reboot.
pub fn answers_locally(world: &World) -> Result<()> {
    for row in table(world)?.iter().filter(|r| r.len() >= 6 && r[0] == "demo") {
        fetch(world, "edge-1", &format!("http://{}:8080/", row[row.len() - 2]))?;
    }
    Ok(())
}
