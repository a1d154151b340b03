//! A node as its own commands show it.

use anyhow::{Context, Result};
use holdfast_e2e::world::World;
use serde_json::Value;

/// `holdfast-edge status`.
pub(crate) fn status(world: &World, node: &str) -> Result<Value> {
    let said = world.on_node(node, &["holdfast-edge", "status", "-o", "json"])?;
    serde_json::from_str(&said).context("reading `holdfast-edge status -o json`")
}

pub(crate) fn cut(world: &World, node: &str) -> Result<()> {
    world.xtask(&["link", "cut", node])?;
    world.kubectl(&["wait", "--for=condition=Ready=Unknown", &format!("node/{node}"), "--timeout=120s"]).map(drop)
}

pub(crate) fn heal(world: &World, node: &str) -> Result<()> {
    world.xtask(&["link", "heal", node])?;
    world.kubectl(&["wait", "--for=condition=Ready", &format!("node/{node}"), "--timeout=120s"]).map(drop)
}

/// Power off and on again, as after a short blackout.
pub(crate) fn blackout(world: &mut World, node: &str) -> Result<()> {
    world.remember_namespaces();
    world.xtask(&["node", "kill", node])?;
    world.xtask(&["node", "start", node]).map(drop)
}
