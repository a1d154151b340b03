//! Sessions (exec, attach): channels of bytes between a caller and a process, wherever the two are.

use bytes::Bytes;
use tokio::sync::mpsc;

/// What goes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamInput {
    /// Bytes for standard input.
    Stdin(Bytes),
    /// Standard input ends.
    StdinClosed,
    /// The terminal's size changed.
    Resize(TerminalSize),
}

/// What comes out. `Exited` or `Failed` is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamOutput {
    /// Bytes of standard output (of the terminal when there is one).
    Stdout(Bytes),
    /// Bytes of standard error.
    Stderr(Bytes),
    /// The process ended.
    Exited(i32),
    /// The session failed.
    Failed(String),
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Lines.
    pub height: u16,
}

/// What to run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    /// Command and arguments.
    pub command: Vec<String>,
    /// Allocate a terminal.
    pub tty: bool,
    /// The caller will send standard input.
    pub stdin: bool,
}

/// Both ends of a running session. Dropping it ends the process.
#[derive(Debug)]
pub struct ExecSession {
    /// To the process. Bounded ([`STREAM_CHUNKS`]): a slow process makes the caller wait.
    pub input: mpsc::Sender<StreamInput>,
    /// From the process. Bounded: a slow caller makes the process wait.
    pub output: mpsc::Receiver<StreamOutput>,
}

/// Chunks in flight in each direction; chunks are at most 32 KiB.
pub const STREAM_CHUNKS: usize = 8;
