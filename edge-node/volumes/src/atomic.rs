//! Replaces a set of files at once: readers see all old or all new files.
//!
//! `<dir>/..v<N>/` holds the files, `<dir>/..data` points at it, and `<dir>/<name>` points at `..data/<name>`. A change
//! writes a new folder and renames one link over `..data`. The names are re-derived from the pod, so nothing is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

/// One file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) data: Vec<u8>,
    pub(crate) mode: u32,
    /// Owner; root when it is not set.
    pub(crate) uid: Option<u32>,
}

/// Files by relative path.
pub(crate) type Payload = BTreeMap<String, Entry>;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Whether a relative path stays below its folder and clear of our own names.
pub(crate) fn is_safe(path: &str) -> bool {
    !path.is_empty()
        && !path.starts_with("..")
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

/// Makes `dir` show exactly `payload`; whether anything changed.
pub(crate) fn write(dir: &Path, payload: &Payload, gid: Option<u32>) -> io::Result<bool> {
    if let Some(bad) = payload.keys().find(|path| !is_safe(path)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("invalid path {bad:?}")));
    }
    let current = fs::read_link(dir.join(DATA)).ok();
    let unchanged = current.as_ref().is_some_and(|current| shows(&dir.join(current), payload, gid));
    if !unchanged {
        let next = free_name(dir)?;
        let fresh = dir.join(&next);
        fs::create_dir(&fresh)?;
        if let Err(problem) = fill(&fresh, payload, gid) {
            let _ = fs::remove_dir_all(&fresh);
            return Err(problem);
        }
        remove_any(&dir.join(DATA_NEW))?;
        symlink(&next, dir.join(DATA_NEW))?;
        fs::rename(dir.join(DATA_NEW), dir.join(DATA))?;
    }
    let linked = link(dir, payload)?;
    sweep(dir)?;
    Ok(!unchanged || linked)
}

/// Whether files are shown in `dir`.
pub(crate) fn is_written(dir: &Path) -> bool {
    dir.join(DATA).is_dir()
}

/// The bytes of a file as it is shown now.
pub(crate) fn read_current(dir: &Path, path: &str) -> Option<Vec<u8>> {
    is_safe(path).then(|| fs::read(dir.join(DATA).join(path)).ok()).flatten().filter(|data| !data.is_empty())
}

fn shows(folder: &Path, payload: &Payload, gid: Option<u32>) -> bool {
    let mut found = BTreeSet::new();
    if collect(folder, "", &mut found).is_err() || !found.iter().eq(payload.keys()) {
        return false;
    }
    payload.iter().all(|(path, entry)| {
        let file = folder.join(path);
        let owned = fs::metadata(&file).is_ok_and(|meta| {
            meta.mode() & 0o7777 == entry.mode && meta.gid() == gid.unwrap_or(0) && meta.uid() == entry.uid.unwrap_or(0)
        });
        owned && fs::read(&file).is_ok_and(|data| data == entry.data)
    })
}

fn collect(folder: &Path, prefix: &str, found: &mut BTreeSet<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), found)?;
        } else {
            found.insert(name);
        }
    }
    Ok(())
}

/// The folder after the newest.
fn free_name(dir: &Path) -> io::Result<String> {
    let mut newest = 0u64;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("..v")).and_then(|number| number.parse().ok());
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(format!("..v{}", newest.saturating_add(1)))
}

fn fill(folder: &Path, payload: &Payload, gid: Option<u32>) -> io::Result<()> {
    own_dir(folder, gid)?;
    for (path, entry) in payload {
        let mut parent = PathBuf::from(folder);
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let Some(name) = parts.pop() else { continue };
        for part in parts {
            parent.push(part);
            match fs::create_dir(&parent) {
                Err(problem) if problem.kind() != io::ErrorKind::AlreadyExists => return Err(problem),
                _ => own_dir(&parent, gid)?,
            }
        }
        let file = parent.join(name);
        fs::write(&file, &entry.data)?;
        std::os::unix::fs::chown(&file, entry.uid, gid)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(entry.mode))?;
    }
    Ok(())
}

fn own_dir(folder: &Path, gid: Option<u32>) -> io::Result<()> {
    if gid.is_some() {
        std::os::unix::fs::chown(folder, None, gid)?;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(if gid.is_some() { 0o2775 } else { 0o755 }))
}

/// Makes the links that users see and removes those of files that are gone; whether any changed.
fn link(dir: &Path, payload: &Payload) -> io::Result<bool> {
    let wanted: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    let mut changed = false;
    for name in &wanted {
        let target = Path::new(DATA).join(name);
        if fs::read_link(dir.join(name)).ok().as_ref() != Some(&target) {
            remove_any(&dir.join(name))?;
            symlink(&target, dir.join(name))?;
            changed = true;
        }
    }
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        if !text.starts_with("..") && !wanted.contains(text.as_ref()) {
            remove_any(&dir.join(&name))?;
            changed = true;
        }
    }
    Ok(changed)
}

/// Removes folders that `..data` does not point at.
fn sweep(dir: &Path) -> io::Result<()> {
    let current = fs::read_link(dir.join(DATA))?;
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with("..v") && Path::new(&name) != current {
            fs::remove_dir_all(dir.join(&name))?;
        }
    }
    Ok(())
}

fn remove_any(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(problem) => Err(problem),
    }
}
