//! Admission policies in expressions, put to use over HTTPS.

use crate::hub::Hub;
use holdfast_core::Json;
use serde_json::json;

const ADMISSION: &str = "/apis/admissionregistration.k8s.io/v1";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/one/deployments";

fn deployment(name: &str, replicas: i64) -> Json {
    let labels = json!({"app": name});
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "app:1"}]}}}})
}

/// About what happens to Deployments in the namespace `one`.
fn about_deployments() -> Json {
    let rule = json!({"operations": ["CREATE", "UPDATE"], "apiGroups": ["apps"], "apiVersions": ["v1"],
        "resources": ["deployments"]});
    json!({"resourceRules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "one"}}})
}

/// Makes a policy of this sort (`validating`, `mutating`) and binds it.
async fn bound(hub: &Hub, sort: &str, mut spec: Json, mut binding: Json) -> String {
    spec["matchConstraints"] = about_deployments();
    binding["policyName"] = "p".into();
    let policies = format!("{ADMISSION}/{sort}admissionpolicies");
    hub.create(&policies, json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let bindings = format!("{ADMISSION}/{sort}admissionpolicybindings");
    hub.create(&bindings, json!({"metadata": {"name": "p"}, "spec": binding})).await;
    format!("{policies}/p")
}

fn mutation(expression: &str) -> Json {
    json!({"reinvocationPolicy": "Never", "mutations": [
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_mutates_a_deployment() {
    let hub = Hub::start().await;
    let more = "Object{spec: Object.spec{replicas: object.spec.replicas + 1}}";
    bound(&hub, "mutating", mutation(more), json!({})).await;
    let made = hub.create(DEPLOYMENTS, deployment("web", 1)).await;
    assert_eq!(made["spec"]["replicas"], 2);
    assert_eq!(hub.get(&format!("{DEPLOYMENTS}/web")).await.ok()["spec"]["replicas"], 2);
    let elsewhere = hub.create("/apis/apps/v1/namespaces/two/deployments", deployment("web", 1)).await;
    assert_eq!(elsewhere["spec"]["replicas"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_annotates_a_deployment() {
    let hub = Hub::start().await;
    let annotates = "Object{metadata: Object.metadata{annotations: {'my-foo-annotation': 'myAnnotationValue'}}}";
    bound(&hub, "mutating", mutation(annotates), json!({})).await;
    let mut doc = deployment("web", 1);
    doc["metadata"]["annotations"] = json!({"own": "1"});
    hub.create(DEPLOYMENTS, doc).await;
    let read = hub.get(&format!("{DEPLOYMENTS}/web")).await.ok();
    assert_eq!(read["metadata"]["annotations"], json!({"own": "1", "my-foo-annotation": "myAnnotationValue"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_judges_deployments() {
    let hub = Hub::start().await;
    let validations = json!([
        {"expression": "object.spec.replicas > 1",
            "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"},
        {"expression": "namespaceObject.metadata.name == 'one'", "message": "another namespace"},
    ]);
    let spec = json!({"validations": validations});
    let policy = bound(&hub, "validating", spec, json!({"validationActions": ["Deny"]})).await;
    let status = hub.get(&policy).await.ok()["status"].clone();
    assert_eq!(status, json!({"observedGeneration": 1, "typeChecking": {}}));
    hub.create(DEPLOYMENTS, deployment("two", 2)).await;
    let refused = hub.post(DEPLOYMENTS, &deployment("one", 1)).await.refused(422);
    assert!(refused.ends_with("denied request: wants replicas > 1, got 1"), "{refused}");
    hub.create("/apis/apps/v1/namespaces/two/deployments", deployment("one", 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expressions_refer_to_variables() {
    let hub = Hub::start().await;
    let variables = json!([
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
    ]);
    let validations = json!([{"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"}]);
    let spec = json!({"variables": variables, "validations": validations});
    bound(&hub, "validating", spec, json!({"validationActions": ["Deny"]})).await;
    for (replicas, wrong) in [(1, "variables.replicas > 1"), (2, "variables.oddReplicas")] {
        let refused = hub.post(DEPLOYMENTS, &deployment("web", replicas)).await.refused(422);
        assert!(refused.ends_with(&format!("failed expression: {wrong}")), "{refused}");
    }
    hub.create(DEPLOYMENTS, deployment("web", 3)).await;
}
