//! A hub of a test: the registry and the API server as the program puts them together, without controllers, and a client
//! with the administrator's certificate.

use bytes::Bytes;
use holdfast_apiserver::{ApiServer, ApiServerConfig, Pki};
use holdfast_core::{Json, Lineage, Timestamp};
use holdfast_env::host::HostEnv;
use holdfast_env::{Task, World};
use holdfast_registry::{EVICTION_AFTER, HubRegistry, HubRegistryConfig, JwtIssuer};
use holdfast_server::codec::protobuf;
use holdfast_server::{Anonymous, InFlight};
use holdfast_store::Store;
use holdfast_store::memory::CachedStore;
use holdfast_store::testing::MemoryLog;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const DEADLINE: Duration = Duration::from_secs(30);

type Sender = SendRequest<Full<Bytes>>;

pub(crate) struct Hub {
    pub(crate) store: Arc<dyn Store>,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    /// Without a certificate.
    stranger: Arc<ClientConfig>,
    /// The connection of plain requests; each watch has its own.
    sender: Mutex<Option<Sender>>,
    _server: ApiServer,
    _tasks: Vec<Task>,
    _folder: tempfile::TempDir,
}

/// An answer with its status code.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Json,
}

impl Answer {
    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Json {
        assert!((200..300).contains(&self.code), "{}: {:#}", self.code, self.body);
        self.body
    }

    /// The message of a refusal with this code.
    #[track_caller]
    pub(crate) fn refused(self, code: u16) -> String {
        assert_eq!(self.code, code, "{:#}", self.body);
        self.body["message"].as_str().unwrap_or_default().to_string()
    }
}

/// Of the administrator, and of somebody without a certificate.
fn client_configs(pki: &Pki) -> [Arc<ClientConfig>; 2] {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(pki.roots());
    let chain = CertificateDer::pem_slice_iter(pki.admin_certificate_pem.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pki.admin_key_pem.as_bytes()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    [Arc::new(builder.clone().with_client_auth_cert(chain, key).unwrap()), Arc::new(builder.with_no_client_auth())]
}

impl Hub {
    pub(crate) async fn start() -> Hub {
        Hub::start_with(InFlight::default(), false).await
    }

    /// One that answers so many requests at once, shared by priority and fairness or not.
    pub(crate) async fn start_with(inflight: InFlight, fairness: bool) -> Hub {
        let folder = tempfile::tempdir().unwrap();
        let world: World = HostEnv::new(folder.path());
        let now = Timestamp::from_wall(world.wall().0);
        let pki = Arc::new(Pki::open(&folder.path().join("pki"), now, Duration::ZERO).unwrap());
        let issuer = JwtIssuer::from_pem(pki.service_account_key_pem.as_bytes(), "https://hub", "https://hub").unwrap();
        let store: Arc<dyn Store> = CachedStore::open(MemoryLog::new()).unwrap();
        let registry = Arc::new(HubRegistry::new(HubRegistryConfig {
            store: store.clone(),
            env: world.clone(),
            service_cidr: "10.96.0.0/24".parse().unwrap(),
            token_issuer: Arc::new(issuer),
            lineage: Lineage(1),
            eviction_after: EVICTION_AFTER,
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        registry.ensure_defaults(listener.local_addr().unwrap().port()).await.unwrap();
        let authorizer = registry.start_authorizer().await.unwrap();
        let tasks = vec![registry.start_custom_kinds().await.unwrap()];
        let mut server = ApiServer::new(ApiServerConfig {
            kinds: registry.kinds().clone(),
            world,
            identity: pki.serving_identity(&[], &[], now).unwrap(),
            pki: pki.clone(),
            registry: registry.clone(),
            authorizer,
            authenticators: vec![Arc::new(registry.token_authenticator())],
            advertise: "127.0.0.1:6443".into(),
            auditor: None,
            anonymous: Anonymous::default(),
            inflight,
            fairness,
            documents: Vec::new(),
        })
        .unwrap();
        registry.set_token_authenticators(vec![server.bootstrap_tokens().clone()]);
        let address = server.listen(listener, None).unwrap();
        let [tls, stranger] = client_configs(&pki);
        let hub = Hub {
            store,
            address,
            tls,
            stranger,
            sender: Mutex::new(None),
            _server: server,
            _tasks: tasks,
            _folder: folder,
        };
        for name in ["one", "two"] {
            hub.create("/api/v1/namespaces", json!({"metadata": {"name": name}})).await;
            // Controllers make it elsewhere; a pod is not taken without.
            let accounts = format!("/api/v1/namespaces/{name}/serviceaccounts");
            hub.create(&accounts, json!({"metadata": {"name": "default"}})).await;
        }
        hub
    }

    /// A connection with the administrator's certificate.
    pub(crate) async fn dial(&self) -> TlsStream<TcpStream> {
        self.dial_as(&self.tls).await
    }

    async fn dial_as(&self, tls: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(tls.clone()).connect(name, stream).await.unwrap()
    }

    async fn connect(&self) -> Sender {
        self.connect_as(&self.tls).await
    }

    #[allow(clippy::disallowed_methods, reason = "the connection's task ends with the test's runtime")]
    async fn connect_as(&self, tls: &Arc<ClientConfig>) -> Sender {
        let stream = self.dial_as(tls).await;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Any request; the administrator asks, unless `headers` say otherwise.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let request = request(method, path, headers, body);
        let mut kept = self.sender.lock().await;
        let mut sender = match kept.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => self.connect().await,
        };
        let answer = exchange(&mut sender, request).await;
        *kept = Some(sender);
        answer
    }

    /// Any request without a body of somebody without a certificate.
    pub(crate) async fn send_as_stranger(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut sender = self.connect_as(&self.stranger).await;
        exchange(&mut sender, request(method, path, headers, "")).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Json) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Json) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    /// `sort`: `merge-patch`, `strategic-merge-patch`, `json-patch`.
    pub(crate) async fn patch(&self, path: &str, sort: &str, body: &Json) -> Answer {
        let media = format!("application/{sort}+json");
        self.send("PATCH", path, &[("content-type", &media)], body.to_string()).await
    }

    /// The object as it was made.
    pub(crate) async fn create(&self, path: &str, body: Json) -> Json {
        let answer = self.post(path, &body).await;
        assert_eq!(answer.code, 201, "{path}: {:#}", answer.body);
        answer.body
    }

    /// The names in a list.
    pub(crate) async fn names(&self, path: &str) -> Vec<String> {
        names(&self.get(path).await.ok())
    }

    pub(crate) async fn watch(&self, path: &str) -> WatchedBody {
        let request = Request::get(path).header("host", "localhost").body(Full::new(Bytes::new())).unwrap();
        let mut sender = self.connect().await;
        let response: Response<Incoming> = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        WatchedBody { body: response.into_body(), rest: Vec::new(), _sender: sender }
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(body.into())).unwrap()
}

async fn exchange(sender: &mut Sender, request: Request<Full<Bytes>>) -> Answer {
    let exchange = async {
        sender.ready().await.unwrap();
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = || Json::from(String::from_utf8_lossy(&bytes).into_owned());
        let message = || protobuf::decode(&bytes).unwrap_or_else(|_| text());
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| message());
        Answer { code: head.status.as_u16(), headers: head.headers, body }
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
}

/// The names of the items of a list.
pub(crate) fn names(list: &Json) -> Vec<String> {
    let items = list["items"].as_array().unwrap_or_else(|| panic!("no list: {list:#}"));
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_string()).collect()
}

/// The number behind a `resourceVersion`.
pub(crate) fn version(doc: &Json) -> u64 {
    doc["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// The events of a watch.
pub(crate) struct WatchedBody {
    body: Incoming,
    rest: Vec<u8>,
    _sender: Sender,
}

impl WatchedBody {
    /// The next event: its type and its object.
    pub(crate) async fn next(&mut self) -> (String, Json) {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let mut event: Json = serde_json::from_slice(&line).unwrap();
                return (event["type"].as_str().unwrap().to_string(), event["object"].take());
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame()).await.expect("an event in time");
            let frame = frame.expect("the watch goes on").unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
    }

    /// The next event as `TYPE name`.
    pub(crate) async fn told(&mut self) -> String {
        let (sort, object) = self.next().await;
        format!("{sort} {}", object["metadata"]["name"].as_str().unwrap_or_default())
    }

    /// Reads until an event of this type about `name` for which `holds`; those before it are skipped.
    pub(crate) async fn until(&mut self, sort: &str, name: &str, holds: impl Fn(&Json) -> bool) {
        loop {
            let (told, object) = self.next().await;
            if told == sort && object["metadata"]["name"] == name && holds(&object) {
                return;
            }
        }
    }
}
