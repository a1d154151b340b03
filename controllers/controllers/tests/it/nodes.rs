//! Nodes: taints, eviction, pod ranges, garbage.

use crate::cluster::{Cluster, condition};
use holdfast_core::{DeleteOptions, Json};
use serde_json::json;

fn node(name: &str) -> Json {
    json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
}

fn pod(name: &str, node: &str, tolerations: Json) -> Json {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a"},
        "spec": {"nodeName": node, "containers": [{"name": "c"}], "tolerations": tolerations},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
}

fn for_a_while(seconds: i64) -> Json {
    json!([
        {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds},
        {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds},
    ])
}

fn set_ready(cluster: &Cluster, status: &str) {
    cluster.api.edit("nodes", "", "n1", |doc| doc["status"]["conditions"][0]["status"] = json!(status));
    cluster.settle();
}

fn taints(cluster: &Cluster) -> Vec<String> {
    let doc = cluster.api.find("nodes", "", "n1").unwrap();
    let taints = doc["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let text = |taint: &Json| format!("{}:{}", taint["key"].as_str().unwrap(), taint["effect"].as_str().unwrap());
    taints.iter().map(text).collect()
}

#[test]
fn taints_follow_conditions_and_leave_others_alone() {
    let cluster = Cluster::new();
    let mut doc = node("n1");
    doc["spec"]["taints"] = json!([{"key": "dedicated", "value": "x", "effect": "NoSchedule"}]);
    cluster.api.seed(doc);
    cluster.settle();
    assert_eq!(taints(&cluster), ["dedicated:NoSchedule"]);
    set_ready(&cluster, "Unknown");
    let unreachable = "node.kubernetes.io/unreachable";
    assert_eq!(
        taints(&cluster),
        ["dedicated:NoSchedule".to_string(), format!("{unreachable}:NoSchedule"), format!("{unreachable}:NoExecute")]
    );
    assert_eq!(cluster.messages("NodeNotReady"), ["Node n1 status is now: NodeNotReady"]);
    set_ready(&cluster, "False");
    let not_ready = "node.kubernetes.io/not-ready";
    assert_eq!(
        taints(&cluster),
        ["dedicated:NoSchedule".to_string(), format!("{not_ready}:NoSchedule"), format!("{not_ready}:NoExecute")]
    );
    cluster.api.edit("nodes", "", "n1", |doc| doc["spec"]["unschedulable"] = json!(true));
    set_ready(&cluster, "True");
    assert_eq!(taints(&cluster), ["dedicated:NoSchedule", "node.kubernetes.io/unschedulable:NoSchedule"]);
    cluster.api.edit("nodes", "", "n1", |doc| doc["spec"]["unschedulable"] = json!(false));
    cluster.settle();
    assert_eq!(taints(&cluster), ["dedicated:NoSchedule"]);
}

#[test]
fn pods_of_a_silent_node_go_after_their_tolerations() {
    let cluster = Cluster::new();
    cluster.api.seed(node("n1"));
    cluster.api.seed(pod("usual", "n1", for_a_while(300)));
    cluster.api.seed(pod("daemon", "n1", json!([{"operator": "Exists"}])));
    cluster.api.seed(pod("impatient", "n1", json!([])));
    cluster.settle();
    set_ready(&cluster, "Unknown");
    assert_eq!(cluster.pods(), ["daemon", "usual"], "nothing tolerated, no time");
    let usual = cluster.api.find("pods", "a", "usual").unwrap();
    assert_eq!(condition(&usual, "Ready"), ("False".into(), "NodeNotReady".into()));
    cluster.pass(295);
    assert_eq!(cluster.pods(), ["daemon", "usual"]);
    cluster.pass(6);
    assert_eq!(cluster.pods(), ["daemon"]);
    let usual = cluster.api.find("pods", "a", "usual").unwrap();
    assert_eq!(condition(&usual, "DisruptionTarget"), ("True".into(), "DeletionByTaintManager".into()));
    assert!(cluster.messages("TaintManagerEviction").contains(&"Marking for deletion Pod a/usual".to_string()));
    cluster.pass(3600);
    assert_eq!(cluster.pods(), ["daemon"]);
}

#[test]
fn a_node_that_comes_back_in_time_keeps_its_pods() {
    let cluster = Cluster::new();
    cluster.api.seed(node("n1"));
    cluster.api.seed(pod("usual", "n1", for_a_while(300)));
    cluster.settle();
    set_ready(&cluster, "Unknown");
    cluster.pass(200);
    // From one taint to the other the time runs on.
    set_ready(&cluster, "False");
    cluster.pass(90);
    assert_eq!(cluster.pods(), ["usual"]);
    set_ready(&cluster, "True");
    cluster.pass(1000);
    assert_eq!(cluster.pods(), ["usual"]);
    assert_eq!(cluster.messages("TaintManagerEviction"), ["Cancelling deletion of Pod a/usual"]);
    // A second silence begins anew.
    set_ready(&cluster, "Unknown");
    cluster.pass(295);
    assert_eq!(cluster.pods(), ["usual"]);
    cluster.pass(10);
    assert_eq!(cluster.pods(), [""; 0]);
}

#[test]
fn ranges_are_unique_and_last_over_restarts() {
    let mut cluster = Cluster::new();
    let ranges = |cluster: &Cluster| -> Vec<(String, String)> {
        let nodes = cluster.api.all("nodes").into_iter();
        let range = |doc: Json| {
            assert_eq!(doc["spec"]["podCIDRs"], json!([doc["spec"]["podCIDR"]]));
            let name = doc["metadata"]["name"].as_str().unwrap().to_string();
            (name, doc["spec"]["podCIDR"].as_str().unwrap_or_default().to_string())
        };
        nodes.map(range).collect()
    };
    for number in 0..20 {
        cluster.api.seed(node(&format!("n{number:02}")));
    }
    cluster.settle();
    let before = ranges(&cluster);
    let mut unique: Vec<&String> = before.iter().map(|(_, range)| range).collect();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 20);
    assert!(unique.iter().all(|range| range.starts_with("10.42.") && range.ends_with(".0/24")));
    cluster.delete(("", "nodes"), "", "n05", DeleteOptions::default());
    cluster.start();
    cluster.api.seed(node("new"));
    cluster.settle();
    let after = ranges(&cluster);
    let new = after.iter().find(|(name, _)| name == "new").unwrap();
    assert!(before.iter().all(|(_, range)| *range != new.1), "a freed range rests as long as others are free");
    assert!(before.iter().filter(|(name, _)| name != "n05").all(|entry| after.contains(entry)));
}

#[test]
fn garbage_pods_go() {
    let cluster = Cluster::new();
    cluster.api.seed(node("n1"));
    cluster.api.seed(pod("lost", "gone", json!([])));
    cluster.api.seed(pod("fine", "n1", json!([])));
    let mut never = pod("never", "", json!([]));
    never["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    cluster.api.seed(never);
    for number in 0..5 {
        let mut ended = pod(&format!("ended{number}"), "n1", json!([]));
        ended["status"]["phase"] = json!("Succeeded");
        ended["metadata"]["creationTimestamp"] = json!(format!("2026-01-01T00:00:0{number}Z"));
        cluster.api.seed(ended);
    }
    cluster.pass(30);
    assert_eq!(
        cluster.pods(),
        ["ended2", "ended3", "ended4", "fine", "lost"],
        "the oldest two of five; a lost pod waits"
    );
    assert!(cluster.api.find("pods", "a", "never").is_none());
    cluster.pass(60);
    assert_eq!(cluster.pods(), ["ended2", "ended3", "ended4", "fine"]);
}
