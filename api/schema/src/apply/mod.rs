//! Server-side apply and `metadata.managedFields`, without I/O and without a clock.
//!
//! The semantics are those of `sigs.k8s.io/structured-merge-diff` and of the field manager of
//! `k8s.io/apimachinery/pkg/util/managedfields`, whose steps `updater.rs` follows one by one.
//!
//! - [`FieldSet`]: a set of paths, as `fieldsV1` writes it.
//! - [`Typing`]: what stands at a place of a document. The built-in table answers it ([`Place`]); any other schema may.
//! - [`Managers`]: who owns which fields, as `metadata.managedFields` writes it.
//! - [`update`], [`apply`]: what a write does to an object and to its managers.
//! - [`scale`]: how managers of an object and of its `scale` become each other's.
//!
//! *Absent:* admission, defaulting, and whose turn it is to write: the registry's.

mod builtin;
mod compare;
mod conflict;
mod element;
mod fields_v1;
mod items;
mod last_applied;
mod managers;
mod merge;
mod named;
mod remove;
pub mod scale;
mod set;
mod standing;
mod typing;
mod updater;
mod walk;

pub use builtin::Place;
pub use compare::{Comparison, compare, same};
pub use conflict::Conflict;
pub use element::{Element, path_text};
pub use managers::{Entry, Managers, Operation};
pub use merge::merge;
pub use remove::remove;
pub use set::FieldSet;
pub(crate) use standing::zero;
pub use typing::{Below, Standing, Structure, Typing, Versions, Zero};
pub use updater::{Applied, ApplyError, Write, apply, update};
pub use walk::{check, set_of};

#[cfg(test)]
mod tests;
