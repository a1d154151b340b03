//! What files take of a disk.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::iter::Sum;
use std::ops::Add;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Files and folders that are counted below one path. What lies beyond is not: a container can make as many as it likes, and
/// each costs the node a look.
pub const MOST_FILES: usize = 1_000_000;

/// Bytes and inodes that files take of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes of whole blocks; what is sparse counts for what it takes.
    pub bytes: u64,
    /// Files, folders and links.
    pub inodes: u64,
}

impl Add for DiskUsage {
    type Output = DiskUsage;

    fn add(self, other: DiskUsage) -> DiskUsage {
        DiskUsage { bytes: self.bytes.saturating_add(other.bytes), inodes: self.inodes.saturating_add(other.inodes) }
    }
}

impl Sum for DiskUsage {
    fn sum<I: Iterator<Item = DiskUsage>>(all: I) -> DiskUsage {
        all.fold(DiskUsage::default(), DiskUsage::add)
    }
}

/// What a file, or a folder with all that is in it, takes of the disk that it is on. Links are not followed, other file systems
/// that are mounted below are left out, and a file with several names counts once. What is not there takes nothing. Blocks.
///
/// # Errors
/// When the path itself cannot be looked at; what goes away meanwhile below it is no error.
pub fn disk_usage(path: &Path) -> io::Result<DiskUsage> {
    let top = match fs::symlink_metadata(path) {
        Ok(top) => top,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(DiskUsage::default()),
        Err(err) => return Err(err),
    };
    let mut total = taken(&top);
    if !top.is_dir() {
        return Ok(total);
    }
    let mut linked = BTreeSet::new();
    let mut folders = vec![path.to_path_buf()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        // It may have been removed since its parent was read, or not be ours to read.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MOST_FILES {
                return Ok(total);
            }
            let Ok(found) = entry.metadata() else { continue };
            if found.dev() != top.dev() {
                continue;
            }
            if found.is_dir() {
                folders.push(entry.path());
            } else if found.nlink() > 1 && !linked.insert(found.ino()) {
                continue;
            }
            total = total + taken(&found);
        }
    }
    Ok(total)
}

fn taken(found: &fs::Metadata) -> DiskUsage {
    DiskUsage { bytes: found.blocks().saturating_mul(512), inodes: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_lead_nowhere() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let empty = disk_usage(root).unwrap();
        assert_eq!(empty.inodes, 1);
        fs::create_dir(root.join("sub")).unwrap();
        fs::write(root.join("sub/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(root.join("sub/file"), root.join("again")).unwrap();
        std::os::unix::fs::symlink("/", root.join("out")).unwrap();
        let file = fs::File::create(root.join("sparse")).unwrap();
        file.set_len(1 << 30).unwrap();
        let usage = disk_usage(root).unwrap();
        assert_eq!(usage.inodes, 5, "the folder, sub, the file of two names, the link, the sparse file");
        assert!((100_000..400_000).contains(&usage.bytes), "{usage:?}");
        let one = disk_usage(&root.join("again")).unwrap();
        assert!(one.inodes == 1 && one.bytes >= 100_000);
        assert_eq!(disk_usage(&root.join("gone")).unwrap(), DiskUsage::default());
        assert_eq!([one, one].into_iter().sum::<DiskUsage>(), one + one);
    }
}
