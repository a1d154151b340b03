//! Namespaces as objects.

use crate::hub::Hub;
use serde_json::json;

const NAMESPACES: &str = "/api/v1/namespaces";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_is_patched_and_updated() {
    let hub = Hub::start().await;
    hub.create(NAMESPACES, json!({"metadata": {"name": "patched"}})).await;
    let path = format!("{NAMESPACES}/patched");
    let label = json!({"metadata": {"labels": {"testLabel": "testValue"}}});
    hub.patch(&path, "strategic-merge-patch", &label).await.ok();
    let mut doc = hub.get(&path).await.ok();
    assert_eq!(doc["metadata"]["labels"]["testLabel"], "testValue");
    doc["metadata"]["labels"]["updated"] = json!("yes");
    let updated = hub.put(&path, &doc).await.ok();
    assert_eq!(updated["metadata"]["labels"]["updated"], "yes");
    assert_eq!(hub.get(&path).await.ok(), updated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_a_namespace_is_patched_and_updated() {
    let hub = Hub::start().await;
    hub.create(NAMESPACES, json!({"metadata": {"name": "told"}})).await;
    let path = format!("{NAMESPACES}/told/status");
    let condition = |name: &str| {
        json!({"type": name, "status": "True", "reason": "E2E", "message": "Set by a test",
            "lastTransitionTime": "2026-01-01T00:00:00Z"})
    };
    let read = hub.get(&path).await.ok();
    assert_eq!(read["status"]["phase"], "Active");
    let patch =
        json!({"metadata": {"annotations": {"told": "patched"}}, "status": {"conditions": [condition("StatusPatch")]}});
    let mut patched = hub.patch(&path, "merge-patch", &patch).await.ok();
    assert_eq!(patched["status"]["conditions"][0]["type"], "StatusPatch");
    assert_eq!(patched["metadata"]["annotations"]["told"], "patched");
    patched["status"]["conditions"].as_array_mut().unwrap().push(condition("StatusUpdate"));
    let updated = hub.put(&path, &patched).await.ok();
    assert_eq!(updated["status"]["conditions"][1]["type"], "StatusUpdate");
    assert_eq!(hub.get(&format!("{NAMESPACES}/told")).await.ok()["status"], updated["status"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finalizer_comes_and_goes_by_finalize() {
    const OURS: &str = "e2e.example.com/fakeFinalizer";
    let hub = Hub::start().await;
    let mut doc = hub.create(NAMESPACES, json!({"metadata": {"name": "held"}})).await;
    let path = format!("{NAMESPACES}/held");
    doc["spec"]["finalizers"].as_array_mut().unwrap().push(json!(OURS));
    let mut held = hub.put(&format!("{path}/finalize"), &doc).await.ok();
    assert_eq!(held["spec"]["finalizers"], json!(["kubernetes", OURS]));
    held["spec"]["finalizers"] = json!(["kubernetes"]);
    let freed = hub.put(&format!("{path}/finalize"), &held).await.ok();
    assert_eq!(freed["spec"]["finalizers"], json!(["kubernetes"]));
    assert_eq!(hub.get(&path).await.ok(), freed);
}
