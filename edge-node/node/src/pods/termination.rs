//! What a container says when it ends (`terminationMessagePath`, `terminationMessagePolicy`): a file that it finds at a path
//! of its choice, and that is read once it has ended; else, if it says so and failed, the end of its log.

use holdfast_runtime::cri_log::parse_line;
use k8s_openapi::api::core::v1::Container;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes of the file that count, from its end, as upstream.
const FROM_FILE: u64 = 4096;
/// Bytes of the log that count, from its end, as upstream.
const FROM_LOG: usize = 2048;
/// Lines of the log that count, as upstream.
const LINES: usize = 80;
/// Bytes of the log file in which its last lines are looked for.
const LOG_TAIL: u64 = 64 << 10;
/// Where the file is, as a container sees it, unless it says so.
const PATH: &str = "/dev/termination-log";

/// The file of one attempt of a container, in the folder of its pod.
pub(super) fn file(pod_dir: &Path, container: &str, attempt: u32) -> PathBuf {
    pod_dir.join("containers").join(container).join(attempt.to_string())
}

/// Where the container finds it.
pub(super) fn path_inside(container: &Container) -> &str {
    container.termination_message_path.as_deref().filter(|path| !path.is_empty()).unwrap_or(PATH)
}

/// Makes the file anew, for whoever the container runs as. Blocks.
///
/// # Errors
/// When it cannot be made.
pub(super) fn prepare(file: &Path) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let made = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o666).open(file)?;
    // Whatever the agent's umask is.
    made.set_permissions(std::fs::Permissions::from_mode(0o666))
}

/// What an attempt of a container said at its end. Blocks.
pub(super) fn message(file: &Path, log: &Path, container: Option<&Container>, exit_code: i32) -> String {
    let said = tail(file, FROM_FILE).unwrap_or_default();
    if !said.is_empty() {
        return String::from_utf8_lossy(&said).into_owned();
    }
    let policy = container.and_then(|container| container.termination_message_policy.as_deref());
    if exit_code == 0 || policy != Some("FallbackToLogsOnError") {
        return String::new();
    }
    last_lines(&tail(log, LOG_TAIL).unwrap_or_default())
}

/// The end of a regular file: the container chooses what lies there, and a FIFO would never end.
fn tail(path: &Path, bytes: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::Start(meta.len().saturating_sub(bytes)))?;
    let mut data = Vec::new();
    file.take(bytes).read_to_end(&mut data)?;
    Ok(data)
}

fn last_lines(log: &[u8]) -> String {
    let mut lines: Vec<Vec<u8>> = vec![Vec::new()];
    for line in log.split(|byte| *byte == b'\n').filter_map(parse_line) {
        if let Some(last) = lines.last_mut() {
            last.extend_from_slice(line.text);
            if line.full {
                last.push(b'\n');
                lines.push(Vec::new());
            }
        }
    }
    lines.retain(|line| !line.is_empty());
    let text = lines[lines.len().saturating_sub(LINES)..].concat();
    String::from_utf8_lossy(&text[text.len().saturating_sub(FROM_LOG)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_counts_before_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let (said, log) = (file(dir.path(), "web", 3), dir.path().join("3.log"));
        prepare(&said).unwrap();
        assert_eq!(std::fs::metadata(&said).unwrap().permissions().mode() & 0o777, 0o666);
        let stamp = "2026-01-01T00:00:00.000000000Z";
        let lines: String = (0..100).map(|n| format!("{stamp} stderr P {n}\n{stamp} stderr F !\n")).collect();
        std::fs::write(&log, lines).unwrap();
        let default = Container::default();
        let policy = Some("FallbackToLogsOnError".to_string());
        let falls_back = Container { termination_message_policy: policy, ..Container::default() };
        let told = |container: &Container, code: i32| message(&said, &log, Some(container), code);
        assert_eq!(told(&default, 1), "");
        assert_eq!(told(&falls_back, 0), "");
        let fallback = told(&falls_back, 1);
        assert!(fallback.starts_with("20!\n21!\n") && fallback.ends_with("99!\n"), "{fallback}");
        std::fs::write(&said, "x".repeat(5000)).unwrap();
        assert_eq!(told(&falls_back, 1).len(), 4096);
        assert_eq!(told(&default, 0).len(), 4096);
        std::fs::write(&said, "done").unwrap();
        assert_eq!(told(&default, 0), "done");
        let long = format!("{stamp} stdout F {}\n", "y".repeat(9000));
        assert_eq!(last_lines(long.as_bytes()).len(), FROM_LOG);
    }
}
