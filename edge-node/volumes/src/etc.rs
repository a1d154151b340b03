//! The files that every container finds in `/etc`: `hosts`, `resolv.conf`, `hostname`. Pure text.

use k8s_openapi::api::core::v1::Pod;

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

/// The host name of a pod: `spec.hostname`, else its name, cut to 63 characters; the node's for host network.
pub fn hostname(_pod: &Pod, _node_hostname: &str) -> String {
    String::new()
}

/// `/etc/hostname`.
pub fn hostname_file(hostname: &str) -> String {
    format!("{hostname}\n")
}

/// `/etc/hosts`.
pub fn hosts_file(
    _pod: &Pod,
    _pod_ips: &[String],
    _node_hostname: &str,
    _cluster_domain: &str,
    _host_hosts: &str,
) -> String {
    String::new()
}

/// `/etc/resolv.conf` by `dnsPolicy` and `dnsConfig`.
pub fn resolv_conf(_pod: &Pod, _dns: &HostDns) -> String {
    String::new()
}
