//! The node's own API: what this node holds, for `kubectl` on the box, with the link up or down.
//!
//! [`LocalRegistry`] is the registry of `api/server` over the journal: objects as the hub sent them, the node's own
//! word on its pods and on itself merged in, and Events from their index. It only reads; [`kinds`] refuses every
//! write. [`LocalAccess`] lets in whoever holds the node's local client certificate. What is deliberately absent:
//! sockets and TLS (the agent's), and any way to reach the hub.
//!
//! `resourceVersion` is a counter of this node: it grows with every change that somebody could have seen, never
//! falls over restarts, and has nothing to do with the hub's revisions. A watch can go on from a version of this
//! life of the node, as far as the recent changes reach; any other version is answered 410, and clients list anew.
//! Lists come whole: `limit` is not applied, as a node holds few objects.

mod access;
mod registry;
mod source;
mod versions;
mod watch;

#[cfg(test)]
mod tests;

pub use access::{LOCAL_ADMIN, LocalAccess};
pub use registry::LocalRegistry;

use holdfast_kinds::{Kind, Subresource};
use holdfast_server::KindSet;
use std::sync::LazyLock;

/// What a node can hold, as (group, version, plural).
const HELD: &[(&str, &str, &str)] = &[
    ("", "v1", "configmaps"),
    ("", "v1", "events"),
    ("", "v1", "namespaces"),
    ("", "v1", "nodes"),
    ("", "v1", "pods"),
    ("", "v1", "secrets"),
    ("", "v1", "serviceaccounts"),
    ("", "v1", "services"),
    ("discovery.k8s.io", "v1", "endpointslices"),
    ("events.k8s.io", "v1", "events"),
    ("node.k8s.io", "v1", "runtimeclasses"),
    ("scheduling.k8s.io", "v1", "priorityclasses"),
];

const READ: &[&str] = &["get", "list", "watch"];
/// Subresources that reach into a pod.
const STREAMS: &[&str] = &["attach", "exec", "log", "portforward"];

/// What whoever tries to write is told.
pub const READ_ONLY: &str =
    "this node's API is read only; objects are changed at the hub and reach the node over its link";

static POD_STREAMS: LazyLock<Vec<Subresource>> = LazyLock::new(|| {
    let pods = holdfast_kinds::by_gvr("", "v1", "pods");
    pods.into_iter().flat_map(|pods| pods.subresources).filter(|sub| STREAMS.contains(&sub.name)).copied().collect()
});

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let found = HELD.iter().filter_map(|(group, version, plural)| holdfast_kinds::by_gvr(group, version, plural));
    found
        .map(|kind| {
            let subresources: &'static [Subresource] = if kind.kind == "Pod" { &POD_STREAMS } else { &[] };
            Kind { verbs: READ, subresources, ..*kind }
        })
        .collect()
});

/// The kinds that a node serves, none of which can be written.
pub fn kinds() -> KindSet {
    KindSet::read_only(KINDS.iter(), READ_ONLY)
}
