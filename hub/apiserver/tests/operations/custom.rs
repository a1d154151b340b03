//! Definitions of custom kinds as objects, and what their kinds' clients see.

use crate::discovery::{AGGREGATED, has};
use crate::hub::{Hub, names};
use holdfast_core::Json;
use serde_json::json;
use std::time::{Duration, Instant};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// `PLURAL.GROUP`, with one version, whose schema is `schema`.
pub(crate) fn definition(plural: &str, group: &str, scope: &str, schema: Json) -> Json {
    let kind = plural.trim_end_matches('s');
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {"group": group, "scope": scope, "names": {"plural": plural, "singular": kind, "kind": kind},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}})
}

/// A schema that takes anything.
pub(crate) fn anything() -> Json {
    json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Asks until the answer is what `holds` says.
async fn until(hub: &Hub, path: &str, holds: impl Fn(u16, &Json) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let answer = hub.get(path).await;
        if holds(answer.code, &answer.body) {
            return;
        }
        assert!(Instant::now() < deadline, "never: {path}: {:#}", answer.body);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn definitions_are_listed_and_deleted_by_label() {
    let hub = Hub::start().await;
    let mut made = Vec::new();
    for number in 0..4 {
        let mut doc = definition(&format!("things{number}s"), "list.example.com", "Cluster", anything());
        doc["metadata"]["labels"] = json!({"listed": "yes"});
        let doc = hub.create(DEFINITIONS, doc).await;
        until(&hub, &format!("{DEFINITIONS}/{}", doc["metadata"]["name"].as_str().unwrap()), |_, doc| {
            let conditions = doc["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|one| one["type"] == "Established" && one["status"] == "True")
        })
        .await;
        made.push(doc);
    }
    hub.create(DEFINITIONS, definition("others", "list.example.com", "Cluster", anything())).await;
    let labelled = format!("{DEFINITIONS}?labelSelector=listed%3Dyes");
    let list = hub.get(&labelled).await.ok();
    assert_eq!(list["items"].as_array().unwrap().len(), made.len());
    for one in list["items"].as_array().unwrap() {
        let made = made.iter().find(|made| made["metadata"]["name"] == one["metadata"]["name"]).unwrap();
        assert_eq!(made["spec"], one["spec"]);
    }
    hub.delete(&labelled).await.ok();
    until(&hub, &labelled, |_, list| list["items"].as_array().is_some_and(Vec::is_empty)).await;
    assert_eq!(hub.names(DEFINITIONS).await, ["others.list.example.com"]);
    hub.delete(&format!("{DEFINITIONS}/others.list.example.com")).await.ok();
    until(&hub, &format!("{DEFINITIONS}/others.list.example.com"), |code, _| code == 404).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_a_definition_is_read_updated_and_patched() {
    let hub = Hub::start().await;
    let made = hub.create(DEFINITIONS, definition("tolds", "status.example.com", "Cluster", anything())).await;
    let path = format!("{DEFINITIONS}/tolds.status.example.com/status");
    let told = |doc: &Json, message: &str| {
        doc["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|one| one["message"] == message))
    };
    let mut status = hub.get(&path).await.ok();
    assert_eq!(status["spec"], made["spec"]);
    let condition = json!({"type": "", "status": "", "lastTransitionTime": null, "message": "updated"});
    status["status"]["conditions"].as_array_mut().unwrap().push(condition);
    let updated = hub.put(&path, &status).await.ok();
    assert!(told(&updated, "updated"), "{updated:#}");
    let patch = json!([{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]);
    let patched = hub.patch(&path, "json-patch", &patch).await.ok();
    assert!(told(&patched, "patched"), "{patched:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defaults_reach_what_is_made_while_they_stand() {
    let hub = Hub::start().await;
    let mut schema = anything();
    schema["properties"] = json!({"a": {"type": "string"}, "b": {"type": "string"}});
    hub.create(DEFINITIONS, definition("tills", "default.example.com", "Cluster", schema)).await;
    let tills = "/apis/default.example.com/v1/tills";
    let till = |name: &str| json!({"apiVersion": "default.example.com/v1", "kind": "till", "metadata": {"name": name}});
    let bare = hub.create(tills, till("one")).await;
    assert!(bare.get("a").is_none() && bare.get("b").is_none(), "{bare:#}");
    let path = format!("{DEFINITIONS}/tills.default.example.com");
    let properties = "/spec/versions/0/schema/openAPIV3Schema/properties";
    let patch = json!([{"op": "add", "path": format!("{properties}/a/default"), "value": "A"}]);
    hub.patch(&path, "json-patch", &patch).await.ok();
    assert_eq!(hub.create(tills, till("two")).await["a"], "A");
    assert_eq!(hub.get(&format!("{tills}/one")).await.ok()["a"], "A");
    let patch = json!([{"op": "remove", "path": format!("{properties}/a/default")},
        {"op": "add", "path": format!("{properties}/b/default"), "value": "B"}]);
    hub.patch(&path, "json-patch", &patch).await.ok();
    let third = hub.create(tills, till("three")).await;
    assert_eq!((third.get("a"), &third["b"]), (None, &json!("B")));
    // What was stored with a default keeps it; what was stored without one is read with it.
    let two = hub.get(&format!("{tills}/two")).await.ok();
    assert_eq!((&two["a"], &two["b"]), (&json!("A"), &json!("B")));
    let one = hub.get(&format!("{tills}/one")).await.ok();
    assert_eq!((one.get("a"), &one["b"]), (None, &json!("B")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_called_as_its_definition_says() {
    let hub = Hub::start().await;
    let mut doc = definition("boxs", "list.example.com", "Cluster", anything());
    doc["spec"]["names"]["listKind"] = "Boxes".into();
    hub.create(DEFINITIONS, doc).await;
    assert_eq!(hub.get("/apis/list.example.com/v1/boxs").await.ok()["kind"], "Boxes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_objects_are_watched() {
    let hub = Hub::start().await;
    hub.create(DEFINITIONS, definition("seens", "watch.example.com", "Cluster", anything())).await;
    let seens = "/apis/watch.example.com/v1/seens";
    let mut all = hub.watch(&format!("{seens}?watch=true")).await;
    let mut of_a = hub.watch(&format!("{seens}?watch=true&fieldSelector=metadata.name%3Dname1")).await;
    for name in ["name1", "name2"] {
        let body = json!({"apiVersion": "watch.example.com/v1", "kind": "seen", "metadata": {"name": name}, "num": 1});
        hub.create(seens, body).await;
    }
    for name in ["name1", "name2"] {
        hub.patch(&format!("{seens}/{name}"), "merge-patch", &json!({"num": 2})).await.ok();
    }
    for name in ["name1", "name2"] {
        hub.delete(&format!("{seens}/{name}")).await.ok();
    }
    for sort in ["ADDED", "MODIFIED", "DELETED"] {
        for name in ["name1", "name2"] {
            assert_eq!(all.told().await, format!("{sort} {name}"));
        }
        assert_eq!(of_a.told().await, format!("{sort} name1"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_objects_are_selected_by_their_fields() {
    let hub = Hub::start().await;
    let schema = json!({"type": "object", "properties": {"host": {"type": "string"}, "port": {"type": "string"}}});
    let mut doc = definition("hosts", "select.example.com", "Namespaced", schema);
    doc["spec"]["versions"][0]["selectableFields"] = json!([{"jsonPath": ".host"}, {"jsonPath": ".port"}]);
    hub.create(DEFINITIONS, doc).await;
    let hosts = "/apis/select.example.com/v1/namespaces/one/hosts";
    let selected = |selector: &str| format!("{hosts}?fieldSelector={}", selector.replace('=', "%3D"));
    let mut of_host = hub.watch(&format!("{}&watch=true", selected("host=host1"))).await;
    let mut of_both = hub.watch(&format!("{}&watch=true", selected("host=host1,port=80"))).await;
    for (name, host, port) in [("one", "host1", "80"), ("two", "host1", "8080"), ("three", "host2", "80")] {
        let body = json!({"apiVersion": "select.example.com/v1", "kind": "host", "metadata": {"name": name},
            "host": host, "port": port});
        hub.create(hosts, body).await;
    }
    let listed = async |selector: &str| names(&hub.get(&selected(selector)).await.ok());
    assert_eq!(listed("host=host1").await, ["one", "two"]);
    assert_eq!(listed("host=host1,port=80").await, ["one"]);
    hub.delete(&selected("host=host1,port=80")).await.ok();
    hub.patch(&format!("{hosts}/two"), "merge-patch", &json!({"host": "host2"})).await.ok();
    assert!(listed("host=host1").await.is_empty() && listed("host=host1,port=80").await.is_empty());
    for expected in ["ADDED one", "ADDED two", "DELETED one", "DELETED two"] {
        assert_eq!(of_host.told().await, expected);
    }
    for expected in ["ADDED one", "DELETED one"] {
        assert_eq!(of_both.told().await, expected);
    }
    let unknown = hub.get(&selected("name=x")).await.refused(400);
    assert!(unknown.contains("field label not supported"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_kinds_are_discovered() {
    let hub = Hub::start().await;
    let aggregated = async || hub.send("GET", "/apis", &[("accept", AGGREGATED)], "").await.ok();
    assert!(!has(&aggregated().await, "found.example.com", "v1", "founds"));
    hub.create(DEFINITIONS, definition("founds", "found.example.com", "Namespaced", anything())).await;
    assert!(has(&aggregated().await, "found.example.com", "v1", "founds"));
    let plain = hub.get("/apis/found.example.com/v1").await.ok();
    assert_eq!(plain["resources"][0]["name"], "founds");
    hub.delete(&format!("{DEFINITIONS}/founds.found.example.com")).await.ok();
    until(&hub, "/apis/found.example.com/v1", |code, _| code == 404).await;
}

/// What is served, and nothing else, is in the document that old clients read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_document_follows_definitions() {
    let hub = Hub::start().await;
    let served = async |names: &[(&str, bool)]| {
        let document = hub.get("/openapi/v2").await.ok();
        for (name, wanted) in names {
            assert_eq!(document["definitions"].get(*name).is_some(), *wanted, "{name}");
            assert_eq!(document["definitions"].get(format!("{name}List")).is_some(), *wanted, "{name}List");
        }
        document
    };
    served(&[("com.example.a.v1.one", false)]).await;
    let spec = json!({"type": "object", "properties": {"bars": {"type": "array", "nullable": true,
        "items": {"type": "string"}}, "size": {"type": "integer", "minimum": 1}}});
    let validated = json!({"type": "object", "properties": {"spec": spec}});
    let embedded = json!({"type": "object", "properties": {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "string"}}}}});
    let both = |mut doc: Json| {
        let mut second = doc["spec"]["versions"][0].clone();
        (second["name"], second["storage"]) = (json!("v2"), json!(false));
        doc["spec"]["versions"].as_array_mut().unwrap().push(second);
        doc
    };
    hub.create(DEFINITIONS, both(definition("ones", "a.example.com", "Namespaced", validated))).await;
    hub.create(DEFINITIONS, definition("twos", "a.example.com", "Cluster", anything())).await;
    hub.create(DEFINITIONS, definition("threes", "b.example.com", "Cluster", embedded)).await;
    let all = [
        ("com.example.a.v1.one", true),
        ("com.example.a.v2.one", true),
        ("com.example.a.v1.two", true),
        ("com.example.b.v1.three", true),
    ];
    let document = served(&all).await;
    let of = |name: &str| document["definitions"][name].clone();
    let size = json!({"type": "integer", "minimum": 1});
    assert_eq!(of("com.example.a.v1.one")["properties"]["spec"]["properties"], json!({"bars": {}, "size": size}));
    assert!(of("com.example.a.v1.one")["properties"]["metadata"]["$ref"].is_string());
    assert_eq!(of("com.example.a.v1.two").get("properties"), None);
    let open = json!({"x-kubernetes-preserve-unknown-fields": true});
    assert_eq!(of("com.example.b.v1.three")["properties"]["spec"], open);
    let path = "/apis/a.example.com/v2/namespaces/{namespace}/ones/{name}";
    assert_eq!(document["paths"][path]["get"]["x-kubernetes-group-version-kind"]["kind"], "one");
    assert!(document["definitions"].get("io.k8s.api.core.v1.Pod").is_some(), "beside what is built in");

    // A version is not served any more, one is renamed, one goes.
    let ones = format!("{DEFINITIONS}/ones.a.example.com");
    let patch = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": false}]);
    hub.patch(&ones, "json-patch", &patch).await.ok();
    served(&[("com.example.a.v1.one", true), ("com.example.a.v2.one", false)]).await;
    let patch = json!([{"op": "replace", "path": "/spec/versions/1/served", "value": true},
        {"op": "replace", "path": "/spec/versions/1/name", "value": "v3"}]);
    hub.patch(&ones, "json-patch", &patch).await.ok();
    served(&[("com.example.a.v1.one", true), ("com.example.a.v2.one", false), ("com.example.a.v3.one", true)]).await;
    hub.delete(&format!("{DEFINITIONS}/threes.b.example.com")).await.ok();
    until(&hub, "/openapi/v2", |_, document| document["definitions"].get("com.example.b.v1.three").is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_may_cost_too_much_are_refused() {
    let hub = Hub::start().await;
    let rule = json!([{"rule": "self.all(x, self.all(y, x == y))"}]);
    let schema = |bounds: Json| {
        let mut list = json!({"type": "array", "items": {"type": "string", "maxLength": 10}});
        list.as_object_mut().unwrap().extend(bounds.as_object().unwrap().clone());
        list["x-kubernetes-validations"] = rule.clone();
        json!({"type": "object", "properties": {"list": list}})
    };
    let refused =
        hub.post(DEFINITIONS, &definition("ones", "c.example.com", "Cluster", schema(json!({})))).await.refused(422);
    let text = "spec.versions[0].schema.openAPIV3Schema.properties[list].x-kubernetes-validations[0].rule: Forbidden: estimated \
                rule cost exceeds budget by factor of more than 100x";
    assert!(refused.contains(text), "{refused}");
    hub.create(DEFINITIONS, definition("ones", "c.example.com", "Cluster", schema(json!({"maxItems": 10})))).await;
}
