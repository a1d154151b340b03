//! What is stored, and what changed.

use bytes::Bytes;
use holdfast_core::Revision;
use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

/// One version of one key. Shared by the map, the ring and every reader.
pub struct Record {
    /// The key.
    pub key: Arc<str>,
    /// The value.
    pub value: Bytes,
    /// When the key was created last.
    pub created: Revision,
    /// When this version was written.
    pub modified: Revision,
    decoded: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Record {
    /// A version of a key.
    pub fn new(key: Arc<str>, value: Bytes, created: Revision, modified: Revision) -> Record {
        Record { key, value, created, modified, decoded: OnceLock::new() }
    }

    /// The decoded value: `decode` runs once a version, and its result is shared by all readers. All callers
    /// of one store must decode to the same type; another type is decoded afresh.
    pub fn decoded<T, E>(&self, decode: impl Fn(&Record) -> Result<T, E>) -> Result<Arc<T>, E>
    where
        T: Any + Send + Sync,
    {
        if let Some(value) = self.decoded.get() {
            return match value.clone().downcast::<T>() {
                Ok(value) => Ok(value),
                Err(_) => decode(self).map(Arc::new),
            };
        }
        let value = Arc::new(decode(self)?);
        let _ = self.decoded.set(value.clone());
        Ok(value)
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{} ({} bytes)", self.key, self.modified, self.value.len())
    }
}

/// A change of one key.
#[derive(Clone, Debug)]
pub struct Event {
    /// The revision of the change.
    pub revision: Revision,
    /// The key.
    pub key: Arc<str>,
    /// The new version; `None` for a deletion.
    pub record: Option<Arc<Record>>,
    /// The version before; `None` for a creation.
    pub previous: Option<Arc<Record>>,
}
