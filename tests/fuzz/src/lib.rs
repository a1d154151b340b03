//! Fuzz targets, one for each frame of the link: its bytes, mutated, go through the reader of frames, the record's
//! decoder, and both ends of the engine in every phase. Nothing may panic, an end that has closed says nothing more, and
//! what one frame makes an end say or keep is bounded.
//!
//! One more is for expressions (`Cel`): what compiles is evaluated within its budget.
//!
//! The corpus is the golden bytes of the frames, and the expressions of tests. Mutations are drawn from a seed, so a failure is a number.

mod cel;
pub mod ends;
pub mod mutate;
pub mod target;

pub use target::{Target, targets};
