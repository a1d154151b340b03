//! What pods take of the disk. It is found out by looking at every file, so it is done seldom, and only for pods that somebody
//! asks about: a page, a limit that the pod has, a disk that is full.

pub(crate) mod limits;

use crate::parts::NodeParts;
use crate::pods::{Shown, log_dir};
use holdfast_env::Mono;
use holdfast_runtime::{DiskUsage, disk_usage};
use holdfast_volumes::PodFiles;
use k8s_openapi::api::core::v1::ContainerStatus;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;

/// How long a count is kept that nobody asks for again.
const KEPT: Duration = Duration::from_secs(600);

/// What a pod takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodDisk {
    /// Its containers by name.
    pub(crate) containers: BTreeMap<String, ContainerDisk>,
    /// Its volumes, and the rest.
    pub(crate) files: PodFiles,
}

/// What a container takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerDisk {
    /// Its writable layer, where its runtime has such a thing.
    pub(crate) layer: Option<DiskUsage>,
    /// Its logs, those of its earlier attempts included.
    pub(crate) logs: DiskUsage,
}

impl PodDisk {
    /// Its volumes on the node's disk.
    pub(crate) fn volumes(&self) -> DiskUsage {
        self.files.volumes.iter().filter(|volume| volume.own.is_none()).map(|volume| volume.used).sum()
    }

    /// All that counts as ephemeral storage.
    pub(crate) fn ephemeral(&self) -> DiskUsage {
        let of = |one: &ContainerDisk| one.layer.unwrap_or_default() + one.logs;
        self.containers.values().map(of).sum::<DiskUsage>() + self.volumes() + self.files.other
    }
}

/// Counts.
pub(crate) struct DiskMeter {
    parts: NodeParts,
    /// What was counted last, by UIDs. Held while counting, so that many who ask at once cost one count.
    counted: Mutex<BTreeMap<String, (Mono, Arc<PodDisk>)>>,
}

impl DiskMeter {
    pub(crate) fn new(parts: NodeParts) -> DiskMeter {
        DiskMeter { parts, counted: Mutex::default() }
    }

    /// What these pods take, by UIDs, as it was found at most so long ago.
    pub(crate) async fn of(&self, pods: &[Shown], most_age: Duration) -> BTreeMap<String, Arc<PodDisk>> {
        let mut counted = self.counted.lock().await;
        let now = self.parts.env.monotonic();
        let is_fresh = |uid: &str, age: Duration| counted.get(uid).is_some_and(|(at, _)| now.since(*at) < age);
        let due: Vec<&Shown> = pods.iter().filter(|shown| !is_fresh(uid(shown), most_age)).collect();
        let layers = self.layers(&due).await;
        for shown in due {
            let disk = self.count(shown, &layers).await;
            counted.insert(uid(shown).to_string(), (now, Arc::new(disk)));
        }
        counted.retain(|_, (at, _)| now.since(*at) < KEPT);
        let of = |shown: &Shown| Some((uid(shown).to_string(), counted.get(uid(shown))?.1.clone()));
        pods.iter().filter_map(of).collect()
    }

    /// The writable layers of the containers of these pods, by container ids.
    async fn layers(&self, pods: &[&Shown]) -> BTreeMap<String, DiskUsage> {
        let ids = pods.iter().flat_map(|shown| statuses(shown).map(|status| shown.container_id(status)));
        let ids: Vec<String> = ids.collect();
        let mut layers = BTreeMap::new();
        if ids.is_empty() {
            return layers;
        }
        for runtime in [&self.parts.oci, &self.parts.wasm] {
            match runtime.disk_usage(&ids).await {
                Ok(found) => layers.extend(found),
                // What else a pod has is worth counting all the same.
                Err(err) => tracing::debug!(runtime = runtime.name(), %err, "Layers of containers were not counted"),
            }
        }
        layers
    }

    async fn count(&self, shown: &Shown, layers: &BTreeMap<String, DiskUsage>) -> PodDisk {
        let (volumes, pod, dir) =
            (self.parts.volumes.clone(), shown.pod.clone(), log_dir(&self.parts.config, &shown.pod));
        let layer = |status: &ContainerStatus| layers.get(&shown.container_id(status)).copied();
        let names: Vec<_> = statuses(shown).map(|status| (status.name.clone(), layer(status))).collect();
        let count = move || {
            // What cannot be looked at takes nothing.
            let of = |(name, layer): (String, Option<DiskUsage>)| {
                let logs = disk_usage(&dir.join(&name)).unwrap_or_default();
                (name, ContainerDisk { layer, logs })
            };
            PodDisk { containers: names.into_iter().map(of).collect(), files: volumes.usage(&pod) }
        };
        self.parts.env.blocking(count).await.unwrap_or_default()
    }
}

fn uid(shown: &Shown) -> &str {
    shown.pod.metadata.uid.as_deref().unwrap_or_default()
}

fn statuses(shown: &Shown) -> impl Iterator<Item = &ContainerStatus> {
    let status = &shown.status;
    [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
}
