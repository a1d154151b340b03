//! What the hub keeps of a node beside its Node object, by the Node's UID.
//!
//! It goes with the object, in one transaction: whatever is written for a node checks its session record, so that from this
//! moment on nobody writes as it. A UID never comes back, other than with a backup, which brings the records as well; so
//! that nothing is made anew of a node that is gone, who makes a record checks in its transaction that the object is there.

const SESSION: &str = "/links/";
const MARK: &str = "/marks/";
const CERTIFICATES: &str = "/certs/";

/// What the keys begin with; the UID follows.
pub const PREFIXES: [&str; 3] = [SESSION, MARK, CERTIFICATES];

/// The key of the last session issued to a node, and the last that it made durable.
pub fn session(uid: &str) -> String {
    format!("{SESSION}{uid}")
}

/// The key of the mark of its outbox.
pub fn mark(uid: &str) -> String {
    format!("{MARK}{uid}")
}

/// The key of which certificate it was issued last.
pub fn certificates(uid: &str) -> String {
    format!("{CERTIFICATES}{uid}")
}

/// The keys of all records of a node.
pub(crate) fn all(uid: &str) -> [String; 3] {
    PREFIXES.map(|prefix| format!("{prefix}{uid}"))
}
