//! Quotas and protected claims over the real registry: what admission charges, the controller gives back.

use super::*;

async fn demo(hub: &Hub) {
    hub.create("namespaces", "", json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "demo"}})).await;
    hub.wait("the account", "serviceaccounts", "demo", |all| all.len() == 1).await;
}

async fn used(hub: &Hub, what: &str, expected: Json) {
    hub.wait(what, "resourcequotas", "demo", |all| all.len() == 1 && all[0]["status"]["used"] == expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_holds_a_deployment_and_gives_back_what_goes() {
    let hub = hub().await;
    demo(&hub).await;
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"},
        "spec": {"hard": {"pods": "2", "count/deployments.apps": "1"}}});
    hub.create("resourcequotas", "demo", quota).await;
    used(&hub, "counted once", json!({"pods": "0", "count/deployments.apps": "0"})).await;
    hub.create("apps/deployments", "demo", deployment()).await;
    used(&hub, "full", json!({"pods": "2", "count/deployments.apps": "1"})).await;
    hub.wait("why there are no more", "events", "demo", |all| {
        let text = "exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2";
        all.iter().any(|event| event["message"].as_str().is_some_and(|message| message.ends_with(text)))
    })
    .await;
    assert_eq!(hub.all("pods", "demo").await.len(), 2);
    let at = Target::object(gvr("apps/deployments"), "demo", "web");
    hub.patch(at.clone(), json!({"spec": {"replicas": 1}})).await;
    used(&hub, "one less", json!({"pods": "1", "count/deployments.apps": "1"})).await;
    hub.admin.delete(&at, &DeleteOptions::default()).await.unwrap();
    used(&hub, "empty", json!({"pods": "0", "count/deployments.apps": "0"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_in_use_stays_until_its_pod_is_gone() {
    let hub = hub().await;
    demo(&hub).await;
    let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    hub.create("persistentvolumeclaims", "demo", claim).await;
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "app:1"}],
        "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}});
    hub.create("pods", "demo", pod).await;
    let at = Target::object(gvr("persistentvolumeclaims"), "demo", "data");
    hub.admin.delete(&at, &DeleteOptions::default()).await.unwrap();
    hub.wait("it is held", "persistentvolumeclaims", "demo", |all| {
        all.len() == 1 && all[0]["metadata"]["finalizers"][0] == "kubernetes.io/pvc-protection"
    })
    .await;
    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    hub.admin.delete(&Target::object(gvr("pods"), "demo", "a"), &now).await.unwrap();
    hub.wait("it goes", "persistentvolumeclaims", "demo", <[Json]>::is_empty).await;
}
