//! Webhooks about custom kinds: two that mutate in stages, one that denies.

use super::*;
use holdfast_core::{Patch, PatchType};

/// What a webhook of this path says; `None` for other paths.
pub(super) fn response(path: &str, request: &Json) -> Option<Json> {
    let data = |doc: &str, key: &str| request[doc]["data"][key].clone();
    let stage = |before: &str, path: &str| {
        if data("object", before) != "yes" {
            return json!({ "allowed": true });
        }
        let patch = json!([{ "op": "add", "path": path, "value": "yes" }]).to_string();
        let patch = base64::engine::general_purpose::STANDARD.encode(patch);
        json!({ "allowed": true, "patchType": "JSONPatch", "patch": patch })
    };
    Some(match path {
        "/stage-1" => stage("mutation-start", "/data/mutation-stage-1"),
        "/stage-2" => stage("mutation-stage-1", "/data/mutation-stage-2"),
        "/unwanted" => {
            let judged = if request["operation"] == "DELETE" { "oldObject" } else { "object" };
            let unwanted = data(judged, "test") == "disallow";
            let why = json!({ "message": "the custom resource contains unwanted data" });
            json!({ "allowed": !unwanted, "status": why })
        }
        _ => return None,
    })
}

/// A kind with `data`, of which the schema knows these keys, or all.
fn definition(keys: &[&str], versions: &[(&str, bool)]) -> Json {
    let schema = match keys {
        [] => json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true }),
        keys => {
            let keys: serde_json::Map<String, Json> =
                keys.iter().map(|key| ((*key).to_string(), json!({ "type": "string" }))).collect();
            json!({ "type": "object", "properties": keys })
        }
    };
    let schema = json!({ "openAPIV3Schema": { "type": "object", "properties": { "data": schema } } });
    let version =
        |(name, stored): &(&str, bool)| json!({ "name": name, "served": true, "storage": stored, "schema": schema });
    json!({ "metadata": { "name": "ends.stable.example.com" }, "spec": {
        "group": "stable.example.com", "scope": "Namespaced", "names": { "plural": "ends", "kind": "End" },
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
    } })
}

fn end(version: &str, data: Json) -> Json {
    let api_version = format!("stable.example.com/{version}");
    json!({ "apiVersion": api_version, "kind": "End", "metadata": { "name": "a" }, "data": data })
}

impl Hub {
    /// Webhooks at these paths hear of the kind.
    async fn configure(&self, resource: &str, hooks: &Hooks, paths: &[&str]) {
        let kind = if resource == MUTATING { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
        let hook = |path: &&str| {
            let url = format!("https://localhost:{}{path}", hooks.port);
            let rule = json!({ "operations": ["*"], "apiGroups": ["stable.example.com"], "apiVersions": ["*"],
                "resources": ["ends"] });
            json!({ "name": format!("{}.example.com", &path[1..]), "sideEffects": "None", "rules": [rule],
                "admissionReviewVersions": ["v1"], "clientConfig": { "url": url, "caBundle": hooks.bundle } })
        };
        let all: Vec<Json> = paths.iter().map(hook).collect();
        let doc = json!({ "kind": kind, "metadata": { "name": "hooks" }, "webhooks": all });
        self.create(resource, "", doc).await.unwrap();
    }

    async fn make(&self, version: &str, data: Json) -> Result<Json, Status> {
        let options = WriteOptions::default();
        let made = self.registry.create(&self.cx, &ends(version), end(version, data), &options).await;
        made.map(|object| object.to_json())
    }

    async fn merge(&self, at: &Target, body: Json) -> Result<Json, Status> {
        let patch = Patch { patch_type: PatchType::Merge, body };
        let patched = self.registry.patch(&self.cx, at, patch, &WriteOptions::default()).await;
        patched.map(|(object, _)| object.to_json())
    }
}

fn the(version: &str) -> Target {
    Target { name: Some("a".into()), ..ends(version) }
}

#[tokio::test]
async fn custom_objects_are_mutated_in_stages() {
    let all = json!({ "mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes" });
    let known = json!({ "mutation-start": "yes", "mutation-stage-1": "yes" });
    for (keys, expected) in [(&[][..], all), (&["mutation-start", "mutation-stage-1"][..], known)] {
        let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
        let _task = hub.registry.start_custom_kinds().await.unwrap();
        hub.create(DEFINITIONS, "", definition(keys, &[("v1", true)])).await.unwrap();
        hub.configure(MUTATING, &hooks, &["/stage-1", "/stage-2"]).await;
        let made = hub.make("v1", json!({ "mutation-start": "yes" })).await.unwrap();
        assert_eq!(made["data"], expected);
    }
}

#[tokio::test]
async fn custom_objects_are_mutated_whatever_version_is_stored() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    let _task = hub.registry.start_custom_kinds().await.unwrap();
    hub.create(DEFINITIONS, "", definition(&[], &[("v1", true), ("v2", false)])).await.unwrap();
    hub.configure(MUTATING, &hooks, &["/stage-1", "/stage-2"]).await;
    let made = hub.make("v1", json!({ "mutation-start": "no" })).await.unwrap();
    assert_eq!(made["data"], json!({ "mutation-start": "no" }));
    let operations = json!([
        { "op": "replace", "path": "/spec/versions/0/storage", "value": false },
        { "op": "replace", "path": "/spec/versions/1/storage", "value": true },
    ]);
    let at = Target::object(crate::gvr(DEFINITIONS), "", "ends.stable.example.com");
    let patch = Patch { patch_type: PatchType::Json, body: operations };
    hub.registry.patch(&hub.cx, &at, patch, &WriteOptions::default()).await.unwrap();
    let patched = hub.merge(&the("v1"), json!({ "data": { "mutation-start": "yes" } })).await.unwrap();
    let all = json!({ "mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes" });
    assert_eq!((&patched["apiVersion"], &patched["data"]), (&json!("stable.example.com/v1"), &all));
    let read = hub.registry.get(&hub.cx, &the("v2")).await.unwrap().to_json();
    assert_eq!((&read["apiVersion"], &read["data"]), (&json!("stable.example.com/v2"), &all));
}

#[tokio::test]
async fn custom_objects_are_denied() {
    const WHY: &str =
        "admission webhook \"unwanted.example.com\" denied the request: the custom resource contains unwanted data";
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    let _task = hub.registry.start_custom_kinds().await.unwrap();
    hub.create(DEFINITIONS, "", definition(&[], &[("v1", true)])).await.unwrap();
    hub.make("v1", json!({ "test": "disallow" })).await.unwrap();
    hub.configure(VALIDATING, &hooks, &["/unwanted"]).await;
    let refused = hub.registry.delete(&hub.cx, &the("v1"), &Default::default()).await.unwrap_err();
    assert_eq!(refused.message(), WHY);
    let refused = hub.merge(&the("v1"), json!({ "data": { "more": "1" } })).await.unwrap_err();
    assert_eq!(refused.message(), WHY);
    hub.merge(&the("v1"), json!({ "data": { "test": null } })).await.unwrap();
    hub.registry.delete(&hub.cx, &the("v1"), &Default::default()).await.unwrap();
    let refused = hub.make("v1", json!({ "test": "disallow" })).await.unwrap_err();
    assert_eq!(refused.message(), WHY);
}
