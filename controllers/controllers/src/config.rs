//! What the controllers are told.

use crate::certificates::CertificateAuthority;
use holdfast_controller::ResourceKind;
use ipnet::Ipv4Net;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Kinds that are served for ever.
pub fn served(kinds: impl IntoIterator<Item = ResourceKind>) -> watch::Receiver<Arc<[ResourceKind]>> {
    watch::Sender::new(kinds.into_iter().collect::<Arc<[_]>>()).subscribe()
}

/// Settings of [`crate::start_all`].
#[derive(Clone, Debug)]
pub struct ControllersConfig {
    /// The addresses of all pods.
    pub cluster_cidr: Ipv4Net,
    /// Bits of each node's part of it.
    pub node_mask_bits: u8,
    /// The cluster's CA (PEM), published as `kube-root-ca.crt` in every namespace.
    pub root_ca_pem: String,
    /// Ended pods that may stay; the oldest beyond it are deleted. 0 for no limit.
    pub terminated_pod_threshold: usize,
    /// How long a node must be gone before its pods are deleted.
    pub orphaned_pod_grace: Duration,
    /// Every kind that is served; it may change.
    pub kinds: watch::Receiver<Arc<[ResourceKind]>>,
    /// Who has the cluster's key; without one no certificate request is looked at.
    pub authority: Option<Arc<dyn CertificateAuthority>>,
}

impl Default for ControllersConfig {
    /// Upstream's values, with Holdfast's pod network. No kind, no CA and no key: those are the hub's to say.
    fn default() -> ControllersConfig {
        let cluster_cidr = Ipv4Net::new_assert(std::net::Ipv4Addr::new(10, 42, 0, 0), 16);
        ControllersConfig {
            cluster_cidr,
            node_mask_bits: 24,
            root_ca_pem: String::new(),
            terminated_pod_threshold: 12_500,
            orphaned_pod_grace: Duration::from_secs(40),
            kinds: served([]),
            authority: None,
        }
    }
}
