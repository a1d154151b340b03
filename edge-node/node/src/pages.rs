//! What the node serves of itself for `nodes/proxy`: the paths, formats and names of the kubelet's.
//!
//! A page is made when somebody asks for it; nothing here runs or samples in between.

mod metrics;
mod summary;
mod text;
mod usage;

use crate::disk::PodDisk;
use crate::eviction::image_disk;
use crate::main_loop::Running;
use crate::parts::{FileSystemUsage, Interfaces, PodRef};
use crate::pods::{PodManager, Shown};
use bytes::Bytes;
use holdfast_core::calls::{Page, PageCall};
use holdfast_core::{Reason, Status, Timestamp};
use holdfast_pods::typed;
use holdfast_runtime::ContainerUsage;
use k8s_openapi::api::core::v1::ContainerStatus;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use usage::{Meter, Usage};

pub(crate) use usage::of_containers;

/// How old a count of what pods take of the disk may be on a page: it looks at each of their files.
const DISK_AGE: Duration = Duration::from_secs(60);
const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The pages of a node.
pub(crate) struct Pages {
    node: Arc<Running>,
    pods: Arc<PodManager>,
    meter: Meter,
}

impl Pages {
    /// Pages about `node` and its `pods`.
    pub(crate) fn new(node: Arc<Running>, pods: Arc<PodManager>) -> Arc<Pages> {
        let meter = Meter::new(node.parts.clone());
        Arc::new(Pages { node, pods, meter })
    }

    /// Makes a page.
    ///
    /// # Errors
    /// 404 for a path that is none, 400 for a query that is none.
    pub(crate) async fn page(&self, call: &PageCall) -> Result<Page, Status> {
        let (content_type, body) = match call.path.trim_end_matches('/') {
            "/healthz" | "/livez" => (PLAIN, "ok".into()),
            "/pods" => (JSON, self.pod_list().to_string()),
            "/stats/summary" => {
                let cpu_and_memory_only = flag(&call.query, "only_cpu_and_memory")?;
                (JSON, summary::summary(&self.look(!cpu_and_memory_only).await, cpu_and_memory_only).to_string())
            }
            "/metrics" => (METRICS, self.agent_metrics()),
            "/metrics/resource" => (METRICS, metrics::resource(&self.look(false).await)),
            "/metrics/cadvisor" => (METRICS, metrics::cadvisor(&self.look(true).await)),
            _ => return Err(Status::failure(404, Reason::NotFound, "404 page not found")),
        };
        Ok(Page { content_type: content_type.into(), body: Bytes::from(body) })
    }

    /// The pods as the node knows them, with their statuses.
    fn pod_list(&self) -> Value {
        let pod = |shown: &Shown| {
            let mut document = typed::document(&shown.pod);
            document["status"] = typed::status_document(&shown.status);
            document
        };
        let items: Vec<Value> = self.pods.shown().iter().filter(|shown| !shown.gone).map(pod).collect();
        json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items})
    }

    fn agent_metrics(&self) -> String {
        metrics::agent(&self.node.parts.config.node_name, &self.pods.shown(), &self.node.store, &self.node.evictions())
    }

    /// Looks; with `disk_and_network` also at what costs more to find out.
    async fn look(&self, disk_and_network: bool) -> Look {
        let usage = self.meter.usage().await;
        let parts = &self.node.parts;
        let host = parts.host.read();
        let mut shown = self.pods.shown();
        shown.retain(|shown| !shown.gone);
        let (mut disk, mut interfaces, mut images) = (BTreeMap::new(), BTreeMap::new(), None);
        if disk_and_network {
            disk = self.node.disk.of(&shown, DISK_AGE).await;
            interfaces =
                parts.network.interfaces(shown.iter().filter(|shown| shown.is_running()).map(pod_ref).collect()).await;
            images = image_disk(&*parts.oci).await;
        }
        let mut pods: Vec<PodLook> = shown.iter().map(PodLook::of).collect();
        for pod in &mut pods {
            pod.disk = disk.remove(&pod.uid);
            pod.interfaces = interfaces.remove(&pod.uid).unwrap_or_default();
        }
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        Look {
            node_name: parts.config.node_name.clone(),
            cpus: host.cpus,
            memory_bytes: host.memory_bytes,
            usage,
            images,
            pods,
        }
    }
}

fn pod_ref(shown: &Shown) -> PodRef {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let meta = &shown.pod.metadata;
    PodRef { uid: part(&meta.uid), name: part(&meta.name), namespace: part(&meta.namespace) }
}

/// A node, its pods, and what they use.
struct Look {
    node_name: String,
    cpus: u32,
    memory_bytes: u64,
    usage: Usage,
    /// The file system of the images, if it can be seen.
    images: Option<FileSystemUsage>,
    pods: Vec<PodLook>,
}

impl Look {
    /// The running containers of a pod that are accounted for.
    fn containers<'a>(&'a self, pod: &'a PodLook) -> impl Iterator<Item = (&'a ContainerLook, &'a ContainerUsage)> {
        pod.containers.iter().filter_map(|container| Some((container, self.usage.container(&container.id)?)))
    }
}

struct PodLook {
    namespace: String,
    name: String,
    uid: String,
    started: Option<Timestamp>,
    containers: Vec<ContainerLook>,
    /// What it takes of the disk, if that was counted.
    disk: Option<Arc<PodDisk>>,
    /// Its network interfaces, as far as they are its own.
    interfaces: Interfaces,
}

struct ContainerLook {
    name: String,
    id: String,
    image: String,
    started: Option<Timestamp>,
}

impl PodLook {
    fn of(shown: &Shown) -> PodLook {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let meta = &shown.pod.metadata;
        let status = &shown.status;
        let container = |status: &ContainerStatus| {
            let started = status.state.as_ref()?.running.as_ref()?.started_at.as_ref();
            Some(ContainerLook {
                name: status.name.clone(),
                id: shown.container_id(status),
                image: status.image.clone(),
                started: started.and_then(|time| Timestamp::parse(&time.0.to_string())),
            })
        };
        let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
        PodLook {
            namespace: part(&meta.namespace),
            name: part(&meta.name),
            started: status.start_time.as_ref().and_then(|time| Timestamp::parse(&time.0.to_string())),
            containers: lists.into_iter().flatten().flatten().filter_map(container).collect(),
            uid: part(&meta.uid),
            disk: None,
            interfaces: Interfaces::new(),
        }
    }
}

/// A parameter that is true or false; absent is false.
fn flag(query: &str, name: &str) -> Result<bool, Status> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match value {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(Status::bad_request(format!("invalid value {other:?} of the parameter {name}"))),
    }
}

#[cfg(test)]
mod tests;
