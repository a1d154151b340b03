//! A service's log file: its output as it comes, each line with an RFC 3339 time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};

use crate::rfc3339;

#[derive(Clone)]
pub(crate) struct Log {
    file: Arc<File>,
}

impl Log {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        Ok(Self { file: Arc::new(file.with_context(|| format!("opening {}", path.display()))?) })
    }

    /// Appends one line. A full disk loses the line, not the service.
    pub(crate) fn line(&self, text: &str) {
        let line = if has_time(text) {
            format!("{text}\n")
        } else {
            format!("{} {text}\n", rfc3339::format(SystemTime::now()))
        };
        let _ = (&*self.file).write_all(line.as_bytes());
    }

    /// Copies a pipe until its end, on a thread of its own that ends with the service.
    pub(crate) fn follow(&self, pipe: impl Read + Send + 'static) {
        let log = self.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                log.line(String::from_utf8_lossy(&line).trim_end());
                line.clear();
            }
        });
    }
}

/// Our programs and containerd write the time themselves.
fn has_time(line: &str) -> bool {
    let stamp = line.strip_prefix("time=\"").unwrap_or(line).as_bytes();
    stamp.len() > 20
        && stamp[4] == b'-'
        && stamp[7] == b'-'
        && stamp[10] == b'T'
        && stamp[..4].iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_a_time_get_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let log = Log::open(&path).unwrap();
        log.line("plain");
        log.line("2026-11-24T03:30:58.123456Z  INFO started");
        log.line("time=\"2026-11-24T03:30:58.1Z\" level=info");
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(has_time(lines[0]) && lines[0].ends_with("Z plain"), "{text}");
        assert!(lines[1].starts_with("2026-11-24T03:30:58.123456Z  INFO"));
        assert!(lines[2].starts_with("time="));
    }
}
