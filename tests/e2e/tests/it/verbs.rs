//! The verbs of `cargo xtask` that worsen a cluster, and those that look into a node.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use holdfast_e2e::pods::{all_running, fetch, identities, pods};
use holdfast_e2e::world::{World, holds, items, said, text};
use serde_json::{Value, json};

fn stats(world: &World) -> Result<Value> {
    let words = world.xtask(&["link", "stats", "edge-1", "-o", "json"])?;
    serde_json::from_str(&words).context("reading `link stats -o json`")
}

fn ready(world: &World) -> Result<()> {
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-1", "node/edge-2", "--timeout=60s"]).map(drop)
}

pub(crate) fn node_exec_passes_stdin_and_exit_code(world: &mut World) -> Result<()> {
    let out = world.xtask_output(&["node", "exec", "edge-1", "--", "sh", "-c", "exit 7"], "")?;
    ensure!(out.status.code() == Some(7), "exit 7 became {}: {}", out.status, said(&out));
    let out = world.xtask_output(&["node", "exec", "edge-1", "--", "cat"], "through\nthe node\n")?;
    ensure!(out.status.success() && out.stdout == b"through\nthe node\n", "cat said {}", said(&out));
    let out = world.xtask_output(&["node", "exec", "edge-7", "--", "true"], "")?;
    ensure!(out.status.code() == Some(1), "a node that is none: {}", out.status);
    holds(&said(&out), "no node \"edge-7\"; there are edge-1, edge-2")
}

pub(crate) fn link_stats_count_and_loss_is_felt(world: &mut World) -> Result<()> {
    let gateway = text(&world.cluster()?["gateway"]).to_owned();
    let ping = |count: &str| -> Result<String> {
        let args = ["node", "exec", "edge-1", "--", "busybox", "ping", "-c", count, "-i", "0.1", "-W", "1", &gateway];
        Ok(said(&world.xtask_output(&args, "")?))
    };
    let before = stats(world)?;
    holds(&ping("5")?, "5 packets received")?;
    let after = stats(world)?;
    for key in ["to_hub_bytes", "from_hub_bytes", "sent_bytes", "received_bytes"] {
        let grown = after[key].as_u64().zip(before[key].as_u64()).map(|(a, b)| a.saturating_sub(b));
        // Five echoes of 84 bytes, with or without the frame around them.
        ensure!(grown.is_some_and(|grown| grown >= 5 * 84), "{key} went from {} to {}", before[key], after[key]);
    }
    ensure!(after["node"] == "edge-1" && after["faults"]["lossy"] == 0, "the stats are {after}");
    world.xtask(&["link", "lossy", "edge-1", "50"])?;
    ensure!(stats(world)?["faults"]["lossy"] == 50, "the stats do not tell the loss");
    // Half of the echoes and half of the answers are lost; all 40 pass, or none, less often than once in 10,000 runs.
    let lossy = ping("40")?;
    ensure!(!lossy.contains(" 40 packets received") && !lossy.contains(" 0 packets received"), "{lossy}");
    world.xtask(&["link", "heal", "edge-1"])?;
    holds(&ping("5")?, "5 packets received")?;
    ready(world)
}

pub(crate) fn nodes_behind_a_nat_have_another_address(world: &mut World) -> Result<()> {
    let told = world.xtask(&["link", "nat", "edge-1"])?;
    let address = told.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    ensure!(address != text(&world.node("edge-1")?["addresses"][0]), "{told}");
    // A new connection, since the hub says where from only then.
    let agent = world.node("edge-1")?["pids"]["agent"].as_u64().context("the agent is not running")?;
    ensure!(Command::new("kill").args(["-KILL", &agent.to_string()]).status()?.success(), "the agent was gone");
    let log = world.dir.join("hub.log");
    world.wait("the hub sees edge-1 under another address", 60, || {
        let text = std::fs::read_to_string(&log)?;
        Ok(text.lines().any(|l| l.contains("Node connected") && l.contains("edge-1") && l.contains(&address)))
    })?;
    ready(world)?;
    let all = pods(world, "web")?;
    let pod = all.iter().find(|pod| pod["spec"]["nodeName"] == "edge-1").context("edge-1 has no pod of web")?;
    let name = text(&pod["metadata"]["name"]);
    holds(&world.kubectl(&["-n", "demo", "exec", name, "--", "/agnhost", "env"])?, &format!("HOSTNAME={name}"))?;
    world.xtask(&["link", "heal", "edge-1"])?;
    ready(world)
}

pub(crate) fn a_cut_between_nodes_leaves_the_hub(world: &mut World) -> Result<()> {
    let all = pods(world, "web")?;
    let of = |node: &str| -> Result<String> {
        let pod =
            all.iter().find(|pod| pod["spec"]["nodeName"] == node).with_context(|| format!("no pod on {node}"))?;
        Ok(format!("http://{}:8080/", text(&pod["status"]["podIP"])))
    };
    let (first, second) = (of("edge-1")?, of("edge-2")?);
    fetch(world, "edge-1", &second)?;
    world.xtask(&["link", "cut", "edge-1", "--from", "edge-2"])?;
    for (node, url) in [("edge-1", &second), ("edge-2", &first)] {
        ensure!(fetch(world, node, url).is_err(), "{url} answers on {node}, which is cut from there");
    }
    fetch(world, "edge-1", &first)?;
    fetch(world, "edge-2", &second)?;
    // Beyond the grace: 10 s of heartbeat, 40 s of grace would have to pass; the connection itself says it sooner.
    for node in ["edge-1", "edge-2"] {
        let status: Value = serde_json::from_str(&world.on_node(node, &["holdfast-edge", "status", "-o", "json"])?)?;
        ensure!(status["connected"] == true, "{node} lost the hub: {status}");
    }
    ready(world)?;
    // A cut between two is healed from either side.
    world.xtask(&["link", "heal", "edge-2"])?;
    world.wait("the nodes reach each other again", 30, || fetch(world, "edge-1", &second).map(|_| true))
}

/// While the hub is heard, its time holds; after a reboot without it the machine's own clock does.
pub(crate) fn a_wrong_clock_and_a_reboot_harm_nothing(world: &mut World) -> Result<()> {
    let before = identities(world)?;
    let mine: Vec<Value> =
        items(&world.get(&["-n", "demo", "pods"])?).into_iter().filter(|p| p["spec"]["nodeName"] == "edge-1").collect();
    world.xtask(&["node", "clock", "edge-1", "--offset", "2592000"])?;
    ready(world)?;
    world.xtask(&["link", "cut", "edge-1"])?;
    world.remember_namespaces();
    world.xtask(&["node", "reboot", "edge-1"])?;
    world.wait("all pods run again after the reboot", 60, || all_running(world, &mine))?;
    let date = Command::new("date").args(["-u", "-d", "+29 days", "+%FT%TZ"]).output().context("running date")?;
    let ahead = String::from_utf8_lossy(&date.stdout).trim().to_owned();
    let events = world.on_node("edge-1", &["holdfast-edge", "events", "-o", "json"])?;
    let times = events.split('"').filter(|word| word.len() >= 20 && word.as_bytes()[10] == b'T');
    ensure!(times.max().is_some_and(|latest| latest > ahead.as_str()), "no event later than {ahead} in:\n{events}");
    world.xtask(&["node", "clock", "edge-1", "--offset", "0"])?;
    world.xtask(&["link", "heal", "edge-1"])?;
    ready(world)?;
    world.wait("the pods are ready again", 60, || {
        let pods = items(&world.get(&["-n", "demo", "pods"])?);
        Ok(pods.iter().all(holdfast_e2e::pods::ready))
    })?;
    ensure!(before == identities(world)?, "pods were replaced by a reboot");
    Ok(())
}

/// As `docker save` writes them, before and since Docker 25; into one node only.
pub(crate) fn foreign_docker_archives_run(world: &mut World) -> Result<()> {
    let images = text(&world.cluster()?["images"]).to_owned();
    for (file, image, name) in
        [("foreign-old.tar", "foreign:1", "foreign-old"), ("foreign.tar", "foreign:25", "foreign")]
    {
        let told = world.xtask(&["load", &format!("{images}/{file}"), "--node", "edge-1"])?;
        ensure!(told.contains(image), "load told {told:?}");
        for (node, runs) in [("edge-1", true), ("edge-2", false)] {
            let pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": node},
                    "restartPolicy": "Never",
                    // Of the names that Docker gives: no registry is to be asked for them.
                    "containers": [{"name": "c", "image": image, "imagePullPolicy": "Never", "args": ["echo", "from", image]}],
                },
            });
            world.kubectl_with(&["apply", "-f", "-"], &pod.to_string())?;
            let ended = || -> Result<bool> {
                let status = &world.get(&["pod", name])?["status"];
                let waits = text(&status["containerStatuses"][0]["state"]["waiting"]["reason"]).to_owned();
                Ok(if runs { status["phase"] == "Succeeded" } else { waits == "ErrImageNeverPull" })
            };
            world.wait(&format!("{image} on {node}, where it runs: {runs}"), 60, ended)?;
            if runs {
                let log = world.kubectl(&["logs", name])?;
                ensure!(log == format!("from {image}\n"), "the log of {image} is {log:?}");
            }
            let pod = format!("pod/{name}");
            world.kubectl(&["delete", &pod, "--timeout=60s"])?;
        }
    }
    Ok(())
}
