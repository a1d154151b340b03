//! Namespaces: what they begin with and how they end.

use crate::cluster::Cluster;
use holdfast_core::DeleteOptions;
use serde_json::json;

#[test]
fn begin_with_an_account_and_the_ca() {
    let cluster = Cluster::new();
    cluster.api.seed(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    cluster.settle();
    assert!(cluster.api.find("serviceaccounts", "a", "default").is_some());
    let ca = || cluster.api.find("configmaps", "a", "kube-root-ca.crt").map(|doc| doc["data"]["ca.crt"].clone());
    assert_eq!(ca(), Some(json!("the CA")));
    // Whoever breaks them gets them back.
    cluster.api.edit("configmaps", "a", "kube-root-ca.crt", |doc| doc["data"]["ca.crt"] = json!("mine"));
    cluster.settle();
    assert_eq!(ca(), Some(json!("the CA")));
    cluster.delete(("", "configmaps"), "a", "kube-root-ca.crt", DeleteOptions::default());
    cluster.delete(("", "serviceaccounts"), "a", "default", DeleteOptions::default());
    cluster.settle();
    assert_eq!(ca(), Some(json!("the CA")));
    assert!(cluster.api.find("serviceaccounts", "a", "default").is_some());
}

#[test]
fn end_with_everything_in_them() {
    let cluster = Cluster::new();
    for name in ["a", "b"] {
        cluster.api.seed(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
        for number in 0..20 {
            cluster.api.seed(json!({"apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": format!("s{number}"), "namespace": name}}));
        }
    }
    cluster.api.seed(
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "web", "namespace": "a"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}}}),
    );
    cluster.settle();
    cluster.kubelet();
    cluster.delete(("", "namespaces"), "", "a", DeleteOptions::default());
    cluster.pass(10);
    // The kubelet has its grace: the namespace waits and says for what.
    let doc = cluster.api.find("namespaces", "", "a").unwrap();
    assert_eq!(doc["status"]["phase"], "Terminating");
    let remaining =
        doc["status"]["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "NamespaceContentRemaining");
    let message = &remaining.unwrap()["message"];
    assert_eq!(message, "Some resources are remaining: pods has 2 resource instances");
    cluster.kubelet();
    cluster.pass(10);
    assert_eq!(cluster.api.find("namespaces", "", "a"), None);
    for resource in ["secrets", "serviceaccounts", "configmaps", "pods", "replicasets"] {
        let left = cluster.api.all(resource).into_iter().filter(|doc| doc["metadata"]["namespace"] == "a").count();
        assert_eq!(left, 0, "{resource}");
    }
    assert_eq!(cluster.api.all("secrets").len(), 20, "the other namespace keeps its own");
}
