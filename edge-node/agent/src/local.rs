//! What the node answers to whoever is on the box: local commands, and its own API for kubectl ([`api`]).
//!
//! Local commands: a Unix socket, one request a connection.
//!
//! The request is one JSON line, the answer one JSON line (`{"ok": …}` or `{"error": …}`); logs and exec go on
//! with frames: kind (u8), length (u32, little endian), bytes.

pub(crate) mod api;
pub(crate) mod client;
mod keys;
pub(crate) mod server;
mod tables;

use holdfast_core::calls::{ExecCall, LogCall};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The file beside the socket that says what an agent waits for that does not serve it yet.
pub(crate) const WAITS: &str = "waits";

/// Largest frame and request line in bytes.
const MAX_BYTES: usize = 1 << 20;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    Pods,
    Status,
    Events { namespace: Option<String>, pod: Option<String> },
    Import { file: PathBuf },
    ImportFromDocker { name: String, socket: PathBuf },
    Drill { seconds: u64 },
    Shutdown { cancel: bool },
    Logs(LogCall),
    Exec(ExecCall),
}

/// Kinds of frames.
pub(crate) mod kind {
    pub(crate) const STDIN: u8 = 0;
    pub(crate) const STDOUT: u8 = 1;
    pub(crate) const STDERR: u8 = 2;
    /// Exit code, i32 little endian.
    pub(crate) const EXIT: u8 = 3;
    pub(crate) const STDIN_CLOSED: u8 = 4;
    /// Text of an error; the last frame.
    pub(crate) const FAILED: u8 = 5;
    /// A report as JSON; the last frame of a drill. `STDIN_CLOSED`, or the end of the connection, ends one early.
    pub(crate) const REPORT: u8 = 6;
}

pub(crate) async fn write_frame<W: AsyncWrite + Unpin>(out: &mut W, kind: u8, data: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(data.len()).map_err(|_| std::io::Error::other("the frame is too large"))?;
    let mut head = [kind, 0, 0, 0, 0];
    head[1..].copy_from_slice(&length.to_le_bytes());
    out.write_all(&head).await?;
    out.write_all(data).await
}

/// The next frame; `None` when the other side has closed.
pub(crate) async fn read_frame<R: AsyncRead + Unpin>(input: &mut R) -> std::io::Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 5];
    match input.read_exact(&mut head).await {
        Ok(_) => {}
        Err(err) if err.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(err) => return Err(err),
    }
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > MAX_BYTES {
        return Err(std::io::Error::other(format!("a frame of {length} bytes is too large")));
    }
    let mut data = vec![0; length];
    input.read_exact(&mut data).await?;
    Ok(Some((head[0], data)))
}
