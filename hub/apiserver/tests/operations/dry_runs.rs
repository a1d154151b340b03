//! `dryRun` of the operations that are no plain write of an object: each answers as ever, and nothing is stored.

use crate::hub::Hub;
use holdfast_core::Json;
use serde_json::json;

const PODS: &str = "/api/v1/namespaces/one/pods";
const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

/// A hub with something of each, and what to ask of it: method, path, content type, body.
async fn asked(hub: &Hub) -> Vec<(&'static str, String, &'static str, Json)> {
    let containers = json!([{"name": "main", "image": "app:1", "resources": {"requests": {"cpu": "1"}}}]);
    hub.create(PODS, json!({"metadata": {"name": "a"}, "spec": {"containers": containers}})).await;
    let template =
        json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "main", "image": "app"}]}});
    let spec = json!({"replicas": 1, "selector": {"matchLabels": {"app": "a"}}, "template": template});
    hub.create("/apis/apps/v1/namespaces/one/deployments", json!({"metadata": {"name": "web"}, "spec": spec})).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "somebody");
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let request = json!({"metadata": {"name": "csr"}, "spec": {"request": base64(pem.as_bytes()),
        "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}});
    let csr = hub.create(REQUESTS, request).await;

    let mut approved = csr.clone();
    approved["status"] = json!({"conditions": [{"type": "Approved", "status": "True", "reason": "test"}]});
    let mut namespace = hub.get("/api/v1/namespaces/one").await.ok();
    namespace["spec"]["finalizers"] = json!(["kubernetes", "example.com/mine"]);
    let scale = hub.get("/apis/apps/v1/namespaces/one/deployments/web/scale").await.ok();
    let mut more = scale.clone();
    more["spec"]["replicas"] = json!(5);
    let merge = "application/merge-patch+json";
    let strategic = "application/strategic-merge-patch+json";
    let plain = "application/json";
    let pod = format!("{PODS}/a");
    let binding =
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"}, "target": {"name": "edge-1"}});
    let debugger = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "sh"}]}});
    let bigger = json!({"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "2"}}}]}});
    vec![
        ("POST", format!("{pod}/binding"), plain, binding.clone()),
        ("POST", "/api/v1/namespaces/one/bindings".to_owned(), plain, binding),
        (
            "POST",
            format!("{pod}/eviction"),
            plain,
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}),
        ),
        ("PATCH", format!("{pod}/ephemeralcontainers"), strategic, debugger),
        ("PATCH", format!("{pod}/resize"), strategic, bigger),
        ("PUT", "/apis/apps/v1/namespaces/one/deployments/web/scale".to_owned(), plain, more),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/one/deployments/web/scale".to_owned(),
            merge,
            json!({"spec": {"replicas": 6}}),
        ),
        (
            "POST",
            "/api/v1/namespaces/one/serviceaccounts/default/token".to_owned(),
            plain,
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}),
        ),
        ("PUT", format!("{REQUESTS}/csr/approval"), plain, approved.clone()),
        ("PATCH", format!("{REQUESTS}/csr/approval"), merge, json!({"status": approved["status"]})),
        ("PUT", "/api/v1/namespaces/one/finalize".to_owned(), plain, namespace),
    ]
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_tried_is_answered_and_not_stored() {
    let hub = Hub::start().await;
    let asked = asked(&hub).await;
    let before = hub.store.revision();
    for (method, path, kind, body) in &asked {
        let headers = [("content-type", *kind)];
        let tried = format!("{path}?dryRun=All");
        hub.send(method, &tried, &headers, body.to_string()).await.ok();
        assert_eq!(hub.store.revision(), before, "{method} {tried} wrote something");
        let wrong = hub.send(method, &format!("{path}?dryRun=Some"), &headers, body.to_string()).await;
        assert!(matches!(wrong.code, 400 | 422), "{method} {path} took dryRun=Some: {}", wrong.code);
    }
    // The same for good, but for tokens, of which nothing is kept.
    let mut revision = before;
    for (method, path, kind, body) in asked.iter().filter(|(_, path, ..)| !path.ends_with("/token")) {
        // The pod is bound once, and only one of the two ways of approval finds the request as it was.
        if path.ends_with("/bindings") || *method == "PUT" && path.ends_with("/approval") {
            continue;
        }
        hub.send(method, path, &[("content-type", kind)], body.to_string()).await.ok();
        assert!(hub.store.revision() > revision, "{method} {path} wrote nothing");
        revision = hub.store.revision();
    }
}
