//! Configurations of webhooks as objects. That anybody is asked is another matter.

use crate::hub::Hub;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn match_conditions_are_kept_and_updated() {
    let hub = Hub::start().await;
    for plural in ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"] {
        let at = format!("/apis/admissionregistration.k8s.io/v1/{plural}");
        let first = json!({"name": "expression-1", "expression": "object.metadata.namespace == 'production'"});
        let second = json!({"name": "expression-2", "expression": "object.metadata.namespace == 'staging'"});
        let rule = json!({"operations": ["CREATE"], "apiGroups": ["none.example.com"], "apiVersions": ["v1"],
            "resources": ["nones"]});
        let hook = json!({"name": "judge.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"name": "judge", "namespace": "one", "path": "/always-allow"}},
            "rules": [rule], "matchConditions": [first]});
        hub.create(&at, json!({"metadata": {"name": "judge"}, "webhooks": [hook]})).await;
        let path = format!("{at}/judge");
        let mut made = hub.get(&path).await.ok();
        assert_eq!(made["webhooks"][0]["matchConditions"], json!([first]), "{plural}");
        made["webhooks"][0]["matchConditions"] = json!([first, second]);
        hub.put(&path, &made).await.ok();
        let updated = hub.get(&path).await.ok();
        assert_eq!(updated["webhooks"][0]["matchConditions"], json!([first, second]), "{plural}");
    }
}
