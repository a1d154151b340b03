//! MutatingAdmissionPolicies.

use super::*;

const POLICIES: &str = "admissionregistration.k8s.io/mutatingadmissionpolicies";
const BINDINGS: &str = "admissionregistration.k8s.io/mutatingadmissionpolicybindings";

fn apply(expression: &str) -> Json {
    json!({ "patchType": "ApplyConfiguration", "applyConfiguration": { "expression": expression } })
}

fn json_patch(expression: &str) -> Json {
    json!({ "patchType": "JSONPatch", "jsonPatch": { "expression": expression } })
}

/// A policy about writes of these resources.
fn mutating(resources: &[&str], mutations: &[Json], fields: Json) -> Json {
    let rule =
        json!({ "operations": ["CREATE", "UPDATE"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources });
    let spec = json!({ "matchConstraints": { "resourceRules": [rule] }, "mutations": mutations,
        "reinvocationPolicy": "Never" });
    and(spec, fields)
}

impl Cluster {
    async fn mutate(&self, name: &str, spec: Json) {
        self.create(POLICIES, "", json!({ "metadata": { "name": name }, "spec": spec })).await.unwrap();
        let binding = json!({ "metadata": { "name": name }, "spec": { "policyName": name } });
        self.create(BINDINGS, "", binding).await.unwrap();
    }

    async fn unmutate(&self, name: &str) {
        self.delete(POLICIES, "", name).await.unwrap();
        self.delete(BINDINGS, "", name).await.unwrap();
    }

    async fn map(&self, name: &str) -> Result<Json, Status> {
        let made = self.create("configmaps", "default", config_map(name, json!({ "a": "b" }))).await;
        made.map(|object| object.to_json())
    }
}

#[tokio::test]
async fn configurations_are_applied_and_patches_too() {
    let cluster = cluster().await;
    let side = "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'side', image: 'side:1'}]}}";
    let label = "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'by': 'policy'}}]";
    let when = json!({ "matchConditions": [{ "name": "w", "expression": "object.metadata.name.startsWith('web')" }] });
    cluster.mutate("pods", mutating(&["pods"], &[apply(side), json_patch(label)], when)).await;
    let made = cluster.create("pods", "default", pod("web")).await.unwrap().to_json();
    let names: Vec<&Json> = made["spec"]["containers"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(names, ["main", "side"]);
    assert_eq!(made["spec"]["containers"][1]["imagePullPolicy"], "IfNotPresent", "defaults follow");
    assert_eq!(
        made["spec"]["containers"][1]["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount",
        "plug-ins look again"
    );
    assert_eq!(made["metadata"]["labels"], json!({ "by": "policy" }));
    let other = cluster.create("pods", "default", pod("other")).await.unwrap().to_json();
    assert_eq!(other["spec"]["containers"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn patches_test_and_escape_and_see_variables_and_parameters() {
    let cluster = cluster().await;
    let expression = "[JSONPatch{op: 'test', path: '/data/key', value: 'value'},
        JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a.b/c'), value: variables.word},
        JSONPatch{op: 'copy', from: '/data/key', path: '/data/again'}]";
    let fields = json!({
        "variables": [{ "name": "word", "expression": "params.data.word + string(oldObject == null)" }],
        "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
    });
    let words = json!({ "metadata": { "name": "words" }, "data": { "word": "it-is-" } });
    cluster.create("configmaps", "default", words).await.unwrap();
    let spec = mutating(&["configmaps"], &[json_patch(expression)], fields);
    cluster.create(POLICIES, "", json!({ "metadata": { "name": "p" }, "spec": spec })).await.unwrap();
    let params = json!({ "name": "words", "parameterNotFoundAction": "Deny" });
    let binding = json!({ "metadata": { "name": "p" }, "spec": { "policyName": "p", "paramRef": params } });
    cluster.create(BINDINGS, "", binding).await.unwrap();
    let made = cluster.map("x").await.unwrap();
    assert_eq!(made["metadata"]["labels"], json!({ "a": "b", "a.b/c": "it-is-true" }));
    assert_eq!(made["data"], json!({ "key": "value", "again": "value" }));
    let doc = json!({ "metadata": { "name": "y", "labels": {} }, "data": { "key": "other" } });
    let untouched = cluster.create("configmaps", "default", doc).await.unwrap().to_json();
    assert_eq!(untouched["data"], json!({ "key": "other" }), "a test that fails leaves it as it was");

    cluster.delete("configmaps", "default", "words").await.unwrap();
    let refused = cluster.map("z").await.unwrap_err();
    assert_eq!((refused.code(), refused.is(Reason::Forbidden)), (403, true));
    let why = "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(refused.message(), format!("policy 'p' with binding 'p' denied request: {why}"));
}

#[tokio::test]
async fn what_a_policy_cannot_do_fails_the_request_unless_it_may() {
    let cluster = cluster().await;
    for (mutation, text) in [
        (
            apply("Object{spec: Object.wrong{}}"),
            "type mismatch: unexpected type name \"Object.wrong\", expected \"Object.spec\", which matches field name path \
             from root Object type",
        ),
        (
            apply("Object{nothing: 'x'}"),
            "error applying patch: failed to convert patch object to typed object: .nothing: field not declared in schema",
        ),
        (
            apply("Object{metadata: Object.metadata{finalizers: [object.data.missing]}}"),
            "expression 'Object{metadata: Object.metadata{finalizers: [object.data.missing]}}' resulted in error: no such key: \
             missing",
        ),
        (json_patch("[JSONPatch{op: 'remove', path: '/data/missing'}]"), "JSON Patch: "),
        (
            json_patch("[JSONPatch{op: 'add', path: '/nothing', value: 1}]"),
            "strict decoding error: unknown field \"nothing\"",
        ),
    ] {
        cluster.mutate("p", mutating(&["configmaps"], std::slice::from_ref(&mutation), json!({}))).await;
        let refused = cluster.map("x").await.unwrap_err();
        let start = format!("policy 'p' with binding 'p' denied request: {text}");
        assert!(refused.code() == 403 && refused.message().starts_with(&start), "{text}: {refused}");
        assert!(refused.is(Reason::Invalid));
        cluster.unmutate("p").await;
        let lenient = mutating(&["configmaps"], &[mutation], json!({ "failurePolicy": "Ignore" }));
        cluster.mutate("p", lenient).await;
        cluster.map("x").await.unwrap();
        cluster.delete("configmaps", "default", "x").await.unwrap();
        cluster.unmutate("p").await;
    }
    let atomic =
        "Object{spec: Object.spec{nodeSelector: {'a': 'b'}, tolerations: [Object.spec.tolerations{key: 'x'}]}}";
    cluster.mutate("p", mutating(&["pods"], &[apply(atomic)], json!({}))).await;
    let refused = cluster.create("pods", "default", pod("web")).await.unwrap_err();
    let why = "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: \
               .spec.nodeSelector, .spec.tolerations";
    assert_eq!(refused.message(), format!("policy 'p' with binding 'p' denied request: {why}"));
}

#[tokio::test]
async fn policies_come_before_webhooks_and_may_look_again() {
    let scene = scene(|_, request| {
        let seen = request["object"]["metadata"]["labels"].clone();
        assert_eq!(seen["first"], "1", "a policy was before: {seen}");
        patch(json!([{ "op": "add", "path": "/metadata/labels/hook", "value": "1" }]))
    })
    .await;
    scene.configure(MUTATING, "h", &[hook("h", &["configmaps"])]).await;
    let count = |label: &str| {
        let labels = "object.metadata.labels";
        format!("Object{{metadata: Object.metadata{{labels: {{'{label}': string(size({labels}))}}}}}}")
    };
    // What they find: a; a and first; and again: a, first, second and hook.
    let reinvoked = json!({ "reinvocationPolicy": "IfNeeded" });
    scene.cluster.mutate("p1", mutating(&["configmaps"], &[apply(&count("first"))], json!({}))).await;
    scene.cluster.mutate("p2", mutating(&["configmaps"], &[apply(&count("second"))], reinvoked)).await;
    let made = scene.config_map("x").await.unwrap();
    assert_eq!(made["metadata"]["labels"], json!({ "a": "b", "first": "1", "second": "4", "hook": "1" }));
    assert_eq!(scene.paths(), ["/h"]);
}

#[tokio::test]
async fn custom_kinds_and_scales_are_mutated() {
    let cluster = cluster().await;
    let _task = cluster.registry.start_custom_kinds().await.unwrap();
    cluster.create(CRDS, "", definition()).await.unwrap();
    let more = "Object{spec: Object.spec{drawers: object.spec.drawers + 1}}";
    cluster.mutate("p", mutating(&["tills"], &[apply(more)], json!({}))).await;
    let made = cluster.create(TILLS, "default", till("a", json!({}))).await.unwrap().to_json();
    assert_eq!(made["spec"]["drawers"], 2);

    cluster.create("apps/deployments", "default", deployment("web")).await.unwrap();
    let one = "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}";
    cluster.mutate("s", mutating(&["deployments/scale"], &[apply(one)], json!({}))).await;
    let scale = json!({ "metadata": { "name": "web", "namespace": "default" }, "spec": { "replicas": 3 } });
    let scaled = cluster.update_part("apps/deployments", "scale", scale).await.unwrap().to_json();
    assert_eq!(scaled["spec"]["replicas"], 4);
}

#[tokio::test]
async fn policies_that_make_no_sense_are_refused() {
    let cluster = cluster().await;
    let fine = mutating(&["pods"], &[apply("Object{}")], json!({}));
    let with = |fields: Json| and(fine.clone(), fields);
    let deletes = json!({ "resourceRules": [{ "operations": ["DELETE"], "apiGroups": ["*"], "apiVersions": ["*"],
        "resources": ["pods"] }] });
    for (spec, text) in [
        (with(json!({ "mutations": [] })), "spec.mutations: Required value: mutations must contain at least one item"),
        (with(json!({ "mutations": [{}] })), "spec.mutations[0].patchType: Required value"),
        (
            with(json!({ "mutations": [{ "patchType": "Merge" }] })),
            "spec.mutations[0].patchType: Unsupported value: \"Merge\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
        ),
        (
            with(
                json!({ "mutations": [{ "patchType": "JSONPatch", "applyConfiguration": { "expression": "Object{}" } }] }),
            ),
            "[spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch, \
             spec.mutations[0].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when \
             patchType is JSONPatch]",
        ),
        (with(json!({ "mutations": [json_patch(" ")] })), "spec.mutations[0].jsonPatch.expression: Required value"),
        (
            with(json!({ "mutations": [json_patch("Object{}")] })),
            "spec.mutations[0].jsonPatch.expression: Invalid value: \"Object{}\": must evaluate to list(JSONPatch) but got Object",
        ),
        (
            with(json!({ "mutations": [apply("{'spec': 1}")] })),
            "spec.mutations[0].applyConfiguration.expression: Invalid value: \"{'spec': 1}\": must evaluate to Object but got \
             map(string, int)",
        ),
        (
            with(json!({ "reinvocationPolicy": "Often" })),
            "spec.reinvocationPolicy: Unsupported value: \"Often\": supported values: \"Never\", \"IfNeeded\"",
        ),
        (
            with(json!({ "matchConstraints": deletes })),
            "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \
             \"CONNECT\", \"CREATE\", \"UPDATE\"",
        ),
    ] {
        let doc = json!({ "metadata": { "name": "p" }, "spec": spec });
        let refused = cluster.create(POLICIES, "", doc).await.unwrap_err();
        assert!(refused.code() == 422 && refused.message().ends_with(text), "{text}: {refused}");
    }
    let binding = json!({ "metadata": { "name": "p" }, "spec": { "matchResources": deletes } });
    let refused = cluster.create(BINDINGS, "", binding).await.unwrap_err();
    assert!(refused.message().contains("spec.policyName: Required value"), "{refused}");
    assert!(refused.message().contains("spec.matchResources.resourceRules.operations: Unsupported value"), "{refused}");
}
