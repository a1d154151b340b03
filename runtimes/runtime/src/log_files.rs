//! A container's log as files: `<path>`, which is written, and those that it was before, `<path>.1`, `<path>.2` and so on, the
//! newest with the highest number. Numbers are not used again while a file is there, so the order holds whatever the clocks say.
//!
//! All of it blocks.

use std::io;
use std::path::{Path, PathBuf};

/// Bytes of a log file from which on it is put aside, as the kubelet's `containerLogMaxSize`.
pub const MAX_BYTES: u64 = 10 << 20;
/// Files of a log with the one that is written, as the kubelet's `containerLogMaxFiles`.
pub const MAX_FILES: usize = 5;

/// The files that were put aside, with their numbers, the oldest first.
///
/// # Errors
/// When the folder cannot be read; one that is not there has no files.
pub fn aside(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let number =
            entry.file_name().to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.')?.parse().ok());
        found.extend(number.map(|number| (number, entry.path())));
    }
    found.sort();
    Ok(found)
}

/// All files of a log, the oldest first; the last is the one that is written, whether it is there or not.
///
/// # Errors
/// As [`aside`].
pub fn all(path: &Path) -> io::Result<Vec<PathBuf>> {
    let before = aside(path)?.into_iter().map(|(_, file)| file);
    Ok(before.chain([path.to_path_buf()]).collect())
}

/// Puts the log file aside and lets the oldest go, so that `files` are left with the one that comes.
///
/// # Errors
/// When it cannot be renamed; then it can be written on.
pub fn rotate(path: &Path, files: usize) -> io::Result<()> {
    let before = aside(path)?;
    let number = before.last().map_or(1, |(number, _)| number.saturating_add(1));
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{number}"));
    std::fs::rename(path, name)?;
    let excess = (before.len() + 2).saturating_sub(files.max(1));
    for (_, oldest) in before.into_iter().take(excess) {
        remove_file(&oldest)?;
    }
    Ok(())
}

/// Removes all files of a log.
///
/// # Errors
/// When one cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    all(path)?.iter().try_for_each(|file| remove_file(file))
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_files_are_kept_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web").join("0.log");
        assert_eq!(all(&path).unwrap(), [path.as_path()]);
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        // Of another attempt, and of nobody.
        for other in ["10.log", "0.log.gz", "0.log.1x"] {
            std::fs::write(path.with_file_name(other), "").unwrap();
        }
        for round in 1..=12 {
            std::fs::write(&path, format!("{round}")).unwrap();
            rotate(&path, 3).unwrap();
        }
        std::fs::write(&path, "13").unwrap();
        let texts = |path: &Path| all(path).unwrap().iter().map(|at| std::fs::read_to_string(at).unwrap()).collect();
        let found: Vec<String> = texts(&path);
        assert_eq!(found, ["11", "12", "13"]);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 3);
    }
}
