//! Output of containers: from the shim's FIFOs into log files in the CRI format.
//!
//! The shim keeps both ends of each FIFO open, so a container outlives the agent: it waits when 64 KiB are
//! unread, and goes on when the agent is back and opens the FIFO again. A pump ends when the shim closes them.
//! Whoever writes a log also puts its file aside when it has grown ([`log_files`]); a rename costs the disk next to nothing, and
//! nothing is written twice, as compressing would.

use crate::client::now;
use bytes::Bytes;
use holdfast_runtime::cri_log::{LineCutter, LogStream};
use holdfast_runtime::{RuntimeError, StreamOutput, log_files};
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

/// Bytes read at once.
const READ: usize = 32 << 10;

/// FIFOs of one process, as paths for containerd.
#[derive(Clone, Debug)]
pub(crate) struct Fifos {
    dir: PathBuf,
    stdin: bool,
    stderr: bool,
}

/// Our ends of them.
#[derive(Debug)]
pub(crate) struct FifoEnds {
    pub(crate) stdin: Option<pipe::Sender>,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) stderr: Option<pipe::Receiver>,
}

impl Fifos {
    /// FIFOs in `dir`; a terminal has no standard error of its own.
    pub(crate) fn new(dir: PathBuf, stdin: bool, tty: bool) -> Fifos {
        Fifos { dir, stdin, stderr: !tty }
    }

    fn path(&self, used: bool, name: &str) -> String {
        if used { self.dir.join(name).display().to_string() } else { String::new() }
    }

    pub(crate) fn stdin_path(&self) -> String {
        self.path(self.stdin, "stdin")
    }

    pub(crate) fn stdout_path(&self) -> String {
        self.path(true, "stdout")
    }

    pub(crate) fn stderr_path(&self) -> String {
        self.path(self.stderr, "stderr")
    }

    /// Makes them where they are missing and opens our ends, before the shim opens its own: the shim waits for us.
    pub(crate) fn open(&self) -> io::Result<FifoEnds> {
        std::fs::create_dir_all(&self.dir)?;
        for path in [self.stdin_path(), self.stdout_path(), self.stderr_path()] {
            if !path.is_empty() {
                match nix::unistd::mkfifo(Path::new(&path), nix::sys::stat::Mode::from_bits_truncate(0o600)) {
                    Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
                    Err(err) => return Err(err.into()),
                }
            }
        }
        let receiver = |path: String| pipe::OpenOptions::new().open_receiver(path);
        let stdin = match self.stdin {
            // For reading too: the shim's end may come later.
            true => Some(pipe::OpenOptions::new().read_write(true).open_sender(self.stdin_path())?),
            false => None,
        };
        let stderr = if self.stderr { Some(receiver(self.stderr_path())?) } else { None };
        Ok(FifoEnds { stdin, stdout: receiver(self.stdout_path())?, stderr })
    }

    /// Another writer of standard input; `None` when the container has none.
    pub(crate) fn open_stdin(&self) -> io::Result<Option<pipe::Sender>> {
        let open = || pipe::OpenOptions::new().read_write(true).open_sender(self.stdin_path());
        self.stdin.then(open).transpose()
    }

    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Chunks of output kept for whoever is attached; one that lags behind them is cut off.
const ATTACHED: usize = 64;

/// Where others join a container's streams.
#[derive(Clone, Debug)]
pub(crate) struct Tap {
    /// Its output as it is read. Ends with the container.
    pub(crate) output: broadcast::Sender<StreamOutput>,
    /// Held so that a container with `stdin: true` does not see its end; taken when it shall.
    pub(crate) stdin: Arc<Mutex<Option<pipe::Sender>>>,
}

impl Tap {
    fn tell(&self, wrap: fn(Bytes) -> StreamOutput, data: &[u8]) {
        if self.output.receiver_count() > 0 {
            // Whoever has just left needs nothing.
            let _ = self.output.send(wrap(Bytes::copy_from_slice(data)));
        }
    }
}

/// The running pumps.
#[derive(Debug, Default)]
pub(crate) struct Pumps {
    tasks: Mutex<JoinSet<()>>,
    active: Arc<Mutex<HashMap<String, Tap>>>,
}

impl Pumps {
    /// Whether a container's output is being read.
    pub(crate) fn active(&self, container: &str) -> bool {
        lock(&self.active).contains_key(container)
    }

    /// A container's streams, while its output is being read.
    pub(crate) fn tap(&self, container: &str) -> Option<Tap> {
        lock(&self.active).get(container).cloned()
    }

    /// Waits until all that a container has said is in its log, for `limit` at most: a process that it left behind may
    /// hold its streams open.
    pub(crate) async fn drained(&self, container: &str, limit: Duration) {
        let Some(mut told) = self.tap(container).map(|tap| tap.output.subscribe()) else { return };
        let ended = async { while !matches!(told.recv().await, Err(broadcast::error::RecvError::Closed)) {} };
        // What is still to come is only missing in the log when it is looked at at once.
        let _ = tokio::time::timeout(limit, ended).await;
    }

    /// Reads a container's output until the shim closes it.
    pub(crate) fn start(&self, container: &str, ends: FifoEnds, log_path: &str, bounds: Bounds) {
        let FifoEnds { stdin, stdout, stderr } = ends;
        let tap = Tap { output: broadcast::channel(ATTACHED).0, stdin: Arc::new(Mutex::new(stdin)) };
        {
            let mut active = lock(&self.active);
            if active.contains_key(container) {
                return;
            }
            active.insert(container.to_string(), tap.clone());
        }
        let (container, active) = (container.to_string(), self.active.clone());
        let mut log = LogFile { path: PathBuf::from(log_path), bounds, file: None, failed: false };
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            pump(stdout, stderr, &tap, &mut log).await;
            lock(&active).remove(&container);
        });
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn read(end: &mut Option<pipe::Receiver>, buf: &mut [u8]) -> usize {
    match end {
        Some(pipe) => pipe.read(buf).await.unwrap_or(0),
        None => std::future::pending().await,
    }
}

async fn pump(stdout: pipe::Receiver, stderr: Option<pipe::Receiver>, tap: &Tap, log: &mut LogFile) {
    let (mut out, mut err) = (Some(stdout), stderr);
    let (mut out_cutter, mut err_cutter) = (LineCutter::new(LogStream::Stdout), LineCutter::new(LogStream::Stderr));
    let (mut out_buf, mut err_buf) = (vec![0; READ], vec![0; READ]);
    let mut lines = Vec::new();
    while out.is_some() || err.is_some() {
        tokio::select! {
            count = read(&mut out, &mut out_buf) => match count {
                0 => {
                    out = None;
                    out_cutter.finish(now(), &mut lines);
                }
                count => {
                    tap.tell(StreamOutput::Stdout, &out_buf[..count]);
                    out_cutter.push(now(), &out_buf[..count], &mut lines);
                }
            },
            count = read(&mut err, &mut err_buf) => match count {
                0 => {
                    err = None;
                    err_cutter.finish(now(), &mut lines);
                }
                count => {
                    tap.tell(StreamOutput::Stderr, &err_buf[..count]);
                    err_cutter.push(now(), &err_buf[..count], &mut lines);
                }
            },
        }
        if !lines.is_empty() {
            log.append(&lines).await;
            lines.clear();
        }
    }
}

/// How much of a log is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of the file from which on it is put aside.
    pub(crate) bytes: u64,
    /// Files, with the one that is written.
    pub(crate) files: usize,
}

/// An append-only file that follows its path: whoever rotates it only renames it.
struct LogFile {
    path: PathBuf,
    bounds: Bounds,
    file: Option<(u64, File)>,
    failed: bool,
}

impl LogFile {
    /// Lines are lost, not waited for, when they cannot be written: a full disk must not stop the container.
    async fn append(&mut self, lines: &[u8]) {
        match self.try_append(lines).await {
            Ok(()) => self.failed = false,
            Err(err) => {
                if !self.failed {
                    tracing::warn!(path = %self.path.display(), %err, "Cannot write a container's log");
                }
                self.failed = true;
                self.file = None;
            }
        }
    }

    async fn try_append(&mut self, lines: &[u8]) -> io::Result<()> {
        let known = tokio::fs::metadata(&self.path).await.ok();
        let mut inode = known.as_ref().map(MetadataExt::ino);
        if known.is_some_and(|meta| meta.len() >= self.bounds.bytes) {
            let (path, files) = (self.path.clone(), self.bounds.files);
            match crate::runtime::blocking("rotate log", move || Ok(log_files::rotate(&path, files))).await {
                Ok(Ok(())) => inode = None,
                // It is written on: a log that is too long is better than none.
                Ok(Err(err)) => tracing::warn!(path = %self.path.display(), %err, "Cannot put a log file aside"),
                Err(err) => tracing::warn!(path = %self.path.display(), %err, "Cannot put a log file aside"),
            }
        }
        if self.file.as_ref().map(|(inode, _)| *inode) != inode || inode.is_none() {
            let file = tokio::fs::OpenOptions::new().create(true).append(true).mode(0o640).open(&self.path).await?;
            self.file = Some((file.metadata().await?.ino(), file));
        }
        if let Some((_, file)) = &mut self.file {
            file.write_all(lines).await?;
            file.flush().await?;
        }
        Ok(())
    }
}

/// The error for FIFOs that cannot be made.
pub(crate) fn fifo_error(operation: &'static str, err: &io::Error) -> RuntimeError {
    RuntimeError::Failed { operation, reason: format!("making FIFOs: {err}") }
}
