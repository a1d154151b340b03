//! The network of pods on one node: a CNI plugin, the runner of configuration lists, and routes to other nodes.
//!
//! Every pod has a /32 address behind a veth on one bridge; all its traffic, also to a neighbour on the same
//! node, is routed by the host. So Services and policies see each packet, and replies find their way back
//! through the address translation without help from the bridge. Pure Wasm pods share one network namespace
//! ([`shared`]) with the same property. Addresses are durable: the same owner gets the same one after a reboot.
//!
//! It never decides which pods exist, and it translates no Service addresses.
//!
//! Tasks: none. Work in a namespace runs on a thread that ends with the call ([`netns`]).

pub mod config;
pub mod error;
pub mod ipam;
pub mod loopback;
mod masquerade;
mod net;
pub mod netns;
mod paths;
pub mod plugin;
pub mod result;
pub mod routes;
pub mod runner;
pub mod shared;

pub use error::{CniError, PodNetworkError};
pub use plugin::plugin_main;
pub use routes::{RouteChanges, sync_routes};
pub use runner::{Attachment, PodNetwork, PodNetworkConfig, PodRef};

/// The plugin's name in configurations and on disk.
pub const PLUGIN_NAME: &str = "holdfast-cni";
/// Interface of a pod.
pub const POD_INTERFACE: &str = "eth0";
