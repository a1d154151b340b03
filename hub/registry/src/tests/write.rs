//! Create, update, patch: conflicts, parts, and what travels along.

use super::*;
use holdfast_store::{Check, Condition, Op};

#[tokio::test]
async fn a_new_object_gets_identity_and_defaults() {
    let cluster = cluster().await;
    let object = cluster.create("apps/deployments", "default", deployment("web")).await.unwrap();
    let doc = object.to_json();
    assert_eq!(doc["metadata"]["generation"], 1);
    assert_eq!(doc["metadata"]["namespace"], "default");
    assert_eq!(doc["metadata"]["uid"].as_str().unwrap().len(), 36);
    assert_eq!(doc["metadata"]["resourceVersion"], object.revision.to_string());
    assert_eq!(doc["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(cluster.get("apps/deployments", "default", "web").await.unwrap(), doc);
    let again = cluster.create("apps/deployments", "default", deployment("web")).await.unwrap_err();
    assert_eq!((again.code(), again.message()), (409, "deployments.apps \"web\" already exists"));
}

#[tokio::test]
async fn documents_are_refused_in_upstreams_words() {
    let cluster = cluster().await;
    let why = |status: Status| (status.code(), status.message().to_string());
    let missing = cluster.create("configmaps", "nowhere", config_map("a", json!({}))).await.unwrap_err();
    assert_eq!(why(missing), (404, "namespaces \"nowhere\" not found".to_string()));

    let mut doc = pod("a");
    doc["spec"]["foo"] = json!(1);
    let unknown = cluster.create("pods", "default", doc.clone()).await.unwrap_err();
    let text = "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: unknown field \"spec.foo\"";
    assert_eq!(why(unknown), (400, text.to_string()));
    let warn = WriteOptions::default();
    cluster.registry.create(&cluster.cx, &target("pods", "default", ""), doc, &warn).await.unwrap();
    assert_eq!(cluster.cx.warnings.lock().unwrap().as_slice(), ["unknown field \"spec.foo\""]);

    let other = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "x" } });
    let other = cluster.create("pods", "default", other).await.unwrap_err();
    let text = "the API version in the data (apps/v1) does not match the expected API version (v1)";
    assert_eq!(why(other), (400, text.to_string()));

    let mut elsewhere = config_map("a", json!({}));
    elsewhere["metadata"]["namespace"] = json!("kube-system");
    let elsewhere = cluster.create("configmaps", "default", elsewhere).await.unwrap_err();
    let text = "the namespace of the provided object does not match the namespace sent on the request";
    assert_eq!(why(elsewhere), (400, text.to_string()));
}

#[tokio::test]
async fn generated_names_are_unique() {
    let cluster = cluster().await;
    let doc = json!({ "metadata": { "generateName": "a-" } });
    let mut names = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let object = cluster.create("configmaps", "default", doc.clone()).await.unwrap();
        assert!(object.meta.name.starts_with("a-") && object.meta.name.len() == 7, "{}", object.meta.name);
        names.insert(object.meta.name.clone());
    }
    assert_eq!(names.len(), 20);
}

#[tokio::test]
async fn stale_updates_conflict_and_others_do_not() {
    let cluster = cluster().await;
    cluster.create("configmaps", "default", config_map("a", json!({}))).await.unwrap();
    let first = cluster.get("configmaps", "default", "a").await.unwrap();
    cluster.merge("configmaps", "a", json!({ "data": { "more": "1" } })).await.unwrap();
    let mut stale = first.clone();
    stale["data"]["key"] = json!("late");
    let status = cluster.update("configmaps", stale.clone()).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (
            409,
            "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your \
             changes to the latest version and try again"
        )
    );
    stale["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    cluster.update("configmaps", stale).await.unwrap();
    assert_eq!(cluster.get("configmaps", "default", "a").await.unwrap()["data"], json!({ "key": "late" }));
}

#[tokio::test]
async fn concurrent_patches_all_land() {
    let cluster = Arc::new(cluster().await);
    cluster.create("configmaps", "default", config_map("a", json!({}))).await.unwrap();
    let writers = (0..8).map(|n| {
        let cluster = cluster.clone();
        async move {
            let body = json!({ "data": { format!("k{n}"): "v" } });
            cluster.merge("configmaps", "a", body).await.unwrap();
        }
    });
    futures_util::future::join_all(writers).await;
    assert_eq!(cluster.get("configmaps", "default", "a").await.unwrap()["data"].as_object().unwrap().len(), 9);
}

#[tokio::test]
async fn an_update_that_changes_nothing_writes_nothing() {
    let cluster = cluster().await;
    let object = cluster.create("apps/deployments", "default", deployment("web")).await.unwrap();
    let same = cluster.update("apps/deployments", object.to_json()).await.unwrap();
    assert_eq!((same.revision, cluster.store.revision()), (object.revision, object.revision));
}

#[tokio::test]
async fn main_and_status_are_parts_of_their_own() {
    let cluster = cluster().await;
    let mut doc = cluster.create("apps/deployments", "default", deployment("web")).await.unwrap().to_json();
    doc["spec"]["replicas"] = json!(3);
    doc["status"]["replicas"] = json!(3);
    let main = cluster.update("apps/deployments", doc.clone()).await.unwrap().to_json();
    assert_eq!((&main["spec"]["replicas"], &main["metadata"]["generation"]), (&json!(3), &json!(2)));
    assert!(main["status"].get("replicas").is_none());

    let mut doc = main;
    doc["spec"]["replicas"] = json!(9);
    doc["status"] = json!({ "replicas": 3, "observedGeneration": 2 });
    let status = cluster.update_part("apps/deployments", "status", doc).await.unwrap().to_json();
    assert_eq!((&status["spec"]["replicas"], &status["metadata"]["generation"]), (&json!(3), &json!(2)));
    assert_eq!(status["status"]["observedGeneration"], 2);
}

#[tokio::test]
async fn metadata_of_the_server_stays() {
    let cluster = cluster().await;
    let doc = cluster.create("configmaps", "default", config_map("a", json!({}))).await.unwrap().to_json();
    let mut bare = doc.clone();
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        bare["metadata"].as_object_mut().unwrap().remove(field);
    }
    let kept = cluster.update("configmaps", bare).await.unwrap().to_json();
    assert_eq!(kept["metadata"]["uid"], doc["metadata"]["uid"]);
    let mut other = doc.clone();
    other["metadata"]["creationTimestamp"] = json!("2001-01-01T00:00:00Z");
    let status = cluster.update("configmaps", other).await.unwrap_err();
    assert!(status.message().contains("metadata.creationTimestamp: Invalid value"), "{status}");
    assert!(status.message().ends_with("field is immutable"), "{status}");
    let mut other = doc;
    other["metadata"]["uid"] = json!("x");
    assert_eq!(cluster.update("configmaps", other).await.unwrap_err().code(), 409);
}

#[tokio::test]
async fn a_dry_run_stores_nothing() {
    let cluster = cluster().await;
    let before = cluster.store.revision();
    let options = WriteOptions { dry_run: true, ..strict() };
    let at = target("configmaps", "default", "");
    let doc = config_map("a", json!({}));
    let object = cluster.registry.create(&cluster.cx, &at, doc, &options).await.unwrap();
    assert_eq!((object.meta.name.as_str(), cluster.store.revision()), ("a", before));
    assert_eq!(cluster.get("configmaps", "default", "a").await.unwrap_err().code(), 404);
}

#[tokio::test]
async fn scale_changes_replicas_only() {
    let cluster = cluster().await;
    cluster.create("apps/deployments", "default", deployment("web")).await.unwrap();
    let at = target("apps/deployments", "default", "web").with_subresource("scale");
    let scale = cluster.registry.get(&cluster.cx, &at).await.unwrap().to_json();
    assert_eq!((&scale["kind"], &scale["status"]["selector"]), (&json!("Scale"), &json!("app=web")));
    let patch = Patch { patch_type: PatchType::Merge, body: json!({ "spec": { "replicas": 5 } }) };
    let (scaled, _) = cluster.registry.patch(&cluster.cx, &at, patch, &strict()).await.unwrap();
    assert_eq!(scaled.to_json()["spec"]["replicas"], 5);
    assert_eq!(cluster.get("apps/deployments", "default", "web").await.unwrap()["spec"]["replicas"], 5);
    let patch = Patch { patch_type: PatchType::Merge, body: json!({ "spec": { "replicas": -1 } }) };
    let status = cluster.registry.patch(&cluster.cx, &at, patch, &strict()).await.unwrap_err();
    assert!(status.message().contains("spec.replicas: Invalid value: -1: must be greater than or equal to 0"));
}

#[tokio::test]
async fn what_travels_along_commits_with_the_write_or_not_at_all() {
    let cluster = cluster().await;
    cluster.create("pods", "default", pod("a")).await.unwrap();
    let at = target("pods", "default", "a").with_subresource("status");
    let mark = |n: u8, condition: Condition| CommitWith {
        checks: vec![Check { key: "/links/n/session".into(), condition }],
        ops: vec![Op::Put { key: "/links/n/mark".into(), value: vec![n].into() }],
        adopts: false,
    };
    let write = |phase: &'static str, extension: CommitWith| {
        let (cluster, at) = (&cluster, &at);
        async move {
            let cx = with_extension(&cluster.cx, extension);
            let patch = Patch { patch_type: PatchType::Merge, body: json!({ "status": { "phase": phase } }) };
            cluster.registry.patch(&cx, at, patch, &WriteOptions::default()).await
        }
    };
    let status = write("Running", mark(1, Condition::Exists)).await.unwrap_err();
    assert!(crate::is_stale_session(&status) && status.code() == 409, "{status}");
    assert_eq!(cluster.get("pods", "default", "a").await.unwrap()["status"]["phase"], "Pending");
    assert!(cluster.store.get("/links/n/mark").await.unwrap().is_none());

    let (object, _) = write("Running", mark(2, Condition::Absent)).await.unwrap();
    let stored = cluster.store.get("/links/n/mark").await.unwrap().unwrap();
    assert_eq!((stored.modified, &stored.value[..]), (object.revision, &[2][..]));

    // A fact that changes nothing still has to be marked as taken.
    let (same, _) = write("Running", mark(3, Condition::Absent)).await.unwrap();
    assert_eq!(same.revision, object.revision);
    assert_eq!(cluster.store.get("/links/n/mark").await.unwrap().unwrap().value[..], [3]);
}

/// A sidecar comes back to life, whatever its pod says.
#[tokio::test]
async fn a_container_with_a_policy_of_its_own_may_run_again() {
    let cluster = cluster().await;
    let mut doc = pod("a");
    doc["spec"]["restartPolicy"] = json!("Never");
    doc["spec"]["initContainers"] = json!([{ "name": "side", "image": "app:1", "restartPolicy": "Always" }]);
    cluster.create("pods", "default", doc).await.unwrap();
    let at = target("pods", "default", "a").with_subresource("status");
    let report = async |main: Json, side: Json| {
        let one = |name: &str, state: Json| json!([{ "name": name, "image": "app:1", "imageID": "", "ready": false, "restartCount": 0, "state": state }]);
        let body =
            json!({ "status": { "containerStatuses": one("main", main), "initContainerStatuses": one("side", side) } });
        let patch = Patch { patch_type: PatchType::Merge, body };
        cluster.registry.patch(&cluster.cx, &at, patch, &strict()).await
    };
    let ended = json!({ "terminated": { "exitCode": 1 }, "running": null });
    let runs = json!({ "running": {}, "terminated": null });
    report(ended.clone(), ended.clone()).await.unwrap();
    report(ended, runs.clone()).await.unwrap();
    let refused = report(runs.clone(), runs).await.unwrap_err();
    let text = "Pod \"a\" is invalid: status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state";
    assert_eq!((refused.code(), refused.message()), (422, text));
}
