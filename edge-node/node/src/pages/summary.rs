//! `/stats/summary`: `Summary` of `k8s.io/kubelet/pkg/apis/stats/v1alpha1`. What is not accounted for is left out.

use super::{Look, PodLook};
use crate::parts::{FileSystemUsage, HostUsage, Interfaces};
use holdfast_core::Timestamp;
use holdfast_runtime::{ContainerUsage, DiskUsage};
use holdfast_volumes::VolumeUsage;
use serde_json::{Map, Value, json};

/// The whole document.
pub(super) fn summary(look: &Look, cpu_and_memory_only: bool) -> Value {
    let time = look.usage.now.time;
    let host = &look.usage.now.host;
    let mut node = json!({"nodeName": look.node_name});
    put(&mut node, "cpu", cpu(time, host.cpu_nanos, look.usage.host_nano_cores()));
    put(&mut node, "memory", host_memory(time, host));
    if !cpu_and_memory_only {
        put(&mut node, "network", network(time, &host.interfaces));
        let images = look.images.map(|disk| file_system(time, disk));
        put(&mut node, "runtime", images.map(|fs| json!({"imageFs": fs, "containerFs": fs})));
        put(&mut node, "fs", host.disk.map(|disk| file_system(time, disk)));
        put(&mut node, "rlimit", host.pids.map(|(now, most)| json!({"time": time, "maxpid": most, "curproc": now})));
    }
    // Not upstream's: over what time the speeds are, for metrics.k8s.io.
    let window = format!("{:.3}s", look.usage.window().as_secs_f64());
    json!({"window": window, "node": node, "pods": look.pods.iter().map(|one| pod(look, one)).collect::<Vec<_>>()})
}

fn pod(look: &Look, pod: &PodLook) -> Value {
    let time = look.usage.now.time;
    let mut containers = Vec::new();
    for (container, used) in look.containers(pod) {
        let mut one = json!({"name": container.name, "startTime": container.started});
        put(&mut one, "cpu", cpu(time, used.cpu_nanos, look.usage.container_nano_cores(&container.id)));
        put(&mut one, "memory", memory(time, used));
        let disk = pod.disk.as_ref().and_then(|disk| disk.containers.get(&container.name));
        put(&mut one, "rootfs", disk.and_then(|disk| part_of(time, look.images, disk.layer?)));
        put(&mut one, "logs", disk.and_then(|disk| part_of(time, look.usage.now.host.disk, disk.logs)));
        containers.push(one);
    }
    let mut document = json!({
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid},
        "startTime": pod.started,
        "containers": containers,
    });
    // The sum of its containers: what else is in the pod's cgroup is the holder of its namespaces, which sleeps.
    put(&mut document, "cpu", sum(&containers, "cpu", time));
    put(&mut document, "memory", sum(&containers, "memory", time));
    let pids: Vec<u64> = look.containers(pod).filter_map(|(_, used)| used.pids).collect();
    let stats = (!pids.is_empty()).then(|| json!({"process_count": pids.iter().sum::<u64>()}));
    put(&mut document, "process_stats", stats);
    put(&mut document, "network", network(time, &pod.interfaces));
    if let Some(disk) = &pod.disk {
        let node = look.usage.now.host.disk;
        let volumes: Vec<Value> = disk.files.volumes.iter().filter_map(|one| volume(time, node, one)).collect();
        put(&mut document, "volume", (!volumes.is_empty()).then(|| volumes.into()));
        put(&mut document, "ephemeral-storage", part_of(time, node, disk.ephemeral()));
    }
    document
}

/// What a part of a file system takes of it.
fn part_of(time: Timestamp, disk: Option<FileSystemUsage>, used: DiskUsage) -> Option<Value> {
    let disk = disk?;
    let mut document = file_system(time, disk);
    document["usedBytes"] = json!(used.bytes);
    document["inodesUsed"] = json!(used.inodes);
    Some(document)
}

/// A volume; one that is a file system of its own has its own size.
fn volume(time: Timestamp, node: Option<FileSystemUsage>, volume: &VolumeUsage) -> Option<Value> {
    let own = volume.own.map(|(all, free)| FileSystemUsage {
        capacity: all.bytes,
        available: free.bytes,
        inodes: all.inodes,
        inodes_free: free.inodes,
        ..FileSystemUsage::default()
    });
    let mut document = part_of(time, own.or(node), volume.used)?;
    document["name"] = json!(volume.name);
    Some(document)
}

fn put(document: &mut Value, field: &str, value: Option<Value>) {
    if let (Some(document), Some(value)) = (document.as_object_mut(), value) {
        document.insert(field.to_string(), value);
    }
}

/// The numbers that all of `parts` have below `field`, added up.
fn sum(parts: &[Value], field: &str, time: Timestamp) -> Option<Value> {
    let all: Vec<&Map<String, Value>> = parts.iter().filter_map(|part| part.get(field)?.as_object()).collect();
    let first = all.first().filter(|_| all.len() == parts.len())?;
    let mut total = Map::new();
    total.insert("time".into(), json!(time));
    for name in first.keys() {
        let numbers: Option<Vec<u64>> = all.iter().map(|part| part.get(name)?.as_u64()).collect();
        if let Some(numbers) = numbers {
            total.insert(name.clone(), json!(numbers.iter().sum::<u64>()));
        }
    }
    Some(Value::Object(total))
}

fn cpu(time: Timestamp, total: Option<u64>, speed: Option<u64>) -> Option<Value> {
    let mut cpu = json!({"time": time, "usageCoreNanoSeconds": total?});
    put(&mut cpu, "usageNanoCores", speed.map(Value::from));
    Some(cpu)
}

fn memory(time: Timestamp, used: &ContainerUsage) -> Option<Value> {
    let memory = used.memory?;
    let mut document = json!({
        "time": time,
        "usageBytes": memory.usage,
        "workingSetBytes": memory.working_set,
    });
    put(&mut document, "rssBytes", memory.rss.map(Value::from));
    put(&mut document, "pageFaults", memory.page_faults.map(Value::from));
    put(&mut document, "majorPageFaults", memory.major_page_faults.map(Value::from));
    let available = memory.limit.map(|limit| limit.saturating_sub(memory.working_set));
    put(&mut document, "availableBytes", available.map(Value::from));
    Some(document)
}

fn host_memory(time: Timestamp, host: &HostUsage) -> Option<Value> {
    let memory = host.memory?;
    Some(json!({
        "time": time,
        "availableBytes": memory.available,
        "usageBytes": memory.usage,
        "workingSetBytes": memory.total.saturating_sub(memory.available),
        "rssBytes": memory.rss,
    }))
}

fn network(time: Timestamp, interfaces: &Interfaces) -> Option<Value> {
    let one = |(name, [rx, rx_errors, tx, tx_errors]): &(String, [u64; 4])| json!({"name": name, "rxBytes": rx, "rxErrors": rx_errors, "txBytes": tx, "txErrors": tx_errors});
    let all: Vec<Value> = interfaces.iter().map(one).collect();
    let mut network = all.iter().find(|one| one["name"] == "eth0").or(all.first())?.clone();
    network["time"] = json!(time);
    network["interfaces"] = all.into();
    Some(network)
}

fn file_system(time: Timestamp, disk: FileSystemUsage) -> Value {
    json!({
        "time": time,
        "availableBytes": disk.available,
        "capacityBytes": disk.capacity,
        "usedBytes": disk.used,
        "inodesFree": disk.inodes_free,
        "inodes": disk.inodes,
        "inodesUsed": disk.inodes.saturating_sub(disk.inodes_free),
    })
}
