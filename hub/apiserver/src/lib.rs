//! Assembly of the API server, its identities and the in-process client.
//!
//! [`pki`] makes and keeps the cluster's keys, [`auth`] tells who a request is from, [`server::ApiServer`] puts
//! registry, rights and listener together, [`client::LocalClient`] is how controllers ask, [`webhooks::WebhookClient`] how
//! the registry asks webhooks, [`trust`] tells others which CAs the API believes, [`fairness`] shares the server between users.
//! What is deliberately absent: rules of kinds (`hub/registry`), HTTP (`api/server`), configuration (the binary).

pub mod auth;
pub mod client;
pub mod fairness;
pub mod pki;
pub mod server;
pub mod trust;
pub mod webhooks;

pub use auth::BootstrapTokens;
pub use client::LocalClient;
pub use fairness::Fairness;
pub use pki::{ClusterCa, Pki, PkiError, RequestAuthority, ServerIdentity};
pub use server::{ApiServer, ApiServerConfig, StartError};
pub use webhooks::WebhookClient;
