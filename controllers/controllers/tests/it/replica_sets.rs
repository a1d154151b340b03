//! ReplicaSets: counting, adoption, failures.

use crate::cluster::{Cluster, condition};
use holdfast_core::{Json, Reason, Status};
use serde_json::json;

fn set(replicas: i64) -> Json {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "a"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}}})
}

fn pod(name: &str, app: &str) -> Json {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a", "labels": {"app": app}}, "spec": {"containers": [{"name": "c"}]}})
}

fn scale(cluster: &Cluster, replicas: i64) {
    cluster.api.edit("replicasets", "a", "web", |doc| doc["spec"]["replicas"] = json!(replicas));
    cluster.settle();
}

#[test]
fn scales_up_and_down_and_replaces_what_ends() {
    let cluster = Cluster::new();
    cluster.api.seed(set(3));
    cluster.settle();
    assert_eq!(cluster.pods().len(), 3);
    assert_eq!(cluster.api.calls("create", "pods"), 3, "no pod is created twice because a cache lagged");
    cluster.kubelet();
    let doc = cluster.api.find("replicasets", "a", "web").unwrap();
    assert_eq!((&doc["status"]["readyReplicas"], &doc["status"]["availableReplicas"]), (&json!(3), &json!(3)));

    scale(&cluster, 7);
    assert_eq!(cluster.pods().len(), 7);
    let pending: Vec<String> = cluster
        .api
        .all("pods")
        .iter()
        .filter(|pod| pod["status"]["phase"] == "Pending")
        .map(|pod| pod["metadata"]["name"].as_str().unwrap().to_string())
        .collect();
    scale(&cluster, 3);
    let left = cluster.pods();
    assert_eq!(left.len(), 3);
    assert!(pending.iter().all(|name| !left.contains(name)), "those that are not ready go first");

    cluster.api.edit("pods", "a", &left[0], |doc| doc["status"]["phase"] = json!("Failed"));
    cluster.settle();
    assert_eq!(cluster.api.calls("create", "pods"), 8);
    cluster.api.remove("pods", "a", &left[1]);
    cluster.settle();
    assert_eq!(cluster.api.calls("create", "pods"), 9);
    assert_eq!(cluster.messages("SuccessfulCreate").len(), 9);
    assert_eq!(cluster.messages("SuccessfulDelete").len(), 4);
}

#[test]
fn adopts_orphans_and_lets_go_what_no_longer_matches() {
    let cluster = Cluster::new();
    cluster.api.seed(pod("orphan", "web"));
    cluster.api.seed(pod("stranger", "db"));
    cluster.settle();
    cluster.api.seed(set(2));
    cluster.settle();
    let owner =
        |name: &str| cluster.api.find("pods", "a", name).unwrap()["metadata"]["ownerReferences"][0]["name"].clone();
    assert_eq!((owner("orphan"), owner("stranger")), (json!("web"), Json::Null));
    assert_eq!(cluster.api.calls("create", "pods"), 1);

    cluster.api.edit("pods", "a", "orphan", |doc| doc["metadata"]["labels"]["app"] = json!("debug"));
    cluster.settle();
    assert_eq!(owner("orphan"), Json::Null);
    assert_eq!(cluster.api.calls("create", "pods"), 2);
    assert_eq!(cluster.pods().len(), 4, "it was let go, not deleted");
}

#[test]
fn refusals_are_told_and_tried_again_one_at_a_time() {
    let cluster = Cluster::new();
    let refusal = Status::failure(403, Reason::Forbidden, "pods \"web-\" is forbidden: exceeded quota");
    cluster.api.fail("create", "pods", 3, refusal);
    cluster.api.seed(set(50));
    cluster.world.settle();
    // Once, and once more for the change of its own status; each time the first refusal stops the batch.
    assert_eq!(cluster.api.calls("create", "pods"), 2);
    let doc = cluster.api.find("replicasets", "a", "web").unwrap();
    assert_eq!(condition(&doc, "ReplicaFailure"), ("True".into(), "FailedCreate".into()));
    assert_eq!(cluster.messages("FailedCreate"), ["Error creating: pods \"web-\" is forbidden: exceeded quota"]);
    cluster.pass(5);
    assert_eq!(cluster.pods().len(), 50);
    let doc = cluster.api.find("replicasets", "a", "web").unwrap();
    assert_eq!(condition(&doc, "ReplicaFailure").0, "");
}

#[test]
fn min_ready_seconds_must_pass() {
    let cluster = Cluster::new();
    let mut doc = set(1);
    doc["spec"]["minReadySeconds"] = json!(30);
    cluster.api.seed(doc);
    cluster.settle();
    cluster.kubelet();
    let available = || cluster.api.find("replicasets", "a", "web").unwrap()["status"]["availableReplicas"].clone();
    assert_eq!(available(), Json::Null);
    cluster.pass(31);
    assert_eq!(available(), 1);
}
