//! What a [`crate::HubRegistry`] is made of.

use crate::tokens::TokenIssuer;
use holdfast_core::Lineage;
use holdfast_env::World;
use holdfast_store::Store;
use ipnet::Ipv4Net;
use std::sync::Arc;
use std::time::Duration;

/// How long a pod stays on a node that is not ready or unreachable, unless it or the configuration says otherwise: upstream's
/// default.
pub const EVICTION_AFTER: Duration = Duration::from_secs(300);

/// The parts of a registry.
#[derive(Clone)]
pub struct HubRegistryConfig {
    /// Where objects live.
    pub store: Arc<dyn Store>,
    /// Clocks, randomness and tasks.
    pub env: World,
    /// Addresses of Services; the first one is the API server's own.
    pub service_cidr: Ipv4Net,
    /// Signs and verifies ServiceAccount tokens.
    pub token_issuer: Arc<dyn TokenIssuer>,
    /// The history that the store is in; continue tokens of another one are refused.
    pub lineage: Lineage,
    /// The tolerations that pods without their own get: how long they stay on a node that is not ready or unreachable.
    /// Whole seconds; those of pods that there are stay as they are.
    pub eviction_after: Duration,
}
