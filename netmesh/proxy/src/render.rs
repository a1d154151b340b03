//! The nft script of a service table.
//!
//! One table of our own, replaced whole. Frontends are looked up in verdict maps, so that a packet costs two
//! look-ups however many Services there are.

use crate::table::{Entry, Frontend, ServiceTable};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// Name of the table.
pub const TABLE: &str = "holdfast-services";

/// The script that makes the kernel's table fit. `cluster_cidr` is the network of all pods.
pub fn render(table: &ServiceTable, cluster_cidr: &str) -> String {
    let mut out = String::new();
    // Adding before deleting makes the deletion succeed on the first run too.
    let _ = writeln!(out, "add table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{");
    let with = |wanted: bool| table.entries.iter().filter(move |entry| entry.backends.is_empty() != wanted);
    map(&mut out, "services", "ipv4_addr . inet_proto . inet_service", with(true).filter_map(|entry| key(entry, true)));
    map(&mut out, "node-ports", "inet_proto . inet_service", with(true).filter_map(|entry| key(entry, false)));
    set(&mut out, "no-endpoints", "ipv4_addr . inet_proto . inet_service", with(false).filter_map(address_key));
    set(
        &mut out,
        "no-endpoints-node-ports",
        "inet_proto . inet_service",
        with(false)
            .filter(|entry| entry.frontend == Frontend::NodePort)
            .map(|e| format!("{} . {}", e.protocol, e.port)),
    );
    let own = table.backends().into_iter().map(|ip: Ipv4Addr| format!("{ip} . {ip}"));
    set(&mut out, "hairpin", "ipv4_addr . ipv4_addr", own);
    for entry in with(true) {
        chain(&mut out, entry);
    }
    out.push_str(&format!(
        "  chain translate {{
    ip daddr . meta l4proto . th dport vmap @services
    fib daddr type local ip daddr != 127.0.0.0/8 meta l4proto . th dport vmap @node-ports
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump translate
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    jump translate
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    meta mark & 0x4000 == 0x4000 masquerade
    ct status dnat ip saddr . ip daddr @hairpin masquerade
    ct status dnat ip saddr != {cluster_cidr} fib saddr type != local masquerade
  }}
  chain refuse {{
    ip daddr . meta l4proto . th dport @no-endpoints goto reject-all
    fib daddr type local meta l4proto . th dport @no-endpoints-node-ports goto reject-all
  }}
  chain reject-all {{
    meta l4proto tcp reject with tcp reset
    reject with icmp type port-unreachable
  }}
  chain filter-input {{
    type filter hook input priority filter; policy accept;
    ct state new jump refuse
  }}
  chain filter-forward {{
    type filter hook forward priority filter; policy accept;
    ct state new jump refuse
  }}
  chain filter-output {{
    type filter hook output priority filter; policy accept;
    ct state new jump refuse
  }}
}}
"
    ));
    out
}

fn chain_name(entry: &Entry) -> String {
    let frontend = match &entry.frontend {
        Frontend::Address(ip) => ip.to_string().replace('.', "-"),
        Frontend::NodePort => "node".to_string(),
    };
    format!("svc-{frontend}-{}-{}", entry.protocol, entry.port)
}

fn address_key(entry: &Entry) -> Option<String> {
    match entry.frontend {
        Frontend::Address(ip) => Some(format!("{ip} . {} . {}", entry.protocol, entry.port)),
        Frontend::NodePort => None,
    }
}

fn key(entry: &Entry, of_address: bool) -> Option<String> {
    let key = match (&entry.frontend, of_address) {
        (Frontend::Address(_), true) => address_key(entry)?,
        (Frontend::NodePort, false) => format!("{} . {}", entry.protocol, entry.port),
        _ => return None,
    };
    Some(format!("{key} : goto {}", chain_name(entry)))
}

fn map(out: &mut String, name: &str, key: &str, elements: impl Iterator<Item = String>) {
    block(out, "map", name, &format!("{key} : verdict"), elements);
}

fn set(out: &mut String, name: &str, key: &str, elements: impl Iterator<Item = String>) {
    block(out, "set", name, key, elements);
}

fn block(out: &mut String, what: &str, name: &str, key: &str, elements: impl Iterator<Item = String>) {
    let elements: Vec<String> = elements.collect();
    let _ = writeln!(out, "  {what} {name} {{\n    type {key}");
    if !elements.is_empty() {
        let _ = writeln!(out, "    elements = {{ {} }}", elements.join(", "));
    }
    out.push_str("  }\n");
}

fn chain(out: &mut String, entry: &Entry) {
    let _ = writeln!(out, "  chain {} {{", chain_name(entry));
    let outside = match entry.frontend {
        // The answer must come back through this node whatever node the backend is on.
        Frontend::NodePort => "meta mark set meta mark or 0x4000 ",
        Frontend::Address(_) => "",
    };
    let protocol = &entry.protocol;
    let backends = &entry.backends;
    if let [(ip, port)] = backends[..] {
        let _ = writeln!(out, "    {outside}meta l4proto {protocol} dnat ip to {ip}:{port}");
    } else {
        let pick = if entry.sticky { "jhash ip saddr" } else { "numgen random" };
        let seed = if entry.sticky { " seed 0x686f6c64" } else { "" };
        let list: Vec<String> =
            backends.iter().enumerate().map(|(index, (ip, port))| format!("{index} : {ip} . {port}")).collect();
        let count = backends.len();
        let _ = writeln!(
            out,
            "    {outside}meta l4proto {protocol} dnat ip to {pick} mod {count}{seed} map {{ {} }}",
            list.join(", ")
        );
    }
    out.push_str("  }\n");
}
