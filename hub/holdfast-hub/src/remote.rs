//! A small client of the running hub, for the commands that manage it.

use crate::data_dir;
use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use holdfast_core::{Json, Status};
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A command waits so long for the hub.
const DEADLINE: Duration = Duration::from_secs(15);
/// Largest answer that is read.
const ANSWER_BYTES: usize = 16 << 20;

/// Runs a command's future.
pub(crate) fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(async {
        tokio::time::timeout(DEADLINE, command).await.unwrap_or_else(|_| bail!("the hub did not answer in time"))
    })
}

/// The administrator's kubeconfig, as text.
pub(crate) fn read_kubeconfig(data_dir: &Path) -> anyhow::Result<String> {
    let path = data_dir::kubeconfig(data_dir);
    std::fs::read_to_string(&path)
        .with_context(|| format!("read {}; was `holdfast-hub serve` ever started on this --data-dir?", path.display()))
}

/// The same kubeconfig with another server.
pub(crate) fn with_server(text: &str, server: Option<&str>) -> String {
    let Some(server) = server else { return text.to_string() };
    let replace = |line: &str| match line.split_once("server: ") {
        Some((indent, _)) => format!("{indent}server: {server}\n"),
        None => format!("{line}\n"),
    };
    text.lines().map(replace).collect()
}

#[derive(Deserialize)]
struct Kubeconfig {
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: String,
}

#[derive(Deserialize)]
struct NamedUser {
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: String,
    client_key_data: String,
}

/// The running hub, as its administrator.
pub(crate) struct Remote {
    address: String,
    name: ServerName<'static>,
    tls: TlsConnector,
    /// The CA that the hub's own certificate comes from.
    pub(crate) ca: CertificateDer<'static>,
}

impl Remote {
    /// Reads the kubeconfig of a data folder.
    pub(crate) fn open(data_dir: &Path) -> anyhow::Result<Remote> {
        let text = read_kubeconfig(data_dir)?;
        let damaged = || {
            format!("{} is damaged; start the hub to have it written anew", data_dir::kubeconfig(data_dir).display())
        };
        let config: Kubeconfig = serde_saphyr::from_str(&text).with_context(damaged)?;
        let (cluster, user) =
            config.clusters.into_iter().next().zip(config.users.into_iter().next()).with_context(damaged)?;
        let (cluster, user) = (cluster.cluster, user.user);
        let pem = |data: &str| STANDARD.decode(data).with_context(damaged);
        let cas = CertificateDer::pem_slice_iter(&pem(&cluster.certificate_authority_data)?)
            .collect::<Result<Vec<_>, _>>()
            .with_context(damaged)?;
        let ca = cas.first().cloned().with_context(damaged)?;
        let chain = CertificateDer::pem_slice_iter(&pem(&user.client_certificate_data)?)
            .collect::<Result<Vec<_>, _>>()
            .with_context(damaged)?;
        let key = PrivateKeyDer::from_pem_slice(&pem(&user.client_key_data)?).with_context(damaged)?;
        let mut roots = RootCertStore::empty();
        for ca in cas {
            roots.add(ca).with_context(damaged)?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .with_context(damaged)?;
        let address = cluster.server.strip_prefix("https://").with_context(damaged)?.trim_end_matches('/').to_string();
        let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_string()).with_context(damaged)?;
        Ok(Remote { address, name, tls: TlsConnector::from(Arc::new(tls)), ca })
    }

    /// One request; the answer's document. The body of a `PATCH` is a merge patch.
    pub(crate) async fn call(&self, method: &str, path: &str, body: Option<&Json>) -> anyhow::Result<Json> {
        let stream = TcpStream::connect(&self.address)
            .await
            .with_context(|| format!("reach the hub at {}; is `holdfast-hub serve` running?", self.address))?;
        let stream = self
            .tls
            .connect(self.name.clone(), stream)
            .await
            .with_context(|| format!("speak TLS with the hub at {}", self.address))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.context("speak HTTP with the hub")?;
        let bytes = body.map(Json::to_string).unwrap_or_default();
        let content_type = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.address)
            .header("content-type", content_type)
            .header("accept", "application/json")
            .header("user-agent", concat!("holdfast-hub/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(bytes)))
            .context("build the request")?;
        let answer = async {
            let response = sender.send_request(request).await.context("ask the hub")?;
            let code = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
            let bytes = body.map_err(|err| anyhow::anyhow!("read the hub's answer: {err}"))?.to_bytes();
            anyhow::Ok((code, bytes))
        };
        let (code, bytes) = tokio::select! {
            answer = answer => answer?,
            ended = connection => {
                ended.context("the hub closed the connection")?;
                bail!("the hub closed the connection before it answered")
            }
        };
        if !code.is_success() {
            let text = match serde_json::from_slice::<Status>(&bytes) {
                Ok(status) => status.message().to_string(),
                Err(_) => format!("it answered with code {code}"),
            };
            bail!("the hub refused: {text}");
        }
        serde_json::from_slice(&bytes).context("read the hub's answer")
    }
}
