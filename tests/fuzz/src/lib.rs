//! Fuzz targets. One for each frame of the link: its bytes, mutated, go through the reader of frames, the record's
//! decoder, and both ends of the engine in every phase. Nothing may panic, an end that has closed says nothing more, and
//! what one frame makes an end say or keep is bounded. One for each codec of the streams to pods ([`codecs`]).
//!
//! The corpus of a frame is its golden bytes. Mutations are drawn from a seed, so a failure is a number.

pub mod codecs;
pub mod ends;
pub mod mutate;
pub mod target;

pub use target::{Target, targets};
