use super::*;
use crate::disk::ContainerDisk;
use crate::parts::{HostMemory, HostUsage};
use holdfast_env::Mono;
use holdfast_runtime::{DiskUsage, MemoryUsage};
use holdfast_volumes::{PodFiles, VolumeUsage};
use std::time::Duration;
use usage::Reading;

const SECOND: u64 = 1_000_000_000;

fn used(id: &str, cpu_nanos: u64) -> (String, ContainerUsage) {
    let memory = MemoryUsage {
        usage: 900,
        working_set: 600,
        rss: Some(300),
        page_faults: Some(9),
        major_page_faults: None,
        limit: Some(1000),
    };
    let usage = ContainerUsage { id: id.into(), cpu_nanos: Some(cpu_nanos), memory: Some(memory), pids: Some(2) };
    (id.to_string(), usage)
}

fn disk(capacity: u64) -> FileSystemUsage {
    FileSystemUsage { capacity, available: 40, used: 50, inodes: 10, inodes_free: 3, device: 1 }
}

fn reading(seconds: u64, host_nanos: u64, containers: &[(&str, u64)]) -> Arc<Reading> {
    let host = HostUsage {
        cpu_nanos: Some(host_nanos),
        memory: Some(HostMemory { total: 8000, available: 3000, usage: 5000, rss: 1000 }),
        disk: Some(disk(100)),
        interfaces: vec![("eth0".into(), [1, 0, 2, 0])],
        pids: Some((7, 100)),
    };
    Arc::new(Reading {
        at: Mono(Duration::from_secs(seconds)),
        time: Timestamp::from_secs(1_700_000_000),
        host,
        containers: containers.iter().map(|(id, nanos)| used(id, *nanos)).collect(),
        is_partial: false,
    })
}

/// A node on which `web` runs twice over, and `idle` is not accounted for.
fn look() -> Look {
    let container = |name: &str, id: &str| ContainerLook {
        name: name.into(),
        id: id.into(),
        image: "registry.local/app:1".into(),
        started: Some(Timestamp::from_secs(1_600_000_000)),
    };
    let pod = |name: &str, containers: Vec<ContainerLook>| PodLook {
        namespace: "ns".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        started: Some(Timestamp::from_secs(1_600_000_000)),
        containers,
        disk: None,
        interfaces: Vec::new(),
    };
    let usage = |bytes: u64| DiskUsage { bytes, inodes: 2 };
    let volume = |name: &str, own| VolumeUsage { name: name.into(), used: usage(3), own };
    let files =
        PodFiles { volumes: vec![volume("data", None), volume("mem", Some((usage(64), usage(61))))], other: usage(1) };
    let of = |layer| ContainerDisk { layer, logs: usage(7) };
    let counted = PodDisk {
        containers: [("main".to_string(), of(Some(usage(20)))), ("side".to_string(), of(None))].into(),
        files,
    };
    let web = PodLook {
        disk: Some(Arc::new(counted)),
        interfaces: vec![("eth0".into(), [11, 1, 22, 2])],
        ..pod("web", vec![container("main", "a"), container("side", "b")])
    };
    Look {
        node_name: "edge-1".into(),
        cpus: 4,
        memory_bytes: 8000,
        usage: Usage {
            before: reading(10, SECOND, &[("a", SECOND)]),
            now: reading(14, 3 * SECOND, &[("a", 2 * SECOND), ("b", SECOND)]),
        },
        images: Some(disk(1000)),
        pods: vec![pod("idle", vec![container("main", "c")]), web],
    }
}

#[test]
fn a_summary_says_what_is_used_and_how_fast() {
    let document = summary::summary(&look(), false);
    let node = &document["node"];
    assert_eq!(node["nodeName"], "edge-1");
    assert_eq!(node["cpu"]["usageCoreNanoSeconds"], 3 * SECOND);
    // Two seconds of work in four.
    assert_eq!(node["cpu"]["usageNanoCores"], SECOND / 2);
    assert_eq!(node["memory"]["workingSetBytes"], 5000);
    assert_eq!(node["fs"]["inodesUsed"], 7);
    assert_eq!(node["runtime"]["imageFs"]["capacityBytes"], 1000);
    assert_eq!(node["network"]["rxBytes"], 1);
    assert_eq!(node["rlimit"]["curproc"], 7);
    let [idle, web] = document["pods"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!((&idle["containers"], idle.get("cpu")), (&json!([]), None));
    assert_eq!(web["podRef"], json!({"name": "web", "namespace": "ns", "uid": "uid-web"}));
    assert_eq!(web["containers"][0]["cpu"]["usageNanoCores"], SECOND / 4);
    assert_eq!(web["containers"][0]["memory"]["availableBytes"], 400);
    // A container that was not there at the first look has a total and no speed yet; so has its pod.
    assert_eq!(web["containers"][1]["cpu"].get("usageNanoCores"), None);
    assert_eq!(web["cpu"]["usageCoreNanoSeconds"], 3 * SECOND);
    assert_eq!(web["cpu"].get("usageNanoCores"), None);
    assert_eq!(web["memory"]["workingSetBytes"], 1200);
    assert_eq!(web["process_stats"]["process_count"], 4);
    assert_eq!(web["memory"].get("majorPageFaults"), None, "what is not accounted for is left out");
    let sizes = |one: &Value| {
        ["usedBytes", "inodesUsed", "capacityBytes", "availableBytes"].map(|field| one[field].as_u64().unwrap())
    };
    assert_eq!(sizes(&web["containers"][0]["rootfs"]), [20, 2, 1000, 40]);
    assert_eq!(sizes(&web["containers"][0]["logs"]), [7, 2, 100, 40]);
    assert_eq!(web["containers"][1].get("rootfs"), None);
    assert_eq!((&web["volume"][0]["name"], sizes(&web["volume"][0])), (&json!("data"), [3, 2, 100, 40]));
    assert_eq!((&web["volume"][1]["name"], sizes(&web["volume"][1])), (&json!("mem"), [3, 2, 64, 61]));
    // The layer, the logs of both, the volume on the disk, the rest.
    assert_eq!(sizes(&web["ephemeral-storage"]), [38, 10, 100, 40]);
    assert_eq!((&web["network"]["rxBytes"], &web["network"]["interfaces"][0]["txErrors"]), (&json!(11), &json!(2)));
    assert!(idle.get("ephemeral-storage").is_none() && idle.get("network").is_none());
    let short = summary::summary(&look(), true);
    assert!(short["node"].get("fs").is_none() && short["node"].get("cpu").is_some());
}

#[test]
fn metrics_have_the_kubelets_names() {
    let resource = metrics::resource(&look());
    for line in [
        "# TYPE container_cpu_usage_seconds_total counter",
        "container_cpu_usage_seconds_total{container=\"main\",namespace=\"ns\",pod=\"web\"} 2 1700000000000",
        "container_memory_working_set_bytes{container=\"side\",namespace=\"ns\",pod=\"web\"} 600 1700000000000",
        "container_start_time_seconds{container=\"main\",namespace=\"ns\",pod=\"web\"} 1600000000",
        "node_cpu_usage_seconds_total 3 1700000000000",
        "node_memory_working_set_bytes 5000 1700000000000",
        "pod_cpu_usage_seconds_total{namespace=\"ns\",pod=\"web\"} 3 1700000000000",
        "pod_memory_working_set_bytes{namespace=\"ns\",pod=\"web\"} 1200 1700000000000",
        "resource_scrape_error 0",
    ] {
        assert!(resource.lines().any(|found| found == line), "{line} is not in\n{resource}");
    }
    assert!(!resource.contains("pod=\"idle\""));
    let cadvisor = metrics::cadvisor(&look());
    let labels = "container=\"main\",id=\"a\",image=\"registry.local/app:1\",name=\"a\",namespace=\"ns\",pod=\"web\"";
    for line in [
        format!("container_cpu_usage_seconds_total{{{labels}}} 2 1700000000000"),
        format!("container_spec_memory_limit_bytes{{{labels}}} 1000 1700000000000"),
        "container_network_receive_bytes_total{interface=\"eth0\",namespace=\"ns\",pod=\"web\"} 11 1700000000000"
            .to_string(),
        "container_network_transmit_errors_total{interface=\"eth0\",namespace=\"ns\",pod=\"web\"} 2 1700000000000"
            .to_string(),
        "container_fs_usage_bytes{container=\"main\",namespace=\"ns\",pod=\"web\"} 27 1700000000000".to_string(),
        "machine_cpu_cores 4".to_string(),
    ] {
        assert!(cadvisor.lines().any(|found| found == line), "{line} is not in\n{cadvisor}");
    }
}

#[test]
fn labels_are_escaped() {
    let mut text = text::Text::default();
    text.sample("m", &[("a", "x\"y\\z\n")], 1, None);
    assert_eq!(text.into_string(), "m{a=\"x\\\"y\\\\z\\n\"} 1\n");
}

#[test]
fn a_parameter_is_true_or_false() {
    let name = "only_cpu_and_memory";
    assert_eq!(flag("a=b&only_cpu_and_memory=true", name), Ok(true));
    assert_eq!((flag("", name), flag("only_cpu_and_memory=0", name)), (Ok(false), Ok(false)));
    assert_eq!(flag("only_cpu_and_memory=yes", name).unwrap_err().code(), 400);
}
