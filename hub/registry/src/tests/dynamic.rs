//! Admission that users configure, with webhooks that answer from a script.

mod mutations;
mod policies;
mod services;

use super::custom::{CRDS, TILLS, definition, till};
use super::*;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::Reason;
use holdfast_server::{CallFailure, WebhookCalls, WebhookTarget};
use std::sync::Mutex;

const MUTATING: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";
const VALIDATING: &str = "admissionregistration.k8s.io/validatingwebhookconfigurations";

/// What a webhook does.
pub(super) enum Does {
    /// Answers with this `response`, whose uid is filled in.
    Says(Json),
    /// Answers with just these bytes.
    Sends(&'static str),
    Fails(CallFailure),
    Hangs,
}

/// What is done for a path and a request.
type Doing = dyn Fn(&str, &Json) -> Does + Send + Sync;

/// Webhooks by the path of their URL.
struct Script {
    does: Box<Doing>,
    /// Path, and request.
    asked: Mutex<Vec<(String, Json)>>,
}

#[async_trait]
impl WebhookCalls for Script {
    async fn post(&self, to: &WebhookTarget, body: Bytes, _within: Duration) -> Result<Bytes, CallFailure> {
        let review: Json = serde_json::from_slice(&body).unwrap();
        assert_eq!(review["kind"], "AdmissionReview");
        let request = review["request"].clone();
        self.asked.lock().unwrap().push((to.path.clone(), request.clone()));
        match (self.does)(&to.path, &request) {
            Does::Says(mut response) => {
                response["uid"] = request["uid"].clone();
                let kind = "AdmissionReview";
                let answer = json!({ "apiVersion": review["apiVersion"], "kind": kind, "response": response });
                Ok(answer.to_string().into())
            }
            Does::Sends(text) => Ok(text.into()),
            Does::Fails(failure) => Err(failure),
            Does::Hangs => std::future::pending().await,
        }
    }
}

/// A cluster, and what its webhooks were asked.
struct Scene {
    cluster: Cluster,
    script: Arc<Script>,
}

async fn scene(does: impl Fn(&str, &Json) -> Does + Send + Sync + 'static) -> Scene {
    let cluster = cluster().await;
    let script = Arc::new(Script { does: Box::new(does), asked: Mutex::default() });
    cluster.registry.set_webhook_calls(script.clone());
    Scene { cluster, script }
}

fn allow() -> Does {
    Does::Says(json!({ "allowed": true }))
}

fn patch(operations: Json) -> Does {
    use base64::Engine;
    let patch = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    Does::Says(json!({ "allowed": true, "patchType": "JSONPatch", "patch": patch }))
}

/// A webhook at `https://hooks.example.com/NAME`.
fn hook(name: &str, resources: &[&str]) -> Json {
    json!({
        "name": format!("{name}.example.com"), "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "clientConfig": { "url": format!("https://hooks.example.com/{name}") },
        "rules": [{ "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": resources }],
    })
}

fn and(mut hook: Json, fields: Json) -> Json {
    for (field, value) in fields.as_object().unwrap() {
        hook[field] = value.clone();
    }
    hook
}

impl Scene {
    async fn configure(&self, resource: &str, name: &str, hooks: &[Json]) {
        let kind = if resource == MUTATING { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
        let doc = json!({ "kind": kind, "metadata": { "name": name }, "webhooks": hooks });
        self.cluster.create(resource, "", doc).await.unwrap();
    }

    /// The paths that were asked since the last time.
    fn paths(&self) -> Vec<String> {
        self.asked().into_iter().map(|(path, _)| path).collect()
    }

    fn asked(&self) -> Vec<(String, Json)> {
        std::mem::take(&mut *self.script.asked.lock().unwrap())
    }

    async fn config_map(&self, name: &str) -> Result<Json, Status> {
        let made = self.cluster.create("configmaps", "default", config_map(name, json!({ "a": "b" }))).await;
        made.map(|object| object.to_json())
    }
}

#[tokio::test]
async fn a_mutating_webhook_changes_what_is_stored() {
    let patched = json!([
        { "op": "add", "path": "/metadata/labels", "value": { "by": "hook" } },
        { "op": "add", "path": "/spec/containers/-", "value": { "name": "side", "image": "side:1" } },
    ]);
    let scene = scene(move |_, _| patch(patched.clone())).await;
    scene.configure(MUTATING, "a", &[hook("a", &["pods"])]).await;
    let made = scene.cluster.create("pods", "default", pod("web")).await.unwrap().to_json();
    assert_eq!(made["metadata"]["labels"], json!({ "by": "hook" }));
    let side = &made["spec"]["containers"][1];
    assert_eq!(side["imagePullPolicy"], "IfNotPresent", "defaults follow");
    assert_eq!(
        side["volumeMounts"][0]["mountPath"], "/var/run/secrets/kubernetes.io/serviceaccount",
        "plug-ins look again"
    );

    let [(path, request)] = &scene.asked()[..] else { panic!("one call") };
    assert_eq!(path, "/a");
    let pods = json!({ "group": "", "version": "v1", "resource": "pods" });
    let expected = json!({
        "kind": { "group": "", "version": "v1", "kind": "Pod" }, "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
        "resource": pods, "requestResource": pods, "operation": "CREATE", "name": "web", "namespace": "default",
        "userInfo": { "username": "admin", "groups": ["system:masters", "system:authenticated"] }, "dryRun": false,
        "oldObject": null,
        "options": { "apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions", "fieldValidation": "Strict" },
    });
    for (field, value) in expected.as_object().unwrap() {
        assert_eq!(&request[field], value, "{field}");
    }
    assert_eq!(request["object"]["spec"]["containers"][0]["image"], "app:1");
    assert_eq!(request["object"]["metadata"]["uid"], Json::Null, "not yet made");
    assert!(request["uid"].as_str().is_some_and(|uid| uid.len() == 36));
}

#[tokio::test]
async fn what_a_webhook_leaves_is_validated() {
    let scene = scene(|path, _| match path {
        "/bad" => patch(json!([{ "op": "add", "path": "/metadata/labels", "value": { "not ok": "x" } }])),
        "/misfit" => patch(json!([{ "op": "remove", "path": "/nowhere" }])),
        "/type" => patch(json!([{ "op": "replace", "path": "/data", "value": 7 }])),
        _ => patch(json!([{ "op": "replace", "path": "/metadata/namespace", "value": "kube-system" }])),
    })
    .await;
    for (name, code, text) in [
        ("bad", 422, "metadata.labels: Invalid value: \"not ok\""),
        ("misfit", 500, "the patch of admission webhook \"misfit.example.com\" does not fit"),
        ("type", 500, "does not fit"),
        ("move", 400, "the namespace of the provided object does not match the namespace sent on the request"),
    ] {
        scene.configure(MUTATING, name, &[hook(name, &["configmaps"])]).await;
        let refused = scene.config_map("x").await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(text), "{refused}");
        scene.cluster.delete(MUTATING, "", name).await.unwrap();
    }
    scene.config_map("x").await.unwrap();
}

#[tokio::test]
async fn a_validating_webhook_refuses_and_warns() {
    let scene = scene(|_, request| match request["name"].as_str() {
        Some("bad") => Does::Says(json!({
            "allowed": false, "warnings": ["think again"],
            "status": { "code": 403, "reason": "Forbidden", "message": "not here" },
        })),
        Some("patched") => patch(json!([])),
        _ => Does::Says(json!({ "allowed": true, "auditAnnotations": { "k": "v" }, "warnings": ["careful"] })),
    })
    .await;
    scene.configure(VALIDATING, "v", &[hook("v", &["configmaps"])]).await;
    let refused = scene.config_map("bad").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (403, "admission webhook \"v.example.com\" denied the request: not here")
    );
    assert!(refused.is(Reason::Forbidden));
    scene.config_map("good").await.unwrap();
    assert_eq!(*scene.cluster.cx.warnings.lock().unwrap(), ["think again", "careful"]);
    let refused = scene.config_map("patched").await.unwrap_err();
    let text = "Internal error occurred: failed calling webhook \"v.example.com\": received invalid webhook response: \
                validating webhook may not return response.patch";
    assert_eq!((refused.code(), refused.message()), (500, text));
}

#[tokio::test]
async fn the_failure_policy_says_what_a_failed_call_means() {
    let scene = scene(|path, _| match path {
        "/refused" => Does::Fails(CallFailure::Transport("dial tcp: connection refused".into())),
        "/garbage" => Does::Sends("<html>"),
        "/error" => Does::Fails(CallFailure::Answer { code: 500, text: "an error on the server".into() }),
        "/long" => Does::Fails(CallFailure::TooLarge(10)),
        _ => Does::Hangs,
    })
    .await;
    for (name, text) in [
        ("refused", "Post \"https://hooks.example.com/refused?timeout=1s\": dial tcp: connection refused"),
        ("garbage", "couldn't get version/kind; json parse error"),
        ("error", "an error on the server"),
        ("long", "the answer is longer than 10 bytes"),
        ("hang", "Post \"https://hooks.example.com/hang?timeout=1s\": context deadline exceeded"),
    ] {
        let strict = and(hook(name, &["configmaps"]), json!({ "timeoutSeconds": 1 }));
        for (resource, number) in [(MUTATING, 0), (VALIDATING, 1)] {
            scene.configure(resource, name, std::slice::from_ref(&strict)).await;
            let refused = scene.config_map(&format!("{name}-{number}")).await.unwrap_err();
            let start = format!(
                "Internal error occurred: failed calling webhook \"{name}.example.com\": failed to call webhook: "
            );
            assert!(refused.code() == 500 && refused.message().starts_with(&format!("{start}{text}")), "{refused}");
            assert!(crate::is_webhook_failure(&refused));
            scene.cluster.delete(resource, "", name).await.unwrap();

            let lenient = and(strict.clone(), json!({ "failurePolicy": "Ignore" }));
            scene.configure(resource, name, &[lenient]).await;
            scene.config_map(&format!("{name}-{number}")).await.unwrap();
            scene.cluster.delete(resource, "", name).await.unwrap();
        }
    }
    let unset = cluster().await;
    let doc = json!({ "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "v" },
        "webhooks": [hook("v", &["configmaps"])] });
    unset.create(VALIDATING, "", doc).await.unwrap();
    let refused = unset.create("configmaps", "default", config_map("x", json!({}))).await.unwrap_err();
    assert!(refused.message().ends_with("the hub cannot call webhooks yet"), "{refused}");
}

#[tokio::test]
async fn rules_and_selectors_say_what_a_webhook_hears_of() {
    let scene = scene(|_, _| allow()).await;
    let about = |name: &str, fields: Json| and(hook(name, &["configmaps"]), fields);
    let rule = |fields: Json| {
        let base =
            json!({ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] });
        json!({ "rules": [and(base, fields)] })
    };
    scene
        .configure(
            VALIDATING,
            "v",
            &[
                about("update", rule(json!({ "operations": ["UPDATE"] }))),
                about("group", rule(json!({ "apiGroups": ["apps"] }))),
                about("version", rule(json!({ "apiVersions": ["v2"] }))),
                about("cluster", rule(json!({ "scope": "Cluster" }))),
                about("parts", rule(json!({ "resources": ["*/status"] }))),
                about("all", rule(json!({ "resources": ["*/*"] }))),
                about("labels", json!({ "objectSelector": { "matchLabels": { "a": "b" } } })),
                about("other", json!({ "objectSelector": { "matchLabels": { "a": "c" } } })),
                about(
                    "here",
                    json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "default" } } }),
                ),
                about(
                    "there",
                    json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "x" } } }),
                ),
                about(
                    "yes",
                    json!({ "matchConditions": [
                { "name": "a", "expression": "object.data.key == 'value' && request.userInfo.username == 'admin'" },
                { "name": "b", "expression": "oldObject == null && request.operation == 'CREATE'" },
            ] }),
                ),
                about(
                    "no",
                    json!({ "matchConditions": [
                { "name": "a", "expression": "object.data.missing == 'x'" }, { "name": "b", "expression": "false" },
            ] }),
                ),
            ],
        )
        .await;
    scene.config_map("x").await.unwrap();
    let mut paths = scene.paths();
    paths.sort();
    assert_eq!(paths, ["/all", "/here", "/labels", "/yes"]);
    scene.cluster.delete(VALIDATING, "", "v").await.unwrap();
    scene.config_map("y").await.unwrap();
    assert!(scene.paths().is_empty(), "a configuration that is gone judges nothing");

    let broken = json!({ "matchConditions": [{ "name": "a", "expression": "object.data.missing == 'x'" }] });
    scene.configure(VALIDATING, "v", &[about("broken", broken)]).await;
    let refused = scene.config_map("z").await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            403,
            "configmaps \"z\" is forbidden: expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
        )
    );
}

#[tokio::test]
async fn a_webhook_hears_of_other_versions_in_its_own() {
    let scene = scene(|path, request| match path {
        "/v1" if request["operation"] == "CREATE" => {
            patch(json!([{ "op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 70 }]))
        }
        _ => allow(),
    })
    .await;
    let only = |name: &str, version: &str, policy: &str| {
        let rules = json!([{ "operations": ["*"], "apiGroups": ["autoscaling"], "apiVersions": [version],
            "resources": ["horizontalpodautoscalers"] }]);
        and(hook(name, &[]), json!({ "rules": rules, "matchPolicy": policy }))
    };
    scene.configure(MUTATING, "m", &[only("v1", "v1", "Equivalent"), only("exact", "v1", "Exact")]).await;
    let doc = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": { "name": "web" },
        "spec": { "maxReplicas": 3, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "metrics": [{ "type": "Resource", "resource": { "name": "cpu",
                "target": { "type": "Utilization", "averageUtilization": 50 } } }] },
    });
    let at = Target::collection(Gvr::new("autoscaling", "v2", "horizontalpodautoscalers"), "default");
    let made = scene.cluster.registry.create(&scene.cluster.cx, &at, doc, &strict()).await.unwrap().to_json();
    assert_eq!(made["apiVersion"], "autoscaling/v2");
    assert_eq!(made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"], 70);
    let [(path, request)] = &scene.asked()[..] else { panic!("one call: the exact one is about v1 alone") };
    assert_eq!(path, "/v1");
    assert_eq!((&request["kind"]["version"], &request["requestKind"]["version"]), (&json!("v1"), &json!("v2")));
    assert_eq!(request["object"]["apiVersion"], "autoscaling/v1");
}

#[tokio::test]
async fn custom_kinds_are_judged_as_others() {
    let scene = scene(|_, request| match request["operation"].as_str() {
        Some("CREATE") => patch(json!([
            { "op": "add", "path": "/spec/color", "value": "red" }, { "op": "add", "path": "/spec/odd", "value": 1 },
        ])),
        _ => Does::Says(json!({ "allowed": false })),
    })
    .await;
    let _task = scene.cluster.registry.start_custom_kinds().await.unwrap();
    scene.cluster.create(CRDS, "", definition()).await.unwrap();
    scene.configure(MUTATING, "m", &[hook("m", &["tills", "tills/scale"])]).await;
    let made = scene.cluster.create(TILLS, "default", till("a", json!({}))).await.unwrap().to_json();
    assert_eq!(made["spec"], json!({ "drawers": 1, "color": "red" }), "what the schema does not know is dropped");
    let [(_, request)] = &scene.asked()[..] else { panic!("one call") };
    assert_eq!(request["kind"], json!({ "group": "shop.example.com", "version": "v1", "kind": "Till" }));
    let at = target(TILLS, "default", "a").with_subresource("scale");
    let two = Patch { patch_type: PatchType::Merge, body: json!({ "spec": { "replicas": 2 } }) };
    scene.cluster.registry.patch(&scene.cluster.cx, &at, two, &WriteOptions::default()).await.unwrap_err();
    let [(_, request)] = &scene.asked()[..] else { panic!("one call") };
    assert_eq!((&request["kind"]["kind"], &request["object"]["spec"]["replicas"]), (&json!("Scale"), &json!(2)));
    // The definition goes with its objects, whoever would have them stay.
    scene.configure(VALIDATING, "v", &[hook("v", &["tills"])]).await;
    scene.cluster.delete(TILLS, "default", "a").await.unwrap_err();
    scene.cluster.delete(CRDS, "", "tills.shop.example.com").await.unwrap();
    let gone = async {
        while scene.cluster.get(CRDS, "", "tills.shop.example.com").await.is_ok() {
            scene.cluster.env.sleep(Duration::from_millis(10)).await;
        }
    };
    scene.cluster.env.timeout(Duration::from_secs(10), gone).await.expect("the definition stayed");
}

#[tokio::test]
async fn webhooks_that_want_it_are_asked_again() {
    // The second counts what it sees; the third adds what the first has to hear of.
    let scene = scene(|path, request| match path {
        "/a" => allow(),
        "/b" if request["object"]["data"]["c"] == "1" => {
            patch(json!([{ "op": "add", "path": "/data/b", "value": "saw c" }]))
        }
        "/c" => patch(json!([{ "op": "add", "path": "/data/c", "value": "1" }])),
        _ => allow(),
    })
    .await;
    let again = json!({ "reinvocationPolicy": "IfNeeded" });
    let hooks = [
        hook("a", &["configmaps"]),
        and(hook("b", &["configmaps"]), again.clone()),
        and(hook("c", &["configmaps"]), again),
    ];
    scene.configure(MUTATING, "one", &hooks).await;
    let made = scene.config_map("x").await.unwrap();
    assert_eq!(made["data"], json!({ "key": "value", "c": "1", "b": "saw c" }));
    assert_eq!(scene.paths(), ["/a", "/b", "/c", "/b", "/c"], "each hears of what was changed after it, once");
}

#[tokio::test]
async fn configurations_go_by_name() {
    let scene = scene(|_, _| allow()).await;
    scene.configure(MUTATING, "z", &[hook("z", &["configmaps"])]).await;
    scene.configure(MUTATING, "a", &[hook("b", &["configmaps"]), hook("a", &["configmaps"])]).await;
    scene.config_map("x").await.unwrap();
    assert_eq!(scene.paths(), ["/b", "/a", "/z"]);
}

#[tokio::test]
async fn a_dry_run_is_told_and_side_effects_refuse_it() {
    let scene = scene(|_, _| allow()).await;
    scene
        .configure(VALIDATING, "v", &[and(hook("v", &["configmaps"]), json!({ "sideEffects": "NoneOnDryRun" }))])
        .await;
    let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
    let at = target("configmaps", "default", "");
    let run = || scene.cluster.registry.create(&scene.cluster.cx, &at, config_map("x", json!({})), &dry);
    run().await.unwrap();
    let [(_, request)] = &scene.asked()[..] else { panic!("one call") };
    assert_eq!((&request["dryRun"], &request["options"]["dryRun"]), (&json!(true), &json!(["All"])));
    scene.cluster.get("configmaps", "default", "x").await.unwrap_err();

    // One of an older version of the API, as v1 allows none.
    let key = "/registry/admissionregistration.k8s.io/validatingwebhookconfigurations/old";
    let doc = json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": "old" }, "webhooks": [and(hook("old", &["configmaps"]),
            json!({ "sideEffects": "Some", "failurePolicy": "Ignore" }))] });
    let op = holdfast_store::Op::Put { key: key.into(), value: doc.to_string().into() };
    scene.cluster.store.txn(holdfast_store::Txn { checks: Vec::new(), ops: vec![op] }).await.unwrap();
    let refused = run().await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (400, "admission webhook \"old.example.com\" does not support dry run")
    );
    scene.config_map("x").await.unwrap();
}

#[tokio::test]
async fn configurations_and_what_the_hub_itself_writes_are_judged_by_no_webhook() {
    let scene = scene(|_, _| Does::Fails(CallFailure::Transport("down".into()))).await;
    scene.configure(VALIDATING, "all", &[hook("all", &["*/*"])]).await;
    scene.config_map("x").await.unwrap_err();
    scene.cluster.registry.ensure_defaults(6443).await.unwrap();
    let hub = RequestContext::new(UserInfo::new("system:apiserver", &["system:masters"]), "test");
    let at = target("configmaps", "default", "");
    scene.cluster.registry.create(&hub, &at, config_map("own", json!({})), &strict()).await.unwrap();
    scene.configure(MUTATING, "other", &[hook("other", &["*/*"])]).await;
    scene.cluster.delete(MUTATING, "", "other").await.unwrap();
    scene.cluster.delete(VALIDATING, "", "all").await.unwrap();
    scene.config_map("x").await.unwrap();
}

#[tokio::test]
async fn updates_parts_and_deletions_are_judged() {
    let scene = scene(|_, request| match (request["operation"].as_str(), request["subResource"].as_str()) {
        (Some("DELETE"), _) => Does::Says(json!({ "allowed": false, "status": { "message": "stays" } })),
        (Some("UPDATE"), Some("scale")) => patch(json!([{ "op": "replace", "path": "/spec/replicas", "value": 3 }])),
        (Some("UPDATE"), Some("status")) => patch(json!([
            { "op": "add", "path": "/status/observedGeneration", "value": 7 },
            { "op": "replace", "path": "/spec/replicas", "value": 9 },
        ])),
        (Some("UPDATE"), None) => {
            patch(json!([{ "op": "add", "path": "/metadata/annotations", "value": { "seen": "yes" } }]))
        }
        _ => allow(),
    })
    .await;
    let deployments = "apps/deployments";
    scene.cluster.create(deployments, "default", deployment("web")).await.unwrap();
    scene.configure(MUTATING, "m", &[hook("m", &["deployments", "deployments/*"])]).await;

    let changed = scene.cluster.merge(deployments, "web", json!({ "metadata": { "labels": { "x": "y" } } })).await;
    assert_eq!(changed.unwrap().to_json()["metadata"]["annotations"]["seen"], "yes");
    let [(_, request)] = &scene.asked()[..] else { panic!("one call") };
    assert_eq!(
        (&request["object"]["metadata"]["labels"]["x"], &request["oldObject"]["metadata"]["labels"]),
        (&json!("y"), &Json::Null)
    );
    assert!(request["oldObject"]["metadata"]["resourceVersion"].is_string());
    assert_eq!(request["options"]["kind"], "UpdateOptions");

    let mut doc = scene.cluster.get(deployments, "default", "web").await.unwrap();
    doc["status"] = json!({ "replicas": 1 });
    let status = scene.cluster.update_part(deployments, "status", doc).await.unwrap().to_json();
    assert_eq!((&status["status"]["replicas"], &status["status"]["observedGeneration"]), (&json!(1), &json!(7)));
    assert_eq!(status["spec"]["replicas"], 1, "the status alone can be changed");

    scene.asked();
    let at = target(deployments, "default", "web").with_subresource("scale");
    let two = Patch { patch_type: PatchType::Merge, body: json!({ "spec": { "replicas": 2 } }) };
    let (scaled, _) =
        scene.cluster.registry.patch(&scene.cluster.cx, &at, two, &WriteOptions::default()).await.unwrap();
    assert_eq!(scaled.to_json()["spec"]["replicas"], 3);
    assert_eq!(scene.cluster.get(deployments, "default", "web").await.unwrap()["spec"]["replicas"], 3);
    let [(_, request)] = &scene.asked()[..] else { panic!("one call") };
    assert_eq!((&request["kind"]["kind"], &request["resource"]["resource"]), (&json!("Scale"), &json!("deployments")));
    let numbers = |doc: &Json| doc["spec"]["replicas"].clone();
    assert_eq!((numbers(&request["object"]), numbers(&request["oldObject"])), (json!(2), json!(1)));

    let refused = scene.cluster.delete(deployments, "default", "web").await.unwrap_err();
    assert_eq!(refused.message(), "admission webhook \"m.example.com\" denied the request: stays");
    let [(_, request)] = &scene.asked()[..] else { panic!("one call") };
    assert_eq!((&request["object"], &request["oldObject"]["metadata"]["name"]), (&Json::Null, &json!("web")));
    let all = ListOptions::default();
    let (cx, at) = (&scene.cluster.cx, target(deployments, "default", ""));
    scene.cluster.registry.delete_collection(cx, &at, &Default::default(), &all).await.unwrap_err();
    scene.cluster.get(deployments, "default", "web").await.unwrap();
}

#[tokio::test]
async fn bindings_tokens_and_connections_are_judged() {
    let scene = scene(|_, request| match request["kind"]["kind"].as_str() {
        Some("Binding") => patch(json!([{ "op": "replace", "path": "/target/name", "value": "n2" }])),
        Some("TokenRequest") => Does::Says(json!({ "allowed": false })),
        Some("PodExecOptions") => Does::Says(json!({ "allowed": false, "status": { "message": "no shells" } })),
        _ => allow(),
    })
    .await;
    scene.cluster.create("pods", "default", pod("web")).await.unwrap();
    scene.configure(MUTATING, "m", &[hook("m", &["*/*"])]).await;
    let cx = &scene.cluster.cx;
    let at = target("pods", "default", "web").with_subresource("binding");
    let binding = json!({ "metadata": { "name": "web" }, "target": { "kind": "Node", "name": "n1" } });
    scene.cluster.registry.create(cx, &at, binding, &strict()).await.unwrap();
    assert_eq!(scene.cluster.get("pods", "default", "web").await.unwrap()["spec"]["nodeName"], "n2");

    let at = target("serviceaccounts", "default", "default").with_subresource("token");
    let refused = scene.cluster.registry.create(cx, &at, json!({ "spec": {} }), &strict()).await.unwrap_err();
    assert_eq!(refused.message(), "admission webhook \"m.example.com\" denied the request without explanation");

    scene.asked();
    let at = target("pods", "default", "web").with_subresource("exec");
    let query = [("command".to_string(), "sh".to_string()), ("stdin".to_string(), "true".to_string())];
    let Err(refused) = scene.cluster.registry.connect(cx, &at, &query).await else { panic!("no shell") };
    assert_eq!(refused.message(), "admission webhook \"m.example.com\" denied the request: no shells");
    let [(_, request)] = &scene.asked()[..] else { panic!("one call") };
    assert_eq!((&request["operation"], &request["subResource"]), (&json!("CONNECT"), &json!("exec")));
    let expected = json!({ "apiVersion": "v1", "kind": "PodExecOptions", "command": ["sh"], "stdin": true });
    assert_eq!((&request["object"], &request["options"]), (&expected, &Json::Null));
    // A log is only read.
    let at = target("pods", "default", "web").with_subresource("log");
    drop(scene.cluster.registry.connect(cx, &at, &[]).await);
    assert!(scene.paths().is_empty());
}
