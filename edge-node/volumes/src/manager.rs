//! Sets up, refreshes and removes the volumes of pods.

use crate::payload::{self, Sources};
use crate::{VolumeObjects, atomic, empty_dir, host_path};
use holdfast_runtime::mount_table::mounts_below;
use k8s_openapi::api::core::v1::{Pod, Volume};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A volume that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedVolume {
    /// Where on the host.
    pub host_path: PathBuf,
    /// Containers may not write, whatever their mount says.
    pub read_only: bool,
    /// It shows the files of an image: nothing in it is run, and nothing is made in it.
    pub is_image: bool,
}

/// Why the volumes of a pod are not there. Its text is that of a `FailedMount` event.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {reason}")]
pub struct VolumeError {
    /// Name of the volume in the pod.
    pub volume: String,
    /// Why.
    pub reason: String,
}

/// The volumes of all pods of a node, below one folder.
#[derive(Clone, Debug)]
pub struct VolumeManager {
    root: PathBuf,
}

impl VolumeManager {
    /// Manages `<root>/<pod uid>/volumes`; `root` is `<data>/pods`. Nothing is touched yet.
    pub fn new(root: PathBuf) -> VolumeManager {
        VolumeManager { root }
    }

    /// The folder of a pod; `None` when the uid is no plain file name.
    pub fn pod_dir(&self, pod_uid: &str) -> Option<PathBuf> {
        is_plain(pod_uid).then(|| self.root.join(pod_uid))
    }

    /// The folder of all pods.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes all volumes of a pod but those from images; what is there stays. Blocking.
    pub fn set_up(
        &self,
        pod: &Pod,
        objects: &dyn VolumeObjects,
    ) -> Result<BTreeMap<String, MountedVolume>, VolumeError> {
        let mut mounted = BTreeMap::new();
        for volume in volumes(pod).filter(|volume| volume.image.is_none()) {
            let failed = |reason| VolumeError { volume: volume.name.clone(), reason };
            let one = self.set_up_one(pod, volume, objects).map_err(failed)?;
            mounted.insert(volume.name.clone(), one);
        }
        Ok(mounted)
    }

    fn set_up_one(&self, pod: &Pod, volume: &Volume, objects: &dyn VolumeObjects) -> Result<MountedVolume, String> {
        if let Some(source) = &volume.host_path {
            let host_path = host_path::check(&source.path, source.type_.as_deref().unwrap_or_default())?;
            return Ok(MountedVolume { host_path, read_only: false, is_image: false });
        }
        if let Some(problem) = unsupported(volume) {
            return Err(problem);
        }
        let dir = self.volume_dir(pod, &volume.name)?;
        let gid = fs_group(pod);
        if let Some(source) = &volume.empty_dir {
            make_dir(&dir, 0o755).map_err(text("creating the volume's folder"))?;
            empty_dir::set_up(&dir, source, pod, gid)?;
            return Ok(MountedVolume { host_path: dir, read_only: false, is_image: false });
        }
        let mounted = MountedVolume { host_path: dir.clone(), read_only: true, is_image: false };
        if self.is_sealed(pod, &volume.name) && atomic::is_written(&dir) {
            return Ok(mounted);
        }
        let sources = Sources { pod, objects, dir: &dir, fs_group: gid };
        let files = payload::of(volume, &sources).unwrap_or_else(|| {
            Err(format!("not implemented: volume {:?} has a type that is not supported", volume.name))
        })?;
        make_dir(&dir, 0o755).map_err(text("creating the volume's folder"))?;
        atomic::write(&dir, &files, gid).map_err(text("writing the volume's files"))?;
        self.seal(pod, volume, &sources)?;
        Ok(mounted)
    }

    /// The mark of a volume whose sources cannot change: it stays as it was first written, as upstream leaves it, even if an
    /// object of the same name comes after them.
    fn mark_of(&self, pod: &Pod, name: &str) -> Option<PathBuf> {
        let dir = self.pod_dir(pod.metadata.uid.as_deref().unwrap_or_default())?;
        is_plain(name).then(|| dir.join("sealed").join(name))
    }

    fn is_sealed(&self, pod: &Pod, name: &str) -> bool {
        self.mark_of(pod, name).is_some_and(|mark| mark.exists())
    }

    fn seal(&self, pod: &Pod, volume: &Volume, sources: &Sources<'_>) -> Result<(), String> {
        let Some(mark) = self.mark_of(pod, &volume.name).filter(|_| payload::is_immutable(volume, sources)) else {
            return Ok(());
        };
        let marked = || -> io::Result<()> {
            fs::create_dir_all(mark.parent().unwrap_or(&mark))?;
            fs::write(&mark, b"")
        };
        marked().map_err(text("noting that the volume cannot change"))
    }

    /// Brings configMap, secret, downwardAPI and projected volumes up to date; whether any changed. Volumes that are
    /// not set up are left alone, and so are those of immutable ConfigMaps and Secrets. What cannot be had leaves its volume as
    /// it is, and is told after the others were done. Blocking.
    pub fn refresh(&self, pod: &Pod, objects: &dyn VolumeObjects) -> Result<bool, VolumeError> {
        let mut changed = false;
        let mut problem = None;
        let gid = fs_group(pod);
        for volume in volumes(pod) {
            let step = || -> Result<bool, String> {
                if !payload::is_written_from_objects(volume) || self.is_sealed(pod, &volume.name) {
                    return Ok(false);
                }
                let dir = self.volume_dir(pod, &volume.name)?;
                let sources = Sources { pod, objects, dir: &dir, fs_group: gid };
                match payload::of(volume, &sources) {
                    Some(files) if dir.is_dir() => {
                        let changed = atomic::write(&dir, &files?, gid).map_err(text("writing the volume's files"))?;
                        self.seal(pod, volume, &sources)?;
                        Ok(changed)
                    }
                    _ => Ok(false),
                }
            };
            match step() {
                Ok(one) => changed |= one,
                Err(reason) => {
                    problem.get_or_insert(VolumeError { volume: volume.name.clone(), reason });
                }
            }
        }
        problem.map_or(Ok(changed), Err)
    }

    /// Unmounts and removes all volumes of a pod, and its folder. Fine when there is nothing. Blocking.
    pub fn tear_down(&self, pod_uid: &str) -> io::Result<()> {
        let Some(dir) = self.pod_dir(pod_uid) else { return Ok(()) };
        // Whatever is mounted, by us or by a container that passes its mounts on: its files are not the pod's to lose.
        for mount in mounts_below(&dir)?.iter().rev() {
            rustix::mount::unmount(mount, rustix::mount::UnmountFlags::DETACH)?;
        }
        match fs::remove_dir_all(&dir) {
            Err(problem) if problem.kind() != io::ErrorKind::NotFound => Err(problem),
            _ => Ok(()),
        }
    }

    /// Tears down what belongs to none of `live_uids`; returns the uids that it removed. Blocking.
    pub fn gc(&self, live_uids: &BTreeSet<String>) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(problem) => return Err(problem),
        };
        let mut removed = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Some(uid) = entry.file_name().to_str().map(str::to_string) else { continue };
            if entry.file_type()?.is_dir() && is_plain(&uid) && !live_uids.contains(&uid) {
                self.tear_down(&uid)?;
                removed.push(uid);
            }
        }
        removed.sort();
        Ok(removed)
    }

    /// `<root>/<uid>/volumes/<name>`; the pod's folder is made, for root's eyes only.
    fn volume_dir(&self, pod: &Pod, name: &str) -> Result<PathBuf, String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        let dir = self.pod_dir(uid).ok_or_else(|| format!("the pod's uid {uid:?} is no plain name"))?;
        if !is_plain(name) {
            return Err(format!("the volume's name {name:?} is no plain name"));
        }
        fs::create_dir_all(&self.root).map_err(text("creating the folder of pods"))?;
        make_dir(&dir, 0o700).map_err(text("creating the pod's folder"))?;
        make_dir(&dir.join("volumes"), 0o700).map_err(text("creating the pod's folder"))?;
        Ok(dir.join("volumes").join(name))
    }
}

pub(crate) fn text(doing: &'static str) -> impl Fn(io::Error) -> String {
    move |problem| format!("{doing}: {problem}")
}

pub(crate) fn volumes(pod: &Pod) -> impl Iterator<Item = &Volume> {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten())
}

/// Whether a text can be one component of a path without a surprise.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= 128 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn fs_group(pod: &Pod) -> Option<u32> {
    let group = pod.spec.as_ref()?.security_context.as_ref()?.fs_group?;
    u32::try_from(group).ok()
}

fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    match fs::create_dir(dir) {
        Ok(()) => fs::set_permissions(dir, fs::Permissions::from_mode(mode)),
        Err(problem) if problem.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(problem) => Err(problem),
    }
}

/// The clear no to a volume that we do not do.
fn unsupported(volume: &Volume) -> Option<String> {
    let types: [(&str, bool); 23] = [
        ("persistentVolumeClaim", volume.persistent_volume_claim.is_some()),
        ("csi", volume.csi.is_some()),
        ("ephemeral", volume.ephemeral.is_some()),
        ("nfs", volume.nfs.is_some()),
        ("iscsi", volume.iscsi.is_some()),
        ("fc", volume.fc.is_some()),
        ("flexVolume", volume.flex_volume.is_some()),
        ("gitRepo", volume.git_repo.is_some()),
        ("awsElasticBlockStore", volume.aws_elastic_block_store.is_some()),
        ("azureDisk", volume.azure_disk.is_some()),
        ("azureFile", volume.azure_file.is_some()),
        ("cephfs", volume.cephfs.is_some()),
        ("cinder", volume.cinder.is_some()),
        ("flocker", volume.flocker.is_some()),
        ("gcePersistentDisk", volume.gce_persistent_disk.is_some()),
        ("glusterfs", volume.glusterfs.is_some()),
        ("photonPersistentDisk", volume.photon_persistent_disk.is_some()),
        ("portworxVolume", volume.portworx_volume.is_some()),
        ("quobyte", volume.quobyte.is_some()),
        ("rbd", volume.rbd.is_some()),
        ("scaleIO", volume.scale_io.is_some()),
        ("storageos", volume.storageos.is_some()),
        ("vsphereVolume", volume.vsphere_volume.is_some()),
    ];
    let (name, _) = types.iter().find(|(_, is)| *is)?;
    Some(format!("not implemented: volumes of type {name}"))
}
