use super::*;
use crate::parts::{FileSystemUsage, HostMemory, HostUsage};
use holdfast_env::Mono;
use holdfast_runtime::MemoryUsage;
use std::time::Duration;
use usage::Reading;

const SECOND: u64 = 1_000_000_000;

fn used(id: &str, cpu_nanos: u64) -> (String, ContainerUsage) {
    let memory =
        MemoryUsage { usage: 900, working_set: 600, rss: 300, page_faults: 9, major_page_faults: 1, limit: Some(1000) };
    let usage = ContainerUsage { id: id.into(), cpu_nanos: Some(cpu_nanos), memory: Some(memory), pids: Some(2) };
    (id.to_string(), usage)
}

fn reading(seconds: u64, host_nanos: u64, containers: &[(&str, u64)]) -> Arc<Reading> {
    let host = HostUsage {
        cpu_nanos: Some(host_nanos),
        memory: Some(HostMemory { total: 8000, available: 3000, usage: 5000, rss: 1000 }),
        disk: Some(FileSystemUsage { capacity: 100, available: 40, used: 50, inodes: 10, inodes_free: 3 }),
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
    };
    Look {
        node_name: "edge-1".into(),
        cpus: 4,
        memory_bytes: 8000,
        usage: Usage {
            before: reading(10, SECOND, &[("a", SECOND)]),
            now: reading(14, 3 * SECOND, &[("a", 2 * SECOND), ("b", SECOND)]),
        },
        pods: vec![
            pod("idle", vec![container("main", "c")]),
            pod("web", vec![container("main", "a"), container("side", "b")]),
        ],
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
    assert_eq!(node["runtime"]["imageFs"]["capacityBytes"], 100);
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
