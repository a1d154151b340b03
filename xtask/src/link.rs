//! `link`: what is wrong with a node's network. The wanted state lies in `DIR/links.json` and is rendered whole into
//! one nft table of the bridge family, so that a cut lasts across a node's reboot: it hangs on the bridge's port.
//! "The hub" is this machine: its side of the bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cli::Format;
use crate::cluster::{Cluster, Derived, Node, write_private};
use crate::deps;
use crate::node::exec::inside;
use crate::process::{output, output_of};

/// What is wrong with one node's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Faults {
    cut_from_hub: bool,
    cut_from: BTreeSet<String>,
    /// Percent of packets dropped, each way, to and from anybody.
    lossy: u8,
    block_udp: bool,
    /// The hub sees the node under another address and ports that are forgotten when idle.
    #[serde(default)]
    nat: bool,
}

/// Bytes of Ethernet's head, which a port counts with each packet.
const ETHERNET_HEAD: u64 = 14;

type Links = BTreeMap<String, Faults>;

pub(crate) fn cut(dir: &Path, node: &str, from: &str) -> Result<()> {
    let said = change(dir, node, |cluster, faults| {
        match from {
            "hub" => faults.cut_from_hub = true,
            peer if peer == node => bail!("{node} cannot be cut from itself"),
            peer => {
                cluster.node(peer)?;
                faults.cut_from.insert(peer.to_owned());
            }
        }
        Ok(format!("{node} is cut from {from}"))
    })?;
    println!("{said}");
    Ok(())
}

pub(crate) fn heal(dir: &Path, node: &str) -> Result<()> {
    deps::need_root("link")?;
    let cluster = Cluster::load(dir)?;
    cluster.node(node)?;
    let mut links = load(&cluster)?;
    let had_nat = links.remove(node).is_some_and(|faults| faults.nat);
    // A cut between two nodes is healed from either side.
    links.values_mut().for_each(|faults| {
        faults.cut_from.remove(node);
    });
    store(&cluster, &links)?;
    if had_nat {
        forget_flows(cluster.node(node)?);
    }
    println!("{node} is healed");
    Ok(())
}

pub(crate) fn lossy(dir: &Path, node: &str, percent: u8) -> Result<()> {
    let said = change(dir, node, |_, faults| {
        faults.lossy = percent;
        Ok(format!("{node} loses {percent} % of its packets"))
    })?;
    println!("{said}");
    Ok(())
}

pub(crate) fn block_udp(dir: &Path, node: &str) -> Result<()> {
    let said = change(dir, node, |_, faults| {
        faults.block_udp = true;
        Ok(format!("UDP between {node} and the hub is blocked"))
    })?;
    println!("{said}");
    Ok(())
}

/// A router that masquerades, folded into this machine: what the node sends to it gets another address and port, by
/// the kernel's connection tracking with its own time-outs. Traffic between nodes is not touched.
pub(crate) fn nat(dir: &Path, node: &str) -> Result<()> {
    let said = change(dir, node, |cluster, faults| {
        faults.nat = true;
        Ok(format!("the hub sees {node} as {}", nat_address(cluster.node(node)?)))
    })?;
    forget_flows(Cluster::load(dir)?.node(node)?);
    println!("{said}");
    Ok(())
}

/// In the same subnet, beyond the 50 nodes that there can be.
fn nat_address(node: &Node) -> Ipv4Addr {
    let [a, b, c, d] = node.ip().octets();
    Ipv4Addr::new(a, b, c, d.saturating_add(100))
}

/// Connections keep the translation that they began with; there may be none to forget.
fn forget_flows(node: &Node) {
    let _ = output(Command::new("conntrack").args(["-D", "-s", &node.ip().to_string()]));
}

fn change<T>(dir: &Path, node: &str, edit: impl FnOnce(&Cluster, &mut Faults) -> Result<T>) -> Result<T> {
    deps::need_root("link")?;
    let cluster = Cluster::load(dir)?;
    cluster.node(node)?;
    let mut links = load(&cluster)?;
    let done = edit(&cluster, links.entry(node.to_owned()).or_default())?;
    store(&cluster, &links)?;
    Ok(done)
}

fn load(cluster: &Cluster) -> Result<Links> {
    let path = cluster.dir.join("links.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display())),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => Ok(Links::new()),
        Err(err) => Err(err).with_context(|| format!("reading {}", path.display())),
    }
}

/// The kernel first: what is written down is what holds.
fn store(cluster: &Cluster, links: &Links) -> Result<()> {
    let table = Derived::of(&cluster.dir)?.table();
    output_of(Command::new("nft").args(["-f", "-"]), &render(&table, &cluster.nodes, links))
        .context("setting the links")?;
    write_private(&cluster.dir.join("links.json"), &serde_json::to_vec_pretty(links)?)
}

/// Puts the table in place; `up` calls it before the first node boots, for the counters.
pub(crate) fn apply(cluster: &Cluster) -> Result<()> {
    store(cluster, &load(cluster)?)
}

/// The whole table. Chains are flushed, not replaced, so that counters go on counting.
fn render(table: &str, nodes: &[Node], links: &Links) -> String {
    let mut text = format!("add table bridge {table}\n");
    let mut line = |rule: &str| {
        let _ = writeln!(text, "{rule}");
    };
    for chain in ["input", "output", "forward"] {
        line(&format!("add chain bridge {table} {chain} {{ type filter hook {chain} priority -200; policy accept; }}"));
        line(&format!("flush chain bridge {table} {chain}"));
    }
    // A second table, since translation is no business of the bridge family.
    line(&format!("add table ip {table}_nat"));
    line(&format!("add chain ip {table}_nat input {{ type nat hook input priority 100; policy accept; }}"));
    line(&format!("flush chain ip {table}_nat input"));
    for node in nodes.iter().filter(|n| links.get(&n.name).is_some_and(|f| f.nat)) {
        let rule =
            format!("ip saddr {} meta l4proto {{ tcp, udp }} snat to {}:20000-59999", node.ip(), nat_address(node));
        line(&format!("add rule ip {table}_nat input {rule}"));
    }
    for node in nodes {
        let (veth, faults) = (&node.veth, links.get(&node.name).cloned().unwrap_or_default());
        let sides = [("input", format!("iifname {veth}")), ("output", format!("oifname {veth}"))];
        if faults.cut_from_hub {
            sides.iter().for_each(|(chain, port)| line(&format!("add rule bridge {table} {chain} {port} drop")));
        }
        if faults.block_udp {
            for (chain, port) in &sides {
                line(&format!("add rule bridge {table} {chain} {port} ether type ip ip protocol udp drop"));
                line(&format!("add rule bridge {table} {chain} {port} ether type ip6 ip6 nexthdr udp drop"));
            }
        }
        for peer in nodes.iter().filter(|n| faults.cut_from.contains(&n.name)) {
            line(&format!("add rule bridge {table} forward iifname {veth} oifname {} drop", peer.veth));
            line(&format!("add rule bridge {table} forward iifname {} oifname {veth} drop", peer.veth));
        }
        if faults.lossy > 0 {
            let share = format!("numgen random mod 100 < {} drop", faults.lossy);
            sides.iter().for_each(|(chain, port)| line(&format!("add rule bridge {table} {chain} {port} {share}")));
            line(&format!("add rule bridge {table} forward iifname {veth} {share}"));
            line(&format!("add rule bridge {table} forward oifname {veth} {share}"));
        }
        for ((chain, port), counter) in sides.iter().zip([format!("{veth}_to_hub"), format!("{veth}_from_hub")]) {
            line(&format!("add counter bridge {table} {counter}"));
            // Questions for neighbours (ARP, ICMPv6) go no further than the cable, and nobody is billed for them.
            let billed = "meta protocol { ip, ip6 } meta l4proto != ipv6-icmp";
            line(&format!("add rule bridge {table} {chain} {port} {billed} counter name {counter}"));
        }
    }
    text
}

pub(crate) fn stats(dir: &Path, name: &str, format: Format) -> Result<()> {
    deps::need_root("link stats")?;
    let cluster = Cluster::load(dir)?;
    let node = cluster.node(name)?;
    let table = Derived::of(&cluster.dir)?.table();
    let list = output(Command::new("nft").args(["-j", "list", "counters", "table", "bridge", &table]))?;
    let list: Value = serde_json::from_str(&list).context("reading nft's JSON")?;
    let counter = |suffix: &str, field: &str| {
        let wanted = format!("{}_{suffix}", node.veth);
        let all = list["nftables"].as_array().into_iter().flatten().map(|e| &e["counter"]);
        all.filter(|c| c["name"] == wanted.as_str()).find_map(|c| c[field].as_u64()).unwrap_or(0)
    };
    // What the port received is what the node sent. Zero while the node is off: the port is gone.
    let port = |file: &str| -> u64 {
        let path = format!("/sys/class/net/{}/statistics/{file}", node.veth);
        fs::read_to_string(path).ok().and_then(|t| t.trim().parse().ok()).unwrap_or(0)
    };
    // The port counts Ethernet's heads; what an operator is billed for begins with IP's.
    let ip = |bytes: &str, packets: &str| port(bytes).saturating_sub(ETHERNET_HEAD * port(packets));
    let figures = [
        ("to_hub_bytes", counter("to_hub", "bytes")),
        ("to_hub_packets", counter("to_hub", "packets")),
        ("from_hub_bytes", counter("from_hub", "bytes")),
        ("from_hub_packets", counter("from_hub", "packets")),
        ("sent_bytes", port("rx_bytes")),
        ("sent_packets", port("rx_packets")),
        ("received_bytes", port("tx_bytes")),
        ("received_packets", port("tx_packets")),
        ("sent_ip_bytes", ip("rx_bytes", "rx_packets")),
        ("received_ip_bytes", ip("tx_bytes", "tx_packets")),
    ];
    let told = told(&cluster, node);
    match format {
        Format::Json => {
            let mut object = json!({ "node": name, "faults": load(&cluster)?.get(name).cloned().unwrap_or_default() });
            figures.iter().for_each(|(key, value)| object[*key] = (*value).into());
            object["link"] = told;
            println!("{object}");
        }
        Format::Table => {
            figures.iter().for_each(|(key, value)| println!("{key:<17} {value}"));
            print!("{}", lines(&told));
        }
    }
    Ok(())
}

/// What the agent itself says of its link; null while it does not run.
fn told(cluster: &Cluster, node: &Node) -> Value {
    let ask = ["holdfast-edge", "status", "-o", "json"].map(std::ffi::OsString::from);
    let answer = inside(cluster, node, &ask).and_then(|mut command| output(&mut command)).ok();
    let Some(status) = answer.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else { return Value::Null };
    let fields = ["connected", "transport", "heartbeat", "traffic"];
    fields.iter().map(|field| ((*field).to_owned(), status[*field].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// What the agent says, a line a figure.
fn lines(told: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &Value| {
        if !value.is_null() {
            let _ = writeln!(text, "{name:<17} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    };
    line("transport", &told["transport"]);
    for (name, value) in told["heartbeat"].as_object().into_iter().flatten() {
        line(&format!("heartbeat_{name}"), value);
    }
    for (purpose, bytes) in told["traffic"].as_object().into_iter().flatten() {
        line(&format!("{purpose}_sent"), &bytes["sent"]);
        line(&format!("{purpose}_received"), &bytes["received"]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, veth: &str) -> Node {
        let path = std::path::PathBuf::new;
        Node {
            name: name.into(),
            veth: veth.into(),
            addresses: vec![],
            mac: String::new(),
            cgroup: String::new(),
            dir: path(),
            data_dir: path(),
            hub: String::new(),
            token_file: path(),
            clock_offset_file: path(),
            kubeconfig: path(),
            local_kubeconfig: path(),
            logs: crate::cluster::Logs { agent: path(), containerd: path(), wasm: path(), node: path() },
            netns: None,
            pid_namespace: None,
            supervisor: None,
            pids: crate::cluster::Pids::default(),
            sockets: None,
        }
    }

    fn drops(links: &Links) -> Vec<String> {
        let text = render("t", &[node("edge-1", "v1"), node("edge-2", "v2")], links);
        text.lines().filter(|l| l.contains("drop")).map(|l| l.replace("add rule bridge t ", "")).collect()
    }

    #[test]
    fn what_the_agent_says_is_a_line_a_figure() {
        let told = json!({
            "connected": true, "transport": "quic", "heartbeat": {"interval_ms": 10000, "lost_ms": null},
            "traffic": {"facts": {"sent": 3, "received": 4}},
        });
        let text = "\
transport         quic
heartbeat_interval_ms 10000
facts_sent        3
facts_received    4
";
        assert_eq!(super::lines(&told), text);
        assert_eq!(super::lines(&Value::Null), "");
    }

    #[test]
    fn a_cut_from_the_hub_leaves_traffic_between_nodes() {
        let links = Links::from([("edge-1".into(), Faults { cut_from_hub: true, ..Faults::default() })]);
        assert_eq!(drops(&links), ["input iifname v1 drop", "output oifname v1 drop"]);
    }

    #[test]
    fn a_cut_between_nodes_leaves_the_hub() {
        let links =
            Links::from([("edge-2".into(), Faults { cut_from: ["edge-1".into()].into(), ..Faults::default() })]);
        assert_eq!(drops(&links), ["forward iifname v2 oifname v1 drop", "forward iifname v1 oifname v2 drop"]);
    }

    #[test]
    fn nat_is_a_translation_of_that_node_alone() {
        let links = Links::from([("edge-1".into(), Faults { nat: true, ..Faults::default() })]);
        let mut one = node("edge-1", "v1");
        one.addresses = vec![Ipv4Addr::new(172, 29, 7, 11)];
        let text = render("t", &[one, node("edge-2", "v2")], &links);
        let rules: Vec<&str> = text.lines().filter(|l| l.contains("snat")).collect();
        assert_eq!(
            rules,
            ["add rule ip t_nat input ip saddr 172.29.7.11 meta l4proto { tcp, udp } snat to 172.29.7.111:20000-59999"]
        );
        assert!(drops(&links).is_empty());
    }

    #[test]
    fn loss_and_udp_are_rules_of_their_own_and_none_are_left_when_healed() {
        let links = Links::from([("edge-1".into(), Faults { lossy: 30, block_udp: true, ..Faults::default() })]);
        assert_eq!(drops(&links).len(), 8);
        assert!(drops(&links).iter().any(|r| r == "input iifname v1 ether type ip ip protocol udp drop"));
        assert!(drops(&Links::new()).is_empty());
    }
}
