//! Roll-outs, a step at a time.

use crate::cluster::{Cluster, condition};
use holdfast_core::Json;
use serde_json::json;
use std::collections::BTreeMap;

fn deployment(replicas: i64, strategy: Json) -> Json {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "a"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
            "template": {"metadata": {"labels": {"app": "web"}, "creationTimestamp": null},
                "spec": {"containers": [{"name": "c", "image": "web:1"}]}}}})
}

fn rolling(surge: Json, unavailable: Json) -> Json {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn image(cluster: &Cluster, image: &str) {
    edit(cluster, |spec| spec["template"]["spec"]["containers"][0]["image"] = json!(image));
}

/// As the registry does: a change of the spec is a new generation.
fn edit(cluster: &Cluster, change: impl FnOnce(&mut Json)) {
    cluster.api.edit("deployments", "a", "web", |doc| {
        change(&mut doc["spec"]);
        doc["metadata"]["generation"] = json!(doc["metadata"]["generation"].as_i64().unwrap() + 1);
    });
    cluster.settle();
}

fn web(cluster: &Cluster) -> Json {
    cluster.api.find("deployments", "a", "web").unwrap()
}

fn sizes(pairs: &[(&str, i64)]) -> BTreeMap<String, i64> {
    pairs.iter().map(|(revision, size)| (revision.to_string(), *size)).collect()
}

#[test]
fn rolls_out_within_surge_and_unavailability() {
    let cluster = Cluster::new();
    cluster.api.seed(deployment(4, rolling(json!(1), json!(1))));
    cluster.settle();
    assert_eq!(cluster.sets(), sizes(&[("1", 4)]));
    assert_eq!(condition(&web(&cluster), "Available"), ("False".into(), "MinimumReplicasUnavailable".into()));
    assert_eq!(condition(&web(&cluster), "Progressing").0, "True");
    cluster.kubelet();
    let doc = web(&cluster);
    assert_eq!(condition(&doc, "Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    assert_eq!(condition(&doc, "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!(doc["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
    assert_eq!((&doc["status"]["availableReplicas"], &doc["status"]["observedGeneration"]), (&json!(4), &json!(1)));
    assert_eq!(doc["status"].get("unavailableReplicas"), None);

    image(&cluster, "web:2");
    // At most five in all, at least three available: one old goes at once, two new come.
    assert_eq!(cluster.sets(), sizes(&[("1", 3), ("2", 2)]));
    cluster.kubelet();
    assert_eq!(cluster.sets(), sizes(&[("1", 1), ("2", 4)]));
    cluster.kubelet();
    assert_eq!(cluster.sets(), sizes(&[("2", 4)]));
    cluster.kubelet();
    let doc = web(&cluster);
    assert_eq!(condition(&doc, "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!((&doc["status"]["updatedReplicas"], &doc["status"]["replicas"]), (&json!(4), &json!(4)));
    assert_eq!(doc["status"]["observedGeneration"], 2);
    let hash = |pod: &Json| pod["metadata"]["labels"]["pod-template-hash"].as_str().unwrap().to_string();
    let pods = cluster.api.all("pods");
    assert_eq!(pods.len(), 4);
    assert!(pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "web:2" && hash(pod) == hash(&pods[0])));
    let name = pods[0]["metadata"]["ownerReferences"][0]["name"].as_str().unwrap();
    assert_eq!(name, format!("web-{}", hash(&pods[0])));
    let scaled = cluster.messages("ScalingReplicaSet");
    assert!(scaled.contains(&format!("Scaled up replica set {name} from 0 to 1")), "{scaled:?}");

    // Back again: the old set gets the newest revision and remembers the one that it had.
    image(&cluster, "web:1");
    (0..4).for_each(|_| cluster.kubelet());
    assert_eq!(cluster.sets(), sizes(&[("3", 4)]));
    let sets = cluster.api.all("replicasets");
    assert_eq!(sets.len(), 2);
    let third = sets.iter().find(|set| set["spec"]["replicas"] == 4).unwrap();
    assert_eq!(third["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn nothing_is_given_up_while_new_pods_are_not_ready() {
    let cluster = Cluster::new();
    cluster.api.seed(deployment(2, rolling(json!("25%"), json!("25%"))));
    cluster.settle();
    cluster.kubelet();
    image(&cluster, "broken");
    cluster.pass(60);
    // 25 % of two: surge one, unavailable none.
    assert_eq!(cluster.sets(), sizes(&[("1", 2), ("2", 1)]));
    cluster.pass(700);
    let doc = web(&cluster);
    assert_eq!(condition(&doc, "Progressing"), ("False".into(), "ProgressDeadlineExceeded".into()));
    assert_eq!(condition(&doc, "Available").0, "True");
    image(&cluster, "web:3");
    (0..4).for_each(|_| cluster.kubelet());
    assert_eq!(cluster.sets(), sizes(&[("3", 2)]));
    assert_eq!(condition(&web(&cluster), "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let cluster = Cluster::new();
    cluster.api.seed(deployment(2, json!({"type": "Recreate"})));
    cluster.settle();
    cluster.kubelet();
    image(&cluster, "web:2");
    assert_eq!(cluster.sets(), sizes(&[]));
    assert_eq!((cluster.pods().len(), cluster.api.all("pods").len()), (0, 2), "two end, none begins");
    cluster.kubelet();
    assert_eq!(cluster.sets(), sizes(&[("2", 2)]));
}

#[test]
fn scaling_keeps_the_proportions_of_a_roll_out() {
    let cluster = Cluster::new();
    cluster.api.seed(deployment(10, rolling(json!(3), json!(2))));
    cluster.settle();
    cluster.kubelet();
    image(&cluster, "web:2");
    assert_eq!(cluster.sets(), sizes(&[("1", 8), ("2", 5)]));
    edit(&cluster, |spec| spec["replicas"] = json!(15));
    // Eighteen are allowed: 8/13 and 5/13 of them.
    assert_eq!(cluster.sets(), sizes(&[("1", 11), ("2", 7)]));
    edit(&cluster, |spec| spec["replicas"] = json!(0));
    assert_eq!(cluster.sets(), sizes(&[]));
}

#[test]
fn paused_deployments_scale_but_do_not_roll() {
    let cluster = Cluster::new();
    cluster.api.seed(deployment(2, rolling(json!(1), json!(0))));
    cluster.settle();
    cluster.kubelet();
    edit(&cluster, |spec| {
        spec["paused"] = json!(true);
        spec["template"]["spec"]["containers"][0]["image"] = json!("web:2");
    });
    assert_eq!(condition(&web(&cluster), "Progressing"), ("Unknown".into(), "DeploymentPaused".into()));
    edit(&cluster, |spec| spec["replicas"] = json!(3));
    assert_eq!(cluster.sets(), sizes(&[("1", 3)]));
    edit(&cluster, |spec| spec["paused"] = json!(false));
    (0..6).for_each(|_| cluster.kubelet());
    assert_eq!(cluster.sets(), sizes(&[("2", 3)]));
}

#[test]
fn history_is_kept_to_its_limit() {
    let cluster = Cluster::new();
    let mut doc = deployment(1, rolling(json!(1), json!(0)));
    doc["spec"]["revisionHistoryLimit"] = json!(1);
    cluster.api.seed(doc);
    cluster.settle();
    cluster.kubelet();
    for number in 2..6 {
        image(&cluster, &format!("web:{number}"));
        (0..3).for_each(|_| cluster.kubelet());
    }
    let revisions: Vec<String> = cluster
        .api
        .all("replicasets")
        .iter()
        .map(|set| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].as_str().unwrap().to_string())
        .collect();
    assert_eq!(revisions.len(), 2, "{revisions:?}");
    assert!(revisions.contains(&"5".to_string()) && revisions.contains(&"4".to_string()), "{revisions:?}");
}

#[test]
fn a_taken_name_counts_a_collision() {
    let cluster = Cluster::new();
    let doc = deployment(1, rolling(json!(1), json!(0)));
    let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": doc["spec"]["template"]["spec"]});
    let hash = holdfast_controllers::deployment::pod_template_hash(&template, None);
    cluster.api.seed(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": format!("web-{hash}"), "namespace": "a",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "x", "uid": "x", "controller": true}]},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"other": "x"}}, "template": {}}}));
    // Its owner does not exist: the collector takes it away in time, but the Deployment does not wait for that.
    cluster.api.fail("delete", "replicasets", 100, holdfast_core::Status::unavailable("later", 3600));
    cluster.api.seed(doc);
    cluster.settle();
    cluster.kubelet();
    assert_eq!(web(&cluster)["status"]["collisionCount"], 1);
    assert_eq!(cluster.sets(), sizes(&[("1", 1)]));
}
