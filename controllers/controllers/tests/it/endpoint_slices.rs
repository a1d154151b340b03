//! EndpointSlices follow the readiness of pods.

use crate::cluster::Cluster;
use holdfast_core::Json;
use serde_json::json;

fn service(extra: Json) -> Json {
    let mut doc = json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "a", "labels": {"team": "x"}},
        "spec": {"selector": {"app": "web"}, "clusterIP": "10.43.0.5", "ports": [
            {"name": "http", "port": 80, "targetPort": "www"}, {"name": "raw", "port": 90, "protocol": "UDP"}]}});
    for (key, value) in extra.as_object().unwrap() {
        doc["spec"][key] = value.clone();
    }
    doc
}

fn pod(name: &str, ready: bool, port: i64) -> Json {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "www", "containerPort": port}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": format!("10.42.0.{port}")}],
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
}

fn endpoints(cluster: &Cluster) -> Vec<(String, Json)> {
    let slices = cluster.api.all("endpointslices");
    let mut all: Vec<(String, Json)> = slices
        .iter()
        .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
        .map(|endpoint| (endpoint["targetRef"]["name"].as_str().unwrap().to_string(), endpoint["conditions"].clone()))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn state(ready: bool, serving: bool, terminating: bool) -> Json {
    json!({"ready": ready, "serving": serving, "terminating": terminating})
}

#[test]
fn follow_readiness_and_termination() {
    let cluster = Cluster::new();
    cluster.api.seed(json!({"apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "n1", "labels": {"topology.kubernetes.io/zone": "z1"}}}));
    cluster.api.seed(service(json!({})));
    cluster.settle();
    let slices = cluster.api.all("endpointslices");
    assert_eq!(slices.len(), 1, "an empty slice shows that the Service was looked at");
    let name = slices[0]["metadata"]["name"].clone();

    cluster.api.seed(pod("one", true, 80));
    cluster.api.seed(pod("two", false, 80));
    cluster.settle();
    assert_eq!(
        endpoints(&cluster),
        [("one".to_string(), state(true, true, false)), ("two".to_string(), state(false, false, false))]
    );
    let slices = cluster.api.all("endpointslices");
    assert_eq!((slices.len(), &slices[0]["metadata"]["name"]), (1, &name));
    let slice = &slices[0];
    assert_eq!(
        slice["ports"],
        json!([{"name": "http", "protocol": "TCP", "port": 80}, {"name": "raw", "protocol": "UDP", "port": 90}])
    );
    assert_eq!(
        slice["metadata"]["labels"],
        json!({"endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": "web", "team": "x"})
    );
    let one = slice["endpoints"].as_array().unwrap().iter().find(|e| e["targetRef"]["name"] == "one").unwrap();
    assert_eq!((&one["nodeName"], &one["zone"]), (&json!("n1"), &json!("z1")));
    assert_eq!(slice["metadata"]["ownerReferences"][0]["kind"], "Service");

    cluster.api.edit("pods", "a", "two", |doc| doc["status"]["conditions"][0]["status"] = json!("True"));
    cluster.api.edit("pods", "a", "one", |doc| doc["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    cluster.settle();
    assert_eq!(
        endpoints(&cluster),
        [("one".to_string(), state(false, true, true)), ("two".to_string(), state(true, true, false))]
    );
    let updates = cluster.api.calls("update", "endpointslices");
    cluster.pass(3600);
    assert_eq!(cluster.api.calls("update", "endpointslices"), updates, "nothing changes, nothing is written");

    cluster.api.remove("pods", "a", "one");
    cluster.api.edit("pods", "a", "two", |doc| doc["metadata"]["labels"]["app"] = json!("db"));
    cluster.settle();
    assert_eq!(endpoints(&cluster), []);
    cluster.delete(("", "services"), "a", "web", holdfast_core::DeleteOptions::default());
    assert_eq!(cluster.api.all("endpointslices").len(), 0);
}

#[test]
fn named_ports_differ_by_pod_and_headless_says_so() {
    let cluster = Cluster::new();
    cluster.api.seed(service(json!({"clusterIP": "None", "publishNotReadyAddresses": true})));
    cluster.api.seed(pod("one", false, 81));
    cluster.api.seed(pod("two", false, 82));
    cluster.settle();
    let slices = cluster.api.all("endpointslices");
    let mut ports: Vec<i64> = slices.iter().map(|slice| slice["ports"][0]["port"].as_i64().unwrap()).collect();
    ports.sort_unstable();
    assert_eq!(ports, [81, 82]);
    assert!(slices.iter().all(|slice| slice["metadata"]["labels"].get("service.kubernetes.io/headless").is_some()));
    assert!(endpoints(&cluster).iter().all(|(_, conditions)| conditions["ready"] == true));
}

#[test]
fn two_hundred_and_fifty_pods_take_three_slices() {
    let cluster = Cluster::new();
    cluster.api.seed(service(json!({})));
    for number in 0..250 {
        cluster.api.seed(pod(&format!("p{number:03}"), true, 80));
    }
    cluster.settle();
    let sizes = |cluster: &Cluster| {
        let slices = cluster.api.all("endpointslices");
        let mut sizes: Vec<usize> = slices.iter().map(|s| s["endpoints"].as_array().map_or(0, Vec::len)).collect();
        sizes.sort_unstable();
        sizes
    };
    assert_eq!(sizes(&cluster).iter().sum::<usize>(), 250);
    assert_eq!(sizes(&cluster), [50, 100, 100]);
    let before = cluster.api.calls("update", "endpointslices");
    cluster.api.edit("pods", "a", "p007", |doc| doc["status"]["conditions"][0]["status"] = json!("False"));
    cluster.settle();
    assert_eq!(cluster.api.calls("update", "endpointslices"), before + 1, "one pod, one slice");
}
