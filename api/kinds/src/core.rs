//! The core group.

mod config;
pub(crate) mod event;
mod namespace;
mod node;
mod pod;
mod pod_references;
mod service;

pub(crate) use config::{CONFIG_MAP, SECRET, SERVICE_ACCOUNT};
pub(crate) use event::EVENT;
pub(crate) use namespace::NAMESPACE;
pub(crate) use node::NODE;
pub(crate) use pod::POD;
pub(crate) use service::SERVICE;

use crate::Subresource;
use crate::kind::GET_PATCH_UPDATE;

/// The proxy to what a kind of the core group stands for.
const fn proxy_of(options: &'static str) -> Subresource {
    let verbs = &["create", "delete", "get", "patch", "update"];
    Subresource { name: "proxy", group: "", version: "v1", kind: options, verbs }
}

/// The `status` of a kind of the core group.
const fn status_of(kind: &'static str) -> Subresource {
    Subresource { name: "status", group: "", version: "v1", kind, verbs: GET_PATCH_UPDATE }
}
