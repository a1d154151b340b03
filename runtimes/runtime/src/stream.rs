//! Exec and attach: the words are those of every session, see [`holdfast_env::session`].

pub use holdfast_env::session::{ExecRequest, ExecSession, STREAM_CHUNKS, StreamInput, StreamOutput, TerminalSize};
