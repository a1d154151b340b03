//! Volumes that show the files of an image: where they are on the host. A runtime mounts them there.

use crate::MountedVolume;
use crate::manager::{VolumeManager, is_plain, volumes};
use crate::mounts::sub_path;
use k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Upstream's word for what goes wrong with such a volume.
const FAILED: &str = "ImageVolumeMountFailed";

/// A volume from an image.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageVolume {
    /// Name of the volume in the pod.
    pub name: String,
    /// Which image, and when it is asked for.
    pub source: ImageVolumeSource,
    /// The folder of the host where its files appear.
    pub target: PathBuf,
}

impl VolumeManager {
    /// The volumes from images that a container of the pod mounts.
    pub fn image_volumes(&self, pod: &Pod, container: &Container) -> Vec<ImageVolume> {
        let Some(dir) = self.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default()) else { return Vec::new() };
        let mounts = |name: &str| container.volume_mounts.iter().flatten().any(|mount| mount.name == name);
        let of = |volume: &k8s_openapi::api::core::v1::Volume| {
            let source = volume.image.clone().filter(|_| is_plain(&volume.name) && mounts(&volume.name))?;
            Some(ImageVolume { name: volume.name.clone(), source, target: dir.join("images").join(&volume.name) })
        };
        volumes(pod).filter_map(of).collect()
    }
}

/// Whether the paths that a container names below volumes from images are folders there. Blocks.
///
/// # Errors
/// The text of `CreateContainerError`.
pub fn check_image_paths(
    container: &Container,
    mounted: &BTreeMap<String, MountedVolume>,
    env: &[(String, String)],
) -> Result<(), String> {
    for mount in container.volume_mounts.iter().flatten() {
        let Some(volume) = mounted.get(&mount.name).filter(|volume| volume.is_image) else { continue };
        // What cannot be expanded is told with the other mounts.
        let path = sub_path(mount, env).unwrap_or_default();
        if !path.is_empty() {
            folder_below(&volume.host_path, &path)?;
        }
    }
    Ok(())
}

/// A folder of an image. Its links are followed within it.
pub(crate) fn folder_below(image: &Path, path: &str) -> Result<PathBuf, String> {
    let failed =
        |why: &dyn std::fmt::Display| format!("{FAILED}: failed to ensure image subpath {path:?} in {image:?}: {why}");
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(image, flags | OFlags::DIRECTORY, Mode::empty()).map_err(|err| failed(&err))?;
    let found =
        rustix::fs::openat2(&root, path, flags, Mode::empty(), ResolveFlags::BENEATH).map_err(|err| failed(&err))?;
    let here = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found)));
    let here = here.map_err(|err| failed(&err))?;
    // The image does not change, so neither does what was found.
    if here.is_dir() { Ok(here) } else { Err(failed(&"only directory subpath is supported")) }
}
