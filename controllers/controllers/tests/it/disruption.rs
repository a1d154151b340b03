//! PodDisruptionBudgets (<https://kubernetes.io/docs/tasks/run-application/configure-pdb/>).

use crate::cluster::{Cluster, condition};
use holdfast_core::{Json, Status, Timestamp};
use holdfast_env::Env;
use serde_json::json;
use std::time::Duration;

fn budget(name: &str, spec: Json) -> Json {
    let mut doc = json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "a"}, "spec": spec});
    if doc["spec"]["selector"].is_null() {
        doc["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    }
    doc
}

fn controller(api_version: &str, kind: &str, name: &str, replicas: i64, owner: Option<(&str, &str)>) -> Json {
    let owners = owner.map(|(kind, name)| {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": name,
        "uid": format!("uid-{name}"), "controller": true}])
    });
    json!({"apiVersion": api_version, "kind": kind,
        "metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}"),
            "labels": {"of": owner.map_or(name, |(_, owner)| owner)},
            "ownerReferences": owners.unwrap_or_else(|| json!([]))},
        "spec": {"replicas": replicas, "paused": true, "selector": {"matchLabels": {"of": name}},
            "template": {"metadata": {"labels": {"of": name}}}}})
}

fn pod(name: &str, owner: Option<(&str, &str, &str)>, ready: bool) -> Json {
    let owners = owner.map(|(api_version, kind, owner)| {
        json!([{"apiVersion": api_version, "kind": kind, "name": owner,
        "uid": format!("uid-{owner}"), "controller": true}])
    });
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "a",
            "labels": {"app": "web", "of": owner.map_or("nobody", |(_, _, owner)| owner)},
            "ownerReferences": owners.unwrap_or_else(|| json!([]))},
        "spec": {"containers": [{"name": "c"}]},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}})
}

/// Allowed, healthy, desired, expected.
fn counts(cluster: &Cluster, name: &str) -> [i64; 4] {
    let doc = cluster.api.find("poddisruptionbudgets", "a", name).unwrap();
    ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"]
        .map(|field| doc["status"][field].as_i64().unwrap_or(-1))
}

/// Three pods of a StatefulSet (which nothing here reconciles), the last of them not ready.
fn three(cluster: &Cluster, replicas: i64) {
    cluster.api.seed(controller("apps/v1", "StatefulSet", "db", replicas, None));
    for (number, ready) in [true, true, false].into_iter().enumerate() {
        cluster.api.seed(pod(&format!("db-{number}"), Some(("apps/v1", "StatefulSet", "db")), ready));
    }
}

#[test]
fn budgets_are_counted_by_number_and_by_percentage() {
    let cluster = Cluster::new();
    three(&cluster, 4);
    for (name, spec) in [
        ("min", json!({"minAvailable": 1})),
        ("min-percent", json!({"minAvailable": "50%"})),
        ("max", json!({"maxUnavailable": 3})),
        ("max-percent", json!({"maxUnavailable": "30%"})),
        ("nothing", json!({"selector": {"matchLabels": {"app": "none"}}, "minAvailable": 0})),
        ("everything", json!({"selector": {}, "minAvailable": 0})),
    ] {
        cluster.api.seed(budget(name, spec));
    }
    cluster.settle();
    assert_eq!(counts(&cluster, "min"), [1, 2, 1, 3]);
    assert_eq!(counts(&cluster, "min-percent"), [0, 2, 2, 4]);
    assert_eq!(counts(&cluster, "max"), [1, 2, 1, 4]);
    assert_eq!(counts(&cluster, "max-percent"), [0, 2, 2, 4], "what may be missing is rounded up: 2 of 4");
    assert_eq!(counts(&cluster, "nothing"), [0, 0, 0, 0], "no pods, no disruption");
    assert_eq!(counts(&cluster, "everything"), [2, 2, 0, 3]);
    let of = |name: &str| condition(&cluster.api.find("poddisruptionbudgets", "a", name).unwrap(), "DisruptionAllowed");
    assert_eq!(of("min"), ("True".into(), "SufficientPods".into()));
    assert_eq!(of("max-percent"), ("False".into(), "InsufficientPods".into()));
    assert_eq!(cluster.messages("NoPods"), ["No matching pods found"]);

    cluster.api.edit("pods", "a", "db-2", |doc| doc["status"]["conditions"][0]["status"] = json!("True"));
    cluster.settle();
    assert_eq!(counts(&cluster, "max-percent"), [1, 3, 2, 4]);
    let doc = cluster.api.find("poddisruptionbudgets", "a", "max-percent").unwrap();
    assert_eq!(doc["status"]["observedGeneration"], doc["metadata"]["generation"]);
    let writes = cluster.api.calls("update", "poddisruptionbudgets/status");
    cluster.pass(3 * 3600);
    assert_eq!(cluster.api.calls("update", "poddisruptionbudgets/status"), writes, "what stays is not written again");
}

#[test]
fn the_scale_is_that_of_whatever_controls_the_pods() {
    let cluster = Cluster::new();
    cluster.api.seed(controller("apps/v1", "Deployment", "deploy", 5, None));
    cluster.api.seed(controller("apps/v1", "ReplicaSet", "deploy-1", 1, Some(("Deployment", "deploy"))));
    cluster.api.seed(controller("v1", "ReplicationController", "old", 7, None));
    cluster.api.seed(pod("a", Some(("apps/v1", "ReplicaSet", "deploy-1")), true));
    cluster.api.seed(pod("b", Some(("v1", "ReplicationController", "old")), true));
    cluster.api.seed(budget("all", json!({"maxUnavailable": 11})));
    cluster.settle();
    assert_eq!(counts(&cluster, "all"), [1, 2, 1, 12]);
    // A pod that nothing controls counts for nothing, and that is said.
    cluster.api.seed(pod("c", None, true));
    cluster.settle();
    assert_eq!(counts(&cluster, "all"), [2, 3, 1, 12]);
    assert_eq!(cluster.messages("UnmanagedPods").len(), 1);
}

#[test]
fn while_nobody_can_count_nothing_may_go() {
    let cluster = Cluster::new();
    three(&cluster, 3);
    cluster.api.seed(budget("all", json!({"maxUnavailable": 2})));
    cluster.settle();
    assert_eq!(counts(&cluster, "all"), [1, 2, 1, 3]);
    cluster.api.fail("get", "statefulsets/scale", 12, Status::unavailable("the scale is away", 1));
    cluster.api.edit("pods", "a", "db-2", |doc| doc["status"]["conditions"][0]["status"] = json!("True"));
    cluster.settle();
    let doc = cluster.api.find("poddisruptionbudgets", "a", "all").unwrap();
    assert_eq!(condition(&doc, "DisruptionAllowed"), ("False".into(), "SyncFailed".into()));
    assert_eq!(doc["status"]["conditions"][0]["message"], "the scale is away");
    assert_eq!(counts(&cluster, "all")[0], 0);
    cluster.pass(600);
    assert_eq!(counts(&cluster, "all"), [2, 3, 1, 3], "and it is tried again");
    // A kind that nobody serves has no scale.
    cluster.api.edit("pods", "a", "db-0", |doc| doc["metadata"]["ownerReferences"][0]["kind"] = json!("Unheard"));
    cluster.settle();
    let doc = cluster.api.find("poddisruptionbudgets", "a", "all").unwrap();
    assert_eq!(doc["status"]["conditions"][0]["message"], "found no controllers for pod \"db-0\"");
}

#[test]
fn an_evicted_pod_counts_again_when_it_does_not_go() {
    let cluster = Cluster::new();
    three(&cluster, 3);
    cluster.api.seed(budget("all", json!({"minAvailable": 1})));
    cluster.settle();
    assert_eq!(counts(&cluster, "all"), [1, 2, 1, 3]);
    // As the eviction leaves it.
    let now = Timestamp::from_wall(cluster.world.wall().0);
    cluster.api.edit("poddisruptionbudgets", "a", "all", |doc| {
        doc["status"]["disruptionsAllowed"] = json!(0);
        doc["status"]["disruptedPods"] = json!({"db-0": now, "gone": now});
    });
    cluster.settle();
    assert_eq!(counts(&cluster, "all"), [0, 1, 1, 3]);
    let doc = cluster.api.find("poddisruptionbudgets", "a", "all").unwrap();
    assert_eq!(doc["status"]["disruptedPods"].as_object().unwrap().keys().collect::<Vec<_>>(), ["db-0"]);
    cluster.world.advance(Duration::from_secs(110));
    assert_eq!(counts(&cluster, "all"), [0, 1, 1, 3]);
    cluster.world.advance(Duration::from_secs(15));
    assert_eq!(counts(&cluster, "all"), [1, 2, 1, 3]);
    assert_eq!(cluster.messages("NotDeleted"), ["Pod was expected by PDB a/all to be deleted but it wasn't"]);

    // One that goes is no longer waited for, and never healthy.
    cluster.api.edit("poddisruptionbudgets", "a", "all", |doc| doc["status"]["disruptedPods"] = json!({"db-1": now}));
    cluster.api.edit("pods", "a", "db-1", |doc| doc["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:10:00Z"));
    cluster.settle();
    assert_eq!(counts(&cluster, "all"), [0, 1, 1, 3]);
    let doc = cluster.api.find("poddisruptionbudgets", "a", "all").unwrap();
    assert_eq!(doc["status"]["disruptedPods"], json!(null));
}
