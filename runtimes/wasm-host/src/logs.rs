//! A container's log: lines in the CRI format, appended to the file that the agent named.

use bytes::Bytes;
use holdfast_core::Timestamp;
use holdfast_runtime::cri_log::{LineCutter, LogStream};
use holdfast_runtime::log_files;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes that a guest may write at once.
const PERMIT: usize = 64 << 10;

/// The wall clock as the API writes it.
pub fn now() -> Timestamp {
    Timestamp::from_wall(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// The log file of one container; clones share it.
#[derive(Clone, Debug)]
pub struct ContainerLog {
    file: Option<Arc<Mutex<LogFile>>>,
}

/// A file that is put aside when it has grown.
#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl LogFile {
    fn open(path: &Path) -> std::io::Result<LogFile> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(LogFile { path: path.to_path_buf(), bytes: file.metadata()?.len(), file })
    }

    fn append(&mut self, lines: &[u8]) -> std::io::Result<()> {
        if self.bytes >= log_files::MAX_BYTES {
            log_files::rotate(&self.path, log_files::MAX_FILES)?;
            *self = LogFile::open(&self.path)?;
        }
        self.file.write_all(lines)?;
        self.bytes = self.bytes.saturating_add(lines.len() as u64);
        Ok(())
    }
}

impl ContainerLog {
    /// Opens the file for appending; an empty path discards everything.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &str) -> std::io::Result<ContainerLog> {
        if path.is_empty() {
            return Ok(ContainerLog { file: None });
        }
        if let Some(parent) = Path::new(path).parent() {
            std::fs::create_dir_all(parent)?;
        }
        Ok(ContainerLog { file: Some(Arc::new(Mutex::new(LogFile::open(Path::new(path))?))) })
    }

    /// A new writer for one stream of one instance, so that the lines of concurrent requests do not mix.
    pub fn stream(&self, stream: LogStream) -> LogWriter {
        let lines = Lines { log: self.clone(), cutter: LineCutter::new(stream) };
        LogWriter { lines: Arc::new(Mutex::new(lines)) }
    }

    /// Writes whole lines of text that come from the host itself.
    pub fn say(&self, stream: LogStream, text: &str) {
        let mut out = Vec::new();
        let mut cutter = LineCutter::new(stream);
        cutter.push(now(), text.as_bytes(), &mut out);
        cutter.finish(now(), &mut out);
        self.append(&out);
    }

    /// One write for whole lines. It goes to the page cache; a full or broken disk loses log lines, never requests.
    fn append(&self, lines: &[u8]) {
        if let Some(file) = self.file.as_ref().filter(|_| !lines.is_empty())
            && let Err(err) = file.lock().unwrap_or_else(PoisonError::into_inner).append(lines)
        {
            tracing::debug!(%err, "Lost lines of a container's log");
        }
    }
}

#[derive(Debug)]
struct Lines {
    log: ContainerLog,
    cutter: LineCutter,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        let mut out = Vec::new();
        self.cutter.push(now(), bytes, &mut out);
        self.log.append(&out);
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let mut out = Vec::new();
        self.cutter.finish(now(), &mut out);
        self.log.append(&out);
    }
}

/// Standard output or error of an instance; clones share the line that is being written.
#[derive(Clone, Debug)]
pub struct LogWriter {
    lines: Arc<Mutex<Lines>>,
}

impl LogWriter {
    fn push(&self, bytes: &[u8]) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

impl IsTerminal for LogWriter {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogWriter {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for LogWriter {
    async fn ready(&mut self) {}
}

impl OutputStream for LogWriter {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT)
    }
}

impl AsyncWrite for LogWriter {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.push(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
