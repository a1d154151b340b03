//! The volumes that an image declares (`VOLUME`): where the pod mounts nothing, a folder of the container's own with what the
//! image has there. It goes with the container.

use crate::mounts;
use containerd_client::types;
use holdfast_runtime::{Mount, RuntimeError};
use nix::mount::MsFlags;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

/// The mounts for the volumes `declared` that `mounts` does not cover. They are made anew in `home`: a container that is being
/// made has not run. `rootfs` is its snapshot. Blocks.
///
/// # Errors
/// [`RuntimeError::BadImage`] for a path that is none.
pub(crate) fn prepare(
    home: &Path,
    image: &str,
    declared: &[String],
    mounts: &[Mount],
    rootfs: &[types::Mount],
) -> Result<Vec<Mount>, RuntimeError> {
    let mut wanted: Vec<String> = Vec::new();
    for path in declared {
        let clean = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect::<Vec<_>>().join("/");
        if clean.is_empty() || clean.split('/').any(|part| part == "..") {
            let reason = format!("it declares the volume {path:?}, which is no path of a folder");
            return Err(RuntimeError::BadImage { image: image.to_string(), reason });
        }
        let clean = format!("/{clean}");
        let covered = mounts.iter().any(|mount| mount.container_path.trim_end_matches('/') == clean);
        if !covered && !wanted.contains(&clean) {
            wanted.push(clean);
        }
    }
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |err: io::Error| RuntimeError::Failed {
        operation: "create container",
        reason: format!("the volumes of image {image:?} could not be made: {err}"),
    };
    remove(home).map_err(failed)?;
    let view = home.join("image");
    fs::create_dir_all(&view).map_err(failed)?;
    mounts::show(rootfs, &view, MsFlags::MS_NODEV | MsFlags::MS_NOSUID)?;
    let made = wanted.iter().enumerate().map(|(number, path)| {
        let folder = home.join(number.to_string());
        fill(&view, path, &folder)?;
        let host_path = folder.to_str().ok_or_else(|| io::Error::other("a path of the host is not UTF-8"))?;
        Ok(Mount { host_path: host_path.to_string(), container_path: path.clone(), ..Mount::default() })
    });
    let made: io::Result<Vec<Mount>> = made.collect();
    mounts::hide(&view);
    made.map_err(failed)
}

/// Removes a container's volumes. Fine when it has none. Blocks.
pub(crate) fn remove(home: &Path) -> io::Result<()> {
    // Left over when the agent ended in the middle of making them.
    mounts::hide(&home.join("image"));
    match fs::remove_dir_all(home) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        _ => Ok(()),
    }
}

/// Makes `folder` as the image has `path`: empty when it is not there, or no folder.
fn fill(image: &Path, path: &str, folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(image, flags, Mode::empty())?;
    // The image chooses its links: they are followed as its own processes would, and lead nowhere else.
    let found = rustix::fs::openat2(&root, path.trim_start_matches('/'), flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let Ok(found) = found else { return Ok(()) };
    copy(&PathBuf::from(format!("/proc/self/fd/{}/.", found.as_raw_fd())), folder)
}

/// Copies what is in a folder, and who may do what with it. Devices, sockets and pipes are left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, source, target) = (entry.file_type()?, entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(&source)?;
        if kind.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
            lchown(&target, Some(meta.uid()), Some(meta.gid()))?;
        } else if kind.is_dir() {
            fs::create_dir(&target)?;
            copy(&source, &target)?;
        } else if kind.is_file() {
            fs::copy(&source, &target)?;
            own(&target, &meta)?;
        }
    }
    own(to, &fs::metadata(from)?)
}

fn own(path: &Path, as_is: &fs::Metadata) -> io::Result<()> {
    chown(path, Some(as_is.uid()), Some(as_is.gid()))?;
    // After the owner: a change of that takes bits away.
    fs::set_permissions(path, fs::Permissions::from_mode(as_is.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_pod_does_not_cover_is_made_as_the_image_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let layer = dir.path().join("layer");
        fs::create_dir_all(layer.join("data/sub")).unwrap();
        fs::write(layer.join("data/sub/file"), "text").unwrap();
        chown(layer.join("data"), Some(33), Some(34)).unwrap();
        fs::set_permissions(layer.join("data"), fs::Permissions::from_mode(0o2750)).unwrap();
        fs::set_permissions(layer.join("data/sub/file"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("/data", layer.join("link")).unwrap();
        symlink("../../../../../../etc", layer.join("out")).unwrap();
        let rootfs = [types::Mount {
            r#type: "bind".into(),
            source: layer.display().to_string(),
            options: vec!["rbind".into()],
            ..Default::default()
        }];
        let home = dir.path().join("home");
        let declared: Vec<String> =
            ["/data/", "/data", "/covered", "/link", "/out", "missing/x"].map(String::from).to_vec();
        let covered = Mount { container_path: "/covered/".into(), ..Mount::default() };
        for _ in 0..2 {
            let made = prepare(&home, "i", &declared, std::slice::from_ref(&covered), &rootfs).unwrap();
            let paths: Vec<&str> = made.iter().map(|mount| mount.container_path.as_str()).collect();
            assert_eq!(paths, ["/data", "/link", "/out", "/missing/x"]);
            for mount in &made[..2] {
                let folder = Path::new(&mount.host_path);
                let meta = fs::metadata(folder).unwrap();
                assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (33, 34, 0o2750));
                assert_eq!(fs::metadata(folder.join("sub/file")).unwrap().mode() & 0o7777, 0o4755);
                assert_eq!(fs::read_to_string(folder.join("sub/file")).unwrap(), "text");
                // The second making begins from nothing.
                fs::write(folder.join("new"), "").unwrap();
            }
            for mount in &made[2..] {
                assert_eq!(fs::read_dir(&mount.host_path).unwrap().count(), 0);
            }
        }
        assert!(prepare(&home, "i", &[], &[], &rootfs).unwrap().is_empty());
        let err = prepare(&home, "i", &["/a/../..".into()], &[], &rootfs).unwrap_err();
        assert!(matches!(err, RuntimeError::BadImage { .. }), "{err}");
        remove(&home).unwrap();
        assert!(!home.exists());
        remove(&home).unwrap();
    }
}
