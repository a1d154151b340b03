//! Damaged files, kept aside for whoever wants to look at them, within bounds.

use crate::limits::{QUARANTINED_BYTES, QUARANTINED_FILES};
use holdfast_env::{Disk, DiskError};

const DIR: &str = "quarantine";

/// Moves a damaged file aside; where it is now, or `None` when there was no room for it, and it is gone.
pub(crate) fn put_aside(disk: &dyn Disk, path: &str) -> Result<Option<String>, DiskError> {
    let size = disk.open(path, false)?.len()?;
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let aside = room(disk, name, size)?;
    match &aside {
        Some(aside) => disk.rename(path, aside)?,
        None => disk.remove(path)?,
    }
    disk.sync_dir(DIR)?;
    disk.sync_dir(dir)?;
    Ok(aside)
}

/// Keeps a copy of what is about to be cut off; where it is, or `None` when there is no room for it.
pub(crate) fn copy_aside(disk: &dyn Disk, path: &str, data: &[u8]) -> Result<Option<String>, DiskError> {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    let Some(aside) = room(disk, name, data.len() as u64)? else { return Ok(None) };
    let written = disk.open(&aside, true).and_then(|file| file.write_at(0, data).and_then(|()| file.sync_data()));
    match written {
        Ok(()) => disk.sync_dir(DIR).map(|()| Some(aside)),
        Err(DiskError::Full(_)) => disk.remove(&aside).map(|()| None),
        Err(err) => Err(err),
    }
}

/// Makes room for a file of this size, the oldest giving way; the path that it is to have.
fn room(disk: &dyn Disk, name: &str, size: u64) -> Result<Option<String>, DiskError> {
    if size > QUARANTINED_BYTES {
        return Ok(None);
    }
    match disk.create_dir_all(DIR) {
        Err(DiskError::Full(_)) => return Ok(None),
        made => made?,
    }
    let mut kept = Vec::new();
    for name in disk.list(DIR)? {
        let number: u64 = name.rsplit_once('.').and_then(|(_, number)| number.parse().ok()).unwrap_or(0);
        let path = format!("{DIR}/{name}");
        kept.push((number, disk.open(&path, false)?.len()?, path));
    }
    kept.sort();
    let next = kept.last().map_or(1, |(number, ..)| number + 1);
    let mut bytes: u64 = size + kept.iter().map(|(_, size, _)| size).sum::<u64>();
    let mut files = kept.len() + 1;
    for (_, size, path) in &kept {
        if files <= QUARANTINED_FILES && bytes <= QUARANTINED_BYTES {
            break;
        }
        disk.remove(path)?;
        files -= 1;
        bytes -= size;
    }
    Ok(Some(format!("{DIR}/{name}.{next}")))
}
