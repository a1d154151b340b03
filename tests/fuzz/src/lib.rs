//! Fuzz targets. One for each frame of the link: its bytes, mutated, go through the reader of frames, the record's
//! decoder, and both ends of the engine in every phase. Nothing may panic, an end that has closed says nothing more, and
//! what one frame makes an end say or keep is bounded. One for each codec of the streams to pods, and for
//! protobuf ([`codecs`]).
//!
//! One for each text that server-side apply reads (`apply`): what is taken is consistent with itself. One for expressions
//! (`cel`): what compiles is evaluated within its budget. One for each sort of patch (`patches`), for selectors, for
//! quantities and for YAML (`texts`): they agree with slow models, and what is read is written and read again. One for each thing that
//! registries of images say (`registries`).
//!
//! The corpus of a frame is its golden bytes; texts stand beside their targets. Mutations are drawn from a seed, so a failure is a number.

mod apply;
mod cel;
pub mod codecs;
pub mod ends;
pub mod mutate;
mod patches;
mod registries;
pub mod target;
mod texts;

pub use target::{Target, targets};
