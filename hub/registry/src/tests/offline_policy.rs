//! OfflinePolicy: its texts, and what it does to new pods.

use super::*;
use crate::strategy::strategy_of;
use holdfast_core::FieldErrors;
use holdfast_kinds::fencing::ANNOTATION;

fn policies() -> Gvr {
    Gvr::new("edge.holdfast.io", "v1alpha1", "offlinepolicies")
}

fn policy(name: &str, spec: Json) -> Json {
    json!({ "apiVersion": "edge.holdfast.io/v1alpha1", "kind": "OfflinePolicy", "metadata": { "name": name }, "spec": spec })
}

fn texts(spec: Json) -> Vec<String> {
    let kind = holdfast_kinds::by_gvr("edge.holdfast.io", "v1alpha1", "offlinepolicies").unwrap();
    let mut errors = FieldErrors::new();
    strategy_of(kind).validate(&policy("a", spec), &mut errors);
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_wrong_is_said_with_its_path() {
    let all = json!({});
    for (spec, expected) in [
        (json!({ "podSelector": all, "mode": "RunForever" }), vec![]),
        (json!({ "podSelector": all, "mode": "Kubernetes" }), vec![]),
        (json!({ "podSelector": all, "mode": "FailOverAfter", "failOverAfter": "60s" }), vec![]),
        (json!({ "podSelector": all, "mode": "FailOverAfter", "failOverAfter": "720h" }), vec![]),
        (
            json!({}),
            vec![
                "spec.podSelector: Required value: an empty selector selects all pods of the namespace",
                "spec.mode: Required value",
            ],
        ),
        (
            json!({ "podSelector": all, "mode": "Never" }),
            vec![
                "spec.mode: Unsupported value: \"Never\": supported values: \"FailOverAfter\", \"Kubernetes\", \"RunForever\"",
            ],
        ),
        (
            json!({ "podSelector": all, "mode": "FailOverAfter" }),
            vec!["spec.failOverAfter: Required value: must be specified when `mode` is 'FailOverAfter'"],
        ),
        (
            json!({ "podSelector": all, "mode": "RunForever", "failOverAfter": "5m" }),
            vec!["spec.failOverAfter: Forbidden: may not be specified when `mode` is not 'FailOverAfter'"],
        ),
        (
            json!({ "podSelector": all, "mode": "FailOverAfter", "failOverAfter": "59s" }),
            vec!["spec.failOverAfter: Invalid value: \"59s\": must be between 60s and 720h"],
        ),
        (
            json!({ "podSelector": all, "mode": "FailOverAfter", "failOverAfter": "721h" }),
            vec!["spec.failOverAfter: Invalid value: \"721h\": must be between 60s and 720h"],
        ),
        (
            json!({ "podSelector": all, "mode": "FailOverAfter", "failOverAfter": "soon" }),
            vec!["spec.failOverAfter: Invalid value: \"soon\": must be a number with the unit s, m or h"],
        ),
        (
            json!({ "podSelector": { "matchExpressions": [{ "key": "a", "operator": "In" }] }, "mode": "Kubernetes" }),
            vec![
                "spec.podSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        ),
    ] {
        assert_eq!(texts(spec.clone()), expected, "{spec}");
    }
}

#[tokio::test]
async fn the_first_policy_by_name_that_selects_a_new_pod_says_its_mode() {
    let cluster = cluster().await;
    let put = async |name: &str, spec: Json| {
        let at = Target::collection(policies(), "default");
        cluster.registry.create(&cluster.cx, &at, policy(name, spec), &strict()).await.unwrap()
    };
    let create = async |name: &str, labels: Json, annotations: Json| {
        let mut doc = pod(name);
        (doc["metadata"]["labels"], doc["metadata"]["annotations"]) = (labels, annotations);
        let cx = RequestContext::new(UserInfo::new("admin", &["system:masters"]), "test");
        let made =
            cluster.registry.create(&cx, &target("pods", "default", ""), doc, &strict()).await.unwrap().to_json();
        let warnings = cx.warnings.lock().unwrap().clone();
        (made["metadata"]["annotations"][ANNOTATION].clone(), made, warnings)
    };
    let before = create("before", json!({ "app": "till" }), json!({})).await;
    assert_eq!(before.0, Json::Null);
    let till = json!({ "matchLabels": { "app": "till" } });
    let made = put("b-till", json!({ "podSelector": till, "mode": "FailOverAfter", "failOverAfter": "5m" })).await;
    assert_eq!(made.meta.generation, 1);
    put("c-all", json!({ "podSelector": {}, "mode": "RunForever" })).await;

    let (mode, doc, warnings) = create("till", json!({ "app": "till" }), json!({})).await;
    assert_eq!(mode, "FailOverAfter=5m");
    let seconds: Vec<&Json> =
        doc["spec"]["tolerations"].as_array().unwrap().iter().map(|one| &one["tolerationSeconds"]).collect();
    assert_eq!(seconds, [&Json::Null, &Json::Null], "the tolerations follow from the mode");
    assert_eq!(
        warnings,
        [
            "offlinepolicies \"b-till\" (FailOverAfter=5m) and \"c-all\" (RunForever) both select this pod; the first by name decides"
        ]
    );
    let (mode, _, warnings) = create("other", json!({ "app": "web" }), json!({})).await;
    assert_eq!((mode, warnings.len()), (json!("RunForever"), 0));
    let (mode, _, warnings) = create("own", json!({ "app": "till" }), json!({ ANNOTATION: "Kubernetes" })).await;
    assert_eq!((mode, warnings.len()), (json!("Kubernetes"), 0), "a pod's own word stands");
    put("a-till", json!({ "podSelector": till, "mode": "RunForever" })).await;
    assert_eq!(create("now", json!({ "app": "till" }), json!({})).await.0, "RunForever");
    // Pods that exist are left as they are, and another namespace has its own.
    let stays = cluster.get("pods", "default", "till").await.unwrap();
    assert_eq!(stays["metadata"]["annotations"][ANNOTATION], "FailOverAfter=5m");
    cluster.create("namespaces", "", json!({ "metadata": { "name": "other" } })).await.unwrap();
    cluster.create("serviceaccounts", "other", json!({ "metadata": { "name": "default" } })).await.unwrap();
    let elsewhere = cluster.create("pods", "other", pod("a")).await.unwrap();
    assert!(!elsewhere.meta.annotations.contains_key(ANNOTATION));
}

#[tokio::test]
async fn a_policy_is_an_object_as_any_other() {
    let cluster = cluster().await;
    let at = Target::collection(policies(), "default");
    let spec = json!({ "podSelector": {}, "mode": "Kubernetes" });
    let mut unknown = policy("a", spec.clone());
    unknown["spec"]["modes"] = json!("x");
    let status = cluster.registry.create(&cluster.cx, &at, unknown, &strict()).await.unwrap_err();
    assert!(status.code() == 400 && status.message().contains("unknown field \"spec.modes\""), "{status}");
    let status = cluster.registry.create(&cluster.cx, &at, policy("a", json!({})), &strict()).await.unwrap_err();
    assert!(
        status
            .message()
            .starts_with("OfflinePolicy.edge.holdfast.io \"a\" is invalid: [spec.podSelector: Required value"),
        "{status}"
    );
    cluster.registry.create(&cluster.cx, &at, policy("a", spec), &strict()).await.unwrap();
    let patch = Patch { patch_type: PatchType::Merge, body: json!({ "spec": { "mode": "RunForever" } }) };
    let one = Target::object(policies(), "default", "a");
    let (changed, _) = cluster.registry.patch(&cluster.cx, &one, patch, &WriteOptions::default()).await.unwrap();
    assert_eq!((changed.meta.generation, &changed.to_json()["spec"]["mode"]), (2, &json!("RunForever")));
}
