//! How the object model is spoken over HTTP, by the hub and by a node's local API.
//!
//! An HTTP request becomes an [`api::Request`]; [`api::Api`] runs it through authorization and audit to a
//! [`registry::Registry`]; the [`api::Reply`] is encoded as the client asked. The in-process client enters at
//! [`api::Api::call`], so that only the HTTP codec is skipped. What is deliberately absent: storage, kinds'
//! rules, identities; they come in through the traits.

pub mod api;
pub mod auth;
pub mod registry;

pub use api::{Api, Operation, Reply, Request};
pub use auth::{Attributes, Authenticator, Authorizer, Credentials, Decision};
pub use registry::{Connected, Deleted, NodeCalls, Registry, RequestContext};
