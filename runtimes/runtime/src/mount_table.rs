//! The mounts that this process sees, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Whether something is mounted on a
//! folder cannot be told by its device number: a folder that is bound elsewhere keeps its own.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Where it is.
    pub path: PathBuf,
    /// Mounts below it are passed on to its peers.
    pub is_shared: bool,
    /// It gets what is mounted below its master.
    pub is_slave: bool,
}

/// All mounts, in the order in which they were made. Blocks.
///
/// # Errors
/// When the kernel does not tell.
pub fn mounts() -> io::Result<Vec<MountPoint>> {
    std::fs::read("/proc/self/mountinfo").map(|table| read(&table))
}

/// The mounts on `path` and below it, in the order in which they were made: undo them from the end. Blocks.
///
/// # Errors
/// When the kernel does not tell, or the path's folder cannot be found out.
pub fn mounts_below(path: &Path) -> io::Result<Vec<PathBuf>> {
    let path = match path.canonicalize() {
        Ok(path) => path,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    Ok(mounts()?.into_iter().map(|mount| mount.path).filter(|mounted| mounted.starts_with(&path)).collect())
}

/// The mount that `path` is on. Blocks.
///
/// # Errors
/// When the kernel does not tell, or there is no such path.
pub fn mount_of(path: &Path) -> io::Result<Option<MountPoint>> {
    let path = path.canonicalize()?;
    // The last of several at one place is the one that is seen.
    Ok(mounts()?
        .into_iter()
        .filter(|mount| path.starts_with(&mount.path))
        .max_by_key(|mount| mount.path.as_os_str().len()))
}

fn read(table: &[u8]) -> Vec<MountPoint> {
    let line = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let path = unescaped(fields.nth(4)?);
        let optional: Vec<&[u8]> = fields.skip(1).take_while(|field| *field != b"-").collect();
        let has = |word: &[u8]| optional.iter().any(|field| field.starts_with(word));
        Some(MountPoint { path, is_shared: has(b"shared:"), is_slave: has(b"master:") })
    };
    table.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// Blanks and the like stand in the table as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let digits =
            after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        match digits {
            Some(digits) => {
                path.push(digits.iter().fold(0u8, |byte, digit| byte.wrapping_mul(8).wrapping_add(digit - b'0')));
                rest = &after[3..];
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let table = b"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            30 22 0:5 / /mnt/a\\040b rw shared:7 master:1 - tmpfs tmpfs rw\n\
            31 22 0:6 /x /mnt/c\\134 rw - tmpfs tmpfs rw\nbroken\n";
        let found = read(table);
        let point = |path: &str, is_shared, is_slave| MountPoint { path: path.into(), is_shared, is_slave };
        assert_eq!(found, [point("/", true, false), point("/mnt/a b", true, true), point("/mnt/c\\", false, false)]);
        assert!(mounts_below(Path::new("/proc")).unwrap().contains(&PathBuf::from("/proc")));
        assert_eq!(mounts_below(Path::new("/nowhere/at/all")).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(mount_of(Path::new("/proc/self/status")).unwrap().unwrap().path, Path::new("/proc"));
    }
}
