//! The core group.

mod component;
mod config;
mod controller;
mod endpoints;
pub(crate) mod event;
mod namespace;
mod node;
mod pod;
mod pod_references;
mod quota;
mod service;
mod volumes;

pub(crate) use component::{BINDING, COMPONENT_STATUS};
pub(crate) use config::{CONFIG_MAP, SECRET, SERVICE_ACCOUNT};
pub(crate) use controller::{POD_TEMPLATE, REPLICATION_CONTROLLER};
pub(crate) use endpoints::ENDPOINTS;
pub(crate) use event::EVENT;
pub(crate) use namespace::NAMESPACE;
pub(crate) use node::NODE;
pub(crate) use pod::POD;
pub(crate) use quota::{LIMIT_RANGE, RESOURCE_QUOTA};
pub(crate) use service::SERVICE;
pub(crate) use volumes::{PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM};

use crate::Subresource;

/// The proxy to what a kind of the core group stands for.
const fn proxy_of(options: &'static str) -> Subresource {
    let verbs = &["create", "delete", "get", "patch", "update"];
    Subresource { name: "proxy", group: "", version: "v1", kind: options, verbs }
}

/// The `status` of a kind of the core group.
const fn status_of(kind: &'static str) -> Subresource {
    Subresource::status("", kind)
}
