use super::*;
use crate::happenings::Happenings;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::calls::{ExecCall, ForwardCall, LogCall};
use holdfast_core::{ContentHash, Lineage, Revision, Status};
use holdfast_edge_store::{EdgeStore, Item, Record};
use holdfast_env::BiStream;
use holdfast_env::host::HostEnv;
use holdfast_env::session::ExecSession;
use holdfast_node::SharedStore;
use holdfast_server::NodeCalls;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

struct NoCalls;

#[async_trait]
impl NodeCalls for NoCalls {
    async fn logs(&self, _: &str, _: LogCall) -> Result<mpsc::Receiver<Result<Bytes, Status>>, Status> {
        let (sender, receiver) = mpsc::channel(1);
        sender.try_send(Ok(Bytes::from_static(b"hello\n"))).unwrap();
        Ok(receiver)
    }
    async fn exec(&self, _: &str, _: ExecCall) -> Result<ExecSession, Status> {
        Err(Status::not_implemented("exec"))
    }
    async fn forward(&self, _: &str, _: ForwardCall) -> Result<BiStream, Status> {
        Err(Status::not_implemented("portforward"))
    }
}

/// A clock that stands.
#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

struct Running {
    address: SocketAddr,
    data: tempfile::TempDir,
    _task: Task,
}

fn start_local() -> Running {
    start_with(QUIET)
}

fn start_with(quiet: Duration) -> Running {
    let data = tempfile::tempdir().unwrap();
    let env: World = HostEnv::new(data.path());
    let store = SharedStore::new(env.clone(), EdgeStore::open(env.disk()).unwrap().0);
    let body = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": "demo", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "edge-1", "containers": [{"name": "c", "image": "i"}]},
    });
    let item = Item { hash: ContentHash(1), lineage: Lineage(1), revision: Revision(1), body: body.to_string().into() };
    store.lazily(vec![Record::PutItem { key: "/v1/pods/demo/a".into(), item }]);
    let index = Arc::new(Happenings::start(env.clone(), data.path().join("views")));
    let registry = LocalRegistry::new(env.clone(), store, index, Arc::new(NoCalls), "edge-1");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let keys = LocalKeys::open(&env, "edge-1").unwrap();
    keys.write_kubeconfig(&kubeconfig_path(data.path()), address).unwrap();
    let local = Local { env: env.clone(), keys, registry, address, quiet };
    Running { address, data, _task: env.spawn("local-api", Box::pin(local.run(listener))) }
}

/// A field of the kubeconfig, decoded.
fn field(text: &str, name: &str) -> Vec<u8> {
    use base64::Engine;
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name)).unwrap();
    base64::engine::general_purpose::STANDARD.decode(line.trim_start_matches(": ")).unwrap()
}

impl Running {
    /// One request as kubectl would send it; status code and body.
    async fn ask(&self, method: &str, path: &str, accept: &str, certified: bool, clock: u64) -> (u16, String) {
        let text = std::fs::read_to_string(kubeconfig_path(self.data.path())).unwrap();
        assert!(text.contains(&format!("server: https://{}", self.address)));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&field(&text, "certificate-authority-data")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_details(provider, Arc::new(At(clock)))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = if certified {
            let certificate = CertificateDer::from_pem_slice(&field(&text, "client-certificate-data")).unwrap();
            let key = PrivateKeyDer::from_pem_slice(&field(&text, "client-key-data")).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        } else {
            config.with_no_client_auth()
        };
        let stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: local\r\nAccept: {accept}\r\nContent-Type: application/json\r\n\
             Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, body.to_string())
    }

    async fn json(&self, method: &str, path: &str) -> (u16, Value) {
        let (code, body) = self.ask(method, path, "application/json", true, 1_800_000_000).await;
        (code, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }
}

#[tokio::test]
async fn kubectl_reads_and_cannot_write() {
    let node = start_local();
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let (code, body) = node.ask("GET", "/api/v1/namespaces/demo/pods", table, true, 1_800_000_000).await;
    let table: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &table["kind"]), (200, &json!("Table")));
    assert_eq!(table["columnDefinitions"][2]["name"], "Status");
    assert_eq!(table["rows"][0]["cells"][0], "a");
    let (code, log) = node.json("GET", "/api/v1/namespaces/demo/pods/a/log").await;
    assert_eq!((code, log.as_str().map(|text| text.contains("hello"))), (200, Some(true)));
    let (code, resources) = node.json("GET", "/api/v1").await;
    let pods = resources["resources"].as_array().unwrap().iter().find(|resource| resource["name"] == "pods").unwrap();
    assert_eq!((code, &pods["verbs"]), (200, &json!(["get", "list", "watch"])));
    assert_eq!(node.json("GET", "/openapi/v3").await.0, 200);
    for (method, path) in [
        ("POST", "/api/v1/namespaces/demo/pods"),
        ("DELETE", "/api/v1/namespaces/demo/pods/a"),
        ("PUT", "/api/v1/namespaces/demo/configmaps/x"),
    ] {
        let (code, status) = node.json(method, path).await;
        assert_eq!((code, &status["reason"], &status["kind"]), (405, &json!("MethodNotAllowed"), &json!("Status")));
        assert!(status["message"].as_str().unwrap().contains("this node's API is read only"), "{status}");
    }
    assert_eq!(node.json("GET", "/apis/apps/v1/deployments").await.0, 404, "a node holds none");
}

#[tokio::test]
async fn only_the_certificate_lets_in() {
    let node = start_local();
    let (code, _) = node.ask("GET", "/api/v1/pods", "application/json", false, 1_800_000_000).await;
    assert_eq!(code, 403);
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(kubeconfig_path(node.data.path())).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn no_clock_is_too_wrong() {
    let node = start_local();
    for clock in [1, 1_000_000_000, 40_000_000_000] {
        let (code, _) = node.ask("GET", "/api/v1/pods", "application/json", true, clock).await;
        assert_eq!(code, 200, "at {clock}");
    }
}

#[tokio::test]
async fn after_a_quiet_the_server_is_dropped_and_the_next_client_gets_another() {
    let node = start_with(Duration::from_millis(20));
    let version = async || {
        let (code, list) = node.json("GET", "/api/v1/pods").await;
        assert_eq!((code, list["items"].as_array().map(Vec::len)), (200, Some(1)));
        list["metadata"]["resourceVersion"].as_str().unwrap().parse::<u64>().unwrap()
    };
    let first = version().await;
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Nothing has changed: a higher version says that what was kept for watches was let go of.
        if version().await > first {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the server is still the first");
    }
}

#[test]
fn keys_stay_and_the_kubeconfig_follows_the_port() {
    let data = tempfile::tempdir().unwrap();
    let env: World = HostEnv::new(data.path());
    let path = kubeconfig_path(data.path());
    let write = |port: u16| {
        let keys = LocalKeys::open(&env, "edge-1").unwrap();
        keys.write_kubeconfig(&path, SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
        std::fs::read_to_string(&path).unwrap()
    };
    let (first, second) = (write(1000), write(2000));
    assert_eq!(first.replace(":1000", ":2000"), second);
    std::fs::write(data.path().join("local-api"), b"torn").unwrap();
    assert_ne!(write(2000), second, "damaged keys are made anew");
}
