//! The files that every container finds in `/etc`: `hosts`, `resolv.conf`, `hostname`. Pure text.

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use std::fmt::Write;

/// Name servers that a resolver reads.
const NAMESERVERS_MAX: usize = 3;
/// Search domains that upstream allows.
const SEARCHES_MAX: usize = 32;
/// Longest host name on Linux, without the last byte of the kernel's 64.
const HOSTNAME_MAX: usize = 63;
/// Longest full name that a kernel takes as host name.
const FQDN_MAX: usize = 64;

/// What the node resolves with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostDns {
    /// The cluster's name servers (the node's DNS address).
    pub cluster_servers: Vec<String>,
    /// For example `cluster.local`.
    pub cluster_domain: String,
    /// The node's own `/etc/resolv.conf`.
    pub host_resolv_conf: String,
}

fn host_network(pod: &Pod) -> bool {
    pod.spec.as_ref().is_some_and(|spec| spec.host_network == Some(true))
}

fn set(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// `<subdomain>.<namespace>.svc.<cluster domain>` of a pod with a subdomain.
fn domain(pod: &Pod, cluster_domain: &str) -> Option<String> {
    let subdomain = set(&pod.spec.as_ref()?.subdomain)?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    Some(format!("{subdomain}.{namespace}.svc.{cluster_domain}"))
}

/// The host name of a pod: `spec.hostnameOverride`, `spec.hostname`, else its name, cut to 63 characters; the node's
/// for host network.
pub fn hostname(pod: &Pod, node_hostname: &str) -> String {
    let spec = pod.spec.as_ref();
    let asked = spec.and_then(|spec| set(&spec.hostname_override).or(set(&spec.hostname)));
    let name = match asked {
        Some(asked) => asked,
        None if host_network(pod) => node_hostname,
        None => pod.metadata.name.as_deref().unwrap_or_default(),
    };
    let cut: String = name.chars().take(HOSTNAME_MAX).collect();
    cut.trim_end_matches(['-', '.']).to_string()
}

/// The host name that a pod's kernel says: [`hostname`], or with `setHostnameAsFQDN` its full domain name where it has one.
///
/// # Errors
/// When the full name is longer than a kernel takes, with upstream's words.
pub fn kernel_hostname(pod: &Pod, node_hostname: &str, cluster_domain: &str) -> Result<String, String> {
    let name = hostname(pod, node_hostname);
    let asked = pod.spec.as_ref().is_some_and(|spec| spec.set_hostname_as_fqdn == Some(true));
    let Some(domain) = domain(pod, cluster_domain).filter(|_| asked && !host_network(pod)) else { return Ok(name) };
    let full = format!("{name}.{domain}");
    if full.len() > FQDN_MAX {
        return Err(format!(
            "failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too long ({FQDN_MAX} is the max, {} characters requested)",
            full.len()
        ));
    }
    Ok(full)
}

/// `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

/// `/etc/hosts`. `host_hosts` is the node's own, for pods in the host's network.
pub fn hosts_file(
    pod: &Pod,
    pod_ips: &[String],
    node_hostname: &str,
    cluster_domain: &str,
    host_hosts: &str,
) -> String {
    let mut out = String::new();
    if host_network(pod) {
        out.push_str("# Kubernetes-managed hosts file (host network).\n");
        out.push_str(host_hosts);
        if !out.ends_with('\n') {
            out.push('\n');
        }
    } else {
        out.push_str(
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
        );
        let name = hostname(pod, node_hostname);
        let full = domain(pod, cluster_domain).map(|domain| format!("{name}.{domain}\t")).unwrap_or_default();
        for ip in pod_ips {
            let _ = writeln!(out, "{ip}\t{full}{name}");
        }
    }
    let aliases = pod.spec.iter().flat_map(|spec| spec.host_aliases.iter().flatten());
    for (count, alias) in aliases.enumerate() {
        if count == 0 {
            out.push_str("\n# Entries added by HostAliases.\n");
        }
        let _ =
            writeln!(out, "{}\t{}", alias.ip, alias.hostnames.iter().flatten().cloned().collect::<Vec<_>>().join("\t"));
    }
    out
}

#[derive(Default)]
struct Resolver {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

fn push_new(list: &mut Vec<String>, item: &str) {
    if !item.is_empty() && !list.iter().any(|known| known == item) {
        list.push(item.to_string());
    }
}

fn parse(text: &str) -> Resolver {
    let mut resolver = Resolver::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => words.take(1).for_each(|server| push_new(&mut resolver.servers, server)),
            // The last search line counts.
            Some("search" | "domain") => resolver.searches = words.map(str::to_string).collect(),
            Some("options") => words.for_each(|option| push_new(&mut resolver.options, option)),
            _ => {}
        }
    }
    resolver.searches.retain(|search| search != ".");
    resolver
}

/// `/etc/resolv.conf` by `dnsPolicy` and `dnsConfig`.
pub fn resolv_conf(pod: &Pod, dns: &HostDns) -> String {
    let policy = pod.spec.as_ref().and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let host = parse(&dns.host_resolv_conf);
    let cluster = match policy {
        "ClusterFirst" => !host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut resolver = match policy {
        "None" => Resolver::default(),
        _ if cluster && !dns.cluster_servers.is_empty() => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let domain = &dns.cluster_domain;
            let mut searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            host.searches.iter().for_each(|search| push_new(&mut searches, search));
            Resolver { servers: dns.cluster_servers.clone(), searches, options: vec!["ndots:5".into()] }
        }
        _ => host,
    };
    if let Some(spec) = &pod.spec {
        add_config(&mut resolver, spec);
    }
    resolver.servers.truncate(NAMESERVERS_MAX);
    resolver.searches.truncate(SEARCHES_MAX);
    let mut out = String::new();
    if !resolver.searches.is_empty() {
        let _ = writeln!(out, "search {}", resolver.searches.join(" "));
    }
    for server in &resolver.servers {
        let _ = writeln!(out, "nameserver {server}");
    }
    if !resolver.options.is_empty() {
        let _ = writeln!(out, "options {}", resolver.options.join(" "));
    }
    out
}

fn add_config(resolver: &mut Resolver, spec: &PodSpec) {
    let Some(config) = &spec.dns_config else { return };
    config.nameservers.iter().flatten().for_each(|server| push_new(&mut resolver.servers, server));
    config.searches.iter().flatten().for_each(|search| push_new(&mut resolver.searches, search));
    for option in config.options.iter().flatten() {
        let name = option.name.as_deref().unwrap_or_default();
        resolver.options.retain(|known| known.split(':').next() != Some(name));
        match &option.value {
            Some(value) => push_new(&mut resolver.options, &format!("{name}:{value}")),
            None => push_new(&mut resolver.options, name),
        }
    }
}
