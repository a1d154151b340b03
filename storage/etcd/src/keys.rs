//! Where the store's keys lie in etcd.
//!
//! Below the prefix (`/holdfast/`) are `keys/` with all that the hubs store, a store's key appended as it is, and
//! `compacted`, by which hubs agree on who compacts. One watch of the prefix sees both. Other users of the same etcd keep
//! away from it.

use bytes::Bytes;

/// The prefix, unless the configuration says otherwise.
pub const DEFAULT_PREFIX: &str = "/holdfast/";

const DATA: &str = "keys/";
const COMPACTED: &str = "compacted";

/// What a key of etcd is to the store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place<'a> {
    /// A key of the store.
    Key(&'a str),
    /// Our own, beside the store's keys.
    Own,
    /// Nobody of ours wrote it.
    Foreign,
}

/// Keys below one prefix.
pub(crate) struct Keys {
    prefix: String,
    data: String,
}

impl Keys {
    /// A prefix is a folder: it begins with `/` and holds more than that. A `/` at its end may be left out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn new(prefix: &str) -> Result<Keys, String> {
        let folder = prefix.trim_end_matches('/');
        if !folder.starts_with('/') || folder.len() < 2 {
            return Err(format!(
                "the prefix {prefix:?} of etcd's keys is no folder; write for example {DEFAULT_PREFIX}"
            ));
        }
        Ok(Keys { prefix: format!("{folder}/"), data: format!("{folder}/{DATA}") })
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A key of the store in etcd.
    pub(crate) fn of(&self, key: &str) -> Bytes {
        Bytes::from(format!("{}{key}", self.data))
    }

    /// The key by which hubs agree on who compacts.
    pub(crate) fn compacted(&self) -> Bytes {
        Bytes::from(format!("{}{COMPACTED}", self.prefix))
    }

    /// All that the hubs store: first key, and the first behind the last.
    pub(crate) fn data(&self) -> (Bytes, Bytes) {
        span(&self.data)
    }

    /// Everything below the prefix.
    pub(crate) fn all(&self) -> (Bytes, Bytes) {
        span(&self.prefix)
    }

    pub(crate) fn place<'a>(&self, raw: &'a [u8]) -> Place<'a> {
        let Ok(text) = std::str::from_utf8(raw) else { return Place::Foreign };
        match (text.strip_prefix(&self.data), text.strip_prefix(&self.prefix)) {
            (Some(""), _) => Place::Foreign,
            (Some(key), _) => Place::Key(key),
            (None, Some(COMPACTED)) => Place::Own,
            _ => Place::Foreign,
        }
    }
}

/// `folder` ends with `/`, and `0` is the next byte.
fn span(folder: &str) -> (Bytes, Bytes) {
    let end = format!("{}0", folder.trim_end_matches('/'));
    (Bytes::copy_from_slice(folder.as_bytes()), Bytes::from(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_there_and_back() {
        let keys = Keys::new("/site/hub").unwrap();
        assert_eq!(keys.prefix(), "/site/hub/");
        let raw = keys.of("/registry/core/pods/a/b");
        assert_eq!(raw, "/site/hub/keys//registry/core/pods/a/b");
        assert_eq!(keys.place(&raw), Place::Key("/registry/core/pods/a/b"));
        assert_eq!(keys.place(&keys.compacted()), Place::Own);
        for foreign in ["/site/hub/keys/".as_bytes(), b"/site/hub/other", b"/site/hub2/keys/a", b"/site/hub/keys/\xff"]
        {
            assert_eq!(keys.place(foreign), Place::Foreign, "{foreign:?}");
        }
        let (first, end) = keys.data();
        assert!(first < raw && raw < end && keys.compacted() < first);
        assert_eq!(keys.all(), ("/site/hub/".into(), "/site/hub0".into()));
        assert_eq!(Keys::new(DEFAULT_PREFIX).unwrap().prefix(), Keys::new("/holdfast").unwrap().prefix());
    }

    #[test]
    fn a_prefix_that_is_no_folder_is_refused() {
        for wrong in ["", "/", "//", "holdfast/"] {
            let said = Keys::new(wrong).map(|_| ()).unwrap_err();
            assert!(said.contains("is no folder"), "{said}");
        }
    }
}
