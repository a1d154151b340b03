//! What each kind is called, how it is shown and selected, and what it references.
//!
//! Pure data and functions over documents: no defaulting or validation (that is `hub/registry`), no I/O.
//! One file a group; [`all`] lists every kind that the hub serves. The same reference graph serves the
//! link's interest ("what does this pod need on its node?") and the Node authorizer.
//! Kinds that CustomResourceDefinitions add are entries like the others ([`custom`]).
//! What objects use of ResourceQuotas is here too ([`quota`]), as registry and controller must count alike.
//! `docs/kinds.md` says of each kind what is missing; a test compares it with [`all`].

mod admission;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
pub mod convert;
mod coordination;
mod core;
pub mod custom;
mod discovery;
mod edge;
mod events;
mod extensions;
pub mod fencing;
mod flowcontrol;
pub mod jsonpath;
pub mod kind;
pub mod metrics;
mod networking;
mod node;
mod policy;
pub mod qos;
pub mod quota;
mod rbac;
mod resource;
mod reviews;
mod scheduling;
pub mod select;
mod show;
mod storage;

pub use convert::{convert, storage_version};
pub use kind::{Column, Kind, Reference, Subresource, Support};
pub use select::Selection;

static KINDS: &[Kind] = &[
    core::COMPONENT_STATUS,
    core::CONFIG_MAP,
    core::ENDPOINTS,
    core::EVENT,
    core::LIMIT_RANGE,
    core::NAMESPACE,
    core::NODE,
    core::PERSISTENT_VOLUME,
    core::PERSISTENT_VOLUME_CLAIM,
    core::POD,
    core::POD_TEMPLATE,
    core::REPLICATION_CONTROLLER,
    core::RESOURCE_QUOTA,
    core::SECRET,
    core::SERVICE_ACCOUNT,
    core::SERVICE,
    admission::MUTATING_ADMISSION_POLICY,
    admission::MUTATING_ADMISSION_POLICY_BINDING,
    admission::MUTATING_WEBHOOK_CONFIGURATION,
    admission::VALIDATING_ADMISSION_POLICY,
    admission::VALIDATING_ADMISSION_POLICY_BINDING,
    admission::VALIDATING_WEBHOOK_CONFIGURATION,
    extensions::CUSTOM_RESOURCE_DEFINITION,
    extensions::API_SERVICE,
    apps::CONTROLLER_REVISION,
    apps::DAEMON_SET,
    apps::DEPLOYMENT,
    apps::REPLICA_SET,
    apps::STATEFUL_SET,
    autoscaling::V1,
    autoscaling::V2,
    batch::CRON_JOB,
    batch::JOB,
    certificates::CERTIFICATE_SIGNING_REQUEST,
    coordination::LEASE,
    discovery::ENDPOINT_SLICE,
    edge::OFFLINE_POLICY,
    events::EVENT,
    flowcontrol::FLOW_SCHEMA,
    flowcontrol::PRIORITY_LEVEL_CONFIGURATION,
    metrics::NODE_METRICS,
    metrics::POD_METRICS,
    networking::INGRESS,
    networking::INGRESS_CLASS,
    networking::IP_ADDRESS,
    networking::NETWORK_POLICY,
    networking::SERVICE_CIDR,
    node::RUNTIME_CLASS,
    policy::POD_DISRUPTION_BUDGET,
    rbac::CLUSTER_ROLE_BINDING,
    rbac::CLUSTER_ROLE,
    rbac::ROLE_BINDING,
    rbac::ROLE,
    resource::DEVICE_CLASS,
    resource::RESOURCE_CLAIM,
    resource::RESOURCE_CLAIM_TEMPLATE,
    resource::RESOURCE_SLICE,
    scheduling::PRIORITY_CLASS,
    storage::CSI_DRIVER,
    storage::CSI_NODE,
    storage::CSI_STORAGE_CAPACITY,
    storage::STORAGE_CLASS,
    storage::VOLUME_ATTACHMENT,
    storage::VOLUME_ATTRIBUTES_CLASS,
    core::BINDING,
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
