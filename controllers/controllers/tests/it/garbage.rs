//! The garbage collector.

use crate::cluster::Cluster;
use holdfast_core::DeleteOptions;
use holdfast_core::verbs::Propagation;
use serde_json::{Value, json};

fn config_map(name: &str, owners: &[&Value]) -> Value {
    let reference = |owner: &&Value| {
        json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true})
    };
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "a",
        "ownerReferences": owners.iter().map(reference).collect::<Vec<_>>()}})
}

fn seed(cluster: &Cluster, doc: Value) -> Value {
    let object = cluster.api.seed(doc);
    cluster.settle();
    object.to_json()
}

fn names(cluster: &Cluster) -> Vec<String> {
    cluster.api.all("configmaps").iter().map(|doc| doc["metadata"]["name"].as_str().unwrap().to_string()).collect()
}

fn delete(cluster: &Cluster, name: &str, policy: Propagation) {
    let options = DeleteOptions { propagation_policy: Some(policy), ..DeleteOptions::default() };
    cluster.delete(("", "configmaps"), "a", name, options);
}

#[test]
fn dependents_go_with_their_last_owner() {
    let cluster = Cluster::new();
    let one = seed(&cluster, config_map("one", &[]));
    let two = seed(&cluster, config_map("two", &[]));
    let child = seed(&cluster, config_map("child", &[&one, &two]));
    seed(&cluster, config_map("grandchild", &[&child]));
    delete(&cluster, "one", Propagation::Background);
    assert_eq!(names(&cluster), ["child", "grandchild", "two"]);
    let child = cluster.api.find("configmaps", "a", "child").unwrap();
    assert_eq!(child["metadata"]["ownerReferences"].as_array().unwrap().len(), 1, "the gone owner is dropped");
    delete(&cluster, "two", Propagation::Background);
    assert_eq!(names(&cluster), [""; 0]);
}

#[test]
fn an_owner_of_another_uid_is_no_owner_and_a_foreign_kind_is_left_alone() {
    let cluster = Cluster::new();
    let mut ghost = seed(&cluster, config_map("owner", &[]));
    ghost["metadata"]["uid"] = json!("another-life");
    seed(&cluster, config_map("child", &[&ghost]));
    let foreign = json!({"apiVersion": "x.io/v1", "kind": "Thing", "metadata": {"name": "t", "uid": "t"}});
    seed(&cluster, config_map("kept", &[&foreign]));
    assert_eq!(names(&cluster), ["kept", "owner"]);
}

#[test]
fn foreground_waits_for_dependents_and_orphan_frees_them() {
    let cluster = Cluster::new();
    let owner = seed(&cluster, config_map("owner", &[]));
    let mut held = config_map("held", &[&owner]);
    held["metadata"]["finalizers"] = json!(["x.io/hold"]);
    seed(&cluster, held);
    delete(&cluster, "owner", Propagation::Foreground);
    assert_eq!(names(&cluster), ["held", "owner"], "the owner waits for what is held");
    let doc = cluster.api.find("configmaps", "a", "held").unwrap();
    assert!(doc["metadata"].get("deletionTimestamp").is_some());
    cluster.api.remove("configmaps", "a", "held");
    cluster.settle();
    assert_eq!(names(&cluster), [""; 0]);

    let owner = seed(&cluster, config_map("owner", &[]));
    seed(&cluster, config_map("freed", &[&owner]));
    delete(&cluster, "owner", Propagation::Orphan);
    assert_eq!(names(&cluster), ["freed"]);
    cluster.pass(60);
    assert_eq!(names(&cluster), ["freed"]);
}

/// A Deployment whose two pods run.
fn rolled_out() -> Cluster {
    let cluster = Cluster::new();
    cluster.api.seed(
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "a"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}}}),
    );
    cluster.settle();
    cluster.kubelet();
    assert_eq!(cluster.pods().len(), 2);
    cluster
}

#[test]
fn deleting_a_deployment_takes_its_sets_and_pods() {
    let cluster = rolled_out();
    cluster.delete(("apps", "deployments"), "a", "web", DeleteOptions::default());
    cluster.kubelet();
    assert_eq!((cluster.api.all("replicasets").len(), cluster.api.all("pods").len()), (0, 0));
}

#[test]
fn an_orphaning_deletion_of_a_deployment_leaves_its_sets_and_pods() {
    let cluster = rolled_out();
    let orphan = DeleteOptions { propagation_policy: Some(Propagation::Orphan), ..DeleteOptions::default() };
    cluster.delete(("apps", "deployments"), "a", "web", orphan);
    cluster.kubelet();
    cluster.pass(60);
    assert_eq!(cluster.api.find("deployments", "a", "web"), None);
    let sets = cluster.api.all("replicasets");
    assert_eq!((sets.len(), cluster.pods().len()), (1, 2));
    let owners = sets[0]["metadata"].get("ownerReferences").and_then(Value::as_array);
    assert!(owners.is_none_or(Vec::is_empty), "{owners:?}");
}

#[test]
fn a_circle_of_owners_blocks_nothing() {
    for policy in [Propagation::Background, Propagation::Foreground] {
        let cluster = Cluster::new();
        let all: Vec<Value> = ["one", "two", "three"].map(|name| seed(&cluster, config_map(name, &[]))).to_vec();
        for (owned, owner) in [(0, 2), (1, 0), (2, 1)] {
            let name = all[owned]["metadata"]["name"].as_str().unwrap();
            let owners = config_map(name, &[&all[owner]])["metadata"]["ownerReferences"].clone();
            cluster.api.edit("configmaps", "a", name, |doc| doc["metadata"]["ownerReferences"] = owners);
        }
        cluster.settle();
        assert_eq!(names(&cluster).len(), 3);
        delete(&cluster, "one", policy);
        cluster.pass(60);
        assert_eq!(names(&cluster), [""; 0], "{policy:?}");
    }
}

#[test]
fn a_dependent_stays_with_the_owner_that_stays() {
    let cluster = Cluster::new();
    let going = seed(&cluster, config_map("going", &[]));
    let staying = seed(&cluster, config_map("staying", &[]));
    for number in 0..4 {
        let owners = if number % 2 == 0 { vec![&going] } else { vec![&going, &staying] };
        seed(&cluster, config_map(&format!("child{number}"), &owners));
    }
    delete(&cluster, "going", Propagation::Foreground);
    cluster.pass(60);
    assert_eq!(names(&cluster), ["child1", "child3", "staying"]);
    for name in ["child1", "child3"] {
        let doc = cluster.api.find("configmaps", "a", name).unwrap();
        assert!(doc["metadata"].get("deletionTimestamp").is_none());
        let owners = doc["metadata"]["ownerReferences"].as_array().unwrap();
        assert_eq!(owners.iter().map(|owner| &owner["name"]).collect::<Vec<_>>(), ["staying"]);
    }
}
