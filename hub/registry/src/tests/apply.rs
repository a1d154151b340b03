//! Server-side apply and managers over the engine: what is written when, and what is answered.

use super::*;
use holdfast_core::Reason;

/// Options of a manager.
fn by(manager: &str) -> WriteOptions {
    WriteOptions { field_manager: manager.into(), ..strict() }
}

fn forced(manager: &str) -> WriteOptions {
    WriteOptions { force: true, ..by(manager) }
}

fn config(data: Json) -> Json {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": data })
}

impl Cluster {
    async fn apply(&self, at: &Target, body: Json, options: &WriteOptions) -> Result<(Arc<Object>, bool), Status> {
        let patch = Patch { patch_type: PatchType::Apply, body };
        self.registry.patch(&self.cx, at, patch, options).await
    }

    async fn patched(&self, at: &Target, patch_type: PatchType, body: Json, options: &WriteOptions) -> Arc<Object> {
        self.registry.patch(&self.cx, at, Patch { patch_type, body }, options).await.unwrap().0
    }

    async fn updated(&self, at: &Target, doc: Json, options: &WriteOptions) -> Arc<Object> {
        self.registry.update(&self.cx, at, doc, options).await.unwrap().0
    }
}

/// The managers of an object as `name operation subresource: fields`.
fn managers(object: &Object) -> Vec<String> {
    let all: Vec<Json> = match object.managed_fields() {
        "" => Vec::new(),
        text => serde_json::from_str(text).unwrap(),
    };
    let text = |entry: &Json, field: &str| entry[field].as_str().unwrap_or_default().to_string();
    all.iter()
        .map(|entry| {
            let (name, operation) = (text(entry, "manager"), text(entry, "operation"));
            format!("{name} {operation} {}: {}", text(entry, "subresource"), entry["fieldsV1"])
        })
        .collect()
}

#[tokio::test]
async fn an_apply_creates_changes_and_takes_away() {
    let cluster = cluster().await;
    let at = target("configmaps", "default", "a");
    let (object, created) = cluster.apply(&at, config(json!({ "x": "1", "y": "1" })), &by("me")).await.unwrap();
    assert!(created && object.meta.uid.len() == 36);
    assert_eq!(managers(&object), [r#"me Apply : {"f:data":{"f:x":{},"f:y":{}}}"#]);

    let before = cluster.store.revision();
    let (same, created) = cluster.apply(&at, config(json!({ "x": "1", "y": "1" })), &by("me")).await.unwrap();
    assert_eq!((created, same.revision, cluster.store.revision()), (false, object.revision, before));
    assert_eq!(same.managed_fields(), object.managed_fields());

    let (less, _) = cluster.apply(&at, config(json!({ "x": "1" })), &by("me")).await.unwrap();
    assert_eq!(less.to_json()["data"], json!({ "x": "1" }));
    assert!(less.revision > object.revision);

    let (dry, _) =
        cluster.apply(&at, config(json!({ "x": "2" })), &WriteOptions { dry_run: true, ..by("me") }).await.unwrap();
    assert_eq!((dry.to_json()["data"]["x"].as_str(), cluster.store.revision()), (Some("2"), less.revision));
    let elsewhere = target("configmaps", "default", "b");
    let mut body = config(json!({}));
    body["metadata"]["name"] = json!("b");
    let options = WriteOptions { dry_run: true, ..by("me") };
    assert!(cluster.apply(&elsewhere, body, &options).await.unwrap().1);
    assert_eq!(cluster.get("configmaps", "default", "b").await.unwrap_err().code(), 404);
}

#[tokio::test]
async fn conflicts_are_told_and_can_be_forced() {
    let cluster = cluster().await;
    let at = target("configmaps", "default", "a");
    cluster.apply(&at, config(json!({ "x": "1" })), &by("me")).await.unwrap();
    let changed = cluster.patched(&at, PatchType::Merge, json!({ "data": { "x": "2" } }), &by("edit")).await;
    assert_eq!(managers(&changed), [r#"edit Update : {"f:data":{"f:x":{}}}"#]);
    let status = cluster.apply(&at, config(json!({ "x": "1" })), &by("me")).await.unwrap_err();
    assert!(status.is(Reason::Conflict) && status.code() == 409);
    assert_eq!(status.message(), "Apply failed with 1 conflict: conflict with \"edit\" using v1: .data.x");
    let body = serde_json::to_value(&status).unwrap();
    let cause =
        json!({ "reason": "FieldManagerConflict", "message": "conflict with \"edit\" using v1", "field": ".data.x" });
    assert_eq!(body["details"], json!({ "causes": [cause] }));
    let (object, _) = cluster.apply(&at, config(json!({ "x": "1" })), &forced("me")).await.unwrap();
    assert_eq!(managers(&object), [r#"me Apply : {"f:data":{"f:x":{}}}"#]);
}

#[tokio::test]
async fn configurations_are_refused_in_upstreams_words() {
    let cluster = cluster().await;
    let at = target("configmaps", "default", "a");
    let mut other_kind = config(json!({}));
    other_kind["kind"] = json!("Secret");
    let mut managed = config(json!({}));
    managed["metadata"]["managedFields"] = json!([]);
    let mut unknown = config(json!({}));
    unknown["metadata"]["namespace"] = json!("default");
    unknown["spec"] = json!({});
    let mut other_name = config(json!({}));
    other_name["metadata"]["name"] = json!("b");
    let mut uid = config(json!({}));
    uid["metadata"]["uid"] = json!("u");
    let not_declared =
        "failed to create typed patch object (default/a; v1, Kind=ConfigMap): .spec: field not declared in schema";
    for (body, code, text) in [
        (other_kind, 400, "invalid object type: /v1, Kind=Secret"),
        (json!({}), 400, "invalid object type: /, Kind="),
        (json!([1]), 400, "invalid object type: /, Kind="),
        (managed, 400, "metadata.managedFields must be nil"),
        (unknown, 400, not_declared),
        (config(json!({ "x": 1 })), 400, "cannot unmarshal number"),
        (other_name, 400, "the name of the object (b) does not match the name on the URL (a)"),
        (uid, 409, "uid mismatch: the provided object specified uid u, and no existing object was found"),
    ] {
        let status = cluster.apply(&at, body, &by("me")).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(text), "{status}");
    }
    let mut twice = pod("p");
    twice["apiVersion"] = json!("v1");
    twice["kind"] = json!("Pod");
    twice["spec"]["containers"] = json!([{ "name": "c", "image": "a" }, { "name": "c", "image": "b" }]);
    let status = cluster.apply(&target("pods", "default", "p"), twice, &by("me")).await.unwrap_err();
    assert!(status.message().ends_with(".spec.containers: duplicate entries for key [name=\"c\"]"), "{status}");
    // What is missing of a subresource's object is not made.
    let status = cluster.apply(&target("pods", "default", "p").with_subresource("status"), pod("p"), &by("me")).await;
    assert_eq!(status.unwrap_err().code(), 400);
    let body =
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" }, "status": { "phase": "Running" } });
    let status = cluster.apply(&target("pods", "default", "p").with_subresource("status"), body, &by("me")).await;
    assert_eq!(status.unwrap_err().code(), 404);
    let nowhere = Target::object(gvr("configmaps"), "nowhere", "a");
    let status = cluster.apply(&nowhere, config(json!({})), &by("me")).await.unwrap_err();
    assert_eq!(status.message(), "namespaces \"nowhere\" not found");
}

#[tokio::test]
async fn an_apply_keeps_to_the_version_that_it_names() {
    let cluster = cluster().await;
    let at = target("configmaps", "default", "a");
    let (object, _) = cluster.apply(&at, config(json!({ "x": "1" })), &by("me")).await.unwrap();
    let mut stale = config(json!({ "x": "2" }));
    stale["metadata"]["resourceVersion"] = json!("1");
    assert_eq!(cluster.apply(&at, stale.clone(), &by("me")).await.unwrap_err().code(), 409);
    stale["metadata"]["resourceVersion"] = json!(object.revision.to_string());
    cluster.apply(&at, stale, &by("me")).await.unwrap();
}

#[tokio::test]
async fn every_write_is_somebodys() {
    let cluster = cluster().await;
    let at = target("apps/deployments", "default", "web");
    let all = target("apps/deployments", "default", "");
    let created = cluster.registry.create(&cluster.cx, &all, deployment("web"), &by("creator")).await.unwrap();
    let entries: Vec<Json> = serde_json::from_str(created.managed_fields()).unwrap();
    assert_eq!((entries.len(), &entries[0]["manager"]), (1, &json!("creator")));
    let spec = &entries[0]["fieldsV1"]["f:spec"];
    // Defaults are the creator's, as upstream; what upstream's Go types hold by value is nobody's.
    assert_eq!((&spec["f:replicas"], &spec["f:selector"]), (&json!({}), &json!({})));
    assert!(spec["f:strategy"].get(".").is_none() && spec["f:strategy"].get("f:rollingUpdate").is_some());
    assert!(entries[0]["fieldsV1"].get("f:metadata").is_none(), "{}", entries[0]);

    let status = json!({ "status": { "observedGeneration": 1, "replicas": 2 } });
    let part = at.clone().with_subresource("status");
    let object = cluster.patched(&part, PatchType::Merge, status, &by("controller")).await;
    let fields = r#"controller Update status: {"f:status":{"f:observedGeneration":{},"f:replicas":{}}}"#;
    assert!(managers(&object).contains(&fields.to_string()), "{:?}", managers(&object));

    // What a part cannot change is not owned by asking for it.
    let mut doc = object.to_json();
    doc["status"]["replicas"] = json!(9);
    doc["metadata"]["annotations"] = json!({ "n": "1" });
    let object = cluster.updated(&at, doc, &by("editor")).await;
    let fields = r#"editor Update : {"f:metadata":{"f:annotations":{".":{},"f:n":{}}}}"#;
    assert!(managers(&object).contains(&fields.to_string()), "{:?}", managers(&object));

    let patch = json!([{ "op": "replace", "path": "/spec/replicas", "value": 4 }]);
    let object = cluster.patched(&at, PatchType::Json, patch, &by("json")).await;
    let containers =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "b" }] } } } });
    let object = {
        assert!(managers(&object).contains(&r#"json Update : {"f:spec":{"f:replicas":{}}}"#.to_string()));
        cluster.patched(&at, PatchType::Strategic, containers, &WriteOptions::default()).await
    };
    let fields = r#"unknown Update : {"f:spec":{"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{"f:image":{}}}}}}}"#;
    assert!(managers(&object).contains(&fields.to_string()), "{:?}", managers(&object));

    // A deletion that waits changes no manager, and the object that is shown last has them.
    let body = json!({ "metadata": { "finalizers": ["a.io/b"] } });
    let object = cluster.patched(&at, PatchType::Merge, body, &by("f")).await;
    let Deleted::Marked(marked) = cluster.delete("apps/deployments", "default", "web").await.unwrap() else { panic!() };
    assert_eq!(marked.managed_fields(), object.managed_fields());
}

#[tokio::test]
async fn what_admission_adds_is_nobodys() {
    let cluster = cluster().await;
    let all = target("pods", "default", "");
    let pod = cluster.registry.create(&cluster.cx, &all, pod("p"), &by("me")).await.unwrap();
    let entries: Vec<Json> = serde_json::from_str(pod.managed_fields()).unwrap();
    let spec = entries[0]["fieldsV1"]["f:spec"].as_object().unwrap();
    assert!(pod.to_json()["spec"]["tolerations"].is_array());
    assert!(!spec.contains_key("f:tolerations") && !spec.contains_key("f:serviceAccountName"), "{spec:?}");
    assert!(entries[0]["fieldsV1"].get("f:status").is_none());
}

#[tokio::test]
async fn clients_may_send_reset_and_rewrite_managers() {
    let cluster = cluster().await;
    let at = target("configmaps", "default", "a");
    let created = cluster.apply(&at, config(json!({ "x": "1" })), &by("me")).await.unwrap().0;
    // Most clients send back what they got.
    let again = cluster.updated(&at, created.to_json_whole(), &by("other")).await;
    assert_eq!((again.revision, again.managed_fields()), (created.revision, created.managed_fields()));
    // What does not decode is not taken.
    let mut doc = created.to_json();
    doc["metadata"]["managedFields"] = json!([{ "manager": "x" }]);
    let again = cluster.updated(&at, doc, &by("other")).await;
    assert_eq!(again.revision, created.revision);
    // As kubectl does when it goes over to server-side apply.
    let body = json!([{ "op": "replace", "path": "/metadata/managedFields", "value": [
        { "manager": "you", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
          "fieldsV1": { "f:data": { "f:x": {} } } }] }]);
    let object = cluster.patched(&at, PatchType::Json, body, &by("kubectl")).await;
    assert!(object.revision > created.revision);
    assert_eq!(managers(&object), [r#"you Apply : {"f:data":{"f:x":{}}}"#]);
    // https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields
    for (patch_type, body) in [
        (PatchType::Merge, json!({ "metadata": { "managedFields": [{}] } })),
        (PatchType::Json, json!([{ "op": "replace", "path": "/metadata/managedFields", "value": [{}] }])),
    ] {
        let reset = cluster.patched(&at, patch_type, body, &by("x")).await;
        assert_eq!(reset.managed_fields(), "");
        assert!(reset.to_json_whole()["metadata"].get("managedFields").is_none());
        let (object, _) = cluster.apply(&at, config(json!({ "x": "1" })), &by("me")).await.unwrap();
        let before = r#"before-first-apply Update : {"f:data":{".":{},"f:x":{}}}"#;
        assert_eq!(managers(&object), [r#"me Apply : {"f:data":{"f:x":{}}}"#, before]);
    }
}

#[tokio::test]
async fn a_status_is_applied_by_itself() {
    let cluster = cluster().await;
    cluster.create("pods", "default", pod("p")).await.unwrap();
    let at = target("pods", "default", "p").with_subresource("status");
    let body = |message: &str| {
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "p" }, "spec": { "nodeName": "n" },
            "status": { "conditions": [{ "type": "x.io/y", "status": "True", "message": message }] } })
    };
    let (object, _) = cluster.apply(&at, body("a"), &by("me")).await.unwrap();
    let doc = object.to_json();
    assert!(doc["spec"].get("nodeName").is_none());
    let fields = r#"me Apply status: {"f:status":{"f:conditions":{"k:{\"type\":\"x.io/y\"}":{".":{},"f:message":{},"f:status":{},"f:type":{}}}}}"#;
    assert!(managers(&object).contains(&fields.to_string()), "{:?}", managers(&object));
    let status = cluster.apply(&at, body("b"), &by("you")).await.unwrap_err();
    let text = "conflict with \"me\" with subresource \"status\": .status.conditions[type=\"x.io/y\"].message";
    assert!(status.message().ends_with(text), "{status}");
}

#[tokio::test]
async fn whoever_scales_owns_the_replicas() {
    let cluster = cluster().await;
    let at = target("apps/deployments", "default", "web");
    let scale_at = at.clone().with_subresource("scale");
    let mut config = deployment("web");
    config["spec"]["replicas"] = json!(1);
    cluster.apply(&at, config.clone(), &by("me")).await.unwrap();
    let body = json!({ "spec": { "replicas": 3 } });
    cluster.patched(&scale_at, PatchType::Merge, body, &by("kubectl")).await;
    let status = cluster.apply(&at, config.clone(), &by("me")).await.unwrap_err();
    let text = "Apply failed with 1 conflict: conflict with \"kubectl\" with subresource \"scale\" using apps/v1: \
                .spec.replicas";
    assert_eq!(status.message(), text);
    // Applying the scale of another meets the same.
    let scale = json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": { "name": "web" },
        "spec": { "replicas": 5 } });
    let status = cluster.apply(&scale_at, scale.clone(), &by("hpa")).await.unwrap_err();
    assert!(status.message().contains("\"kubectl\" with subresource \"scale\" using"), "{status}");
    cluster.apply(&scale_at, scale, &forced("hpa")).await.unwrap();
    let at = target("apps/deployments", "default", "web");
    let object = cluster.registry.get(&cluster.cx, &at).await.unwrap();
    assert_eq!(object.to_json()["spec"]["replicas"], 5);
    let owners: Vec<String> = managers(&object).into_iter().filter(|entry| entry.contains("f:replicas")).collect();
    assert_eq!(owners, [r#"hpa Apply scale: {"f:spec":{"f:replicas":{}}}"#]);
    // Who does not speak of replicas has nothing to do with them.
    config["spec"].as_object_mut().unwrap().remove("replicas");
    let (object, _) = cluster.apply(&at, config, &by("me")).await.unwrap();
    assert_eq!(object.to_json()["spec"]["replicas"], 5);
}

#[tokio::test]
async fn managers_follow_an_event_through_both_its_versions() {
    let cluster = cluster().await;
    let event = json!({ "metadata": { "name": "e" }, "reason": "R", "message": "m", "type": "Normal",
        "involvedObject": { "kind": "Pod", "namespace": "default", "name": "p" },
        "series": { "count": 2, "lastObservedTime": "2026-11-24T10:00:00.000000Z" } });
    let all = target("events", "default", "");
    cluster.registry.create(&cluster.cx, &all, event, &by("old")).await.unwrap();
    let at = target("events.k8s.io/events", "default", "e");
    let body = json!({ "series": { "count": 3 } });
    let object = cluster.patched(&at, PatchType::Merge, body, &by("new")).await;
    assert_eq!(object.to_json()["series"]["count"], 3);
    let entries: Vec<Json> = serde_json::from_str(object.managed_fields()).unwrap();
    let of = |name: &str| entries.iter().find(|entry| entry["manager"] == name).unwrap();
    assert_eq!(
        (&of("new")["apiVersion"], &of("new")["fieldsV1"]),
        (&json!("events.k8s.io/v1"), &json!({ "f:series": { "f:count": {} } }))
    );
    assert_eq!(of("old")["apiVersion"], "v1");
    assert!(of("old")["fieldsV1"]["f:series"].get("f:count").is_none(), "the old one has lost it: {}", of("old"));
}

#[tokio::test]
async fn managed_fields_are_bounded() {
    let cluster = cluster().await;
    let at = target("configmaps", "default", "a");
    let data: serde_json::Map<String, Json> = (0..9000).map(|n| (format!("{n:0>100}"), json!("v"))).collect();
    let body = config(Json::Object(data));
    cluster.apply(&at, body.clone(), &by("one")).await.unwrap();
    let status = cluster.apply(&at, body.clone(), &by("two")).await.unwrap_err();
    assert_eq!(status.code(), 413, "{status}");
    // Others go on, and leave nobody in charge.
    let mut doc = cluster.get("configmaps", "default", "a").await.unwrap();
    for n in 0..9000 {
        doc["data"][format!("x{n:0>100}")] = json!("v");
    }
    doc["data"].as_object_mut().unwrap().retain(|key, _| !key.ends_with('7'));
    let object = cluster.updated(&at, doc, &by("three")).await;
    assert_eq!(object.managed_fields(), "");
}
