//! The subresource `scale` of what has replicas.

use crate::hub::{Hub, version};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scale_is_read_updated_and_patched() {
    let hub = Hub::start().await;
    let template =
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "main", "image": "app"}]}});
    let by_labels = json!({"matchLabels": {"app": "a"}});
    for (at, selector) in [
        ("/apis/apps/v1/namespaces/one/deployments", &by_labels),
        ("/apis/apps/v1/namespaces/one/replicasets", &by_labels),
        ("/apis/apps/v1/namespaces/one/statefulsets", &by_labels),
        ("/api/v1/namespaces/one/replicationcontrollers", &json!({"app": "a"})),
    ] {
        let spec = json!({"replicas": 1, "selector": selector, "template": template});
        let made = hub.create(at, json!({"metadata": {"name": "web"}, "spec": spec})).await;
        let replicas = async || hub.get(&format!("{at}/web")).await.ok()["spec"]["replicas"].as_u64().unwrap();
        let path = format!("{at}/web/scale");
        let mut scale = hub.get(&path).await.ok();
        assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")), "{at}");
        assert_eq!((&scale["spec"]["replicas"], &scale["status"]["selector"]), (&json!(1), &json!("app=a")), "{at}");
        // Whatever the object is by now.
        scale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        scale["spec"]["replicas"] = json!(2);
        let updated = hub.put(&path, &scale).await.ok();
        assert_eq!(updated["spec"]["replicas"], 2, "{at}");
        assert!(version(&updated) > version(&made));
        assert_eq!(replicas().await, 2, "{at}");
        let patched = hub.patch(&path, "strategic-merge-patch", &json!({"spec": {"replicas": 4}})).await.ok();
        assert_eq!((patched["spec"]["replicas"].as_u64(), replicas().await), (Some(4), 4), "{at}");
        let refused = hub.patch(&path, "merge-patch", &json!({"spec": {"replicas": -1}})).await.refused(422);
        assert!(refused.contains("must be greater than or equal to 0"), "{refused}");
    }
}
