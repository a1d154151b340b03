//! Webhooks about built-in kinds: what they refuse and change, where they do not apply, and that nobody is locked out by them.

use super::*;
use holdfast_core::{DeleteOptions, LabelSelector, ListOptions, Patch, PatchType};

const MAPS: &str = "configmaps";

/// What a webhook of this path says; `None` for other paths.
pub(super) fn response(path: &str) -> Option<Json> {
    let patch = match path {
        "/by-hook" => json!([{ "op": "add", "path": "/data/by", "value": "hook" }]),
        "/add-init" => {
            let container = json!([{ "name": "added", "image": "init:1" }]);
            json!([{ "op": "add", "path": "/spec/initContainers", "value": container }])
        }
        "/label" => json!([{ "op": "add", "path": "/metadata/labels", "value": { "changed": "yes" } }]),
        _ => return None,
    };
    let patch = base64::engine::general_purpose::STANDARD.encode(patch.to_string());
    Some(json!({ "allowed": true, "patchType": "JSONPatch", "patch": patch }))
}

fn rule(group: &str, resource: &str, operations: &[&str]) -> Json {
    json!({ "operations": operations, "apiGroups": [group], "apiVersions": ["*"], "resources": [resource] })
}

impl Hooks {
    /// A webhook of a configuration.
    fn hook(&self, path: &str, rule: Json, more: Json) -> Json {
        let url = format!("https://localhost:{}{path}", self.port);
        let mut hook = json!({ "name": format!("{}.example.com", &path[1..]), "sideEffects": "None", "rules": [rule],
            "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
            "clientConfig": { "url": url, "caBundle": self.bundle } });
        holdfast_core::json::set(&mut hook, &["failurePolicy"], "Fail");
        for (field, value) in more.as_object().into_iter().flatten() {
            hook[field] = value.clone();
        }
        hook
    }
}

fn configuration(resource: &str, name: &str, hooks: &[Json]) -> Json {
    let kind = if resource == MUTATING { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
    json!({ "kind": kind, "metadata": { "name": name, "labels": { "of": "test" } }, "webhooks": hooks })
}

fn map(name: &str, data: Json) -> Json {
    json!({ "metadata": { "name": name }, "data": data })
}

fn pod(name: &str) -> Json {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "i" }] } })
}

impl Hub {
    async fn patched(&self, at: &Target, body: Json) -> Result<Json, Status> {
        let patch = Patch { patch_type: PatchType::Merge, body };
        let patched = self.registry.patch(&self.cx, at, patch, &WriteOptions::default()).await;
        patched.map(|(object, _)| object.to_json())
    }

    async fn ready(&self) {
        self.create("serviceaccounts", "default", json!({ "metadata": { "name": "default" } })).await.unwrap();
    }
}

#[tokio::test]
async fn pods_and_maps_are_denied_but_where_the_webhook_does_not_look() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    hub.ready().await;
    hub.create("namespaces", "", json!({ "metadata": { "name": "exempt", "labels": { "skip": "yes" } } }))
        .await
        .unwrap();
    let elsewhere =
        json!({ "namespaceSelector": { "matchExpressions": [{ "key": "skip", "operator": "DoesNotExist" }] } });
    let of_pods = hooks.hook("/deny", rule("", "pods", &["CREATE"]), elsewhere.clone());
    let of_maps = hooks.hook("/unwanted", rule("", MAPS, &["CREATE", "UPDATE"]), elsewhere.clone());
    let hangs = json!({ "objectSelector": { "matchLabels": { "wait": "forever" } } });
    let hangs = hooks.hook("/hang", rule("", MAPS, &["CREATE"]), hangs);
    hub.create(VALIDATING, "", configuration(VALIDATING, "hooks", &[of_pods, of_maps, hangs])).await.unwrap();
    let refused = hub.create("pods", "default", pod("a")).await.unwrap_err();
    assert!(refused.message().ends_with("denied the request: no"), "{refused}");
    const WHY: &str = "denied the request: the custom resource contains unwanted data";
    let bad = json!({ "test": "disallow" });
    let refused = hub.create(MAPS, "default", map("bad", bad.clone())).await.unwrap_err();
    assert!(refused.message().ends_with(WHY), "{refused}");
    let mut late = map("late", json!({}));
    late["metadata"]["labels"] = json!({ "wait": "forever" });
    let refused = hub.create(MAPS, "default", late).await.unwrap_err();
    assert!(refused.code() == 500 && refused.message().contains("context deadline exceeded"), "{refused}");
    // Neither a PUT nor a PATCH brings in what a POST may not.
    let mut good = hub.create(MAPS, "default", map("good", json!({ "a": "b" }))).await.unwrap().to_json();
    let at = Target::object(crate::gvr(MAPS), "default", "good");
    let refused = hub.patched(&at, json!({ "data": bad })).await.unwrap_err();
    assert!(refused.message().ends_with(WHY), "{refused}");
    good["data"] = bad.clone();
    let refused = hub.registry.update(&hub.cx, &at, good, &WriteOptions::default()).await.unwrap_err();
    assert!(refused.message().ends_with(WHY), "{refused}");
    hub.create(MAPS, "exempt", map("bad", bad)).await.unwrap();
}

#[tokio::test]
async fn attaching_and_definitions_are_denied() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    hub.ready().await;
    hub.create("pods", "default", pod("a")).await.unwrap();
    let attach = hooks.hook("/deny", rule("", "pods/attach", &["CONNECT"]), json!({}));
    let define = rule("apiextensions.k8s.io", "customresourcedefinitions", &["CREATE"]);
    let define = hooks.hook("/deny", define, json!({ "name": "define.example.com" }));
    hub.create(VALIDATING, "", configuration(VALIDATING, "hooks", &[attach, define])).await.unwrap();
    let at = Target::object(crate::gvr("pods"), "default", "a").with_subresource("attach");
    let refused = hub.registry.connect(&hub.cx, &at, &[("container".into(), "c".into())]).await.err().unwrap();
    assert_eq!(refused.message(), "admission webhook \"deny.example.com\" denied the request: no");
    let version = json!({ "name": "v1", "served": true, "storage": true,
        "schema": { "openAPIV3Schema": { "type": "object" } } });
    let definition = json!({ "metadata": { "name": "ends.stable.example.com" }, "spec": { "group": "stable.example.com",
        "scope": "Namespaced", "names": { "plural": "ends", "kind": "End" }, "versions": [version] } });
    let refused = hub.create("apiextensions.k8s.io/customresourcedefinitions", "", definition).await.unwrap_err();
    assert_eq!(refused.message(), "admission webhook \"define.example.com\" denied the request: no");
}

#[tokio::test]
async fn maps_are_changed_in_stages_but_for_those_that_a_condition_leaves_out() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    let others =
        json!({ "matchConditions": [{ "name": "others", "expression": "object.metadata.name != 'skip-me'" }] });
    let stage = |path: &str| hooks.hook(path, rule("", MAPS, &["CREATE"]), others.clone());
    let both = [stage("/stage-1"), stage("/stage-2")];
    hub.create(MUTATING, "", configuration(MUTATING, "hooks", &both)).await.unwrap();
    let start = json!({ "mutation-start": "yes" });
    let made = hub.create(MAPS, "default", map("changed", start.clone())).await.unwrap().to_json();
    let all = json!({ "mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes" });
    assert_eq!(made["data"], all);
    let made = hub.create(MAPS, "default", map("skip-me", start.clone())).await.unwrap().to_json();
    assert_eq!(made["data"], start);
}

#[tokio::test]
async fn what_a_webhook_adds_to_a_pod_gets_its_defaults() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    hub.ready().await;
    let hook = hooks.hook("/add-init", rule("", "pods", &["CREATE"]), json!({}));
    hub.create(MUTATING, "", configuration(MUTATING, "hooks", &[hook])).await.unwrap();
    let made = hub.create("pods", "default", pod("a")).await.unwrap().to_json();
    let added = &made["spec"]["initContainers"][0];
    assert_eq!((&added["name"], &added["terminationMessagePolicy"]), (&json!("added"), &json!("File")), "{made:#}");
    assert_eq!(added["imagePullPolicy"], "IfNotPresent");
}

/// Whatever a webhook says of it, its configuration can be made, stays as it was written, and can be taken away.
#[tokio::test]
async fn configurations_are_nobodys_to_judge() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    let all = || rule("*", "*", &["*"]);
    let denying = [hooks.hook("/deny", all(), json!({}))];
    let label = hooks.hook("/label", all(), json!({}));
    hub.create(MUTATING, "", configuration(MUTATING, "changes", &[label])).await.unwrap();
    hub.create(VALIDATING, "", configuration(VALIDATING, "denies", &denying)).await.unwrap();
    for resource in [VALIDATING, MUTATING] {
        let made = hub.create(resource, "", configuration(resource, "another", &denying)).await.unwrap().to_json();
        assert_eq!(made["metadata"]["labels"], json!({ "of": "test" }));
        let at = Target::object(crate::gvr(resource), "", "another");
        hub.registry.delete(&hub.cx, &at, &DeleteOptions::default()).await.unwrap();
    }
    // An object of any other kind is judged.
    assert!(hub.create(MAPS, "default", map("a", json!({}))).await.is_err());
    let at = Target::object(crate::gvr(VALIDATING), "", "denies");
    hub.registry.delete(&hub.cx, &at, &DeleteOptions::default()).await.unwrap();
    let made = hub.create(MAPS, "default", map("a", json!({}))).await.unwrap().to_json();
    assert_eq!(made["metadata"]["labels"]["changed"], "yes");
}

#[tokio::test]
async fn conditions_that_do_not_compile_are_refused() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    for (resource, path) in [(VALIDATING, "/allow"), (MUTATING, "/by-hook")] {
        let bad = json!({ "matchConditions": [{ "name": "bad", "expression": "... [] bad expression" }] });
        let hook = hooks.hook(path, rule("", MAPS, &["CREATE"]), bad);
        let refused = hub.create(resource, "", configuration(resource, "hooks", &[hook])).await.unwrap_err();
        let text =
            "webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad expression\": compilation failed";
        assert!(refused.code() == 422 && refused.message().contains(text), "{refused}");
    }
}

#[tokio::test]
async fn a_webhook_that_cannot_be_reached_refuses_when_it_is_to_fail_closed() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    let nobody = json!({ "clientConfig": { "service": { "namespace": "default", "name": "nobody" }, "caBundle": hooks.bundle },
        "namespaceSelector": { "matchLabels": { "closed": "yes" } } });
    let hook = hooks.hook("/deny", rule("", MAPS, &["CREATE"]), nobody);
    hub.create(VALIDATING, "", configuration(VALIDATING, "hooks", &[hook])).await.unwrap();
    hub.create("namespaces", "", json!({ "metadata": { "name": "closed", "labels": { "closed": "yes" } } }))
        .await
        .unwrap();
    let refused = hub.create(MAPS, "closed", map("a", json!({}))).await.unwrap_err();
    assert!(refused.code() == 500 && refused.message().contains("failed calling webhook"), "{refused}");
    hub.create(MAPS, "default", map("a", json!({}))).await.unwrap();
}

/// Configurations act as they are listed, changed and taken away.
#[tokio::test]
async fn configurations_act_as_long_as_they_say_so() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    for (resource, path) in [(VALIDATING, "/unwanted"), (MUTATING, "/by-hook")] {
        let acts = async |name: &str| {
            let made = hub.create(MAPS, "default", map(name, json!({ "test": "disallow" }))).await;
            made.map_or(true, |made| made.to_json()["data"].get("by").is_some())
        };
        let hook = hooks.hook(path, rule("", MAPS, &["CREATE"]), json!({}));
        let names = ["one", "two", "three"].map(|name| format!("{name}{}", path.replace('/', "-")));
        for name in &names {
            hub.create(resource, "", configuration(resource, name, std::slice::from_ref(&hook))).await.unwrap();
        }
        let collection = Target::collection(crate::gvr(resource), "");
        let labels = LabelSelector::parse("of=test").unwrap();
        let selection = ListOptions { labels, ..ListOptions::default() };
        let listed = hub.registry.list(&hub.cx, &collection, &selection).await.unwrap();
        assert_eq!(listed.items.len(), 3);
        assert!(acts(&names[0]).await, "{resource}");
        let options = DeleteOptions::default();
        hub.registry.delete_collection(&hub.cx, &collection, &options, &selection).await.unwrap();
        assert!(!acts(&names[1]).await, "{resource}");
        let maps = Target::collection(crate::gvr(MAPS), "default");
        hub.registry.delete_collection(&hub.cx, &maps, &options, &ListOptions::default()).await.unwrap();

        let mut only = hub.create(resource, "", configuration(resource, &names[0], &[hook])).await.unwrap().to_json();
        let at = Target::object(crate::gvr(resource), "", &names[0]);
        assert!(acts("a").await, "{resource}");
        only["webhooks"][0]["rules"][0]["operations"] = json!(["UPDATE"]);
        let mut patched = only["webhooks"].clone();
        hub.registry.update(&hub.cx, &at, only, &WriteOptions::default()).await.unwrap();
        assert!(!acts("b").await, "{resource}");
        patched[0]["rules"][0]["operations"] = json!(["CREATE"]);
        hub.patched(&at, json!({ "webhooks": patched })).await.unwrap();
        assert!(acts("c").await, "{resource}");
        hub.registry.delete(&hub.cx, &at, &options).await.unwrap();
        hub.registry.delete_collection(&hub.cx, &maps, &options, &ListOptions::default()).await.unwrap();
    }
}
