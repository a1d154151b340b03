//! The CRI log format: `<RFC 3339 nano> <stdout|stderr> <P|F> <text>` a line.
//!
//! A long line is cut into partial (`P`) pieces; readers join them.

use holdfast_core::Timestamp;

/// Longest piece of text in one log line, in bytes.
pub const MAX_LINE: usize = 16 << 10;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl LogStream {
    fn word(self) -> &'static str {
        match self {
            LogStream::Stdout => "stdout",
            LogStream::Stderr => "stderr",
        }
    }
}

/// Cuts a byte stream into log lines.
#[derive(Debug)]
pub struct LineCutter {
    stream: LogStream,
    pending: Vec<u8>,
}

impl LineCutter {
    /// A cutter for one stream.
    pub fn new(stream: LogStream) -> LineCutter {
        LineCutter { stream, pending: Vec::new() }
    }

    /// Appends to `out` the log lines that `data` completes.
    pub fn push(&mut self, now: Timestamp, data: &[u8], out: &mut Vec<u8>) {
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            self.pending.extend_from_slice(piece);
            while self.pending.len() > MAX_LINE + 1 || (self.pending.len() > MAX_LINE && !self.pending.ends_with(b"\n"))
            {
                let rest = self.pending.split_off(MAX_LINE);
                write_line(now, self.stream, false, &self.pending, out);
                self.pending = rest;
            }
            if self.pending.ends_with(b"\n") {
                self.pending.pop();
                write_line(now, self.stream, true, &self.pending, out);
                self.pending.clear();
            }
        }
    }

    /// Appends what is left when the stream ends without a newline.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if !self.pending.is_empty() {
            write_line(now, self.stream, true, &self.pending, out);
            self.pending.clear();
        }
    }
}

fn write_line(now: Timestamp, stream: LogStream, full: bool, text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(now.to_nano_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(stream.word().as_bytes());
    out.extend_from_slice(if full { b" F " } else { b" P " });
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// One line of a log file, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Time as written.
    pub time: &'a str,
    /// Stream.
    pub stream: LogStream,
    /// Whether the text ends a line of the program.
    pub full: bool,
    /// The text, without a newline.
    pub text: &'a [u8],
}

/// Takes a line (without its newline) apart; `None` when it is damaged.
pub fn parse_line(line: &[u8]) -> Option<LogLine<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => LogStream::Stdout,
        b"stderr" => LogStream::Stderr,
        _ => return None,
    };
    let full = match parts.next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    Some(LogLine { time, stream, full, text: parts.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_read_back() {
        let mut cutter = LineCutter::new(LogStream::Stderr);
        let mut out = Vec::new();
        let now = Timestamp::from_secs(0);
        cutter.push(now, b"one\ntw", &mut out);
        cutter.push(now, b"o\n\n", &mut out);
        cutter.push(now, &vec![b'x'; MAX_LINE + 5], &mut out);
        cutter.finish(now, &mut out);
        let lines: Vec<LogLine<'_>> =
            out.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| parse_line(l).unwrap()).collect();
        let texts: Vec<(bool, usize)> = lines.iter().map(|line| (line.full, line.text.len())).collect();
        assert_eq!(texts, [(true, 3), (true, 3), (true, 0), (false, MAX_LINE), (true, 5)]);
        assert_eq!(lines[0].time, "1970-01-01T00:00:00.000000000Z");
        assert!(parse_line(b"garbage").is_none());
    }
}
