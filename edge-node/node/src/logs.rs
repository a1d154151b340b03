//! Reading the logs of containers, with `kubectl logs`' options (`core/v1 PodLogOptions`).

use bytes::Bytes;
use holdfast_core::{Status, Timestamp};
use holdfast_env::World;
use holdfast_runtime::cri_log::{LogLine, parse_line};
use std::collections::VecDeque;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// Bytes that one step reads.
const STEP: usize = 64 << 10;
/// Pieces in flight to a slow reader; more wait.
const PIECES: usize = 8;
/// How often a followed log is looked at.
const POLL: Duration = Duration::from_millis(200);
/// The longest line that is put together again.
const MAX_JOINED: usize = 1 << 20;

/// What is wanted of a log.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Stay until `ended` says that nothing more will come.
    pub follow: bool,
    /// Only lines at or after this.
    pub since: Option<Timestamp>,
    /// Prefix lines with their time.
    pub timestamps: bool,
    /// Only the last so many lines.
    pub tail_lines: Option<u64>,
    /// Stop after so many bytes.
    pub limit_bytes: Option<u64>,
}

/// Reads a log file into a channel. `ended` tells whether the container has ended; it is asked while following.
pub fn read(
    env: World,
    path: PathBuf,
    options: LogOptions,
    ended: impl Fn() -> bool + Send + Sync + 'static,
) -> mpsc::Receiver<Result<Bytes, Status>> {
    let (sender, receiver) = mpsc::channel(PIECES);
    let (keep, kept) = tokio::sync::oneshot::channel::<holdfast_env::Task>();
    let task_env = env.clone();
    let run = async move {
        // The task holds its own handle: it ends with the reader, not with whoever started it.
        let _own_handle = kept.await;
        if let Err(status) = pump(&task_env, &path, &options, &ended, &sender).await {
            let _ = sender.send(Err(status)).await;
        }
    };
    let _ = keep.send(env.spawn("log-reader", Box::pin(run)));
    receiver
}

async fn pump(
    env: &World,
    path: &Path,
    options: &LogOptions,
    ended: &(impl Fn() -> bool + Send + Sync),
    sender: &mpsc::Sender<Result<Bytes, Status>>,
) -> Result<(), Status> {
    let mut writer =
        Writer { options: options.clone(), left: options.limit_bytes.unwrap_or(u64::MAX), joined: Vec::new() };
    let start = match options.tail_lines {
        Some(lines) => step(env, path, move |path| tail_offset(path, lines)).await?,
        None => 0,
    };
    let mut offset = start;
    let mut pending: Vec<u8> = Vec::new();
    loop {
        // Asked before reading: what was written before the end is read after it.
        let last = !options.follow || ended();
        loop {
            let at = offset;
            let data = step(env, path, move |path| read_at(path, at)).await?;
            if data.is_empty() {
                break;
            }
            offset += data.len() as u64;
            pending.extend_from_slice(&data);
            let mut out = Vec::new();
            let mut rest = 0;
            for line in pending.split_inclusive(|byte| *byte == b'\n') {
                if !line.ends_with(b"\n") {
                    break;
                }
                rest += line.len();
                writer.line(&line[..line.len() - 1], &mut out);
            }
            pending.drain(..rest);
            if !out.is_empty() && sender.send(Ok(Bytes::from(out))).await.is_err() {
                return Ok(());
            }
            if writer.left == 0 {
                return Ok(());
            }
        }
        if last || sender.is_closed() {
            return Ok(());
        }
        env.sleep(POLL).await;
    }
}

async fn step<T: Send + 'static>(
    env: &World,
    path: &Path,
    call: impl FnOnce(&Path) -> std::io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    let path = path.to_path_buf();
    match env.blocking(move || call(&path)).await {
        Some(Ok(value)) => Ok(value),
        Some(Err(err)) => Err(Status::internal(format!("the log cannot be read: {err}"))),
        None => Err(Status::unavailable("the node is stopping", 1)),
    }
}

/// Reads a piece; nothing at the end, and nothing while the file does not exist yet.
fn read_at(path: &Path, offset: u64) -> std::io::Result<Vec<u8>> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut data = Vec::new();
    file.take(STEP as u64).read_to_end(&mut data)?;
    Ok(data)
}

/// Where the last `lines` whole lines of the program begin.
fn tail_offset(path: &Path, lines: u64) -> std::io::Result<u64> {
    if lines == 0 {
        return std::fs::metadata(path).map(|meta| meta.len()).or(Ok(0));
    }
    let keep = usize::try_from(lines).unwrap_or(usize::MAX);
    let mut starts: VecDeque<u64> = VecDeque::new();
    let (mut offset, mut line_start, mut line, mut at_start) = (0u64, 0u64, Vec::new(), true);
    loop {
        let data = read_at(path, offset)?;
        if data.is_empty() {
            break;
        }
        for byte in &data {
            offset += 1;
            line.push(*byte);
            if *byte == b'\n' {
                if at_start {
                    starts.push_back(line_start);
                    if starts.len() > keep {
                        starts.pop_front();
                    }
                }
                at_start = parse_line(&line[..line.len() - 1]).is_none_or(|line| line.full);
                line.clear();
                line_start = offset;
            }
        }
    }
    Ok(starts.front().copied().unwrap_or(offset))
}

struct Writer {
    options: LogOptions,
    left: u64,
    joined: Vec<u8>,
}

impl Writer {
    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(LogLine { time, full, text, .. }) = parse_line(line) else { return };
        if let Some(since) = self.options.since
            && Timestamp::parse(time).is_some_and(|time| time < since)
        {
            return;
        }
        if self.joined.is_empty() && self.options.timestamps {
            self.joined.extend_from_slice(time.as_bytes());
            self.joined.push(b' ');
        }
        self.joined.extend_from_slice(text);
        if full || self.joined.len() > MAX_JOINED {
            if full {
                self.joined.push(b'\n');
            }
            let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.joined.len());
            out.extend_from_slice(&self.joined[..room]);
            self.left -= room as u64;
            self.joined.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_env::host::HostEnv;

    const LOG: &str = "2026-01-01T00:00:00.000000000Z stdout F one\n\
                       2026-01-01T00:00:01.000000000Z stdout P tw\n\
                       2026-01-01T00:00:02.000000000Z stdout F o\n\
                       2026-01-01T00:00:03.000000000Z stderr F three\n";

    async fn collect(options: LogOptions) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let env: World = HostEnv::new(dir.path());
        let mut receiver = read(env, path, options, || true);
        let mut out = Vec::new();
        while let Some(piece) = receiver.recv().await {
            out.extend_from_slice(&piece.unwrap());
        }
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn options_select_lines() {
        assert_eq!(collect(LogOptions::default()).await, "one\ntwo\nthree\n");
        assert_eq!(collect(LogOptions { follow: true, ..LogOptions::default() }).await, "one\ntwo\nthree\n");
        assert_eq!(collect(LogOptions { tail_lines: Some(2), ..LogOptions::default() }).await, "two\nthree\n");
        assert_eq!(collect(LogOptions { tail_lines: Some(0), ..LogOptions::default() }).await, "");
        assert_eq!(collect(LogOptions { limit_bytes: Some(5), ..LogOptions::default() }).await, "one\nt");
        let since = Timestamp::parse("2026-01-01T00:00:03Z");
        assert_eq!(collect(LogOptions { since, ..LogOptions::default() }).await, "three\n");
        let stamped = collect(LogOptions { timestamps: true, tail_lines: Some(1), ..LogOptions::default() }).await;
        assert_eq!(stamped, "2026-01-01T00:00:03.000000000Z three\n");
    }
}
