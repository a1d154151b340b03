//! Bridge, veth pairs and addresses, by `ip`. One bridge in the root namespace per cluster; a port of it per node.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use anyhow::{Result, bail};

use crate::cluster::{Cluster, Derived, Node};
use crate::process::output;

fn ip(args: &[&str]) -> Result<String> {
    output(Command::new("ip").args(args))
}

/// The first subnet of ours that no interface and no route of this machine touches.
pub(crate) fn free_subnet(derived: &Derived) -> Result<u8> {
    let taken = ip(&["-o", "-4", "addr"])? + &ip(&["-4", "route", "show", "table", "all"])?;
    match derived.subnets().find(|x| !taken.contains(&format!("172.29.{x}."))) {
        Some(x) => Ok(x),
        None => bail!("no free subnet in 172.29.0.0/16; remove a cluster with `cargo xtask down --dir DIR`"),
    }
}

/// The first API port that is free together with the next one, the link's.
pub(crate) fn free_port(candidates: &[u16]) -> Result<u16> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
    match candidates.iter().find(|p| p.checked_add(1).is_some_and(|link| free(**p) && free(link))) {
        Some(port) => Ok(*port),
        None => {
            bail!("port {} or the one after it is in use; choose another with --port", candidates.first().unwrap_or(&0))
        }
    }
}

pub(crate) fn add_bridge(cluster: &Cluster, mac: &str) -> Result<()> {
    let bridge = cluster.bridge.as_str();
    ip(&["link", "add", bridge, "address", mac, "type", "bridge", "stp_state", "0", "forward_delay", "0"])?;
    ip(&["addr", "add", &format!("{}/24", cluster.gateway), "dev", bridge])?;
    ip(&["link", "set", bridge, "up"])?;
    Ok(())
}

/// Gives the namespace of `init` its `eth0`, the other end a port of the bridge. A port left over from the node's
/// last life goes first: the kernel removes it some time after the namespace's end.
pub(crate) fn plug(bridge: &str, node: &Node, init: u32) -> Result<()> {
    let veth = node.veth.as_str();
    remove_link(veth)?;
    let init = init.to_string();
    ip(&["link", "add", veth, "type", "veth", "peer", "name", "eth0", "address", &node.mac, "netns", &init])?;
    ip(&["link", "set", veth, "master", bridge, "up"])?;
    Ok(())
}

/// Inside the node: address and default route.
pub(crate) fn configure(node: &Node, gateway: Ipv4Addr) -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["addr", "add", &format!("{}/24", node.ip()), "dev", "eth0"])?;
    ip(&["link", "set", "eth0", "up"])?;
    ip(&["route", "add", "default", "via", &gateway.to_string()])?;
    Ok(())
}

/// Links of this machine whose name starts with `prefix`.
pub(crate) fn links(prefix: &str) -> Result<Vec<String>> {
    let list = ip(&["-o", "link", "show"])?;
    let names = list.lines().filter_map(|l| l.split(": ").nth(1)).filter_map(|n| n.split('@').next());
    Ok(names.filter(|n| n.starts_with(prefix)).map(str::to_owned).collect())
}

/// Removes a link if it is there.
pub(crate) fn remove_link(name: &str) -> Result<()> {
    if !std::path::Path::new("/sys/class/net").join(name).exists() {
        return Ok(());
    }
    match ip(&["link", "del", name]) {
        // It may have gone with its namespace between the look and the call.
        Err(err) if !err.to_string().contains("Cannot find device") => Err(err),
        _ => Ok(()),
    }
}
