//! Keys of the store: `<prefix of the kind><namespace>/<name>`.

use holdfast_kinds::Kind;

/// The prefix of all objects of a kind; ends with a slash. Versions of one kind share it.
pub(crate) fn prefix(kind: &Kind) -> String {
    holdfast_kinds::storage_prefix(kind)
}

/// The prefix of a kind within a namespace; all of the kind when `namespace` is empty.
pub(crate) fn scope(kind: &Kind, namespace: &str) -> String {
    let mut key = prefix(kind);
    if kind.namespaced && !namespace.is_empty() {
        key.push_str(namespace);
        key.push('/');
    }
    key
}

/// The key of an object.
pub(crate) fn object(kind: &Kind, namespace: &str, name: &str) -> String {
    let mut key = scope(kind, namespace);
    key.push_str(name);
    key
}
