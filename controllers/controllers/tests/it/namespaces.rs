//! Namespaces: what they begin with and how they end.

use crate::cluster::Cluster;
use holdfast_core::{DeleteOptions, Json};
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

/// The conditions as `type status reason: message`.
fn told(namespace: &Json) -> Vec<String> {
    let text = |condition: &Json, field: &str| condition[field].as_str().unwrap().to_string();
    let line =
        |c: &Json| format!("{} {} {}: {}", text(c, "type"), text(c, "status"), text(c, "reason"), text(c, "message"));
    namespace["status"]["conditions"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn wait_for_finalizers_and_say_so() {
    let cluster = Cluster::new();
    cluster.api.seed(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}));
    let held = |kind: &str, name: &str, finalizer: &str| {
        json!({"apiVersion": "v1", "kind": kind,
            "metadata": {"name": name, "namespace": "a", "finalizers": [finalizer]}})
    };
    cluster.api.seed(held("Pod", "p", "x.io/pod"));
    cluster.api.seed(held("ConfigMap", "c", "x.io/map"));
    cluster.settle();
    cluster.delete(("", "namespaces"), "", "a", DeleteOptions::default());
    cluster.pass(60);
    let doc = cluster.api.find("namespaces", "", "a").unwrap();
    let lines = told(&doc);
    assert_eq!(
        lines[3..],
        [
            "NamespaceContentRemaining True SomeResourcesRemain: Some resources are remaining: pods. has 1 resource instances",
            "NamespaceFinalizersRemaining True SomeFinalizersRemain: Some content in the namespace has finalizers \
             remaining: x.io/pod in 1 resource instances",
        ]
    );
    assert!(lines[2].starts_with("NamespaceDeletionContentFailure False"), "{lines:?}");
    let map = cluster.api.find("configmaps", "a", "c").unwrap();
    assert!(map["metadata"].get("deletionTimestamp").is_none(), "pods go first");
    cluster.api.remove("pods", "a", "p");
    cluster.settle();
    let lines = told(&cluster.api.find("namespaces", "", "a").unwrap());
    assert!(lines[4].ends_with("x.io/map in 1 resource instances"), "{lines:?}");
    cluster.api.remove("configmaps", "a", "c");
    cluster.pass(60);
    assert_eq!(cluster.api.find("namespaces", "", "a"), None);
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
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {
                "terminationGracePeriodSeconds": 30, "containers": [{"name": "c"}]}}}}),
    );
    cluster.settle();
    cluster.kubelet();
    cluster.delete(("", "namespaces"), "", "a", DeleteOptions::default());
    cluster.pass(10);
    // The kubelet has its grace: the namespace waits and says for what, and nothing but pods has gone.
    let doc = cluster.api.find("namespaces", "", "a").unwrap();
    assert_eq!(doc["status"]["phase"], "Terminating");
    assert_eq!(
        told(&doc),
        [
            "NamespaceDeletionDiscoveryFailure False ResourcesDiscovered: All resources successfully discovered",
            "NamespaceDeletionGroupVersionParsingFailure False ParsedGroupVersions: All legacy kube types successfully parsed",
            "NamespaceDeletionContentFailure False ContentDeleted: All content successfully deleted, may be waiting on \
             finalization",
            "NamespaceContentRemaining True SomeResourcesRemain: Some resources are remaining: pods. has 2 resource instances",
            "NamespaceFinalizersRemaining False ContentHasNoFinalizers: All content-preserving finalizers finished",
        ]
    );
    assert_eq!(cluster.api.all("secrets").len(), 40);
    assert!(cluster.api.all("replicasets").iter().all(|set| set["metadata"].get("deletionTimestamp").is_none()));
    // Its grace is over: that is a failure, and still nothing else goes.
    cluster.pass(60);
    let doc = cluster.api.find("namespaces", "", "a").unwrap();
    assert!(
        told(&doc).contains(
            &"NamespaceDeletionContentFailure True ContentDeletionFailed: Failed to delete all resource types, 1 remaining: \
              unexpected items still remain in namespace: a for gvr: /v1, Resource=pods"
                .to_string()
        ),
        "{doc:#}"
    );
    assert_eq!(cluster.api.all("secrets").len(), 40);
    cluster.kubelet();
    cluster.pass(10);
    assert_eq!(cluster.api.find("namespaces", "", "a"), None);
    for resource in ["secrets", "serviceaccounts", "configmaps", "pods", "replicasets"] {
        let left = cluster.api.all(resource).into_iter().filter(|doc| doc["metadata"]["namespace"] == "a").count();
        assert_eq!(left, 0, "{resource}");
    }
    assert_eq!(cluster.api.all("secrets").len(), 20, "the other namespace keeps its own");
}
