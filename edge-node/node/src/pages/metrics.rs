//! `/metrics`, `/metrics/resource` and `/metrics/cadvisor`, in upstream's names
//! (<https://kubernetes.io/docs/reference/instrumentation/node-metrics/>).

use super::text::Text;
use super::{ContainerLook, Look, PodLook};
use crate::pods::Shown;
use crate::store::SharedStore;
use holdfast_core::Timestamp;
use holdfast_runtime::ContainerUsage;
use std::collections::BTreeMap;

#[allow(clippy::cast_precision_loss, reason = "seconds for a chart")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn start(started: Option<Timestamp>) -> Option<f64> {
    started.map(|time| time.since_epoch().as_secs_f64())
}

/// What the autoscaling pipeline reads.
pub(super) fn resource(look: &Look) -> String {
    let mut text = Text::default();
    let millis = Some(look.usage.now.time.since_epoch().as_millis());
    let host = &look.usage.now.host;

    let name = "container_cpu_usage_seconds_total";
    text.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the container in core-seconds");
    each_container(look, |pod, container, used| {
        if let Some(nanos) = used.cpu_nanos {
            text.sample(name, &labels_of(pod, container), seconds(nanos), millis);
        }
    });
    let name = "container_memory_working_set_bytes";
    text.family(name, "gauge", "[STABLE] Current working set of the container in bytes");
    each_container(look, |pod, container, used| {
        if let Some(memory) = used.memory {
            text.sample(name, &labels_of(pod, container), memory.working_set, millis);
        }
    });
    let name = "container_start_time_seconds";
    text.family(name, "gauge", "[STABLE] Start time of the container since unix epoch in seconds");
    each_container(look, |pod, container, _| {
        if let Some(started) = start(container.started) {
            text.sample(name, &labels_of(pod, container), started, None);
        }
    });
    let name = "node_cpu_usage_seconds_total";
    text.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the node in core-seconds");
    if let Some(nanos) = host.cpu_nanos {
        text.sample(name, &[], seconds(nanos), millis);
    }
    let name = "node_memory_working_set_bytes";
    text.family(name, "gauge", "[STABLE] Current working set of the node in bytes");
    if let Some(memory) = host.memory {
        text.sample(name, &[], memory.total.saturating_sub(memory.available), millis);
    }
    let name = "pod_cpu_usage_seconds_total";
    text.family(name, "counter", "[STABLE] Cumulative cpu time consumed by the pod in core-seconds");
    each_pod(look, |pod, all| {
        if let Some(nanos) = all.iter().map(|used| used.cpu_nanos).sum::<Option<u64>>() {
            text.sample(name, &[("namespace", &pod.namespace), ("pod", &pod.name)], seconds(nanos), millis);
        }
    });
    let name = "pod_memory_working_set_bytes";
    text.family(name, "gauge", "[STABLE] Current working set of the pod in bytes");
    each_pod(look, |pod, all| {
        if let Some(bytes) = all.iter().map(|used| Some(used.memory?.working_set)).sum::<Option<u64>>() {
            text.sample(name, &[("namespace", &pod.namespace), ("pod", &pod.name)], bytes, millis);
        }
    });
    let name = "resource_scrape_error";
    text.family(name, "gauge", "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise");
    text.sample(name, &[], u8::from(look.usage.now.is_partial), None);
    text.into_string()
}

/// What dashboards of containers read: the part of cAdvisor's names that can be told.
pub(super) fn cadvisor(look: &Look) -> String {
    type Value = fn(&ContainerLook, &ContainerUsage) -> Option<f64>;
    #[allow(clippy::cast_precision_loss, reason = "bytes for a chart")]
    const FAMILIES: &[(&str, &str, &str, Value)] = &[
        ("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed in seconds.", |_, used| {
            used.cpu_nanos.map(seconds)
        }),
        ("container_memory_usage_bytes", "gauge", "Current memory usage in bytes.", |_, used| {
            used.memory.map(|memory| memory.usage as f64)
        }),
        ("container_memory_working_set_bytes", "gauge", "Current working set in bytes.", |_, used| {
            used.memory.map(|memory| memory.working_set as f64)
        }),
        ("container_memory_rss", "gauge", "Size of RSS in bytes.", |_, used| {
            used.memory.and_then(|memory| memory.rss).map(|rss| rss as f64)
        }),
        ("container_spec_memory_limit_bytes", "gauge", "Memory limit for the container.", |_, used| {
            used.memory.map(|memory| memory.limit.unwrap_or(0) as f64)
        }),
        ("container_processes", "gauge", "Number of processes running inside the container.", |_, used| {
            used.pids.map(|pids| pids as f64)
        }),
        (
            "container_start_time_seconds",
            "gauge",
            "Start time of the container since unix epoch in seconds.",
            |container, _| start(container.started),
        ),
    ];
    let mut text = Text::default();
    let millis = Some(look.usage.now.time.since_epoch().as_millis());
    for (name, sort, help, value) in FAMILIES {
        text.family(name, sort, help);
        each_container(look, |pod, container, used| {
            let Some(value) = value(container, used) else { return };
            let labels = [
                ("container", &*container.name),
                ("id", &container.id),
                ("image", &container.image),
                ("name", &container.id),
                ("namespace", &pod.namespace),
                ("pod", &pod.name),
            ];
            text.sample(name, &labels, value, millis);
        });
    }
    type Traffic = fn([u64; 4]) -> u64;
    const TRAFFIC: [(&str, &str, Traffic); 4] = [
        ("container_network_receive_bytes_total", "Cumulative count of bytes received", |[rx, ..]| rx),
        (
            "container_network_receive_errors_total",
            "Cumulative count of errors encountered while receiving",
            |[_, rx, ..]| rx,
        ),
        ("container_network_transmit_bytes_total", "Cumulative count of bytes transmitted", |[_, _, tx, _]| tx),
        (
            "container_network_transmit_errors_total",
            "Cumulative count of errors encountered while transmitting",
            |[.., tx]| tx,
        ),
    ];
    for (name, help, value) in TRAFFIC {
        text.family(name, "counter", help);
        for pod in &look.pods {
            for (interface, numbers) in &pod.interfaces {
                let labels = [("interface", &**interface), ("namespace", &pod.namespace), ("pod", &pod.name)];
                text.sample(name, &labels, value(*numbers), millis);
            }
        }
    }
    let name = "container_fs_usage_bytes";
    text.family(name, "gauge", "Number of bytes that are consumed by the container on this filesystem.");
    for pod in &look.pods {
        for container in &pod.containers {
            let disk = pod.disk.as_ref().and_then(|disk| disk.containers.get(&container.name));
            if let Some(disk) = disk {
                let bytes = (disk.layer.unwrap_or_default() + disk.logs).bytes;
                text.sample(name, &labels_of(pod, container), bytes, millis);
            }
        }
    }
    text.family("machine_cpu_cores", "gauge", "Number of logical CPU cores.");
    text.sample("machine_cpu_cores", &[], look.cpus, None);
    text.family("machine_memory_bytes", "gauge", "Amount of memory installed on the machine.");
    text.sample("machine_memory_bytes", &[], look.memory_bytes, None);
    text.into_string()
}

/// What the agent counts of itself.
pub(super) fn agent(
    node_name: &str,
    pods: &[Shown],
    store: &SharedStore,
    evictions: &BTreeMap<&'static str, u64>,
) -> String {
    let mut text = Text::default();
    text.family("kubelet_node_name", "gauge", "[ALPHA] The node's name. The count is always 1.");
    text.sample("kubelet_node_name", &[("node", node_name)], 1, None);
    let mut states: BTreeMap<&str, usize> = BTreeMap::from([("created", 0), ("exited", 0), ("running", 0)]);
    let mut running = 0;
    for shown in pods.iter().filter(|shown| !shown.gone) {
        running += usize::from(shown.is_running());
        for container in shown.status.container_statuses.iter().flatten() {
            let state = match &container.state {
                Some(state) if state.running.is_some() => "running",
                Some(state) if state.terminated.is_some() => "exited",
                _ => "created",
            };
            *states.entry(state).or_default() += 1;
        }
    }
    let name = "kubelet_running_containers";
    text.family(name, "gauge", "[ALPHA] Number of containers currently running");
    states.iter().for_each(|(state, count)| text.sample(name, &[("container_state", state)], count, None));
    let name = "kubelet_running_pods";
    text.family(name, "gauge", "[ALPHA] Number of pods that have a running pod sandbox");
    text.sample(name, &[], running, None);
    let name = "kubelet_evictions";
    text.family(name, "counter", "[ALPHA] Cumulative number of pod evictions by eviction signal");
    evictions.iter().for_each(|(signal, count)| text.sample(name, &[("eviction_signal", signal)], count, None));
    let written = store.written_by_purpose();
    let name = "holdfast_edge_journal_written_bytes_total";
    text.family(name, "counter", "Bytes written to the journal since the agent's start, by purpose.");
    written.iter().for_each(|(purpose, of)| text.sample(name, &[("purpose", purpose)], of.bytes, None));
    let name = "holdfast_edge_journal_syncs_total";
    text.family(name, "counter", "Data syncs of the journal since the agent's start, by purpose.");
    written.iter().for_each(|(purpose, of)| text.sample(name, &[("purpose", purpose)], of.syncs, None));
    let name = "holdfast_edge_outbox_facts";
    text.family(name, "gauge", "Facts that the hub has not acknowledged.");
    text.sample(name, &[], store.read(|state| state.outbox().backlog()), None);
    text.into_string()
}

fn labels_of<'a>(pod: &'a PodLook, container: &'a ContainerLook) -> [(&'a str, &'a str); 3] {
    [("container", &container.name), ("namespace", &pod.namespace), ("pod", &pod.name)]
}

fn each_container(look: &Look, mut take: impl FnMut(&PodLook, &ContainerLook, &ContainerUsage)) {
    for pod in &look.pods {
        look.containers(pod).for_each(|(container, used)| take(pod, container, used));
    }
}

/// Pods of which something is accounted for.
fn each_pod(look: &Look, mut take: impl FnMut(&PodLook, &[&ContainerUsage])) {
    for pod in &look.pods {
        let all: Vec<&ContainerUsage> = look.containers(pod).map(|(_, used)| used).collect();
        if !all.is_empty() {
            take(pod, &all);
        }
    }
}
