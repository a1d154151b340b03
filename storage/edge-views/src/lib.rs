//! Views of the node's journal, in sled.
//!
//! A view answers questions that the journal cannot: [`EventViews`] keeps the node's Events, also after the hub has
//! acknowledged them and the outbox has let go of them. Nothing here is the truth, so nothing here may fail the
//! agent: a folder that is missing, foreign or damaged is made anew with a warning, and a power cut may cost what
//! was recorded since the last close.
//!
//! Absent on purpose: tasks, clocks, and waiting. All calls block, and the caller brings the time.

mod events;
mod folder;
pub mod limits;

pub use events::EventViews;
