//! Networks that change under the link: without UDP, and with another address.

use anyhow::{Context, Result, ensure};
use holdfast_e2e::world::{World, holds, text};
use serde_json::json;

use crate::node::status;

fn carried_by(world: &World, transport: &str) -> Result<bool> {
    let status = status(world, "edge-1")?;
    Ok(status["connected"] == true && status["transport"] == transport)
}

pub(crate) fn without_udp_the_link_goes_over_tcp_and_comes_back(world: &mut World) -> Result<()> {
    world.wait("the link is over QUIC", 30, || carried_by(world, "quic"))?;
    world.xtask(&["link", "block-udp", "edge-1"])?;
    world.wait("the link is over TCP", 180, || carried_by(world, "tcp"))?;
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-1", "--timeout=60s"])?;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "by-tcp", "namespace": "default"},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": "edge-1"},
            "containers": [{"name": "c", "image": "registry.local/agnhost:1", "args": ["netexec", "--http-port=8080"]}],
        },
    });
    world.kubectl_with(&["apply", "-f", "-"], &pod.to_string())?;
    world.kubectl(&["wait", "--for=condition=Ready", "pod/by-tcp", "--timeout=90s"])?;
    holds(&world.kubectl(&["logs", "by-tcp"])?, "netexec: listening")?;
    holds(&world.kubectl(&["exec", "by-tcp", "--", "/agnhost", "env"])?, "HOSTNAME=by-tcp")?;
    world.kubectl(&["delete", "pod", "by-tcp", "--timeout=60s"])?;
    ensure!(carried_by(world, "tcp")?, "the link did not stay over TCP");
    world.xtask(&["link", "heal", "edge-1"])?;
    world.wait("the link is back on QUIC", 180, || carried_by(world, "quic"))?;
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-1", "--timeout=60s"]).map(drop)
}

/// Another lease, another uplink: the connection goes on from the new address, with the same session.
pub(crate) fn another_address_costs_no_session(world: &mut World) -> Result<()> {
    let old = text(&world.node("edge-1")?["addresses"][0]).to_owned();
    let (network, host) = old.rsplit_once('.').context("the node's address has no dots")?;
    let new = format!("{network}.{}", host.parse::<u8>()? + 100);
    let gateway = text(&world.cluster()?["gateway"]).to_owned();
    let before = status(world, "edge-1")?;
    move_to(world, &old, &new, &gateway)?;
    let moved_at = world.on_node("edge-1", &["date", "-u", "+%Y-%m-%dT%H:%M:%SZ"])?;
    // Longer than a heartbeat's answer could have been on its way.
    let heard = world.wait("the hub is heard of at the new address", 60, || {
        Ok(text(&status(world, "edge-1")?["last_contact"]) > moved_at.trim())
    });
    let after = status(world, "edge-1")?;
    move_to(world, &new, &old, &gateway)?;
    heard?;
    ensure!(before["session"] == after["session"], "the link began anew: {before}, then {after}");
    world.kubectl(&["wait", "--for=condition=Ready", "node/edge-1", "--timeout=60s"]).map(drop)
}

fn move_to(world: &World, from: &str, to: &str, gateway: &str) -> Result<()> {
    let script = "set -e
        prefix=$(ip -4 -o addr show dev eth0 | sed -n \"s|.*inet $1/\\([0-9]*\\).*|\\1|p\")
        echo 1 > /proc/sys/net/ipv4/conf/eth0/promote_secondaries
        ip addr add $2/$prefix dev eth0
        ip addr del $1/$prefix dev eth0
        ip route replace default via $3 dev eth0";
    world.on_node("edge-1", &["sh", "-c", script, "sh", from, to, gateway]).map(drop)
}
