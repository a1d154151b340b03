//! DNS of a node: the cluster's names from local state, everything else forwarded.
//!
//! [`Zone`] answers by the Kubernetes DNS specification (1.1.0) from Services and EndpointSlices that the node
//! holds durably, so names resolve with the link down. [`server`] speaks the protocol (RFC 1035) on UDP and
//! TCP and forwards what is not the cluster's.

pub mod message;
pub mod server;
pub mod zone;

pub use server::{DnsConfig, DnsServer};
pub use zone::{Answer, Zone};
