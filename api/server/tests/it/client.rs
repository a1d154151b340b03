//! A client that speaks as raw as a test needs it.

use crate::fake::{Hub, Identity};
use bytes::Bytes;
use holdfast_core::Json;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const ADMIN: &str = "admin:system:masters";
const DEADLINE: Duration = Duration::from_secs(20);

impl Hub {
    pub(crate) async fn connect(
        &self,
        identity: Option<Identity>,
        alpn: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(self.server.address()).await?;
        TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), stream).await
    }

    /// Sends one request on a connection of its own.
    #[allow(clippy::disallowed_methods, reason = "the connection's task ends with the test's runtime")]
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        let stream = self.connect(None, b"http/1.1").await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        tokio::time::timeout(DEADLINE, sender.send_request(request)).await.expect("an answer in time").unwrap()
    }

    #[allow(clippy::disallowed_methods, reason = "the connection's task ends with the test's runtime")]
    pub(crate) async fn send_h2(
        &self,
        identity: Option<Identity>,
        request: Request<Full<Bytes>>,
    ) -> Response<Incoming> {
        let stream = self.connect(identity, b"h2").await.unwrap();
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        tokio::time::timeout(DEADLINE, sender.send_request(request)).await.expect("an answer in time").unwrap()
    }

    /// As the administrator, with a JSON body when there is one.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Json>) -> Answer {
        let media_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.ask_with(method, path, &[("content-type", media_type)], body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None).await
    }

    pub(crate) async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        Answer::read(self.send(request(method, path, headers, body)).await).await
    }
}

pub(crate) fn request(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(path).header("host", "localhost");
    if !headers.iter().any(|(name, _)| *name == "authorization") {
        builder = builder.header("authorization", format!("Bearer {ADMIN}"));
    }
    for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into())).unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) async fn read(response: Response<Incoming>) -> Answer {
        let (parts, body) = response.into_parts();
        let body = tokio::time::timeout(DEADLINE, body.collect()).await.expect("a body in time").unwrap();
        Answer { code: parts.status, headers: parts.headers, bytes: body.to_bytes() }
    }

    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|err| panic!("{err}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// All values of a header that stands more than once.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        self.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_string()).collect()
    }
}
