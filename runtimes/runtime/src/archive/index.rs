//! The table of contents of a tar file, and its decompression.

use super::{MAX_ARCHIVE, MAX_ENTRIES, Place};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Longest chain of links followed.
const MAX_LINKS: usize = 8;

/// Opens the file; a gzip file is decompressed into an unnamed temporary file first, so that blobs can be read
/// from their place.
pub(super) fn open_plain(path: &Path) -> io::Result<File> {
    let mut file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a folder, not a tar file"));
    }
    let mut magic = [0; 2];
    let read = file.read(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    if read < 2 || magic != [0x1f, 0x8b] {
        return Ok(file);
    }
    let mut plain = tempfile::tempfile()?;
    let mut decoder = flate2::read::MultiGzDecoder::new(io::BufReader::new(file)).take(MAX_ARCHIVE + 1);
    if io::copy(&mut decoder, &mut plain)? > MAX_ARCHIVE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large after decompression"));
    }
    plain.seek(SeekFrom::Start(0))?;
    Ok(plain)
}

/// Every regular file by its cleaned path, links resolved.
pub(super) fn entries(file: &File) -> io::Result<BTreeMap<String, Place>> {
    let mut found = BTreeMap::new();
    let mut links = BTreeMap::new();
    let length = file.metadata()?.len();
    let mut archive = tar::Archive::new(file);
    for (count, entry) in archive.entries_with_seek()?.enumerate() {
        let entry = entry?;
        if count >= MAX_ENTRIES {
            return Err(io::Error::other("too many entries"));
        }
        let Some(path) = clean("", &entry.path_bytes()) else { continue };
        let kind = entry.header().entry_type();
        if kind.is_file() || kind.is_contiguous() {
            let (offset, size) = (entry.raw_file_position(), entry.size());
            if offset.checked_add(size).is_none_or(|end| end > length) {
                return Err(io::Error::other("it ends in the middle of an entry"));
            }
            found.insert(path, Place::File { offset, size });
        } else if kind.is_symlink() || kind.is_hard_link() {
            let base = if kind.is_symlink() { path.rsplit_once('/').map_or("", |(folder, _)| folder) } else { "" };
            if let Some(target) = entry.link_name_bytes().and_then(|target| clean(base, &target)) {
                links.insert(path, target);
            }
        }
    }
    for (path, first) in &links {
        let mut target = first;
        for _ in 0..MAX_LINKS {
            match links.get(target) {
                Some(next) => target = next,
                None => break,
            }
        }
        if let Some(place) = found.get(target).cloned() {
            found.insert(path.clone(), place);
        }
    }
    Ok(found)
}

/// `path` relative to `base` without `.`, `..` and empty parts; `None` when it leaves the archive or is no text.
pub(super) fn clean(base: &str, path: &[u8]) -> Option<String> {
    let path = std::str::from_utf8(path).ok()?;
    let base = if path.starts_with('/') { "" } else { base };
    let mut parts = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
