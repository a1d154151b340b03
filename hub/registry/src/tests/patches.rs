//! What writes come to that change nothing, or nothing that can be: as upstream answers them.

use super::custom::{CRDS, TILLS, definition, till};
use super::*;

async fn patched(cluster: &Cluster, at: &Target, patch_type: PatchType, body: Json) -> Result<Arc<Object>, Status> {
    let patched = cluster.registry.patch(&cluster.cx, at, Patch { patch_type, body }, &strict()).await;
    patched.map(|(object, _)| object)
}

/// A client written in Go sends back what its types always write: null times, empty structs, zero quantities.
#[tokio::test]
async fn what_a_go_client_sends_back_changes_nothing() {
    let cluster = cluster().await;
    let mut doc = deployment("web");
    doc["spec"]["template"]["spec"]["containers"][0]["env"] =
        json!([{ "name": "M", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory" } } }]);
    let created = cluster.create("apps/deployments", "default", doc).await.unwrap();
    let mut doc = created.to_json_whole();
    let template = &mut doc["spec"]["template"];
    template["metadata"]["creationTimestamp"] = Json::Null;
    template["spec"]["containers"][0]["env"][0]["valueFrom"]["resourceFieldRef"]["divisor"] = json!("0");
    template["spec"]["containers"][0]["resources"] = json!({});
    let updated = cluster.update("apps/deployments", doc.clone()).await.unwrap();
    assert_eq!((updated.revision, updated.managed_fields()), (created.revision, created.managed_fields()));
    // Beside another change, it is no change of its own.
    doc["metadata"]["labels"]["new"] = json!("1");
    let updated = cluster.update("apps/deployments", doc).await.unwrap();
    assert!(updated.revision > created.revision);
    let managers = updated.managed_fields().to_string();
    assert!(!managers.contains("f:divisor"), "{managers}");
}

#[tokio::test]
async fn patches_that_leave_no_object_of_their_kind_are_invalid() {
    let cluster = cluster().await;
    cluster.create("apps/deployments", "default", deployment("web")).await.unwrap();
    let at = target("apps/deployments", "default", "web");
    let replace = |path: &str, value: Json| json!([{ "op": "replace", "path": path, "value": value }]);
    for (patch_type, body, shown, why) in [
        (PatchType::Merge, json!({ "spec": { "replicas": "x" } }), "\"{", "json: cannot unmarshal string"),
        (PatchType::Json, replace("/spec/replicas", json!("x")), "\"{", "json: cannot unmarshal string"),
        (
            PatchType::Strategic,
            json!({ "spec": { "replicas": "x", "paused": true } }),
            "\"map[spec:map[paused:true replicas:x]]\"",
            "json: cannot unmarshal string",
        ),
        (PatchType::Merge, json!({ "spec": { "foo": 1 } }), "\"{", "strict decoding error: unknown field \"spec.foo\""),
        (
            PatchType::Strategic,
            json!({ "spec": { "foo": null, "bar": [1] } }),
            "\"map[spec:map[bar:[1] foo:<nil>]]\"",
            "strict decoding error: unknown field \"spec.bar\"",
        ),
    ] {
        let status = patched(&cluster, &at, patch_type, body).await.unwrap_err();
        let begin = format!(" \"\" is invalid: patch: Invalid value: {shown}");
        assert!(status.code() == 422 && status.message().starts_with(&begin), "{status}");
        assert!(status.message().contains(&format!("\": {why}")), "{status}");
        let body = serde_json::to_value(&status).unwrap();
        assert_eq!(
            (&body["reason"], &body["details"]["causes"][0]["field"], &body["details"]["causes"][0]["reason"]),
            (&json!("Invalid"), &json!("patch"), &json!("FieldValueInvalid"))
        );
    }
    // A whole object that is none is a bad request, as ever.
    let mut doc = cluster.get("apps/deployments", "default", "web").await.unwrap();
    doc["spec"]["replicas"] = json!("x");
    assert_eq!(cluster.update("apps/deployments", doc).await.unwrap_err().code(), 400);
}

#[tokio::test]
async fn owners_that_stand_twice_stand_once() {
    let cluster = cluster().await;
    let owner = |uid: &str| json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": uid });
    let mut doc = config_map("a", json!({}));
    doc["metadata"]["ownerReferences"] = json!([owner("1"), owner("2"), owner("1"), owner("1")]);
    let created = cluster.create("configmaps", "default", doc).await.unwrap();
    assert_eq!(created.to_json()["metadata"]["ownerReferences"], json!([owner("1"), owner("2")]));
    let warnings = std::mem::take(&mut *cluster.cx.warnings.lock().unwrap());
    let text = ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
                reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: 1, 1";
    assert_eq!(warnings, [text]);
    let at = target("configmaps", "default", "a");
    let add = json!([{ "op": "add", "path": "/metadata/ownerReferences/-", "value": owner("2") }]);
    let patched = patched(&cluster, &at, PatchType::Json, add).await.unwrap();
    assert_eq!((patched.revision, patched.managed_fields()), (created.revision, created.managed_fields()));
    let warnings = std::mem::take(&mut *cluster.cx.warnings.lock().unwrap());
    assert!(warnings[0].contains("duplicate entries after mutating admission happens; "), "{warnings:?}");
}

#[tokio::test]
async fn names_are_segments_of_a_path() {
    let cluster = cluster().await;
    for (name, why) in
        [("a/b", "may not contain '/'"), ("..", "may not be '..'"), ("a%/", "may not contain '/';may not contain '%'")]
    {
        let status = cluster.get("configmaps", "default", name).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (400, &*format!("Name parameter invalid: {name:?}: {why}")));
    }
}

/// Custom kinds say nothing of how lists merge; and their status brings nothing else with it, nor the ownership of it.
#[tokio::test]
async fn custom_kinds_take_three_patches_and_a_status_alone() {
    let cluster = cluster().await;
    let _task = cluster.registry.start_custom_kinds().await.unwrap();
    cluster.create(CRDS, "", definition()).await.unwrap();
    cluster.create(TILLS, "default", till("a", json!({}))).await.unwrap();
    let at = target(TILLS, "default", "a");
    for at in [at.clone(), at.clone().with_subresource("scale"), target(TILLS, "default", "none")] {
        let status = patched(&cluster, &at, PatchType::Strategic, json!({})).await.unwrap_err();
        let text = "the body of the request was in an unknown format - accepted media types include: \
                    application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
        assert_eq!((status.code(), status.message()), (415, text));
    }
    let body = json!({ "apiVersion": "shop.example.com/v1", "kind": "Till",
        "metadata": { "name": "a", "labels": { "l": "1" }, "annotations": { "n": "1" } },
        "spec": { "color": "red" }, "status": { "drawers": 3 } });
    let patch = Patch { patch_type: PatchType::Apply, body };
    let options = WriteOptions { field_manager: "me".into(), ..strict() };
    let at = at.with_subresource("status");
    let (object, _) = cluster.registry.patch(&cluster.cx, &at, patch, &options).await.unwrap();
    let (doc, managers) = (object.to_json(), object.managed_fields());
    assert_eq!((&doc["status"]["drawers"], doc["metadata"].get("labels")), (&json!(3), None));
    let entries: Vec<Json> = serde_json::from_str(managers).unwrap();
    let mine = entries.iter().find(|entry| entry["manager"] == "me").unwrap();
    assert_eq!(mine["fieldsV1"], json!({ "f:status": { "f:drawers": {} } }));
}
