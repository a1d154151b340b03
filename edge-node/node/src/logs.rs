//! Reading the logs of containers, with `kubectl logs`' options (`core/v1 PodLogOptions`): one log, whatever files it lies in.

use bytes::Bytes;
use holdfast_core::{Status, Timestamp};
use holdfast_env::World;
use holdfast_runtime::cri_log::{LogLine, parse_line};
use holdfast_runtime::log_files;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
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
    let (path, lines) = (path.to_path_buf(), options.tail_lines);
    let mut reader = step(env, move || match lines {
        Some(lines) => Reader::at_last_lines(path, lines),
        None => Ok(Reader { path, file: None }),
    })
    .await?;
    let mut pending: Vec<u8> = Vec::new();
    loop {
        // Asked before reading: what was written before the end is read after it.
        let last = !options.follow || ended();
        loop {
            let data;
            (reader, data) = step(env, move || reader.read().map(|data| (reader, data))).await?;
            if data.is_empty() {
                break;
            }
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
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Status> {
    match env.blocking(call).await {
        Some(Ok(value)) => Ok(value),
        Some(Err(err)) => Err(Status::internal(format!("the log cannot be read: {err}"))),
        None => Err(Status::unavailable("the node is stopping", 1)),
    }
}

/// Reads the files of a log as one. All of it blocks.
struct Reader {
    path: PathBuf,
    /// The file that is read, and which it is: its name changes when it is put aside.
    file: Option<(u64, File)>,
}

impl Reader {
    /// At the beginning of the last so many lines of the program.
    fn at_last_lines(path: PathBuf, lines: u64) -> io::Result<Reader> {
        let mut wanted = usize::try_from(lines).unwrap_or(usize::MAX);
        let mut reader = Reader { path, file: None };
        for file in log_files::all(&reader.path)?.into_iter().rev() {
            let Some((inode, mut file)) = open(&file)? else { continue };
            let (found, offset) = last_lines(&mut file, wanted)?;
            file.seek(SeekFrom::Start(offset))?;
            reader.file = Some((inode, file));
            wanted -= found;
            if wanted == 0 {
                break;
            }
        }
        Ok(reader)
    }

    /// The next piece; nothing at the end of what there is, and nothing while no file exists yet.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let data = self.piece()?;
            if !data.is_empty() {
                return Ok(data);
            }
            let Some(next) = self.successor()? else { return Ok(Vec::new()) };
            // It was written until it was put aside, so there may be more by now; after that there will not.
            let data = self.piece()?;
            if !data.is_empty() {
                return Ok(data);
            }
            self.file = Some(next);
        }
    }

    fn piece(&mut self) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        if let Some((_, file)) = &mut self.file {
            file.take(STEP as u64).read_to_end(&mut data)?;
        }
        Ok(data)
    }

    /// The file after the one that is read; the oldest one for a file that is no longer kept.
    fn successor(&self) -> io::Result<Option<(u64, File)>> {
        let names = log_files::all(&self.path)?;
        let mut open_files = Vec::new();
        for file in &names {
            open_files.extend(open(file)?);
        }
        let own = self.file.as_ref().map(|(inode, _)| *inode);
        let after = match open_files.iter().position(|(inode, _)| Some(*inode) == own) {
            Some(at) => at + 1,
            // It may have been put aside between the look at the names and the opening: not gone, then, and next time it is
            // found under its new name.
            None if own.is_some() && log_files::all(&self.path)? != names => return Ok(None),
            None => 0,
        };
        Ok(open_files.into_iter().nth(after))
    }
}

/// A file and which it is; `None` when it does not exist.
fn open(path: &Path) -> io::Result<Option<(u64, File)>> {
    match File::open(path) {
        Ok(file) => Ok(Some((file.metadata()?.ino(), file))),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(err) => Err(err),
    }
}

/// How many of the last `lines` whole lines of the program a file has, and where they begin.
fn last_lines(file: &mut File, lines: usize) -> io::Result<(usize, u64)> {
    if lines == 0 {
        return Ok((0, file.metadata()?.len()));
    }
    let mut starts: VecDeque<u64> = VecDeque::new();
    let (mut offset, mut line_start, mut line, mut at_start) = (0u64, 0u64, Vec::new(), true);
    let mut data = vec![0; STEP];
    loop {
        let count = file.read(&mut data)?;
        if count == 0 {
            break;
        }
        for byte in &data[..count] {
            offset += 1;
            line.push(*byte);
            if *byte == b'\n' {
                if at_start {
                    starts.push_back(line_start);
                    if starts.len() > lines {
                        starts.pop_front();
                    }
                }
                at_start = parse_line(&line[..line.len() - 1]).is_none_or(|line| line.full);
                line.clear();
                line_start = offset;
            }
        }
    }
    Ok((starts.len(), starts.front().copied().unwrap_or(offset)))
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

    #[tokio::test]
    async fn files_that_were_put_aside_are_read_before_the_one_that_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let line = |second: u32| format!("2026-01-01T00:00:0{second}.000000000Z stdout F {second}\n");
        std::fs::write(&path, line(1) + &line(2)).unwrap();
        log_files::rotate(&path, 3).unwrap();
        std::fs::write(&path, line(3)).unwrap();
        log_files::rotate(&path, 3).unwrap();
        let whole = |tail_lines| {
            let (env, path): (World, _) = (HostEnv::new(dir.path()), path.clone());
            async move {
                let mut receiver = read(env, path, LogOptions { tail_lines, ..LogOptions::default() }, || true);
                let mut out = Vec::new();
                while let Some(piece) = receiver.recv().await {
                    out.extend_from_slice(&piece.unwrap());
                }
                String::from_utf8(out).unwrap()
            }
        };
        // Also between the rename and the next line.
        assert_eq!(whole(None).await, "1\n2\n3\n");
        std::fs::write(&path, line(4)).unwrap();
        assert_eq!(whole(None).await, "1\n2\n3\n4\n");
        assert_eq!(whole(Some(3)).await, "2\n3\n4\n");
        assert_eq!(whole(Some(1)).await, "4\n");
        assert_eq!(whole(Some(0)).await, "");
        assert_eq!(whole(Some(9)).await, "1\n2\n3\n4\n");
    }

    #[tokio::test]
    async fn who_follows_is_led_on_when_a_file_is_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let line = |text: &str| format!("2026-01-01T00:00:00.000000000Z stdout F {text}\n");
        let env: World = HostEnv::new(dir.path());
        let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let told = ended.clone();
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let mut receiver = read(env, path.clone(), options, move || told.load(std::sync::atomic::Ordering::SeqCst));
        let mut heard = String::new();
        for text in ["one", "two", "three", "four"] {
            std::fs::write(&path, line(text)).unwrap();
            while !heard.contains(text) {
                let piece = tokio::time::timeout(Duration::from_secs(30), receiver.recv()).await.unwrap();
                heard.push_str(std::str::from_utf8(&piece.unwrap().unwrap()).unwrap());
            }
            log_files::rotate(&path, 2).unwrap();
        }
        ended.store(true, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(receiver.recv().await, None);
        assert_eq!(heard, "one\ntwo\nthree\nfour\n");
    }
}
