//! The object model that hub and node share.
//!
//! An [`Object`] is JSON bytes plus parsed metadata; a [`Status`] is how anything says no; a [`FieldPath`]
//! is how validation points at a field. Also the words of a request ([`verbs`]), selectors, quantities,
//! names and times. No I/O, no clock and no randomness here: they are arguments.

pub mod backoff;
pub mod calls;
pub mod digest;
pub mod duration;
pub mod field;
pub mod gvk;
pub mod ids;
pub mod json;
pub mod meta;
pub mod names;
pub mod object;
pub mod pattern;
pub mod quantity;
pub mod selector;
pub mod status;
pub mod time;
pub mod user;
pub mod verbs;

pub use backoff::Backoff;
pub use digest::{ContentHash, SetDigest, content_hash};
pub use duration::Span;
pub use field::{FieldError, FieldErrors, FieldPath};
pub use gvk::{Gvk, Gvr};
pub use ids::{Lineage, NodeUid, OutboxGen, Revision, Seq, Session};
pub use meta::{ObjectMeta, OwnerReference};
pub use object::Object;
pub use pattern::Pattern;
pub use quantity::Quantity;
pub use selector::{FieldSelector, LabelSelector};
pub use status::{Reason, Status};
pub use time::Timestamp;
pub use user::UserInfo;
pub use verbs::{
    DeleteOptions, ListOptions, ObjectList, Patch, PatchType, Target, Watch, WatchEvent, WatchEventType, WatchStream,
    WriteOptions,
};

/// A JSON value; objects keep the order of their keys.
pub type Json = serde_json::Value;
