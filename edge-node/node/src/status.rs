//! The node's own status, as the kubelet writes it.

use crate::eviction::Evictor;
use crate::main_loop::Running;
use crate::parts::{HostInfo, NodeConfig};
use crate::pods::PodManager;
use crate::readiness::{OFFLINE_READY, told};
use crate::shutdown::SHUTTING_DOWN;
use crate::trouble;
use holdfast_core::meta::TOKEN_KEY;
use holdfast_core::{Quantity, Timestamp};
use holdfast_pods::Needs;
use holdfast_runtime::ImageInfo;
use holdfast_volumes::fields::Allocatable;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often the machine is looked at, also whether something runs short.
const PERIOD: Duration = Duration::from_secs(10);
/// Images that are listed (`nodeStatusMaxImages`).
const MAX_IMAGES: usize = 50;

/// Reports until dropped; `again` makes it report at once with a new heartbeat time.
pub(crate) async fn run(node: Arc<Running>, pods: Arc<PodManager>, again: Arc<tokio::sync::Notify>) {
    let env = node.parts.env.clone();
    let key = format!("/v1/nodes//{}", node.parts.config.node_name);
    let mut transitions: BTreeMap<String, (String, Timestamp)> = BTreeMap::new();
    let mut last: Option<Value> = None;
    let mut heartbeat = Timestamp::from_wall(env.wall().0);
    let mut fresh = true;
    let mut readiness = node.readiness.node();
    let mut shutting_down = node.shutting_down.subscribe();
    let mut images = None;
    let mut evictor = Evictor::new(node.clone(), pods);
    loop {
        evictor.look().await;
        if fresh {
            heartbeat = Timestamp::from_wall(env.wall().0);
        }
        let status = read(&node, heartbeat, &evictor, &mut transitions).await;
        if images.as_ref() != Some(&status["images"]) {
            images = Some(status["images"].clone());
            node.readiness.images.notify_one();
        }
        if last.as_ref() != Some(&status) || fresh {
            let body = json!({
                "uid": node.parts.config.node_uid,
                "metadata": {"labels": labels(&node), "annotations": annotations(&node)},
                "status": status,
            });
            let body = serde_json::to_vec(&body).unwrap_or_default();
            if let Err(err) = node.store.state_fact(key.clone(), body.into(), false).await {
                tracing::warn!(%err, "The node's status could not be noted");
            }
            last = Some(status);
        }
        fresh = false;
        tokio::select! {
            biased;
            () = again.notified() => fresh = true,
            changed = readiness.changed() => if changed.is_err() { return },
            changed = shutting_down.changed() => match changed {
                Ok(()) => fresh = true,
                Err(_) => return,
            },
            () = env.sleep(PERIOD) => {}
        }
    }
}

/// The key by which the hub believes tokens of this node's own.
fn annotations(node: &Running) -> Value {
    let key = node.parts.token_key.as_ref();
    key.map_or_else(|| json!({}), |key| json!({TOKEN_KEY: key.public()}))
}

fn labels(node: &Running) -> Value {
    let architecture = node.parts.host.read().architecture;
    json!({
        "kubernetes.io/hostname": node.parts.config.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": architecture,
    })
}

/// What pods may take of the node: all but what is reserved, huge pages, and the memory below which pods have to go.
pub(crate) fn allocatable(config: &NodeConfig, host: &HostInfo) -> Needs {
    let reserved = &config.resources.reserved;
    let huge = host.huge_pages.iter().map(|(size, count)| size.saturating_mul(*count)).fold(0, u64::saturating_add);
    let kept = config.eviction.kept_of_memory(host.memory_bytes).saturating_add(huge);
    let memory = host.memory_bytes.saturating_sub(kept);
    let memory = i64::try_from(memory).unwrap_or(i64::MAX).saturating_sub(reserved.memory_bytes);
    let cpu = i64::from(host.cpus).saturating_mul(1000).saturating_sub(reserved.cpu_milli);
    Needs { cpu_milli: cpu.max(0), memory_bytes: memory.max(0) }
}

/// The same, with the disk, as limits of containers that have none of their own.
pub(crate) fn default_limits(config: &NodeConfig, host: &HostInfo) -> Allocatable {
    let free = allocatable(config, host);
    BTreeMap::from([
        ("cpu".to_string(), Quantity::from_milli(free.cpu_milli)),
        ("memory".to_string(), Quantity::from_bytes(u64::try_from(free.memory_bytes).unwrap_or(0))),
        ("ephemeral-storage".to_string(), Quantity::from_bytes(allocatable_disk(config, host))),
    ])
}

fn allocatable_disk(config: &NodeConfig, host: &HostInfo) -> u64 {
    let reserved = u64::try_from(config.resources.reserved.disk_bytes).unwrap_or(0);
    host.disk_bytes.saturating_sub(config.eviction.kept_of_disk(host.disk_bytes)).saturating_sub(reserved)
}

async fn read(
    node: &Running,
    heartbeat: Timestamp,
    evictor: &Evictor,
    transitions: &mut BTreeMap<String, (String, Timestamp)>,
) -> Value {
    let parts = &node.parts;
    let host = parts.host.read();
    let (oci, wasm) = (parts.oci.version().await, parts.wasm.version().await);
    let network = node.network_error();
    let (ready, reason, message) = match (&oci, &network) {
        (Err(err), _) => (false, "KubeletNotReady", format!("container runtime is down: {err}")),
        (_, Some(err)) => (
            false,
            "KubeletNotReady",
            format!(
                "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:{err}"
            ),
        ),
        (Ok(_), None) => (true, "KubeletReady", "kubelet is posting ready status".to_string()),
    };
    let last = node.store.trouble().borrow().clone().filter(|trouble| trouble.is_last);
    let (ready, reason, message) = match last.map(|trouble| trouble::message(&trouble)) {
        None => (ready, reason, message),
        Some(why) if ready => (false, "KubeletNotReady", why),
        Some(why) => (false, reason, format!("[{why}, {message}]")),
    };
    let (ready, reason, message) = match (ready, *node.shutting_down.borrow()) {
        (_, false) => (ready, reason, message),
        (true, true) => (false, "KubeletNotReady", SHUTTING_DOWN.to_string()),
        (false, true) => (false, reason, format!("[{message}, {SHUTTING_DOWN}]")),
    };
    let now = Timestamp::from_wall(parts.env.wall().0);
    let mut condition = |name: &str, status: &str, reason: &str, message: &str| {
        let entry = transitions.entry(name.to_string()).or_insert_with(|| (status.to_string(), now));
        if entry.0 != status {
            *entry = (status.to_string(), now);
        }
        json!({
            "type": name, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": heartbeat, "lastTransitionTime": entry.1,
        })
    };
    let offline = node.readiness.node().borrow().clone();
    let mut conditions: Vec<Value> = evictor
        .conditions()
        .map(|(name, holds, [reason, message])| condition(name, if holds { "True" } else { "False" }, reason, message))
        .collect();
    conditions.push(condition("Ready", if ready { "True" } else { "False" }, reason, &message));
    // Said once it is known.
    if let Some(reasons) = offline {
        let (reason, message) = told(&reasons);
        conditions.push(condition(OFFLINE_READY, if reasons.is_empty() { "True" } else { "False" }, reason, &message));
    }
    let runtime = match (oci, wasm) {
        (Ok(oci), _) => format!("{}://{}", oci.name, oci.version),
        (Err(_), Ok(wasm)) => format!("{}://{}", wasm.name, wasm.version),
        _ => "Unknown".to_string(),
    };
    let mut addresses: Vec<Value> =
        parts.config.node_ips.iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
    addresses.push(json!({"type": "Hostname", "address": parts.config.node_name}));
    let quantities = |cpu_milli: i64, memory: u64, disk: u64| {
        let mut all = json!({
            "cpu": Quantity::from_milli(cpu_milli),
            "memory": format!("{}Ki", memory / 1024),
            "ephemeral-storage": format!("{}Ki", disk / 1024),
            "pods": parts.config.max_pods.to_string(),
        });
        for (size, count) in &host.huge_pages {
            let name = format!("hugepages-{}", Quantity::from_bytes(*size));
            all[name] = json!(Quantity::from_bytes(size.saturating_mul(*count)));
        }
        all
    };
    let free = allocatable(&parts.config, &host);
    let free_memory = u64::try_from(free.memory_bytes).unwrap_or(0);
    let mut node_info = json!({
        "architecture": host.architecture,
        "bootID": host.boot_id,
        "containerRuntimeVersion": runtime,
        "kernelVersion": host.kernel,
        "kubeProxyVersion": "",
        "kubeletVersion": format!("v1.36.0+holdfast-{}", host.agent_version),
        "machineID": host.machine_id,
        "operatingSystem": "linux",
        "osImage": host.os_image,
        "systemUUID": host.system_uuid,
    });
    if host.swap_bytes > 0 {
        node_info["swap"] = json!({"capacity": host.swap_bytes});
    }
    json!({
        "addresses": addresses,
        "capacity": quantities(i64::from(host.cpus).saturating_mul(1000), host.memory_bytes, host.disk_bytes),
        "allocatable": quantities(free.cpu_milli, free_memory, allocatable_disk(&parts.config, &host)),
        "conditions": conditions,
        "images": images(node).await,
        "nodeInfo": node_info,
    })
}

async fn images(node: &Running) -> Vec<Value> {
    let mut images: Vec<ImageInfo> = Vec::new();
    for runtime in [&node.parts.oci, &node.parts.wasm] {
        images.extend(runtime.list_images().await.unwrap_or_default());
    }
    images.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then_with(|| a.id.cmp(&b.id)));
    images.truncate(MAX_IMAGES);
    images.iter().map(|image| json!({"names": image.names, "sizeBytes": image.size_bytes})).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::{NodeResources, Reserved};

    #[test]
    fn pods_get_what_nobody_keeps() {
        let mut host = HostInfo { cpus: 4, memory_bytes: 1 << 30, ..HostInfo::default() };
        let mut config = NodeConfig::default();
        assert_eq!(allocatable(&config, &host), Needs { cpu_milli: 4000, memory_bytes: 924 << 20 });
        let reserved = Reserved { cpu_milli: 500, memory_bytes: 24 << 20, disk_bytes: 0 };
        config.resources = NodeResources { reserved, ..NodeResources::default() };
        host.huge_pages = [(2 << 20, 50)].into();
        assert_eq!(allocatable(&config, &host), Needs { cpu_milli: 3500, memory_bytes: 800 << 20 });
        host.memory_bytes = 1;
        assert_eq!(allocatable(&config, &host).memory_bytes, 0);
    }
}
