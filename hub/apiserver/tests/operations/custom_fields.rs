//! Fields that are unknown or stand twice, in built-in and in custom objects, with `fieldValidation=Strict`.

use crate::custom::{anything, definition};
use crate::hub::{Answer, Hub};
use holdfast_core::Json;
use serde_json::json;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_and_doubled_fields_of_built_in_objects_are_refused() {
    let hub = Hub::start().await;
    let deployment = |metadata: &str, spec: &str| {
        format!(
            r#"{{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "my-dep", {metadata} "labels": {{"app": "a"}}}},
            "spec": {{{spec} "selector": {{"matchLabels": {{"app": "a"}}}}, "template": {{"metadata": {{"labels": {{"app": "a"}}}},
                "spec": {{"containers": [{{"name": "a", "image": "a:1"}}]}}}}}}}}"#
        )
    };
    let path = "/apis/apps/v1/namespaces/one/deployments?fieldManager=me&fieldValidation=Strict";
    for (metadata, spec, words) in [
        (
            "",
            r#""unknownField": "foo", "replicas": 2, "replicas": 3,"#,
            r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#,
        ),
        (r#""unknownMeta": "foo","#, "", r#"strict decoding error: unknown field "metadata.unknownMeta""#),
    ] {
        let answer = hub.send("POST", path, &[("content-type", "application/json")], deployment(metadata, spec)).await;
        let refused = answer.refused(400);
        assert!(refused.contains(words), "{refused}");
    }
}

/// Of a kind with a schema of `spec`; `unknown` is whether it keeps what it does not know.
fn schema(unknown: bool) -> Json {
    let mut spec = json!({"type": "object", "properties": {
        "foo": {"type": "string"},
        "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
        "template": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}}, "spec": {"type": "object"}}},
        "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "items": {"type": "object", "required": ["containerPort", "protocol"], "properties": {
                "containerPort": {"type": "integer", "format": "int32"}, "name": {"type": "string"},
                "protocol": {"type": "string"}}}},
    }});
    if unknown {
        spec["x-kubernetes-preserve-unknown-fields"] = json!(true);
    }
    json!({"type": "object", "properties": {"spec": spec}})
}

/// Applies an object of a kind with this schema, with more text in its metadata, at its root and in its `spec`.
async fn applied(hub: &Hub, plural: &str, schema: Json, metadata: &str, root: &str, spec: &str) -> Answer {
    hub.create(DEFINITIONS, definition(plural, "fields.example.com", "Cluster", schema)).await;
    let kind = plural.trim_end_matches('s');
    let body = format!(
        "\napiVersion: fields.example.com/v1\nkind: {kind}\nmetadata:\n  name: mytest\n{metadata}  finalizers:\n  - \
         example.com/test-finalizer\n{root}spec:\n{spec}  foo: foo1\n  cronSpec: \"* * * * */5\"\n  ports:\n  - name: x\n    \
         containerPort: 80\n    protocol: TCP\n"
    );
    let path = format!("/apis/fields.example.com/v1/{plural}/mytest?fieldManager=me&fieldValidation=Strict");
    hub.send("PATCH", &path, &[("content-type", "application/apply-patch+yaml")], body).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_objects_that_fit_their_schema_are_applied() {
    let hub = Hub::start().await;
    let made = applied(&hub, "fits", schema(false), "", "", "").await.ok();
    assert_eq!(made["spec"]["ports"][0]["containerPort"], 80);
    // Without a schema to speak of, anything fits.
    let made = applied(&hub, "anys", anything(), "", "", "  unknown: uk1\n").await.ok();
    assert_eq!(made["spec"]["unknown"], "uk1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_fields_of_custom_objects_are_refused() {
    let hub = Hub::start().await;
    let refused = applied(&hub, "roots", schema(false), "", "unknownField: unknown\n", "").await;
    assert!(!(200..300).contains(&refused.code));
    assert!(
        refused.body["message"].as_str().unwrap().contains(".unknownField: field not declared in schema"),
        "{refused:?}"
    );
    let refused = applied(&hub, "metas", schema(true), "  unknownMeta: unknown\n", "", "").await;
    let said = refused.body["message"].as_str().unwrap();
    assert!(said.contains(".metadata.unknownMeta: field not declared in schema"), "{refused:?}");
    let template = "  template:\n    apiVersion: foo/v1\n    kind: Sub\n    metadata:\n      unknownSubMeta: unknown\n      name: s\n";
    let refused = applied(&hub, "subs", schema(true), "", "", template).await;
    let said = refused.body["message"].as_str().unwrap();
    assert!(said.contains(".spec.template.metadata.unknownSubMeta: field not declared in schema"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doubled_fields_are_refused_where_unknown_ones_are_kept() {
    let hub = Hub::start().await;
    let refused = applied(&hub, "doubles", schema(true), "", "", "  unknown: uk1\n  foo: foo2\n").await;
    assert!(!(200..300).contains(&refused.code), "{refused:?}");
    let said = refused.body["message"].as_str().unwrap();
    assert!(said.contains("line 11: key \"foo\" already set in map"), "{refused:?}");
}
