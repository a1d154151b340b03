//! A network without UDP.

use anyhow::{Result, ensure};
use holdfast_e2e::world::{World, holds};
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
