//! LimitRanges, default classes, claims that grow.

use super::*;

fn range(limits: Json) -> Json {
    json!({ "metadata": { "name": "bounds" }, "spec": { "limits": limits } })
}

fn sized(name: &str, resources: Json) -> Json {
    let mut doc = pod(name);
    doc["spec"]["containers"][0]["resources"] = resources;
    doc
}

#[tokio::test]
async fn containers_get_the_defaults_of_their_namespace() {
    let cluster = cluster().await;
    let limits = json!([{ "type": "Container", "default": { "memory": "200Mi" }, "defaultRequest": { "cpu": "100m", "memory": "100Mi" } }]);
    cluster.create("limitranges", "default", range(limits)).await.unwrap();
    let doc = cluster.create("pods", "default", pod("a")).await.unwrap().to_json();
    assert_eq!(
        doc["spec"]["containers"][0]["resources"],
        json!({ "requests": { "cpu": "100m", "memory": "100Mi" }, "limits": { "memory": "200Mi" } })
    );
    assert_eq!(
        doc["metadata"]["annotations"]["kubernetes.io/limit-ranger"],
        "LimitRanger plugin set: cpu, memory request for container main; memory limit for container main"
    );
    let own = json!({ "requests": { "cpu": "1", "memory": "1Mi" }, "limits": { "memory": "2Mi" } });
    let doc = cluster.create("pods", "default", sized("b", own.clone())).await.unwrap().to_json();
    assert_eq!(doc["spec"]["containers"][0]["resources"]["requests"], own["requests"]);
    assert!(doc["metadata"].get("annotations").is_none());
}

#[tokio::test]
async fn pods_and_claims_are_held_to_the_bounds() {
    let cluster = cluster().await;
    let limits = json!([
        { "type": "Container", "min": { "cpu": "100m" }, "max": { "cpu": "2" }, "maxLimitRequestRatio": { "cpu": "4" },
          "default": { "cpu": "1" }, "defaultRequest": { "cpu": "500m" } },
        { "type": "Pod", "max": { "memory": "1Gi" } },
        { "type": "PersistentVolumeClaim", "min": { "storage": "1Gi" }, "max": { "storage": "10Gi" } },
    ]);
    cluster.create("limitranges", "default", range(limits)).await.unwrap();
    for (resources, expected) in [
        (json!({ "limits": { "cpu": "3", "memory": "1Gi" } }), "maximum cpu usage per Container is 2, but limit is 3"),
        (
            json!({ "requests": { "cpu": "50m" }, "limits": { "memory": "1Gi" } }),
            "[minimum cpu usage per Container is 100m, but request is 50m, cpu max limit to request ratio per Container is 4, but provided ratio is 20.000000]",
        ),
        (json!({ "limits": { "memory": "2Gi" } }), "maximum memory usage per Pod is 1Gi, but limit is 2Gi"),
        (json!({}), "maximum memory usage per Pod is 1Gi.  No limit is specified"),
    ] {
        let refused = cluster.create("pods", "default", sized("a", resources.clone())).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (403, format!("pods \"a\" is forbidden: {expected}").as_str()),
            "{resources}"
        );
    }
    cluster.create("pods", "default", sized("a", json!({ "limits": { "memory": "1Gi" } }))).await.unwrap();
    let refused = cluster.create("persistentvolumeclaims", "default", claim("a", "20Gi")).await.unwrap_err();
    assert!(
        refused.message().ends_with("maximum storage usage per PersistentVolumeClaim is 10Gi, but request is 20Gi"),
        "{refused}"
    );
}

fn claim(name: &str, size: &str) -> Json {
    json!({ "metadata": { "name": name }, "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": size } } } })
}

fn class(name: &str, expand: bool) -> Json {
    json!({ "metadata": { "name": name, "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } },
        "provisioner": "example.com/disk", "allowVolumeExpansion": expand })
}

#[tokio::test]
async fn claims_get_the_default_class_and_grow_where_it_lets_them() {
    let cluster = cluster().await;
    let bare = cluster.create("persistentvolumeclaims", "default", claim("none", "1Gi")).await.unwrap().to_json();
    assert!(bare["spec"].get("storageClassName").is_none());
    for (name, expand) in [("slow", false), ("fast", true)] {
        cluster.create("storage.k8s.io/storageclasses", "", class(name, expand)).await.unwrap();
    }
    for (name, class, expected) in [
        ("a", "fast", None),
        (
            "b",
            "slow",
            Some(
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
            ),
        ),
    ] {
        let mut doc = claim(name, "1Gi");
        if class == "slow" {
            doc["spec"]["storageClassName"] = json!("slow");
        }
        let made = cluster.create("persistentvolumeclaims", "default", doc).await.unwrap().to_json();
        assert_eq!(made["spec"]["storageClassName"], class);
        let bigger = json!({ "spec": { "resources": { "requests": { "storage": "2Gi" } } } });
        let refused = cluster.merge("persistentvolumeclaims", name, bigger.clone()).await.unwrap_err();
        assert!(refused.message().contains("bound"), "{refused}");
        let mut bound = cluster.get("persistentvolumeclaims", "default", name).await.unwrap();
        bound["status"] = json!({ "phase": "Bound" });
        cluster.update_part("persistentvolumeclaims", "status", bound).await.unwrap();
        match (cluster.merge("persistentvolumeclaims", name, bigger).await, expected) {
            (Ok(_), None) => {}
            (Err(refused), Some(expected)) => assert!(refused.message().ends_with(expected), "{refused}"),
            (other, _) => panic!("{name}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn an_ingress_gets_the_default_class() {
    let cluster = cluster().await;
    let class = json!({ "metadata": { "name": "edge", "annotations": { "ingressclass.kubernetes.io/is-default-class": "true" } },
        "spec": { "controller": "example.com/edge" } });
    cluster.create("networking.k8s.io/ingressclasses", "", class).await.unwrap();
    let backend = json!({ "service": { "name": "web", "port": { "number": 80 } } });
    let ingress = |name: &str| json!({ "metadata": { "name": name }, "spec": { "defaultBackend": backend } });
    let made = cluster.create("networking.k8s.io/ingresses", "default", ingress("a")).await.unwrap().to_json();
    assert_eq!(made["spec"]["ingressClassName"], "edge");
    let mut own = ingress("b");
    own["metadata"]["annotations"] = json!({ "kubernetes.io/ingress.class": "other" });
    let made = cluster.create("networking.k8s.io/ingresses", "default", own).await.unwrap().to_json();
    assert!(made["spec"].get("ingressClassName").is_none());
}

#[tokio::test]
async fn claims_are_held_to_the_bounds_when_they_change() {
    let cluster = cluster().await;
    let claim = json!({ "metadata": { "name": "data" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "20Gi" } } } });
    cluster.create("persistentvolumeclaims", "default", claim).await.unwrap();
    let label = json!({ "metadata": { "labels": { "a": "b" } } });
    cluster.merge("persistentvolumeclaims", "data", label).await.unwrap();
    let limits = json!([{ "type": "PersistentVolumeClaim", "max": { "storage": "10Gi" } }]);
    cluster.create("limitranges", "default", range(limits)).await.unwrap();
    let label = json!({ "metadata": { "labels": { "a": "c" } } });
    let refused = cluster.merge("persistentvolumeclaims", "data", label).await.unwrap_err();
    let text = "persistentvolumeclaims \"data\" is forbidden: maximum storage usage per PersistentVolumeClaim is 10Gi, but \
                request is 20Gi";
    assert_eq!((refused.code(), refused.message()), (403, text));
    // One that goes may still lose what holds it.
    cluster.delete("persistentvolumeclaims", "default", "data").await.unwrap();
    cluster.merge("persistentvolumeclaims", "data", json!({ "metadata": { "finalizers": null } })).await.unwrap();
    assert_eq!(cluster.get("persistentvolumeclaims", "default", "data").await.unwrap_err().code(), 404);
}
