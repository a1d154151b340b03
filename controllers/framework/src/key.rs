//! What names an object within its kind, and what names a kind.

use holdfast_core::{Gvr, Object, Target};
use std::fmt;

/// Namespace and name; orders by namespace first, so that a namespace is a range.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Key {
    /// From namespace (empty for cluster-scoped kinds) and name.
    pub fn new(namespace: &str, name: &str) -> Key {
        Key { namespace: namespace.into(), name: name.into() }
    }

    /// The key of an object.
    pub fn of(object: &Object) -> Key {
        Key::new(&object.meta.namespace, &object.meta.name)
    }

    /// The object of this key in a resource.
    pub fn target(&self, gvr: Gvr) -> Target {
        Target::object(gvr, &self.namespace, &self.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() { f.write_str(&self.name) } else { write!(f, "{}/{}", self.namespace, self.name) }
    }
}

/// A kind as generic controllers (garbage collector, namespace) see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ResourceKind {
    /// The resource.
    pub gvr: Gvr,
    /// The kind, as owner references name it.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether its objects can be listed, watched and deleted (reviews cannot), and this is the version that they
    /// are stored in: one view of them is enough.
    pub deletable: bool,
}

impl ResourceKind {
    /// A kind whose objects can be listed and deleted.
    pub fn new(gvr: Gvr, kind: &str, namespaced: bool) -> ResourceKind {
        ResourceKind { gvr, kind: kind.into(), namespaced, deletable: true }
    }
}

impl From<&holdfast_kinds::Kind> for ResourceKind {
    fn from(kind: &holdfast_kinds::Kind) -> ResourceKind {
        let deletable = ["list", "watch", "delete"].iter().all(|verb| kind.verbs.contains(verb))
            && !holdfast_kinds::convert::is_view(kind);
        ResourceKind { gvr: kind.gvr(), kind: kind.kind.into(), namespaced: kind.namespaced, deletable }
    }
}
