//! Webhooks over real connections: TLS on loopback, and through a pod.

mod builtin;
mod custom;

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
        "/convert" => (200, converted(&review)),
        "/garbage" => (200, "{ not json".to_string()),
        "/long" => (200, "x".repeat(ANSWER_BYTES + 1)),
        "/error" => (500, "broken".to_string()),
        "/hang" => std::future::pending().await,
        path => match custom::response(path, &review["request"]).or_else(|| builtin::response(path)) {
            Some(response) => (200, say(response)),
            None => (404, String::new()),
        },
    };
    Ok(Response::builder().status(status).body(Full::new(body.into())).unwrap())
}

/// The answer of a webhook by which `host` and `port` of v1 are `hostPort` in v2.
fn converted(review: &Json) -> String {
    let request = &review["request"];
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let convert = |doc: &Json| {
        let mut doc = doc.clone();
        let text = |field: &str| doc[field].as_str().unwrap().to_string();
        if wanted.ends_with("/v2") {
            let joined = format!("{}:{}", text("host"), text("port"));
            holdfast_core::json::remove(&mut doc, &["host"]);
            holdfast_core::json::remove(&mut doc, &["port"]);
            doc["hostPort"] = joined.into();
        } else {
            let joined = text("hostPort");
            let (host, port) = joined.split_once(':').unwrap();
            holdfast_core::json::remove(&mut doc, &["hostPort"]);
            (doc["host"], doc["port"]) = (host.into(), port.into());
        }
        doc["apiVersion"] = wanted.into();
        doc
    };
    let objects: Vec<Json> = request["objects"].as_array().unwrap().iter().map(convert).collect();
    let response = json!({ "uid": request["uid"], "result": { "status": "Success" }, "convertedObjects": objects });
    json!({ "apiVersion": review["apiVersion"], "kind": review["kind"], "response": response }).to_string()
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

/// A kind of which v1, the stored version, says `host` and `port`, and v2 `hostPort`.
fn two_versions(client: Json) -> Json {
    let version = |name: &str, fields: &[&str], stored: bool| {
        let fields: serde_json::Map<String, Json> =
            fields.iter().map(|field| ((*field).to_string(), json!({ "type": "string" }))).collect();
        let selectable: Vec<Json> = fields.keys().map(|field| json!({ "jsonPath": format!(".{field}") })).collect();
        json!({ "name": name, "served": true, "storage": stored, "selectableFields": selectable,
            "schema": { "openAPIV3Schema": { "type": "object", "properties": fields } } })
    };
    json!({ "metadata": { "name": "ends.stable.example.com" }, "spec": {
        "group": "stable.example.com", "scope": "Namespaced", "names": { "plural": "ends", "kind": "End" },
        "versions": [version("v1", &["host", "port"], true), version("v2", &["hostPort"], false)],
        "conversion": { "strategy": "Webhook",
            "webhook": { "clientConfig": client, "conversionReviewVersions": ["v1", "v1beta1"] } },
    } })
}

const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

fn ends(version: &str) -> Target {
    Target::collection(holdfast_core::Gvr::new("stable.example.com", version, "ends"), "default")
}

fn end(name: &str, at: &str) -> Json {
    let (host, port) = at.split_once(':').unwrap();
    json!({ "apiVersion": "stable.example.com/v1", "kind": "End", "metadata": { "name": name }, "host": host, "port": port })
}

impl Hub {
    async fn make_end(&self, name: &str, at: &str) {
        let options = WriteOptions::default();
        self.registry.create(&self.cx, &ends("v1"), end(name, at), &options).await.unwrap();
    }

    /// The ends in v2 that a field selects.
    async fn list_ends(&self, fields: &str) -> Result<Vec<(String, String)>, Status> {
        let fields = holdfast_core::FieldSelector::parse(fields).unwrap();
        let options = holdfast_core::ListOptions { fields, ..Default::default() };
        let list = self.registry.list(&self.cx, &ends("v2"), &options).await?;
        let shown = |object: &Arc<Object>| {
            let doc = object.to_json();
            assert_eq!(doc["apiVersion"], "stable.example.com/v2");
            (object.meta.name.clone(), doc["hostPort"].as_str().unwrap_or_default().to_string())
        };
        Ok(list.items.iter().map(shown).collect())
    }
}

fn told(ends: &[(&str, &str)]) -> Vec<(String, String)> {
    ends.iter().map(|(name, at)| ((*name).to_string(), (*at).to_string())).collect()
}

#[tokio::test]
async fn custom_objects_are_converted_over_tls() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    let client = json!({ "url": format!("https://localhost:{}/convert", hooks.port), "caBundle": hooks.bundle });
    let _task = hub.registry.start_custom_kinds().await.unwrap();
    hub.create(DEFINITIONS, "", two_versions(client)).await.unwrap();
    hub.make_end("a", "local:80").await;
    let name = Target { name: Some("a".into()), ..ends("v2") };
    let shown = hub.registry.get(&hub.cx, &name).await.unwrap().to_json();
    assert_eq!((&shown["hostPort"], shown.get("host")), (&json!("local:80"), None));
    let asked = std::mem::take(&mut *hooks.asked.lock().unwrap());
    assert_eq!(asked, [format!("POST localhost:{}/convert?timeout=30s application/json", hooks.port)]);

    // From now on objects are stored in v2: a list has some of either sort.
    let operations = json!([
        { "op": "replace", "path": "/spec/versions/0/storage", "value": false },
        { "op": "replace", "path": "/spec/versions/1/storage", "value": true },
    ]);
    let patch = holdfast_core::Patch { patch_type: holdfast_core::PatchType::Json, body: operations };
    let at = Target::object(super::gvr(DEFINITIONS), "", "ends.stable.example.com");
    hub.registry.patch(&hub.cx, &at, patch, &WriteOptions::default()).await.unwrap();
    hub.make_end("b", "local:8080").await;
    assert_eq!(hub.list_ends("").await.unwrap(), told(&[("a", "local:80"), ("b", "local:8080")]));
    let older = hub.registry.list(&hub.cx, &ends("v1"), &Default::default()).await.unwrap();
    let ports: Vec<Json> = older.items.iter().map(|object| object.to_json()["port"].clone()).collect();
    assert_eq!(ports, ["80", "8080"]);
    assert_eq!(hub.list_ends("hostPort=local:80").await.unwrap(), told(&[("a", "local:80")]));
}

#[tokio::test]
async fn a_conversion_that_fails_over_tls_is_told() {
    let (hub, hooks) = (hub().await, hooks(&["localhost"]).await);
    let _task = hub.registry.start_custom_kinds().await.unwrap();
    let client =
        |path: &str| json!({ "url": format!("https://localhost:{}{path}", hooks.port), "caBundle": hooks.bundle });
    hub.create(DEFINITIONS, "", two_versions(client("/garbage"))).await.unwrap();
    hub.make_end("a", "local:80").await;
    for (path, text) in [
        ("/garbage", "couldn't get version/kind; json parse error"),
        ("/long", "the answer is longer than 3145728 bytes"),
        ("/error", "an error on the server (\"broken\") has prevented the request from succeeding"),
        ("/nowhere", "the server could not find the requested resource"),
        (
            "/allow",
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got \
                    admission.k8s.io/v1, Kind=AdmissionReview",
        ),
    ] {
        let at = Target::object(super::gvr(DEFINITIONS), "", "ends.stable.example.com");
        let patch = json!({ "spec": { "conversion": { "webhook": { "clientConfig": client(path) } } } });
        let patch = holdfast_core::Patch { patch_type: holdfast_core::PatchType::Merge, body: patch };
        hub.registry.patch(&hub.cx, &at, patch, &WriteOptions::default()).await.unwrap();
        let failed = hub.list_ends("").await.unwrap_err();
        let start = "conversion webhook for stable.example.com/v1, Kind=End failed: ";
        assert!(failed.code() == 500 && failed.message().starts_with(start), "{failed}");
        assert!(failed.message().contains(text), "{text}: {failed}");
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
