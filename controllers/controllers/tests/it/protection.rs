//! Claims and volumes in use stay.

use crate::cluster::Cluster;
use holdfast_core::{DeleteOptions, Json};
use serde_json::json;

fn claim(name: &str, finalizers: Json) -> Json {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "a", "finalizers": finalizers}})
}

fn pod(name: &str, spec: Json) -> Json {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "a"}, "spec": spec})
}

#[test]
fn a_claim_goes_after_its_last_pod() {
    let cluster = Cluster::new();
    let ours = json!(["kubernetes.io/pvc-protection"]);
    for name in ["data", "web-cache", "unused"] {
        cluster.api.seed(claim(name, ours.clone()));
    }
    cluster.api.seed(claim("old", json!([])));
    let volumes =
        json!([{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "cache", "ephemeral": {}}]);
    cluster.api.seed(pod("web", json!({"nodeName": "n1", "volumes": volumes, "containers": []})));
    cluster
        .api
        .seed(pod("waiting", json!({"volumes": [{"name": "u", "persistentVolumeClaim": {"claimName": "unused"}}]})));
    cluster.settle();
    let finalizers = |name: &str| {
        cluster.api.find("persistentvolumeclaims", "a", name).map(|doc| doc["metadata"]["finalizers"].clone())
    };
    assert_eq!(finalizers("old"), Some(ours.clone()), "one from before is protected too");
    for name in ["data", "web-cache", "unused"] {
        cluster.delete(("", "persistentvolumeclaims"), "a", name, DeleteOptions::default());
    }
    assert_eq!(finalizers("unused"), None, "a pod without a node is none that uses it");
    assert_eq!((finalizers("data"), finalizers("web-cache")), (Some(ours.clone()), Some(ours)));
    cluster.api.remove("pods", "a", "web");
    cluster.settle();
    assert_eq!((finalizers("data"), finalizers("web-cache")), (None, None));
}

#[test]
fn a_volume_goes_once_it_is_not_bound() {
    let cluster = Cluster::new();
    cluster.api.seed(json!({"apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {"name": "v", "finalizers": ["kubernetes.io/pv-protection"]}, "status": {"phase": "Bound"}}));
    cluster.settle();
    cluster.delete(("", "persistentvolumes"), "", "v", DeleteOptions::default());
    cluster.pass(60);
    assert!(cluster.api.find("persistentvolumes", "", "v").is_some());
    cluster.api.edit("persistentvolumes", "", "v", |doc| doc["status"]["phase"] = json!("Released"));
    cluster.settle();
    assert_eq!(cluster.api.find("persistentvolumes", "", "v"), None);
}
