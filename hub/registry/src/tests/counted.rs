//! Metrics of admission and of what is stored.

use super::*;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_server::{CallFailure, WebhookCalls, WebhookTarget};

/// What a webhook answers: the code of a refusal, 0 for yes; nothing at all for none.
struct Answers(Option<u16>);

#[async_trait]
impl WebhookCalls for Answers {
    async fn post(&self, _: &WebhookTarget, review: Bytes, _: Duration) -> Result<Bytes, CallFailure> {
        let Some(code) = self.0 else { return Err(CallFailure::Transport("connection refused".into())) };
        let review: Json = serde_json::from_slice(&review).unwrap();
        let response = match code {
            0 => json!({ "uid": review["request"]["uid"], "allowed": true }),
            code => json!({ "uid": review["request"]["uid"], "allowed": false, "status": { "code": code } }),
        };
        let answer = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
        Ok(answer.to_string().into())
    }
}

impl Cluster {
    fn counted(&self) -> String {
        let mut out = String::new();
        self.registry.metrics(&mut out);
        out
    }

    /// The value behind a name with its labels.
    fn value(&self, series: &str) -> Option<u64> {
        let text = self.counted();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }
}

#[tokio::test]
async fn objects_are_counted_by_resource() {
    let cluster = cluster().await;
    assert_eq!(cluster.value("apiserver_storage_objects{resource=\"configmaps\"}"), Some(0));
    for name in ["a", "b"] {
        cluster.create("configmaps", "default", config_map(name, json!({}))).await.unwrap();
    }
    cluster.create("apps/deployments", "default", deployment("web")).await.unwrap();
    assert_eq!(cluster.value("apiserver_storage_objects{resource=\"configmaps\"}"), Some(2));
    assert_eq!(cluster.value("apiserver_storage_objects{resource=\"deployments.apps\"}"), Some(1));
    assert_eq!(cluster.value("apiserver_resource_objects{group=\"apps\",resource=\"deployments\"}"), Some(1));
    // One that is served in several versions is counted once, and what is only asked has no objects.
    let text = cluster.counted();
    let lines = |of: &str| text.matches(&format!("apiserver_storage_objects{{resource=\"{of}\"}}")).count();
    assert_eq!((lines("horizontalpodautoscalers.autoscaling"), lines("tokenreviews.authentication.k8s.io")), (1, 0));
}

#[tokio::test]
async fn halves_and_plug_ins_of_admission_are_counted() {
    let cluster = cluster().await;
    cluster.create("pods", "default", pod("a")).await.unwrap();
    let mut nobodys = pod("b");
    nobodys["spec"]["serviceAccountName"] = json!("nobody");
    cluster.create("pods", "default", nobodys).await.unwrap_err();
    let of = |half: &str, rejected: bool| format!("operation=\"CREATE\",rejected=\"{rejected}\",type=\"{half}\"}}");
    let plugin = |name: &str, half: &str, rejected: bool| {
        format!(
            "apiserver_admission_controller_admission_duration_seconds_count{{name=\"{name}\",{}",
            of(half, rejected)
        )
    };
    let step = |half: &str, rejected: bool| {
        format!("apiserver_admission_step_admission_duration_seconds_count{{{}", of(half, rejected))
    };
    assert_eq!(cluster.value(&plugin("ServiceAccount", "admit", false)), Some(1));
    assert_eq!(cluster.value(&plugin("ServiceAccount", "admit", true)), Some(1));
    assert_eq!(cluster.value(&plugin("ServiceAccount", "validate", false)), Some(1));
    assert_eq!(cluster.value(&step("admit", true)), Some(1));
    assert_eq!(cluster.value(&step("validate", true)), None);
    assert!(cluster.value(&step("admit", false)).unwrap() > 1, "default objects are admitted too");
}

#[tokio::test]
async fn webhooks_are_counted_by_how_they_answer() {
    for (answer, policy, series) in [
        (
            Some(0),
            "Fail",
            vec![
                "request_total{code=\"200\",name=\"h.x.io\",operation=\"CREATE\",rejected=\"false\",type=\"validating\"}",
                "admission_duration_seconds_count{name=\"h.x.io\",operation=\"CREATE\",rejected=\"false\",type=\"validating\"}",
            ],
        ),
        (
            Some(422),
            "Fail",
            vec![
                "request_total{code=\"422\",name=\"h.x.io\",operation=\"CREATE\",rejected=\"true\",type=\"validating\"}",
                "rejection_count{error_type=\"no_error\",name=\"h.x.io\",operation=\"CREATE\",rejection_code=\"422\",\
                 type=\"validating\"}",
            ],
        ),
        (
            None,
            "Fail",
            vec![
                "rejection_count{error_type=\"calling_webhook_error\",name=\"h.x.io\",operation=\"CREATE\",\
                 rejection_code=\"503\",type=\"validating\"}",
            ],
        ),
        (
            None,
            "Ignore",
            vec![
                "request_total{code=\"503\",name=\"h.x.io\",operation=\"CREATE\",rejected=\"false\",type=\"validating\"}",
                "fail_open_count{name=\"h.x.io\",type=\"validating\"}",
            ],
        ),
    ] {
        let cluster = cluster().await;
        cluster.registry.set_webhook_calls(Arc::new(Answers(answer)));
        let hook = json!({
            "name": "h.x.io", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": policy,
            "clientConfig": { "url": "https://h.x.io", "caBundle": "Q0E=" },
            "rules": [{ "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] }],
        });
        let doc = json!({ "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "v" }, "webhooks": [hook] });
        let at = "admissionregistration.k8s.io/validatingwebhookconfigurations";
        cluster.create(at, "", doc).await.unwrap();
        let made = cluster.create("configmaps", "default", config_map("a", json!({}))).await;
        assert_eq!(made.is_ok(), answer == Some(0) || policy == "Ignore");
        for series in series {
            let name = format!("apiserver_admission_webhook_{series}");
            assert_eq!(cluster.value(&name), Some(1), "{name}\n{}", cluster.counted());
        }
    }
}
