//! Versions of a custom kind that a webhook converts, and what reads make of what is stored.

use super::custom::CRDS;
use super::*;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{Reason, Revision};
use holdfast_env::Task;
use holdfast_server::{CallFailure, WebhookCalls, WebhookTarget};
use std::sync::Mutex;

const NAME: &str = "tills.shop.example.com";
const PREFIX: &str = "/registry/shop.example.com/tills/";

/// What is wrong with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ails {
    Nothing,
    Unreachable,
    Refuses,
    Uid,
    Fewer,
    Version,
    Name,
    Labels,
}

/// A webhook that knows of drawers (v1) and trays (v2).
struct Converter {
    ails: Mutex<Ails>,
    /// The wanted version and the names of the objects of each call; `admission` for the other sort.
    calls: Mutex<Vec<(String, Vec<String>)>>,
}

fn renamed(mut doc: Json, to: &str) -> Json {
    let (old, new) = if to.ends_with("/v2") { ("drawers", "trays") } else { ("trays", "drawers") };
    for part in ["spec", "status"] {
        if let Some(count) = doc.get_mut(part).and_then(Json::as_object_mut).and_then(|map| map.remove(old)) {
            doc[part][new] = count;
        }
    }
    doc["apiVersion"] = to.into();
    doc
}

#[async_trait]
impl WebhookCalls for Converter {
    async fn post(&self, to: &WebhookTarget, body: Bytes, _within: Duration) -> Result<Bytes, CallFailure> {
        let review: Json = serde_json::from_slice(&body).unwrap();
        let (request, uid) = (&review["request"], review["request"]["uid"].clone());
        if review["kind"] == "AdmissionReview" {
            assert_eq!(to.path, "/admit");
            let version = request["object"]["apiVersion"].as_str().unwrap().to_string();
            self.calls.lock().unwrap().push(("admission".into(), vec![version]));
            let patch = json!([{ "op": "replace", "path": "/spec/drawers", "value": 9 }]).to_string();
            let patch = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, patch);
            let response = json!({ "uid": uid, "allowed": true, "patchType": "JSONPatch", "patch": patch });
            let answer = json!({ "apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response });
            return Ok(answer.to_string().into());
        }
        assert_eq!((&review["apiVersion"], to.path.as_str()), (&json!("apiextensions.k8s.io/v1"), "/convert"));
        let wanted = request["desiredAPIVersion"].as_str().unwrap();
        let objects = request["objects"].as_array().unwrap();
        let names = objects.iter().map(|doc| doc["metadata"]["name"].as_str().unwrap_or_default().to_string());
        self.calls.lock().unwrap().push((wanted.to_string(), names.collect()));
        // Others get to ask meanwhile.
        tokio::task::yield_now().await;
        let mut made: Vec<Json> = objects.iter().map(|doc| renamed(doc.clone(), wanted)).collect();
        let mut response = json!({ "uid": uid, "result": { "status": "Success" } });
        match *self.ails.lock().unwrap() {
            Ails::Nothing => {}
            Ails::Unreachable => return Err(CallFailure::Transport("dial tcp: connection refused".into())),
            Ails::Refuses => response["result"] = json!({ "status": "Failure", "message": "not today" }),
            Ails::Uid => response["uid"] = "other".into(),
            Ails::Fewer => drop(made.pop()),
            Ails::Version => made[0]["apiVersion"] = "shop.example.com/v3".into(),
            Ails::Name => made[0]["metadata"]["name"] = "other".into(),
            Ails::Labels => made[0]["metadata"]["labels"] = json!({ "not ok": "x" }),
        }
        response["convertedObjects"] = made.into();
        let answer = json!({ "apiVersion": review["apiVersion"], "kind": "ConversionReview", "response": response });
        Ok(answer.to_string().into())
    }
}

/// A version with a schema that calls the count `field`.
fn version(name: &str, field: &str, stored: bool) -> Json {
    let part =
        json!({ "type": "object", "properties": { field: { "type": "integer" }, "color": { "type": "string" } } });
    json!({
        "name": name, "served": true, "storage": stored,
        "subresources": { "status": {}, "scale": {
            "specReplicasPath": format!(".spec.{field}"), "statusReplicasPath": format!(".status.{field}") } },
        "selectableFields": [{ "jsonPath": format!(".spec.{field}") }],
        "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": part, "status": part } } },
    })
}

fn definition() -> Json {
    let client = json!({ "url": "https://hooks.example.com/convert" });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": NAME },
        "spec": {
            "group": "shop.example.com", "scope": "Namespaced", "names": { "plural": "tills", "kind": "Till" },
            "versions": [version("v1", "drawers", true), version("v2", "trays", false)],
            "conversion": { "strategy": "Webhook",
                "webhook": { "clientConfig": client, "conversionReviewVersions": ["v7", "v1"] } },
        },
    })
}

struct Shop {
    cluster: Cluster,
    converter: Arc<Converter>,
    _task: Task,
}

async fn shop_of(definition: Json) -> Shop {
    let cluster = cluster().await;
    let converter = Arc::new(Converter { ails: Mutex::new(Ails::Nothing), calls: Mutex::default() });
    cluster.registry.set_webhook_calls(converter.clone());
    let task = cluster.registry.start_custom_kinds().await.unwrap();
    cluster.create(CRDS, "", definition).await.unwrap();
    Shop { cluster, converter, _task: task }
}

fn at(version: &str, name: &str) -> Target {
    let collection = Target::collection(Gvr::new("shop.example.com", version, "tills"), "default");
    if name.is_empty() { collection } else { Target { name: Some(name.to_string()), ..collection } }
}

fn till(version: &str, name: &str, spec: Json) -> Json {
    let api_version = format!("shop.example.com/{version}");
    json!({ "apiVersion": api_version, "kind": "Till", "metadata": { "name": name }, "spec": spec })
}

impl Shop {
    async fn create(&self, version: &str, name: &str, spec: Json) -> Result<Json, Status> {
        let (registry, cx) = (&self.cluster.registry, &self.cluster.cx);
        let made = registry.create(cx, &at(version, ""), till(version, name, spec), &strict()).await;
        made.map(|object| object.to_json())
    }

    async fn get(&self, version: &str, name: &str) -> Result<Json, Status> {
        self.cluster.registry.get(&self.cluster.cx, &at(version, name)).await.map(|object| object.to_json())
    }

    async fn update(&self, version: &str, name: &str, part: &str, doc: Json) -> Result<Json, Status> {
        let mut target = at(version, name);
        if !part.is_empty() {
            target = target.with_subresource(part);
        }
        let updated = self.cluster.registry.update(&self.cluster.cx, &target, doc, &strict()).await;
        updated.map(|(object, _)| object.to_json())
    }

    async fn patch(
        &self,
        version: &str,
        name: &str,
        patch_type: PatchType,
        body: Json,
        by: &str,
    ) -> Result<Json, Status> {
        let options = WriteOptions { field_manager: by.into(), ..strict() };
        let (cx, patch) = (&self.cluster.cx, Patch { patch_type, body });
        let patched = self.cluster.registry.patch(cx, &at(version, name), patch, &options).await;
        patched.map(|(object, _)| object.to_json_whole())
    }

    async fn list(&self, version: &str, options: &ListOptions) -> Result<Vec<Json>, Status> {
        let list = self.cluster.registry.list(&self.cluster.cx, &at(version, ""), options).await?;
        Ok(list.items.iter().map(|object| object.to_json()).collect())
    }

    async fn watch(&self, version: &str, options: &ListOptions) -> Watch {
        self.cluster.registry.watch(&self.cluster.cx, &at(version, ""), options).await.unwrap()
    }

    /// What lies in the store.
    async fn stored(&self, name: &str) -> Option<Json> {
        let record = self.cluster.store.get(&format!("{PREFIX}default/{name}")).await.unwrap()?;
        Some(serde_json::from_slice(&record.value).unwrap())
    }

    /// Changes the definition with a JSON patch.
    async fn redefine(&self, operations: Json) -> Json {
        let patch = Patch { patch_type: PatchType::Json, body: operations };
        let (registry, cx) = (&self.cluster.registry, &self.cluster.cx);
        let (object, _) = registry.patch(cx, &target(CRDS, "", NAME), patch, &strict()).await.unwrap();
        object.to_json()
    }

    fn ails(&self, what: Ails) {
        *self.converter.ails.lock().unwrap() = what;
    }

    /// The calls since the last time.
    fn calls(&self) -> Vec<(String, Vec<String>)> {
        std::mem::take(&mut *self.converter.calls.lock().unwrap())
    }
}

fn call(version: &str, names: &[&str]) -> (String, Vec<String>) {
    (format!("shop.example.com/{version}"), names.iter().map(|name| (*name).to_string()).collect())
}

#[tokio::test]
async fn each_version_reads_and_writes_the_same_objects() {
    let shop = shop_of(definition()).await;
    let made = shop.create("v2", "a", json!({ "trays": 3 })).await.unwrap();
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("shop.example.com/v2"), &json!({ "trays": 3 })));
    assert_eq!(shop.calls(), [call("v1", &["a"]), call("v2", &["a"])]);
    let stored = shop.stored("a").await.unwrap();
    assert_eq!((&stored["apiVersion"], &stored["spec"]), (&json!("shop.example.com/v1"), &json!({ "drawers": 3 })));

    assert_eq!(shop.get("v1", "a").await.unwrap()["spec"], json!({ "drawers": 3 }));
    assert_eq!(shop.calls(), [], "nobody is asked about the stored version");
    let mut read = shop.get("v2", "a").await.unwrap();
    assert_eq!(read["spec"], json!({ "trays": 3 }));
    assert_eq!(shop.calls(), [call("v2", &["a"])]);
    shop.get("v2", "a").await.unwrap();
    assert_eq!(shop.calls(), [], "nor twice about the same");

    read["spec"]["trays"] = 4.into();
    let updated = shop.update("v2", "a", "", read).await.unwrap();
    assert_eq!((&updated["spec"], &updated["metadata"]["generation"]), (&json!({ "trays": 4 }), &json!(2)));
    let patched = shop.patch("v2", "a", PatchType::Merge, json!({ "spec": { "color": "red" } }), "").await.unwrap();
    assert_eq!(patched["spec"], json!({ "trays": 4, "color": "red" }));
    assert_eq!(shop.get("v1", "a").await.unwrap()["spec"], json!({ "drawers": 4, "color": "red" }));

    let mut status = shop.get("v2", "a").await.unwrap();
    status["status"] = json!({ "trays": 1 });
    let status = shop.update("v2", "a", "status", status).await.unwrap();
    assert_eq!(status["status"], json!({ "trays": 1 }));
    let scale = json!({ "metadata": { "name": "a", "namespace": "default" }, "spec": { "replicas": 7 } });
    let scale = shop.update("v2", "a", "scale", scale).await.unwrap();
    assert_eq!((&scale["spec"]["replicas"], &scale["status"]["replicas"]), (&json!(7), &json!(1)));
    let stored = shop.stored("a").await.unwrap();
    assert_eq!((&stored["spec"]["drawers"], &stored["status"]["drawers"]), (&json!(7), &json!(1)));

    let dry = WriteOptions { dry_run: true, ..strict() };
    let (registry, cx) = (&shop.cluster.registry, &shop.cluster.cx);
    let shown = registry.create(cx, &at("v2", ""), till("v2", "b", json!({ "trays": 1 })), &dry).await.unwrap();
    assert_eq!(shown.to_json()["spec"], json!({ "trays": 1 }));
    assert_eq!(shop.stored("b").await, None);
    let gone = registry.delete(cx, &at("v2", "a"), &Default::default()).await.unwrap();
    let Deleted::Gone(gone) = gone else { panic!("it stays") };
    assert_eq!(gone.to_json()["spec"]["trays"], 7);
}

#[tokio::test]
async fn managers_are_compared_in_their_own_versions() {
    let shop = shop_of(definition()).await;
    let apply = async |version: &str, by: &str, spec: Json| {
        shop.patch(version, "a", PatchType::Apply, till(version, "a", spec), by).await
    };
    apply("v1", "old", json!({ "drawers": 1 })).await.unwrap();
    let both = apply("v2", "new", json!({ "trays": 1, "color": "red" })).await.unwrap();
    assert_eq!(both["spec"], json!({ "trays": 1, "color": "red" }));
    let mut owners: Vec<(&str, &str, &Json)> = (both["metadata"]["managedFields"].as_array().unwrap().iter())
        .map(|entry| {
            let text = |field: &str| entry[field].as_str().unwrap();
            (text("manager"), text("apiVersion"), &entry["fieldsV1"]["f:spec"])
        })
        .collect();
    owners.sort_by_key(|(manager, ..)| *manager);
    assert_eq!(
        owners,
        [
            ("new", "shop.example.com/v2", &json!({ "f:color": {}, "f:trays": {} })),
            ("old", "shop.example.com/v1", &json!({ "f:drawers": {} })),
        ]
    );
    let refused = apply("v2", "new", json!({ "trays": 2 })).await.unwrap_err();
    assert!(refused.is(Reason::Conflict), "{refused}");
    assert!(refused.message().contains("conflict with \"old\": .spec.drawers"), "{refused}");
    let left = apply("v2", "new", json!({ "trays": 1 })).await.unwrap();
    assert_eq!(left["spec"], json!({ "trays": 1 }), "what it does not say any more goes");
    let patched = shop.patch("v2", "a", PatchType::Merge, json!({ "spec": { "trays": 5 } }), "editor").await.unwrap();
    let managers = patched["metadata"]["managedFields"].as_array().unwrap();
    let names: Vec<&str> = managers.iter().map(|entry| entry["manager"].as_str().unwrap()).collect();
    assert_eq!(names, ["editor"], "a change takes the field from its owners in every version");
}

#[tokio::test]
async fn a_scale_belongs_to_the_managers_of_all_versions() {
    let shop = shop_of(definition()).await;
    let apply = async |version: &str, by: &str, spec: Json| {
        shop.patch(version, "a", PatchType::Apply, till(version, "a", spec), by).await.unwrap()
    };
    apply("v1", "old", json!({ "drawers": 1, "color": "red" })).await;
    apply("v2", "new", json!({ "trays": 1 })).await;
    let scale = json!({ "metadata": { "name": "a", "namespace": "default" }, "spec": { "replicas": 7 } });
    shop.update("v2", "a", "scale", scale).await.unwrap();
    let (registry, cx) = (&shop.cluster.registry, &shop.cluster.cx);
    let scaled = registry.get(cx, &at("v2", "a")).await.unwrap().to_json_whole();
    let mut owners: Vec<(&str, &str, &Json)> = (scaled["metadata"]["managedFields"].as_array().unwrap().iter())
        .map(|entry| {
            let version = entry["apiVersion"].as_str().unwrap();
            (entry["manager"].as_str().unwrap(), version, &entry["fieldsV1"]["f:spec"])
        })
        .collect();
    owners.sort_by_key(|(manager, ..)| *manager);
    let trays = json!({ "f:trays": {} });
    let color = json!({ "f:color": {} });
    assert_eq!(owners, [("old", "shop.example.com/v1", &color), ("unknown", "shop.example.com/v2", &trays)]);
}

#[tokio::test]
async fn a_list_and_a_watch_ask_once_for_all_objects() {
    let shop = shop_of(definition()).await;
    for (name, count) in [("a", 1), ("b", 2), ("c", 3)] {
        shop.create("v1", name, json!({ "drawers": count })).await.unwrap();
    }
    assert_eq!(shop.calls(), []);
    let trays =
        |items: &[Json]| -> Vec<i64> { items.iter().map(|doc| doc["spec"]["trays"].as_i64().unwrap()).collect() };
    let listed = shop.list("v2", &ListOptions::default()).await.unwrap();
    assert_eq!(trays(&listed), [1, 2, 3]);
    assert_eq!(shop.calls(), [call("v2", &["a", "b", "c"])]);
    let first = ListOptions { limit: 2, ..ListOptions::default() };
    assert_eq!(trays(&shop.list("v2", &first).await.unwrap()), [1, 2]);
    assert_eq!(shop.calls(), [], "the views of before serve");

    let fields = holdfast_core::FieldSelector::parse("spec.trays=2").unwrap();
    let selected = ListOptions { fields, ..ListOptions::default() };
    assert_eq!(trays(&shop.list("v2", &selected).await.unwrap()), [2]);
    let mut all = shop.watch("v2", &ListOptions::default()).await;
    let mut twos = shop.watch("v2", &selected).await;
    for name in ["a", "b", "c"] {
        assert_eq!(shop.cluster.next(&mut all).await.0, format!("ADDED {name}"));
    }
    assert_eq!(shop.cluster.next(&mut twos).await.0, "ADDED b");
    assert_eq!(shop.calls(), []);
    for (name, count) in [("a", 2), ("b", 3)] {
        shop.patch("v1", name, PatchType::Merge, json!({ "spec": { "drawers": count } }), "").await.unwrap();
    }
    shop.cluster.registry.delete(&shop.cluster.cx, &at("v1", "c"), &Default::default()).await.unwrap();
    assert_eq!(shop.calls(), [], "writes of the stored version");
    let event = shop.cluster.env.timeout(Duration::from_secs(5), all.next()).await.unwrap().unwrap().unwrap();
    assert_eq!((event.event_type, &event.object.to_json()["spec"]), (WatchEventType::Modified, &json!({ "trays": 2 })));
    assert_eq!(shop.cluster.next(&mut all).await.0, "MODIFIED b");
    assert_eq!(shop.cluster.next(&mut all).await.0, "DELETED c");
    assert_eq!(shop.calls(), [call("v2", &["a", "b"])], "one call for what came at once, none for what was seen");
    assert_eq!(shop.cluster.next(&mut twos).await.0, "ADDED a");
    assert_eq!(shop.cluster.next(&mut twos).await.0, "DELETED b");
}

#[tokio::test]
async fn watchers_share_what_one_of_them_had_converted() {
    let shop = shop_of(definition()).await;
    let (mut one, mut two) =
        (shop.watch("v2", &ListOptions::default()).await, shop.watch("v2", &ListOptions::default()).await);
    shop.create("v1", "a", json!({ "drawers": 1 })).await.unwrap();
    let (first, second) = tokio::join!(shop.cluster.next(&mut one), shop.cluster.next(&mut two));
    assert_eq!((first.0, second.0), ("ADDED a".to_string(), "ADDED a".to_string()));
    assert_eq!(shop.calls(), [call("v2", &["a"])]);
}

#[tokio::test]
async fn a_call_takes_so_many_objects_at_most() {
    let shop = shop_of(definition()).await;
    let most = crate::limits::CONVERTED_OBJECTS;
    for number in 0..most + 2 {
        shop.create("v1", &format!("a{number:04}"), json!({ "drawers": 1 })).await.unwrap();
    }
    assert_eq!(shop.list("v2", &ListOptions::default()).await.unwrap().len(), most + 2);
    let counts: Vec<usize> = shop.calls().iter().map(|(_, names)| names.len()).collect();
    assert_eq!(counts, [most, 2]);
}

#[tokio::test]
async fn a_webhook_that_fails_fails_the_request() {
    let shop = shop_of(definition()).await;
    shop.create("v1", "a", json!({ "drawers": 1 })).await.unwrap();
    let by = "conversion webhook for shop.example.com/v1, Kind=Till";
    for (ails, text) in [
        (
            Ails::Unreachable,
            "failed: Post \"https://hooks.example.com/convert?timeout=30s\": dial tcp: connection refused".to_string(),
        ),
        (Ails::Refuses, "failed: not today".into()),
        (Ails::Fewer, "returned 0 objects, expected 1".into()),
        (
            Ails::Version,
            "returned invalid object at index 0: invalid groupVersion (expected shop.example.com/v2, received \
             shop.example.com/v3)"
                .into(),
        ),
        (Ails::Name, "returned invalid object: must have the same name: a != other".into()),
    ] {
        shop.ails(ails);
        let failed = shop.get("v2", "a").await.unwrap_err();
        assert_eq!((failed.code(), failed.message()), (500, format!("{by} {text}").as_str()), "{ails:?}");
        assert!(failed.is(Reason::Unknown));
        shop.get("v1", "a").await.unwrap();
        let failed = shop.create("v2", "b", json!({ "trays": 1 })).await.unwrap_err();
        assert!(failed.message().starts_with("conversion webhook for shop.example.com/v2, Kind=Till"), "{failed}");
        assert_eq!(shop.stored("b").await, None);
        assert_eq!(shop.list("v2", &ListOptions::default()).await.unwrap_err().code(), 500);
        let deleted = shop.cluster.registry.delete(&shop.cluster.cx, &at("v2", "a"), &Default::default()).await;
        assert_eq!(deleted.unwrap_err().code(), 500);
    }
    for (ails, text) in [
        (Ails::Uid, "failed: expected response.uid="),
        (Ails::Labels, "returned invalid metadata: metadata.labels: Invalid value: \"not ok\""),
    ] {
        shop.ails(ails);
        let failed = shop.get("v2", "a").await.unwrap_err();
        assert!(failed.message().starts_with(&format!("{by} {text}")), "{failed}");
    }
    let mut watch = shop
        .watch("v2", &ListOptions { resource_version: Some(shop.cluster.store.revision()), ..ListOptions::default() })
        .await;
    shop.patch("v1", "a", PatchType::Merge, json!({ "spec": { "drawers": 2 } }), "").await.unwrap();
    let failed = shop.cluster.env.timeout(Duration::from_secs(5), watch.next()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(failed.code(), 500);
    assert!(watch.next().await.is_none(), "and the watch has ended");

    shop.ails(Ails::Nothing);
    shop.create("v1", "b", json!({ "drawers": 2 })).await.unwrap();
    shop.ails(Ails::Version);
    let failed = shop.list("v2", &ListOptions::default()).await.unwrap_err();
    assert!(
        failed.message().contains("returned invalid converted object at index 0: invalid groupVersion"),
        "{failed}"
    );
    // A definition goes without its webhook.
    shop.ails(Ails::Unreachable);
    shop.cluster.delete(CRDS, "", NAME).await.unwrap();
    let deadline = shop.cluster.env.monotonic().after(Duration::from_secs(10));
    while shop.cluster.get(CRDS, "", NAME).await.is_ok() {
        assert!(shop.cluster.env.monotonic() < deadline, "the definition stays");
        shop.cluster.env.sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(shop.stored("a").await, None);
}

#[tokio::test]
async fn a_new_storage_version_is_for_what_is_written_from_then_on() {
    let shop = shop_of(definition()).await;
    shop.create("v1", "a", json!({ "drawers": 1 })).await.unwrap();
    let defined = shop
        .redefine(json!([
            { "op": "replace", "path": "/spec/versions/0/storage", "value": false },
            { "op": "replace", "path": "/spec/versions/1/storage", "value": true },
        ]))
        .await;
    assert_eq!(defined["status"]["storedVersions"], json!(["v1", "v2"]));
    shop.create("v1", "b", json!({ "drawers": 2 })).await.unwrap();
    let version = async |name: &str| shop.stored(name).await.unwrap()["apiVersion"].as_str().unwrap().to_string();
    assert_eq!((version("a").await, version("b").await), ("shop.example.com/v1".into(), "shop.example.com/v2".into()));
    let listed = shop.list("v1", &ListOptions::default()).await.unwrap();
    assert_eq!(listed.iter().map(|doc| &doc["spec"]["drawers"]).collect::<Vec<_>>(), [1, 2]);
    // An update that changes nothing migrates.
    let same = shop.get("v1", "a").await.unwrap();
    shop.update("v1", "a", "", same).await.unwrap();
    assert_eq!(version("a").await, "shop.example.com/v2");
    assert_eq!(shop.get("v1", "a").await.unwrap()["spec"], json!({ "drawers": 1 }));
    // Clients may not see the version in which things are stored.
    shop.redefine(json!([{ "op": "replace", "path": "/spec/versions/1/served", "value": false }])).await;
    assert_eq!(shop.get("v1", "b").await.unwrap()["spec"], json!({ "drawers": 2 }));
    assert_eq!(shop.get("v2", "b").await.unwrap_err().code(), 404);
    let kind = shop.cluster.registry.kinds().now().kinds.by_gvr(&at("v1", "").gvr).unwrap();
    assert!(!holdfast_kinds::convert::is_view(kind), "v1 stands for all objects now");
}

#[tokio::test]
async fn reads_fill_later_defaults_and_drop_what_is_not_known_any_more() {
    let mut plain = definition();
    plain["spec"]["conversion"] = json!({ "strategy": "None" });
    plain["spec"]["names"]["listKind"] = "Registers".into();
    let shop = shop_of(plain).await;
    assert_eq!(shop.cluster.registry.kinds().now().kinds.by_gvr(&at("v1", "").gvr).unwrap().list_kind(), "Registers");
    shop.create("v1", "a", json!({ "drawers": 1 })).await.unwrap();
    let mut watch =
        shop.watch("v1", &ListOptions { resource_version: Some(Revision(0)), ..ListOptions::default() }).await;
    assert_eq!(shop.cluster.next(&mut watch).await.0, "ADDED a");
    let spec = |version: u8| format!("/spec/versions/{version}/schema/openAPIV3Schema/properties/spec/properties");
    shop.redefine(json!([
        { "op": "add", "path": format!("{}/color/default", spec(0)), "value": "red" },
        { "op": "add", "path": format!("{}/trays/default", spec(1)), "value": 5 },
    ]))
    .await;
    let ended = shop.cluster.env.timeout(Duration::from_secs(5), watch.next()).await.expect("it goes on");
    assert!(ended.is_none(), "a watch shows objects in one way");
    assert_eq!(shop.get("v1", "a").await.unwrap()["spec"], json!({ "drawers": 1, "color": "red" }));
    // By the version in which it is stored; what v2 does not know is dropped.
    assert_eq!(shop.get("v2", "a").await.unwrap()["spec"], json!({ "color": "red" }));
    assert_eq!(shop.stored("a").await.unwrap()["spec"], json!({ "drawers": 1 }));
    let listed = shop.list("v1", &ListOptions::default()).await.unwrap();
    assert_eq!(listed[0]["spec"], json!({ "drawers": 1, "color": "red" }));
    let mut watch = shop.watch("v1", &ListOptions::default()).await;
    let event = watch.next().await.unwrap().unwrap();
    assert_eq!(event.object.to_json()["spec"], json!({ "drawers": 1, "color": "red" }));

    shop.redefine(json!([
        { "op": "remove", "path": format!("{}/color/default", spec(0)) },
        { "op": "remove", "path": format!("{}/drawers", spec(0)) },
        { "op": "remove", "path": "/spec/versions/0/subresources" },
        { "op": "remove", "path": "/spec/versions/0/selectableFields" },
    ]))
    .await;
    assert_eq!(shop.get("v1", "a").await.unwrap()["spec"], json!({}));
    assert_eq!(shop.stored("a").await.unwrap()["spec"], json!({ "drawers": 1 }));
}

#[tokio::test]
async fn watches_end_with_their_version_and_with_their_kind() {
    let shop = shop_of(definition()).await;
    shop.create("v1", "a", json!({ "drawers": 1 })).await.unwrap();
    let mut first = shop.watch("v1", &ListOptions::default()).await;
    let mut second = shop.watch("v2", &ListOptions::default()).await;
    assert_eq!(shop.cluster.next(&mut first).await.0, "ADDED a");
    assert_eq!(shop.cluster.next(&mut second).await.0, "ADDED a");
    shop.redefine(json!([{ "op": "replace", "path": "/spec/versions/1/served", "value": false }])).await;
    let ended = shop.cluster.env.timeout(Duration::from_secs(5), second.next()).await;
    assert!(ended.expect("it goes on").is_none());
    shop.create("v1", "b", json!({ "drawers": 1 })).await.unwrap();
    assert_eq!(shop.cluster.next(&mut first).await.0, "ADDED b", "the other version is as it was");
    shop.cluster.delete(CRDS, "", NAME).await.unwrap();
    for expected in ["DELETED a", "DELETED b"] {
        assert_eq!(shop.cluster.next(&mut first).await.0, expected);
    }
    let ended = shop.cluster.env.timeout(Duration::from_secs(5), first.next()).await;
    assert!(ended.expect("it goes on").is_none());
}

#[tokio::test]
async fn admission_sees_the_version_that_it_asks_for() {
    let shop = shop_of(definition()).await;
    let rule = json!({ "operations": ["CREATE"], "apiGroups": ["shop.example.com"], "apiVersions": ["v1"], "resources": ["tills"] });
    let configuration = json!({ "kind": "MutatingWebhookConfiguration", "metadata": { "name": "m" }, "webhooks": [{
        "name": "m.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": { "url": "https://hooks.example.com/admit" }, "rules": [rule] }] });
    let configurations = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
    shop.cluster.create(configurations, "", configuration).await.unwrap();
    let made = shop.create("v2", "a", json!({ "trays": 1 })).await.unwrap();
    assert_eq!(made["spec"], json!({ "trays": 9 }));
    let calls = shop.calls();
    assert_eq!(calls[0], call("v1", &["a"]), "for the webhook");
    assert_eq!(calls[1], ("admission".to_string(), vec!["shop.example.com/v1".to_string()]));
    assert_eq!(shop.stored("a").await.unwrap()["spec"], json!({ "drawers": 9 }));
}
