//! A registry that keeps objects in a map and knows no rules, and a server in front of it.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::calls::{ExecCall, ForwardCall, LogCall, Page};
use holdfast_core::{
    DeleteOptions, Json, ListOptions, Object, ObjectList, Patch, Reason, Revision, Status, Target, UserInfo, Watch,
    WatchEvent, WatchEventType, WatchStream, WriteOptions,
};
use holdfast_env::BiStream;
use holdfast_env::host::HostEnv;
use holdfast_env::session::{ExecSession, STREAM_CHUNKS, StreamInput, StreamOutput};
use holdfast_env::testing::{echo, stream_over};
use holdfast_server::listen::tls;
use holdfast_server::{
    Anonymous, Api, ApiService, Attributes, Authenticator, Authorizer, Connected, Credentials, Decision, Deleted,
    Document, Health, InFlight, KindSet, LiveKinds, NodeCalls, PodPorts, Registry, RequestContext, Server,
    ServiceConfig, Taker,
};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Arc<Object>>,
    revision: u64,
    watchers: Vec<mpsc::UnboundedSender<Result<WatchEvent, Status>>>,
}

#[derive(Default)]
pub(crate) struct Fake(Mutex<State>);

struct FakeWatch(mpsc::UnboundedReceiver<Result<WatchEvent, Status>>);

impl WatchStream for FakeWatch {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<WatchEvent, Status>>> {
        self.0.poll_recv(cx)
    }
}

fn prefix(at: &Target) -> String {
    let namespace = at.namespace.as_deref().map(|namespace| format!("{namespace}/")).unwrap_or_default();
    format!("{}/{namespace}", at.gvr)
}

fn key(at: &Target) -> String {
    format!("{}{}", prefix(at), at.name())
}

impl Fake {
    /// Ends every watch with this error.
    pub(crate) fn break_watches(&self, status: &Status) {
        for watcher in self.0.lock().unwrap().watchers.drain(..) {
            let _ = watcher.send(Err(status.clone()));
        }
    }

    fn put(&self, key: String, body: Json, event_type: WatchEventType) -> Result<Arc<Object>, Status> {
        let mut state = self.0.lock().unwrap();
        state.revision += 1;
        let object = Arc::new(Object::from_json(body)?.at_revision(Revision(state.revision)));
        state.objects.insert(key, object.clone());
        let event = WatchEvent { event_type, object: object.clone() };
        state.watchers.retain(|watcher| watcher.send(Ok(event.clone())).is_ok());
        Ok(object)
    }
}

#[async_trait]
impl Registry for Fake {
    async fn get(&self, _: &RequestContext, at: &Target) -> Result<Arc<Object>, Status> {
        let state = self.0.lock().unwrap();
        state.objects.get(&key(at)).cloned().ok_or_else(|| Status::not_found(&at.gvr, at.name()))
    }

    async fn list(&self, _: &RequestContext, at: &Target, options: &ListOptions) -> Result<ObjectList, Status> {
        if options.continue_token.is_some() {
            return Err(Status::expired("The provided continue parameter is too old"));
        }
        let state = self.0.lock().unwrap();
        let prefix = prefix(at);
        let items = state.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, object)| object.clone());
        let items = items.filter(|object| options.labels.matches(&object.meta.labels)).collect();
        Ok(ObjectList { items, revision: Revision(state.revision), continue_token: None, remaining: None })
    }

    async fn watch(&self, _: &RequestContext, _: &Target, _: &ListOptions) -> Result<Watch, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.0.lock().unwrap();
        for object in state.objects.values() {
            let _ = sender.send(Ok(WatchEvent { event_type: WatchEventType::Added, object: object.clone() }));
        }
        state.watchers.push(sender);
        Ok(Box::new(FakeWatch(receiver)))
    }

    async fn create(
        &self,
        cx: &RequestContext,
        at: &Target,
        body: Json,
        _: &WriteOptions,
    ) -> Result<Arc<Object>, Status> {
        if let Some(warning) = holdfast_core::json::str_at(&body, &["metadata", "annotations", "warn"]) {
            cx.warn(warning);
        }
        if let Some(wait) = holdfast_core::json::i64_at(&body, &["waitMillis"]) {
            tokio::time::sleep(std::time::Duration::from_millis(wait.unsigned_abs())).await;
        }
        let name = holdfast_core::json::str_at(&body, &["metadata", "name"]).unwrap_or_default().to_string();
        self.put(format!("{}{name}", prefix(at)), body, WatchEventType::Added)
    }

    async fn update(
        &self,
        cx: &RequestContext,
        at: &Target,
        body: Json,
        _: &WriteOptions,
    ) -> Result<(Arc<Object>, bool), Status> {
        self.get(cx, at).await?;
        Ok((self.put(key(at), body, WatchEventType::Modified)?, false))
    }

    async fn patch(
        &self,
        cx: &RequestContext,
        at: &Target,
        patch: Patch,
        _: &WriteOptions,
    ) -> Result<(Arc<Object>, bool), Status> {
        let mut document = self.get(cx, at).await?.to_json();
        document["patched"] = format!("{:?}", patch.patch_type).into();
        Ok((self.put(key(at), document, WatchEventType::Modified)?, false))
    }

    async fn delete(&self, _: &RequestContext, at: &Target, _: &DeleteOptions) -> Result<Deleted, Status> {
        let mut state = self.0.lock().unwrap();
        let gone = state.objects.remove(&key(at)).ok_or_else(|| Status::not_found(&at.gvr, at.name()))?;
        Ok(Deleted::Gone(gone))
    }

    async fn delete_collection(
        &self,
        cx: &RequestContext,
        at: &Target,
        _: &DeleteOptions,
        selection: &ListOptions,
    ) -> Result<ObjectList, Status> {
        self.list(cx, at, selection).await
    }

    async fn connect(&self, _: &RequestContext, at: &Target, query: &[(String, String)]) -> Result<Connected, Status> {
        match at.name() {
            "none" => return Err(Status::not_found(&at.gvr, at.name())),
            "away" => return Err(Status::unavailable("node \"edge-1\" is not connected", 5)),
            _ => {}
        }
        if at.subresource() == "portforward" {
            let pod = ForwardCall { pod: at.name().into(), pod_uid: "u".into(), ..ForwardCall::default() };
            return Ok(Connected::Ports(PodPorts { calls: Arc::new(Echoes), node: "edge-1".into(), pod }));
        }
        if at.subresource() == "proxy" && at.gvr.resource == "nodes" {
            let body = format!("{query:?}").into();
            return Ok(Connected::Page(Page { content_type: "text/x-page".into(), body }));
        }
        if at.subresource() == "proxy" {
            let (name, tls) = match at.name().strip_prefix("https:") {
                Some(name) => (name, true),
                None => (at.name(), false),
            };
            let port = name.split(':').nth(1).unwrap_or("8080").parse().unwrap();
            let pod = ForwardCall { pod: at.name().into(), ..ForwardCall::default() };
            let ports = PodPorts { calls: Arc::new(Echoes), node: "edge-1".into(), pod };
            return Ok(Connected::Backend { ports, port, tls });
        }
        if at.subresource() == "log" {
            let (sender, receiver) = mpsc::channel(STREAM_CHUNKS);
            let lines = ["one\n", "two\n"].map(|line| Ok(Bytes::from_static(line.as_bytes())));
            lines.into_iter().for_each(|line| sender.try_send(line).unwrap());
            return Ok(Connected::Bytes(receiver));
        }
        let command: Vec<String> =
            query.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect();
        Ok(Connected::Session(run(command)))
    }
}

/// Whatever listens in pods sends back what it gets, on port 8080 as an answer of HTTP, on 8443 the same over TLS; on port 81
/// nothing listens.
struct Echoes;

#[async_trait]
#[allow(clippy::disallowed_methods, reason = "a test's server ends with its channels")]
impl NodeCalls for Echoes {
    async fn logs(&self, _: &str, _: LogCall) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status> {
        Err(Status::not_implemented("logs"))
    }

    async fn exec(&self, _: &str, _: ExecCall) -> Result<ExecSession, Status> {
        Err(Status::not_implemented("exec"))
    }

    async fn forward(&self, _: &str, call: ForwardCall) -> Result<BiStream, Status> {
        if call.port == 81 {
            return Err(Status::internal("dial tcp 127.0.0.1:81: connect: connection refused"));
        }
        let (sender, requests) = mpsc::channel(1);
        let (answers, answer) = mpsc::channel(1);
        match call.port {
            8080 => drop(tokio::spawn(http(requests, answers))),
            8443 => drop(tokio::spawn(https(requests, answers))),
            _ => return Ok(echo()),
        }
        Ok(stream_over(sender, answer))
    }
}

/// [`http`] behind TLS, with a certificate that nobody knows.
#[allow(clippy::disallowed_methods, reason = "a test's server ends with its channels")]
async fn https(mut requests: mpsc::Receiver<Bytes>, answers: mpsc::Sender<Bytes>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (mut reader, mut writer) = tokio::io::split(far);
    tokio::spawn(async move {
        while let Some(more) = requests.recv().await {
            writer.write_all(&more).await.unwrap();
        }
    });
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let _ = answers.send(Bytes::copy_from_slice(&buffer[..count])).await;
        }
    });
    let (ca, issuer) = authority();
    let (chain, key) = identity(&issuer, "pod");
    let acceptor = TlsAcceptor::from(tls::server_config(chain, key, &[ca]).unwrap());
    let Ok(stream) = acceptor.accept(near).await else { return };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let (to_server, requests) = mpsc::channel(1);
    let (answers, mut answer) = mpsc::channel(1);
    tokio::spawn(http(requests, answers));
    tokio::spawn(async move {
        let mut buffer = vec![0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            let _ = to_server.send(Bytes::copy_from_slice(&buffer[..count])).await;
        }
    });
    while let Some(more) = answer.recv().await {
        writer.write_all(&more).await.unwrap();
        writer.flush().await.unwrap();
    }
}

/// Answers a request with itself; one that asks for another protocol, with an echo from there on.
async fn http(mut requests: mpsc::Receiver<Bytes>, answers: mpsc::Sender<Bytes>) {
    let mut request = Vec::new();
    let complete = |request: &[u8]| {
        let text = String::from_utf8_lossy(request).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
        body.len() >= length
    };
    while !complete(&request) {
        let Some(more) = requests.recv().await else { return };
        request.extend_from_slice(&more);
    }
    let text = String::from_utf8(request).unwrap();
    if text.to_ascii_lowercase().contains("upgrade: echo") {
        let _ = answers
            .send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n".into())
            .await;
        while let Some(more) = requests.recv().await {
            let _ = answers.send(more).await;
        }
        return;
    }
    let page = "<!doctype html><a href=\"/x?y=1\">x</a><img src=relative.png>".to_string();
    let text = if text.contains("/page") { page } else { text };
    let body = if text.starts_with("HEAD") { "" } else { &text };
    let code = if text.contains("/moved") { "302 Found\r\nLocation: /login" } else { "200 OK" };
    let media = if text.starts_with('<') { "text/html; charset=utf-8" } else { "text/plain" };
    let head = format!(
        "HTTP/1.1 {code}\r\nContent-Length: {}\r\nContent-Type: {media}\r\nX-Own: 1\r\nAccess-Control-Allow-Origin: *\r\n\r\n",
        text.len()
    );
    let _ = answers.send(format!("{head}{body}").into()).await;
}

/// `cat` echoes its input until that ends; `exit N` exits; `yes N` writes N chunks and exits.
#[allow(clippy::disallowed_methods, reason = "a test's process ends with its channels")]
fn run(command: Vec<String>) -> ExecSession {
    let (input, mut from_client) = mpsc::channel(STREAM_CHUNKS);
    let (to_client, output) = mpsc::channel(STREAM_CHUNKS);
    tokio::spawn(async move {
        let number = command.get(1).and_then(|n| n.parse::<i32>().ok()).unwrap_or(0);
        match command.first().map(String::as_str) {
            Some("cat") => {
                while let Some(event) = from_client.recv().await {
                    match event {
                        StreamInput::Stdin(bytes) => to_client.send(StreamOutput::Stdout(bytes)).await.unwrap(),
                        StreamInput::StdinClosed => break,
                        StreamInput::Resize(size) => {
                            let text = format!("{}x{}", size.width, size.height);
                            to_client.send(StreamOutput::Stderr(text.into())).await.unwrap();
                        }
                    }
                }
                let _ = to_client.send(StreamOutput::Exited(0)).await;
            }
            Some("exit") => to_client.send(StreamOutput::Exited(number)).await.unwrap(),
            _ => drop(to_client),
        }
    });
    ExecSession { input, output }
}

/// Bearer tokens are `user:group`; certificates name their user.
struct Tokens;

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, credentials: &Credentials) -> Result<Option<UserInfo>, Status> {
        if !credentials.client_certificates.is_empty() {
            return Ok(Some(UserInfo::new("certified", &["system:masters"])));
        }
        match credentials.bearer.as_deref().map(|token| token.split_once(':')) {
            None => Ok(None),
            Some(Some((user, group))) => Ok(Some(UserInfo::new(user, &[group]))),
            Some(None) => Err(Status::unauthorized()),
        }
    }
}

struct MastersOnly;

#[async_trait]
impl Authorizer for MastersOnly {
    async fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.user.is_in("system:masters") { Decision::Allow } else { Decision::NoOpinion(String::new()) }
    }
}

pub(crate) struct Hub {
    pub(crate) server: Server,
    pub(crate) registry: Arc<Fake>,
    pub(crate) ca: CertificateDer<'static>,
    pub(crate) issuer: Issuer<'static, KeyPair>,
}

pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate of `issuer` for localhost and `name`.
pub(crate) fn identity(issuer: &Issuer<'static, KeyPair>, name: &str) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_string()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.signed_by(&key, issuer).unwrap();
    (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

pub(crate) fn authority() -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let der = params.self_signed(&key).unwrap().der().clone();
    (der, Issuer::new(params, key))
}

impl Hub {
    pub(crate) async fn start() -> Hub {
        Hub::start_with(|_, _| None).await
    }

    /// One that answers so many requests at once.
    pub(crate) async fn start_bounded(inflight: InFlight) -> Hub {
        Hub::start_as(inflight, |_, _| None).await
    }

    /// One that hands connections of another protocol to what `taker` makes of its certificate.
    pub(crate) async fn start_with(
        taker: impl FnOnce(Identity, &CertificateDer<'static>) -> Option<Arc<dyn Taker>>,
    ) -> Hub {
        Hub::start_as(InFlight::default(), taker).await
    }

    async fn start_as(
        inflight: InFlight,
        taker: impl FnOnce(Identity, &CertificateDer<'static>) -> Option<Arc<dyn Taker>>,
    ) -> Hub {
        let registry = Arc::new(Fake::default());
        let health = Arc::new(Health::new());
        health.set_ready();
        let service = ApiService::new(ServiceConfig {
            api: Arc::new(Api::new(registry.clone(), Arc::new(MastersOnly))),
            authenticators: vec![Arc::new(Tokens)],
            anonymous: Anonymous::default(),
            gate: inflight.gate(),
            kinds: LiveKinds::new(KindSet::new(holdfast_kinds::all())),
            health,
            world: HostEnv::new("/nonexistent"),
            advertise: "127.0.0.1:6443".into(),
            documents: vec![(
                "/openid/v1/jwks",
                Document::new("application/jwk-set+json", || serde_json::json!({"keys": []})),
            )],
        });
        let (ca, issuer) = authority();
        let (chain, key) = identity(&issuer, "hub");
        let taker = taker((chain.clone(), key.clone_key()), &ca);
        let tls = tls::server_config(chain, key, std::slice::from_ref(&ca)).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start(listener, tls, service, taker).unwrap();
        Hub { server, registry, ca, issuer }
    }
}

pub(crate) fn reason(status: &Json) -> Reason {
    Reason::from(status["reason"].as_str().unwrap_or_default().to_string())
}
