//! Device nodes of the host, looked up before they go into a specification.

use crate::spec::ResolvedDevice;
use holdfast_runtime::{Device, RuntimeError};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// Folders and files of `/dev` that a privileged container gets its own of.
const SKIPPED: [&str; 9] = ["pts", "shm", "fd", "mqueue", "console", "hugepages", ".udev", "core", "log"];
/// Deepest folder looked into.
const MAX_DEPTH: usize = 4;

/// Type and numbers of a device.
pub(crate) fn resolve(device: &Device) -> Result<ResolvedDevice, RuntimeError> {
    let inside = if device.container_path.is_empty() { &device.host_path } else { &device.container_path };
    let access = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
    if !access.bytes().all(|b| b"rwm".contains(&b)) {
        return Err(RuntimeError::Config(format!("device {}: invalid permissions {access:?}", device.host_path)));
    }
    look(Path::new(&device.host_path), inside, access)
        .ok_or_else(|| RuntimeError::Config(format!("device {} does not exist on this node", device.host_path)))
}

fn look(path: &Path, inside: &str, access: &str) -> Option<ResolvedDevice> {
    let meta = std::fs::metadata(path).ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        _ => return None,
    };
    Some(ResolvedDevice {
        path: inside.to_string(),
        kind,
        major: rustix::fs::major(meta.rdev()),
        minor: rustix::fs::minor(meta.rdev()),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        access: access.to_string(),
    })
}

/// Every device of the host, for a privileged container.
pub(crate) fn all() -> Vec<ResolvedDevice> {
    let mut found = Vec::new();
    walk(Path::new("/dev"), 0, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<ResolvedDevice>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        if SKIPPED.iter().any(|name| entry.file_name() == *name) || kind.is_symlink() {
            continue;
        }
        if kind.is_dir() {
            if depth < MAX_DEPTH {
                walk(&path, depth + 1, found);
            }
        } else if let Some(text) = path.to_str() {
            found.extend(look(&path, text, "rwm"));
        }
    }
}
