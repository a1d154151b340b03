//! Webhooks over real connections: TLS on loopback, and through a pod.

use async_trait::async_trait;
use base64::Engine;
use bytes::Bytes;
use holdfast_apiserver::WebhookClient;
use holdfast_apiserver::webhooks::ANSWER_BYTES;
use holdfast_core::calls::{ExecCall, ForwardCall, LogCall};
use holdfast_core::{Json, Lineage, Object, Status, Target, UserInfo, WriteOptions};
use holdfast_env::host::HostEnv;
use holdfast_env::session::ExecSession;
use holdfast_env::{BiStream, NetError, RecvStream, SendStream, World};
use holdfast_registry::{HubRegistry, HubRegistryConfig, JwtIssuer};
use holdfast_server::{NodeCalls, Registry, RequestContext};
use holdfast_store::memory::CachedStore;
use holdfast_store::testing::MemoryLog;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const VALIDATING: &str = "admissionregistration.k8s.io/validatingwebhookconfigurations";
const MUTATING: &str = "admissionregistration.k8s.io/mutatingwebhookconfigurations";

/// A webhook on loopback that does what its path says.
struct Hooks {
    port: u16,
    /// The certificate that it shows, as PEM in base64.
    bundle: String,
    asked: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

async fn answer(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<String>>>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let review: Json = serde_json::from_slice(&body.collect().await?.to_bytes()).unwrap();
    let (path, host) = (head.uri.to_string(), head.headers["host"].to_str().unwrap().to_string());
    asked.lock().unwrap().push(format!(
        "{} {host}{path} {}",
        head.method,
        head.headers["content-type"].to_str().unwrap()
    ));
    let say = |response: Json| {
        let mut response = response;
        response["uid"] = review["request"]["uid"].clone();
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response }).to_string()
    };
    let (status, body) = match head.uri.path() {
        "/allow" => (200, say(json!({ "allowed": true }))),
        "/deny" => (200, say(json!({ "allowed": false, "status": { "message": "no" } }))),
        "/patch" => {
            let patch = json!([{ "op": "add", "path": "/data/by", "value": "hook" }]).to_string();
            let patch = base64::engine::general_purpose::STANDARD.encode(patch);
            (200, say(json!({ "allowed": true, "patchType": "JSONPatch", "patch": patch })))
        }
        "/garbage" => (200, "{ not json".to_string()),
        "/long" => (200, "x".repeat(ANSWER_BYTES + 1)),
        "/error" => (500, "broken".to_string()),
        "/hang" => std::future::pending().await,
        _ => (404, String::new()),
    };
    Ok(Response::builder().status(status).body(Full::new(body.into())).unwrap())
}

async fn hooks(names: &[&str]) -> Hooks {
    let names: Vec<String> = names.iter().map(|name| (*name).to_string()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut tasks = JoinSet::new();
    let seen = asked.clone();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, seen) = (acceptor.clone(), seen.clone());
            connections.spawn(async move {
                // A client that does not trust us goes away.
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = service_fn(move |request| answer(request, seen.clone()));
                drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
            });
        }
    });
    let bundle = base64::engine::general_purpose::STANDARD.encode(cert.pem());
    Hooks { port, bundle, asked, _tasks: tasks }
}

struct Hub {
    registry: HubRegistry,
    cx: RequestContext,
}

async fn hub() -> Hub {
    let world: World = HostEnv::new("/nonexistent");
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    let registry = HubRegistry::new(HubRegistryConfig {
        store: CachedStore::open(MemoryLog::new()).unwrap(),
        env: world.clone(),
        service_cidr: "10.96.0.0/24".parse().unwrap(),
        token_issuer: Arc::new(JwtIssuer::from_pem(key.as_bytes(), "https://hub", "https://hub").unwrap()),
        lineage: Lineage(1),
        eviction_after: holdfast_registry::EVICTION_AFTER,
    });
    registry.ensure_defaults(6443).await.unwrap();
    registry.set_webhook_calls(Arc::new(WebhookClient::new(world)));
    Hub { registry, cx: RequestContext::new(UserInfo::new("admin", &["system:masters"]), "test") }
}

impl Hub {
    async fn create(&self, resource: &str, namespace: &str, doc: Json) -> Result<Arc<Object>, Status> {
        let at = Target::collection(super::gvr(resource), namespace);
        self.registry.create(&self.cx, &at, doc, &WriteOptions::default()).await
    }

    /// What comes of a ConfigMap under one webhook.
    async fn under(&self, resource: &str, client: Json, policy: &str) -> Result<Json, Status> {
        let kind = if resource == MUTATING { "MutatingWebhookConfiguration" } else { "ValidatingWebhookConfiguration" };
        let rule =
            json!({ "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] });
        let hook = json!({ "name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": client, "rules": [rule], "failurePolicy": policy, "timeoutSeconds": 1 });
        let doc = json!({ "kind": kind, "metadata": { "name": "hook" }, "webhooks": [hook] });
        self.create(resource, "", doc).await.unwrap();
        let map = json!({ "metadata": { "generateName": "map-" }, "data": { "a": "b" } });
        let made = self.create("configmaps", "default", map).await.map(|object| object.to_json());
        let at = Target::object(super::gvr(resource), "", "hook");
        self.registry.delete(&self.cx, &at, &Default::default()).await.unwrap();
        made
    }
}

#[tokio::test]
async fn webhooks_are_asked_over_tls() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    let url =
        |path: &str| json!({ "url": format!("https://localhost:{}{path}", hooks.port), "caBundle": hooks.bundle });
    hub.under(VALIDATING, url("/allow"), "Fail").await.unwrap();
    let asked = std::mem::take(&mut *hooks.asked.lock().unwrap());
    assert_eq!(asked, [format!("POST localhost:{}/allow?timeout=1s application/json", hooks.port)]);
    let refused = hub.under(VALIDATING, url("/deny"), "Ignore").await.unwrap_err();
    assert_eq!(refused.message(), "admission webhook \"hook.example.com\" denied the request: no");
    let made = hub.under(MUTATING, url("/patch"), "Fail").await.unwrap();
    assert_eq!(made["data"], json!({ "a": "b", "by": "hook" }));
}

#[tokio::test]
async fn calls_that_fail_are_told_or_overlooked() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    let at = |path: &str, bundle: &str| json!({ "url": format!("https://localhost:{}{path}", hooks.port), "caBundle": bundle });
    let other = self::hooks(&["localhost"]).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let pem = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let cases = [
        (at("/hang", &hooks.bundle), "context deadline exceeded"),
        (at("/garbage", &hooks.bundle), "couldn't get version/kind; json parse error"),
        (at("/long", &hooks.bundle), "the answer is longer than 3145728 bytes"),
        (at("/error", &hooks.bundle), "an error on the server (\"broken\") has prevented the request from succeeding"),
        (at("/nowhere", &hooks.bundle), "the server could not find the requested resource"),
        (at("/allow", &other.bundle), "tls: invalid peer certificate"),
        (
            json!({ "url": format!("https://127.0.0.1:{}/allow", hooks.port), "caBundle": hooks.bundle }),
            "tls: invalid peer certificate",
        ),
        (json!({ "url": format!("https://localhost:{free}/"), "caBundle": hooks.bundle }), "dial tcp localhost"),
        (at("/allow", ""), "there is no caBundle, and the hub trusts no authorities of the system"),
        (
            at("/allow", &pem("-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n")),
            "the caBundle does not read",
        ),
    ];
    for (client, text) in cases {
        let refused = hub.under(VALIDATING, client.clone(), "Fail").await.unwrap_err();
        let start = "Internal error occurred: failed calling webhook \"hook.example.com\": failed to call webhook: ";
        assert!(refused.code() == 500 && refused.message().starts_with(start), "{refused}");
        assert!(refused.message().contains(text), "{text}: {refused}");
        hub.under(MUTATING, client, "Ignore").await.unwrap();
    }
}

/// Nodes whose pods all are one address.
struct Loopback(u16);

struct Sender(OwnedWriteHalf);
struct Receiver(OwnedReadHalf);

#[async_trait]
impl SendStream for Sender {
    async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
        self.0.write_all(&data).await.map_err(|err| NetError::Closed(err.to_string()))
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        self.0.shutdown().await.map_err(|err| NetError::Closed(err.to_string()))
    }

    fn reset(&mut self, _code: u64) {}
}

#[async_trait]
impl RecvStream for Receiver {
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        let mut data = vec![0; max];
        let count = self.0.read(&mut data).await.map_err(|err| NetError::Closed(err.to_string()))?;
        data.truncate(count);
        Ok((count > 0).then(|| data.into()))
    }

    fn stop(&mut self, _code: u64) {}
}

#[async_trait]
impl NodeCalls for Loopback {
    async fn logs(&self, _: &str, _: LogCall) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status> {
        Err(Status::unavailable("no logs", 1))
    }

    async fn exec(&self, _: &str, _: ExecCall) -> Result<ExecSession, Status> {
        Err(Status::unavailable("no exec", 1))
    }

    async fn forward(&self, node: &str, call: ForwardCall) -> Result<BiStream, Status> {
        assert_eq!((node, call.pod.as_str(), call.port), ("n1", "judge-1", 8443));
        let (reader, writer) = TcpStream::connect(("127.0.0.1", self.0)).await.unwrap().into_split();
        Ok((Box::new(Sender(writer)), Box::new(Receiver(reader))))
    }
}

#[tokio::test]
async fn a_service_is_asked_through_the_link_by_its_own_name() {
    let (hub, hooks) = (hub().await, hooks(&["judge.default.svc"]).await);
    hub.registry.set_node_calls(Arc::new(Loopback(hooks.port)));
    hub.create("serviceaccounts", "default", json!({ "metadata": { "name": "default" } })).await.unwrap();
    let service =
        json!({ "metadata": { "name": "judge" }, "spec": { "ports": [{ "port": 443, "targetPort": 8443 }] } });
    hub.create("services", "default", service).await.unwrap();
    let pod = json!({ "metadata": { "name": "judge-1" },
        "spec": { "nodeName": "n1", "containers": [{ "name": "c", "image": "judge:1" }] } });
    hub.create("pods", "default", pod).await.unwrap();
    let slice = json!({
        "metadata": { "name": "judge-x", "labels": { "kubernetes.io/service-name": "judge" } }, "addressType": "IPv4",
        "ports": [{ "name": "", "port": 8443, "protocol": "TCP" }],
        "endpoints": [{ "addresses": ["10.0.0.1"], "targetRef": { "kind": "Pod", "name": "judge-1" } }],
    });
    hub.create("discovery.k8s.io/endpointslices", "default", slice).await.unwrap();
    let client =
        json!({ "service": { "namespace": "default", "name": "judge", "path": "/patch" }, "caBundle": hooks.bundle });
    let made = hub.under(MUTATING, client, "Fail").await.unwrap();
    assert_eq!(made["data"]["by"], "hook");
    assert_eq!(*hooks.asked.lock().unwrap(), ["POST judge.default.svc:443/patch?timeout=1s application/json"]);
}
