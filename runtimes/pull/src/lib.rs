//! Images from registries (OCI distribution specification 1.1, and what Docker's registries do).
//!
//! The decisions have no I/O: [`hosts`] says which hosts may have an image, [`exchange`] brings one thing (a digest, a
//! manifest, a blob) through mirrors, challenges, redirects, interruptions and wrong content, [`tokens`] remembers who let
//! us in, [`documents`] reads manifests and chooses the platform. `client` and `connections` do what they say, over hyper and
//! rustls, `proxy` tells which way, and `providers` asks plugins for credentials. *Absent:* what is on this machine, and what happens to the bytes: that is the runtime's; pull policies, queues
//! and back-off between pulls: those are the node's.
//!
//! Tasks: one a connection, owned by the connection's handle.

pub mod challenge;
mod client;
mod connections;
pub mod documents;
pub mod exchange;
pub mod hosts;
pub mod limits;
mod providers;
mod proxy;
#[doc(hidden)]
pub mod testing;
mod tls;
pub mod tokens;
pub mod url;

pub use client::{RegistryClient, RegistrySettings};
pub use providers::Providers;
pub use proxy::ProxySettings;
