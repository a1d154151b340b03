//! What each kind is called, how it is shown and selected, and what it references.
//!
//! Pure data and functions over documents: no defaulting or validation (that is `hub/registry`), no I/O.
//! One file a group; [`all`] lists every kind that the hub serves. The same reference graph serves the
//! link's interest ("what does this pod need on its node?") and the Node authorizer.
//! Kinds that CustomResourceDefinitions add are entries like the others ([`custom`]).
//! `docs/kinds.md` says of each kind what is missing; a test compares it with [`all`].

mod apps;
pub mod convert;
mod coordination;
mod core;
pub mod custom;
mod discovery;
mod edge;
mod events;
pub mod fencing;
pub mod jsonpath;
pub mod kind;
mod node;
mod rbac;
mod reviews;
mod scheduling;
pub mod select;
mod show;

pub use convert::{convert, storage_version};
pub use kind::{Column, Kind, Reference, Subresource, Support};
pub use select::Selection;

static KINDS: &[Kind] = &[
    core::CONFIG_MAP,
    core::EVENT,
    core::NAMESPACE,
    core::NODE,
    core::POD,
    core::SECRET,
    core::SERVICE_ACCOUNT,
    core::SERVICE,
    apps::DEPLOYMENT,
    apps::REPLICA_SET,
    coordination::LEASE,
    discovery::ENDPOINT_SLICE,
    edge::OFFLINE_POLICY,
    events::EVENT,
    node::RUNTIME_CLASS,
    rbac::CLUSTER_ROLE_BINDING,
    rbac::CLUSTER_ROLE,
    rbac::ROLE_BINDING,
    rbac::ROLE,
    scheduling::PRIORITY_CLASS,
    reviews::SELF_SUBJECT_REVIEW,
    reviews::TOKEN_REVIEW,
    reviews::LOCAL_SUBJECT_ACCESS_REVIEW,
    reviews::SELF_SUBJECT_ACCESS_REVIEW,
    reviews::SELF_SUBJECT_RULES_REVIEW,
    reviews::SUBJECT_ACCESS_REVIEW,
];

/// Every kind that the hub serves. A kind with several versions has an entry for each.
pub fn all() -> &'static [Kind] {
    KINDS
}

/// The kind behind a path; the core group is empty.
pub fn by_gvr(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.plural == plural && kind.group == group && kind.version == version)
}

/// The kind of a document; the core group is empty.
pub fn by_gvk(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|entry| entry.kind == kind && entry.group == group && entry.version == version)
}

/// Where objects of this kind are stored: `/registry/<group>/<plural>/`, with `core` for the core group.
/// All versions of a kind share one prefix.
pub fn storage_prefix(kind: &Kind) -> String {
    let stored = storage_version(kind);
    let group = if stored.group.is_empty() { "core" } else { stored.group };
    format!("/registry/{group}/{}/", stored.plural)
}
