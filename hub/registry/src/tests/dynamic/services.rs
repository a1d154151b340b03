//! Webhooks of Services: the way to one of its pods.

use super::*;
use holdfast_server::{Connected, WebhookRoute};

/// Reaches nothing.
struct NoNodes;

#[async_trait]
impl holdfast_server::NodeCalls for NoNodes {
    async fn logs(
        &self,
        _: &str,
        _: holdfast_core::calls::LogCall,
    ) -> Result<tokio::sync::mpsc::Receiver<Result<Bytes, Status>>, Status> {
        Err(Status::unavailable("no node", 1))
    }

    async fn exec(
        &self,
        _: &str,
        _: holdfast_core::calls::ExecCall,
    ) -> Result<holdfast_env::session::ExecSession, Status> {
        Err(Status::unavailable("no node", 1))
    }

    async fn forward(&self, _: &str, _: holdfast_core::calls::ForwardCall) -> Result<holdfast_env::BiStream, Status> {
        Err(Status::unavailable("no node", 1))
    }
}

/// Keeps the way that it was to go.
#[derive(Default)]
struct Ways(Mutex<Vec<WebhookTarget>>);

#[async_trait]
impl WebhookCalls for Ways {
    async fn post(&self, to: &WebhookTarget, _: Bytes, _: Duration) -> Result<Bytes, CallFailure> {
        self.0.lock().unwrap().push(to.clone());
        Err(CallFailure::Transport(format!("tried {}{}", to.authority, to.path)))
    }
}

#[tokio::test]
async fn a_service_is_reached_through_one_of_its_pods() {
    let cluster = cluster().await;
    let ways = Arc::new(Ways::default());
    cluster.registry.set_webhook_calls(ways.clone());
    cluster.registry.set_node_calls(Arc::new(NoNodes));
    let mut hook = hook("v", &["configmaps"]);
    hook["clientConfig"] = json!({ "caBundle": "Q0E=", "service": { "namespace": "default", "name": "judge", "path": "/ask", "port": 443 } });
    let doc = json!({ "kind": "ValidatingWebhookConfiguration", "metadata": { "name": "v" }, "webhooks": [hook] });
    cluster.create(VALIDATING, "", doc).await.unwrap();
    let ask = async |name: &str| {
        let refused = cluster.create("configmaps", "default", config_map(name, json!({}))).await.unwrap_err();
        refused.message().rsplit("webhook: ").next().unwrap().to_string()
    };
    assert_eq!(ask("a").await, "services \"judge\" not found");
    let service = json!({ "metadata": { "name": "judge" }, "spec": { "selector": { "app": "judge" },
        "ports": [{ "name": "https", "port": 443, "targetPort": 8443 }] } });
    cluster.create("services", "default", service).await.unwrap();
    assert_eq!(ask("b").await, "no endpoints available for service \"judge\"");

    let mut judge = pod("judge-1");
    judge["spec"]["nodeName"] = json!("n1");
    cluster.create("pods", "default", judge).await.unwrap();
    let slice = json!({
        "metadata": { "name": "judge-x", "labels": { "kubernetes.io/service-name": "judge" } }, "addressType": "IPv4",
        "ports": [{ "name": "https", "port": 8443, "protocol": "TCP" }],
        "endpoints": [{ "addresses": ["10.0.0.1"], "conditions": { "ready": true },
            "targetRef": { "kind": "Pod", "name": "judge-1", "namespace": "default" } }],
    });
    cluster.create("discovery.k8s.io/endpointslices", "default", slice).await.unwrap();
    // The proxy finds the same pod, and is told whether it speaks TLS.
    for (resource, name, secure) in
        [("services", "https:judge:443", true), ("services", "judge:443", false), ("pods", "https:judge-1:8443", true)]
    {
        let at = target(resource, "default", name).with_subresource("proxy");
        match cluster.registry.connect(&cluster.cx, &at, &[]).await.unwrap() {
            Connected::Backend { ports, port, tls } => {
                assert_eq!((ports.pod.pod.as_str(), port, tls), ("judge-1", 8443, secure), "{name}");
            }
            _ => panic!("{name} leads nowhere"),
        }
    }
    let told = ask("c").await;
    let url = "https://judge.default.svc:443/ask?timeout=10s";
    assert_eq!(told, format!("Post {url:?}: tried judge.default.svc:443/ask"));
    let ways = ways.0.lock().unwrap();
    let [way] = &ways[..] else { panic!("one call") };
    assert_eq!((way.server_name.as_str(), &way.ca_bundle[..]), ("judge.default.svc", &b"CA"[..]));
    match &way.route {
        WebhookRoute::Pod { ports, port } => {
            assert_eq!((ports.node.as_str(), ports.pod.pod.as_str(), *port), ("n1", "judge-1", 8443))
        }
        WebhookRoute::Network { .. } => panic!("the hub has no route to a Service"),
    }
}
