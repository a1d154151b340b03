//! What a pod's files take of the disk.

use crate::empty_dir::is_mount;
use crate::manager::{VolumeManager, is_plain, volumes};
use holdfast_runtime::{DiskUsage, disk_usage};
use k8s_openapi::api::core::v1::Pod;
use std::fs;

/// A pod's files but its logs and what its containers write elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFiles {
    /// Volumes that are made for the pod alone.
    pub volumes: Vec<VolumeUsage>,
    /// All else: the files that every container gets, termination messages.
    pub other: DiskUsage,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeUsage {
    /// Its name in the pod.
    pub name: String,
    /// What is in it.
    pub used: DiskUsage,
    /// Of one that is a file system of its own: bytes and inodes in all, and those that are free.
    pub own: Option<(DiskUsage, DiskUsage)>,
}

impl VolumeManager {
    /// What the files of a pod take. It looks at every file. What cannot be looked at takes nothing. Blocks.
    pub fn usage(&self, pod: &Pod) -> PodFiles {
        let Some(dir) = self.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default()) else {
            return PodFiles::default();
        };
        let mut files = PodFiles::default();
        for volume in volumes(pod).filter(|volume| is_plain(&volume.name)) {
            let path = dir.join("volumes").join(&volume.name);
            if !path.is_dir() {
                continue;
            }
            let name = volume.name.clone();
            files.volumes.push(match is_mount(&path) {
                Ok(true) => {
                    let Ok(fs) = rustix::fs::statvfs(&path) else { continue };
                    let bytes = |blocks: u64| blocks.saturating_mul(fs.f_frsize);
                    let all = DiskUsage { bytes: bytes(fs.f_blocks), inodes: fs.f_files };
                    let free = DiskUsage { bytes: bytes(fs.f_bavail), inodes: fs.f_favail };
                    let used = DiskUsage {
                        bytes: bytes(fs.f_blocks.saturating_sub(fs.f_bfree)),
                        inodes: fs.f_files.saturating_sub(fs.f_ffree),
                    };
                    VolumeUsage { name, used, own: Some((all, free)) }
                }
                _ => VolumeUsage { name, used: disk_usage(&path).unwrap_or_default(), own: None },
            });
        }
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        // The images of volumes are not the pod's.
        let rest = entries.filter(|entry| !["volumes", "images"].iter().any(|name| entry.file_name() == *name));
        files.other = rest.map(|entry| disk_usage(&entry.path()).unwrap_or_default()).sum();
        files
    }
}
