//! Machines that may not join: one clear line, and the hub knows nothing of them.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use holdfast_e2e::world::{World, holds, said, text};

/// Longer than an agent that is refused takes, and shorter than anybody waits.
const SECONDS: &str = "25";

pub(crate) fn wrong_join_token_is_one_clear_line(world: &mut World) -> Result<()> {
    let file = text(&world.node("edge-2")?["token_file"]).to_owned();
    let token = std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
    let [id, secret, hash] = token.trim().split('.').collect::<Vec<_>>()[..] else {
        anyhow::bail!("the token of edge-2 is {token:?}");
    };
    // The right words, for the CA of another hub; and the right hub, with a secret that is not this token's.
    let wrong_hub = format!("{id}.{secret}.{}", "0".repeat(64));
    let wrong_secret = format!("{id}.{}.{hash}", secret.chars().rev().collect::<String>());
    for (token, why) in [
        (wrong_hub, "the hub's CA is not the one that the token names; make a token"),
        (wrong_secret, "refused to let this node join: the token is unknown; make one"),
    ] {
        let (code, words) = stranger(world, &token)?;
        let last = words.lines().last().unwrap_or_default();
        ensure!(code == Some(1), "the agent ended with {code:?} (124 is a time-out):\n{words}");
        ensure!(
            last.starts_with("holdfast-edge: ") && last.contains(why),
            "expected {why:?} in the last line of:\n{words}"
        );
        holds(last, "`holdfast-hub token create`")?;
        ensure!(!words.contains("panicked"), "the agent panicked:\n{words}");
        ensure!(!words.contains(secret), "the agent told the secret:\n{words}");
        let (_, gone) = world.kubectl_refused(&["get", "node", "stranger"], "")?;
        holds(&gone, "NotFound")?;
    }
    Ok(())
}

/// An agent in namespaces of its own, on the cluster's bridge: its exit code and what it said.
fn stranger(world: &World, token: &str) -> Result<(Option<i32>, String)> {
    let cluster = world.cluster()?;
    let (bridge, gateway) = (text(&cluster["bridge"]).to_owned(), text(&cluster["gateway"]).to_owned());
    let address = format!("{}.250", gateway.rsplit_once('.').context("no address")?.0);
    let hub = text(&world.node("edge-2")?["hub"]).to_owned();
    let script = format!(
        "read go && mount -t tmpfs tmpfs /run && mkdir -p /run/holdfast && ip addr add {address}/24 dev eth0 && \
         ip link set eth0 up && exec timeout -k 5 {SECONDS} {} agent --hub {hub} --token {token} \
         --node-name stranger --data-dir {} --node-ip {address} 2>&1",
        world.bin_dir.join("holdfast-edge").display(),
        world.dir.join("stranger").display(),
    );
    let mut agent = Command::new("unshare");
    agent.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]);
    let mut agent = agent.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // The shell is unshare's child once the namespaces stand.
    let children = format!("/proc/{0}/task/{0}/children", agent.id());
    let mut shell = String::new();
    world.wait("the stranger's namespaces stand", 10, || {
        shell = std::fs::read_to_string(&children)?.split_whitespace().next().unwrap_or_default().to_owned();
        let net = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net"));
        Ok(!shell.is_empty() && net(&shell)? != net("self")?)
    })?;
    let cable = format!("{bridge}s");
    let ip = |args: &[&str]| Command::new("ip").args(args).status().is_ok_and(|s| s.success());
    // The last stranger's goes with its namespace, which the kernel takes apart in its own time.
    world.wait("the last stranger's cable is gone", 10, || {
        Ok(ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &shell]))
    })?;
    ensure!(ip(&["link", "set", &cable, "master", &bridge, "up"]), "the cable does not fit");
    agent.stdin.take().context("no pipe to the stranger")?.write_all(b"go\n")?;
    let out = agent.wait_with_output()?;
    Ok((out.status.code(), said(&out)))
}
