//! What each built-in kind is called, how it is shown and selected, and what it references.
//!
//! Pure data and functions over documents: no defaulting or validation (that is `hub/registry`), no I/O.
//! One file a group; [`all`] lists every kind that the hub serves. The same reference graph serves the
//! link's interest ("what does this pod need on its node?") and the Node authorizer.

pub mod kind;

pub use kind::{Column, Kind, Reference, Subresource, Support};
