//! What a [`crate::HubRegistry`] is made of.

use crate::tokens::TokenIssuer;
use holdfast_core::Lineage;
use holdfast_env::World;
use holdfast_store::Store;
use ipnet::Ipv4Net;
use std::sync::Arc;

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
}
