//! [`WebhookClient`]: how webhooks are asked. A connection a call, HTTP/1.1 over TLS, over the network or over the link to
//! a pod.
//!
//! Who a webhook is, its `caBundle` says alone: authorities of the system count for nothing. Tasks: one for each connection
//! to a pod, which joins it to the link's stream, and ends with the call.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use holdfast_env::World;
use holdfast_server::stream::io::io;
use holdfast_server::{CallFailure, WebhookCalls, WebhookRoute, WebhookTarget};
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Longest answer, in bytes: as large as the object that it may replace.
pub const ANSWER_BYTES: usize = 3 << 20;
/// Calls at once; further ones wait, within their own time.
pub const CALLS: usize = 256;
/// Bytes of an error's body that are told.
const ERROR_BYTES: usize = 2 << 10;
const AGENT: &str = "holdfast-hub";

/// Asks webhooks.
pub struct WebhookClient {
    world: World,
    calls: Semaphore,
    tasks: TaskTracker,
    closing: CancellationToken,
    _closed: DropGuard,
}

/// The hub's clock, for rustls.
struct WorldTime(World);

impl std::fmt::Debug for WorldTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorldTime")
    }
}

impl TimeProvider for WorldTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0.wall().0))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn broken(err: impl std::fmt::Display) -> CallFailure {
    CallFailure::Transport(err.to_string())
}

impl WebhookClient {
    /// A client that judges certificates by the clock of `world`.
    pub fn new(world: World) -> WebhookClient {
        let closing = CancellationToken::new();
        let closed = closing.clone().drop_guard();
        WebhookClient { world, calls: Semaphore::new(CALLS), tasks: TaskTracker::new(), closing, _closed: closed }
    }

    /// A way to a webhook, not yet secured.
    async fn connect(&self, route: &WebhookRoute) -> Result<Box<dyn Stream>, CallFailure> {
        match route {
            WebhookRoute::Network { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(|err| broken(format!("dial tcp {host}:{port}: {err}")))?;
                // Not to be delayed is a favour: nothing is lost without.
                let _ = stream.set_nodelay(true);
                Ok(Box::new(stream))
            }
            WebhookRoute::Pod { ports, port } => {
                let stream = ports.open(*port).await.map_err(|status| broken(status.message()))?;
                Ok(Box::new(io(&self.tasks, &self.closing, stream)))
            }
        }
    }

    fn tls(&self, ca_bundle: &[u8]) -> Result<TlsConnector, CallFailure> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca_bundle) {
            let certificate = certificate.map_err(|err| broken(format!("the caBundle does not read: {err}")))?;
            roots.add(certificate).map_err(|err| broken(format!("the caBundle does not read: {err}")))?;
        }
        if roots.is_empty() {
            return Err(broken("there is no caBundle, and the hub trusts no authorities of the system"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(WorldTime(self.world.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(broken)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

#[async_trait]
impl WebhookCalls for WebhookClient {
    async fn post(&self, to: &WebhookTarget, body: Bytes, within: Duration) -> Result<Bytes, CallFailure> {
        let tls = self.tls(&to.ca_bundle)?;
        let name = ServerName::try_from(to.server_name.clone())
            .map_err(|_| broken(format!("{:?} is no name that a certificate could bear", to.server_name)))?;
        let request = request(to, body, within)?;
        let _one = self.calls.acquire().await.map_err(broken)?;
        let stream = self.connect(&to.route).await?;
        let stream = tls.connect(name, stream).await.map_err(|err| broken(format!("tls: {err}")))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            let body = read(response.into_body()).await;
            if status.is_success() { body } else { Err(refusal(status, &body.unwrap_or_default())) }
        });
        // The connection moves what the answer waits for; when it has ended, what came is still there to be read.
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = &mut connection => answer.await,
        }
    }
}

fn request(to: &WebhookTarget, body: Bytes, within: Duration) -> Result<Request<Full<Bytes>>, CallFailure> {
    let uri = format!("{}?timeout={}s", to.path, within.as_secs());
    let json = HeaderValue::from_static("application/json");
    Request::post(uri)
        .header(HOST, to.authority.as_str())
        .header(CONTENT_TYPE, json.clone())
        .header(ACCEPT, json)
        .header(USER_AGENT, AGENT)
        .header(CONTENT_LENGTH, body.len())
        .body(Full::new(body))
        .map_err(|err| broken(format!("no request could be made: {err}")))
}

async fn read(mut body: Incoming) -> Result<Bytes, CallFailure> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|err| broken(format!("the answer broke off: {err}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > ANSWER_BYTES {
            return Err(CallFailure::TooLarge(ANSWER_BYTES));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

/// What an answer that is no success says, in the words of upstream's client.
fn refusal(status: StatusCode, body: &[u8]) -> CallFailure {
    let told = serde_json::from_slice::<holdfast_core::Json>(body).ok().filter(|told| told["kind"] == "Status");
    let text = match told.as_ref().and_then(|told| told["message"].as_str()) {
        Some(message) => message.to_string(),
        None => match status {
            StatusCode::NOT_FOUND => "the server could not find the requested resource".into(),
            StatusCode::UNAUTHORIZED => "the server has asked for the client to provide credentials".into(),
            status if status.is_server_error() => {
                let body = String::from_utf8_lossy(&body[..body.len().min(ERROR_BYTES)]);
                format!("an error on the server ({:?}) has prevented the request from succeeding", body.trim())
            }
            _ => format!("the server rejected our request for an unknown reason ({status})"),
        },
    };
    CallFailure::Answer { code: status.as_u16(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_success_is_told_in_upstreams_words() {
        let text = |status: StatusCode, body: &str| refusal(status, body.as_bytes()).to_string();
        assert_eq!(text(StatusCode::NOT_FOUND, ""), "the server could not find the requested resource");
        assert_eq!(
            text(StatusCode::INTERNAL_SERVER_ERROR, "oh no\n"),
            "an error on the server (\"oh no\") has prevented the request from succeeding"
        );
        assert_eq!(text(StatusCode::BAD_REQUEST, r#"{"kind":"Status","message":"not you"}"#), "not you");
    }
}
