//! Sets up, refreshes and removes the volumes of pods.

use crate::VolumeObjects;
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A volume that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedVolume {
    /// Where on the host.
    pub host_path: PathBuf,
    /// Containers may not write, whatever their mount says.
    pub read_only: bool,
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
    pub fn pod_dir(&self, _pod_uid: &str) -> Option<PathBuf> {
        None
    }

    /// Makes all volumes of a pod; what is there stays. Blocking.
    pub fn set_up(
        &self,
        _pod: &Pod,
        _objects: &dyn VolumeObjects,
    ) -> Result<BTreeMap<String, MountedVolume>, VolumeError> {
        Ok(BTreeMap::new())
    }

    /// Brings configMap, secret, downwardAPI and projected volumes up to date; whether any changed. Blocking.
    pub fn refresh(&self, _pod: &Pod, _objects: &dyn VolumeObjects) -> Result<bool, VolumeError> {
        Ok(false)
    }

    /// Unmounts and removes all of a pod. Fine when there is nothing. Blocking.
    pub fn tear_down(&self, _pod_uid: &str) -> std::io::Result<()> {
        Ok(())
    }

    /// Tears down what belongs to none of `live_uids`; returns the uids that it removed. Blocking.
    pub fn gc(&self, _live_uids: &BTreeSet<String>) -> std::io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// The folder of all pods.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
