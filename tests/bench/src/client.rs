//! A client of the hub: HTTP/1.1 over TLS with the administrator's certificate, one connection kept alive.

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const ANSWER: Duration = Duration::from_secs(10);

/// Where the hub is, and who we are.
#[derive(Clone)]
pub(crate) struct Admin {
    address: String,
    tls: TlsConnector,
}

/// A connection. Dropping it closes it.
pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    _driver: JoinSet<()>,
}

impl Admin {
    /// Reads the kubeconfig that the hub wrote.
    pub(crate) fn read(kubeconfig: &Path) -> Result<Admin> {
        let text = std::fs::read_to_string(kubeconfig)?;
        let server = field(&text, "server")?;
        let address = server.strip_prefix("https://").context("the kubeconfig's server is not https")?.to_owned();
        let pem = |name| Ok::<_, anyhow::Error>(STANDARD.decode(field(&text, name)?)?);
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem("certificate-authority-data")?) {
            roots.add(certificate.map_err(|err| anyhow!("the CA certificate: {err}"))?)?;
        }
        let chain = CertificateDer::pem_slice_iter(&pem("client-certificate-data")?).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|err| anyhow!("the client certificate: {err}"))?;
        let key = PrivateKeyDer::from_pem_slice(&pem("client-key-data")?).map_err(|err| anyhow!("the key: {err}"))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Admin { address, tls: TlsConnector::from(Arc::new(config)) })
    }

    pub(crate) async fn connect(&self) -> Result<Client> {
        let tcp = TcpStream::connect(&self.address).await?;
        tcp.set_nodelay(true)?;
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host).to_owned();
        let tls = self.tls.connect(ServerName::try_from(host)?, tcp).await?;
        let (sender, connection) = handshake(TokioIo::new(tls)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Its end shows as an error of the request.
            let _ = connection.await;
        });
        Ok(Client { sender, host: self.address.clone(), _driver: driver })
    }
}

impl Client {
    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        self.send_with(method, path, &[], body).await
    }

    /// The same with other headers than those for JSON.
    pub(crate) async fn send_with(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let answered = async {
            let response = self.ask(method, path, headers, body).await?;
            let status = response.status();
            Ok::<_, anyhow::Error>((status, response.into_body().collect().await?.to_bytes()))
        };
        tokio::time::timeout(ANSWER, answered).await.context("the hub did not answer")?
    }

    /// Begins a watch; its lines are the body.
    pub(crate) async fn watch(&mut self, path: &str) -> Result<Incoming> {
        let response = self.ask(Method::GET, path, &[], Bytes::new()).await?;
        if response.status() != StatusCode::OK {
            bail!("GET {path}: {}", response.status());
        }
        Ok(response.into_body())
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, &str)],
        body: Bytes,
    ) -> Result<Response<Incoming>> {
        let request = Request::builder().method(method).uri(path).header("host", &self.host);
        let mut request = request.body(Full::new(body))?;
        for (name, value) in
            [("content-type", "application/json"), ("accept", "application/json")].iter().chain(headers)
        {
            request.headers_mut().insert(*name, value.parse()?);
        }
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<serde_json::Value> {
        let (status, body) = self.send(Method::GET, path, Bytes::new()).await?;
        if status != StatusCode::OK {
            bail!("GET {path}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

/// A field of the file that the hub writes: one a line, names once.
fn field<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
    line.map(|value| value.trim().trim_matches('"')).with_context(|| format!("the kubeconfig has no {name}"))
}
