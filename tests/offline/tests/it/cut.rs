//! Cuts, with power cuts and wrong clocks in them.

use anyhow::{Context, Result, ensure};
use holdfast_e2e::pods::{all_running, identities, pods, ready};
use holdfast_e2e::world::{World, holds, items, text};
use serde_json::Value;

use crate::node::{blackout, cut, heal, status};

fn of_node(world: &World, node: &str) -> Result<Vec<Value>> {
    let mut all = items(&world.get(&["-n", "demo", "pods"])?);
    all.retain(|pod| pod["spec"]["nodeName"] == node);
    ensure!(!all.is_empty(), "{node} has no pods");
    Ok(all)
}

fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(-1)
}

fn now(world: &World) -> Result<String> {
    world.on_node("edge-1", &["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"]).map(|said| said.trim().to_owned())
}

/// A container ends while its node is cut: the node starts it again, and after the cut kubectl shows the same pod with
/// one restart more, and an Event of the time when it happened.
pub(crate) fn kubectl_sees_a_cut_and_what_happened_in_it(world: &mut World) -> Result<()> {
    let before = identities(world)?;
    let web = pods(world, "web")?.into_iter().find(|pod| pod["spec"]["nodeName"] == "edge-1");
    let web = web.context("no pod of web runs on edge-1")?;
    let (name, count) = (text(&web["metadata"]["name"]).to_owned(), restarts(&web));
    cut(world, "edge-1")?;

    let taints = world.get(&["node", "edge-1"])?["spec"]["taints"].to_string();
    holds(&taints, "node.kubernetes.io/unreachable")?;
    world.wait("pods of the silent node are not ready", 30, || {
        Ok(of_node(world, "edge-1")?.iter().all(|pod| !ready(pod) && pod["status"]["phase"] == "Running"))
    })?;
    world.wait("Services leave the silent node's endpoints out", 30, || {
        let slices = items(&world.get(&["-n", "demo", "endpointslices", "-l", "kubernetes.io/service-name=web"])?);
        let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
        let mut mine = endpoints.filter(|endpoint| endpoint["nodeName"] == "edge-1");
        Ok(mine.all(|endpoint| endpoint["conditions"]["ready"] == false))
    })?;

    let cut_at = now(world)?;
    // The pattern does not find the shell itself.
    let kill = "for p in /proc/[0-9]*; do grep -q '[n]etexec' $p/cmdline && kill -9 ${p#/proc/}; done; true";
    world.on_node("edge-1", &["sh", "-c", kill])?;
    let restarted = || -> Result<bool> {
        let said = world.on_node("edge-1", &["kubectl", "-n", "demo", "get", "pod", &name, "-o", "json"])?;
        let pod: Value = serde_json::from_str(&said)?;
        Ok(restarts(&pod) == count + 1 && ready(&pod))
    };
    world.wait("the node starts the container again by itself", 60, restarted)?;
    let seen = world.kubectl(&[
        "-n",
        "demo",
        "get",
        "pod",
        &name,
        "-o",
        "jsonpath={.status.containerStatuses[0].restartCount}",
    ])?;
    ensure!(seen == count.to_string(), "the hub cannot know of a restart on a node that is cut");
    // Later than the restart by the clock that both write.
    world.wait("the clock goes on", 10, || Ok(now(world)? > cut_at))?;
    let heal_at = now(world)?;
    heal(world, "edge-1")?;

    world.wait("kubectl shows the restart", 60, || {
        let pod = world.get(&["-n", "demo", "pod", &name])?;
        Ok(restarts(&pod) == count + 1 && ready(&pod))
    })?;
    world.wait("and when it happened", 60, || {
        let events =
            items(&world.get(&["-n", "demo", "events", "--field-selector", &format!("involvedObject.name={name}")])?);
        Ok(events.iter().any(|event| {
            let at = [&event["lastTimestamp"], &event["firstTimestamp"], &event["eventTime"]].map(text);
            let within = |at: &&str| *at >= cut_at.as_str() && *at <= heal_at.as_str();
            event["reason"] == "Started"
                && at.iter().filter(|at| !at.is_empty()).all(|at| within(&&at[..at.len().min(20)]))
        }))
    })?;
    ensure!(before == identities(world)?, "pods were replaced");
    Ok(())
}

pub(crate) fn wrong_clocks_and_power_cuts_stop_no_pod(world: &mut World) -> Result<()> {
    let before = identities(world)?;
    let mine = of_node(world, "edge-1")?;
    cut(world, "edge-1")?;
    // 1970, and the last second of 32 bits.
    for clock in ["0", "4294967295"] {
        world.xtask(&["node", "clock", "edge-1", "--at", clock])?;
        blackout(world, "edge-1")?;
        world.wait(&format!("all pods run with the clock at {clock}"), 60, || all_running(world, &mine))?;
        ensure!(status(world, "edge-1")?["connected"] == false, "the cut did not last");
    }
    heal(world, "edge-1")?;
    world.xtask(&["node", "clock", "edge-1", "--offset", "0"])?;
    world.wait("the statuses agree", 60, || {
        let pods = of_node(world, "edge-1")?;
        Ok(pods.iter().all(|pod| {
            let old = mine.iter().find(|old| old["metadata"]["uid"] == pod["metadata"]["uid"]);
            ready(pod) && old.is_some_and(|old| restarts(pod) == restarts(old) + 2)
        }))
    })?;
    ensure!(before == identities(world)?, "pods were replaced");
    Ok(())
}
