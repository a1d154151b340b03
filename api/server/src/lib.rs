//! How the object model is spoken over HTTP, by the hub and by a node's local API.
//!
//! An HTTP request becomes an [`api::Request`]; [`api::Api`] runs it through authorization to a
//! [`registry::Registry`]; the [`api::Reply`] is encoded as the client asked. The in-process client enters at
//! [`api::Api::call`], so that only the HTTP codec is skipped. What is deliberately absent: storage, kinds'
//! rules, identities; they come in through the traits.
//!
//! [`listen`] takes connections, [`chain`] is the way of a request, [`codec`] reads and writes bodies,
//! [`docs`] answers for the server itself, [`stream`] carries sessions, [`audit`] notes who asked for what, [`kubeconfig`]
//! tells clients the way. [`webhook`] is what a registry asks others by, [`unverified`] TLS towards pods.

pub mod api;
pub mod audit;
pub mod auth;
pub mod chain;
pub mod codec;
pub mod docs;
pub mod kind_set;
pub mod kubeconfig;
pub mod limits;
pub mod listen;
pub mod registry;
pub mod served;
pub mod stream;
pub mod unverified;
pub mod webhook;

pub use api::{Api, Operation, Reply, Request};
pub use audit::{AuditLog, Auditor};
pub use auth::{Anonymous, Attributes, Authenticator, Authorizer, Credentials, Decision, Selected};
pub use chain::gate::{Entered, Gate, Place, RETRY_SECONDS, Seeking, Sort, TOO_MANY};
pub use chain::inflight::InFlight;
pub use chain::service::{ApiService, Document, Peer, ServiceConfig};
pub use docs::health::Health;
pub use kind_set::KindSet;
pub use listen::server::Server;
pub use listen::taker::Taker;
pub use registry::{Connected, Deleted, NODE_QUERY, NodeCalls, PodPorts, Registry, RequestContext, Stored};
pub use served::{Documents, LiveKinds, Served};
pub use webhook::{CallFailure, WebhookCalls, WebhookRoute, WebhookTarget};
