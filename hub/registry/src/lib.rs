//! The kinds as the hub serves them.
//!
//! [`HubRegistry`] implements the API server's `Registry` over a [`holdfast_store::Store`]. The order of a
//! write is fixed in `generic/`: decode strictly, default, mutating admission, default again, prepare,
//! validate, validating admission, canonicalise, commit. A kind brings only its [`strategy::Strategy`].
//!
//! What is deliberately absent: HTTP, authentication of connections, controllers. Rights are judged by
//! [`rbac::RbacAuthorizer`], which the API calls before it comes here.

mod admission;
mod bootstrap;
mod config;
mod custom;
mod engine;
mod event_expiry;
mod extension;
mod generic;
mod keys;
mod kinds;
mod limits;
mod meta;
mod metrics;
pub mod node_records;
pub mod rbac;
mod registry;
mod services_ip;
mod strategy;
mod subresources;
pub mod tokens;
mod webhook;

#[cfg(test)]
mod tests;

pub use config::{EVICTION_AFTER, HubRegistryConfig};
pub use extension::{CommitWith, STALE_SESSION, is_stale_session, is_webhook_failure};
pub use rbac::RbacAuthorizer;
pub use registry::HubRegistry;
pub use tokens::{JwtIssuer, ServiceAccountAuthenticator, TokenClaims, TokenIssuer};
