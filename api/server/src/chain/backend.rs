//! The connection to what listens in a pod, for requests that the proxy sends on.
//!
//! Over TLS nobody is verified, as upstream's transport to pods and services has it: who asks for `https:` says what a pod
//! speaks, and most pods have signed for themselves. The way there is the node's link, which is.

use super::service::ApiService;
use crate::limits;
use crate::registry::PodPorts;
use crate::stream::io::io;
use holdfast_core::{Reason, Status};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// 503 about what does not answer.
pub(super) fn unreachable(why: impl std::fmt::Display) -> Status {
    Status::failure(503, Reason::ServiceUnavailable, format!("error trying to reach service: {why}"))
}

/// Connects to a port of a pod, and through TLS if `tls`.
///
/// # Errors
/// 503 when nothing answers there, or not so.
pub(super) async fn connect(
    service: &Arc<ApiService>,
    ports: &PodPorts,
    port: u16,
    tls: bool,
) -> Result<SendRequest<Incoming>, Status> {
    let stream = ports.open(port).await.map_err(|status| unreachable(status.message()))?;
    let stream = io(&service.tasks, &service.closing, stream);
    if !tls {
        return speak(service, stream).await;
    }
    // An address names nobody in the handshake.
    let nobody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let connecting = TlsConnector::from(config()?).connect(nobody, stream);
    match tokio::time::timeout(limits::HANDSHAKE, connecting).await {
        Ok(Ok(stream)) => speak(service, stream).await,
        Ok(Err(err)) => Err(unreachable(format!("tls: {err}"))),
        Err(_) => Err(unreachable("net/http: TLS handshake timeout")),
    }
}

async fn speak<T>(service: &Arc<ApiService>, stream: T) -> Result<SendRequest<Incoming>, Status>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
    service.tasks.spawn(async move {
        if let Err(err) = connection.with_upgrades().await {
            tracing::debug!(%err, "A proxied connection broke off");
        }
    });
    Ok(sender)
}

fn config() -> Result<Arc<ClientConfig>, Status> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(Status::internal)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody { schemes }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Takes every certificate.
#[derive(Debug)]
struct Anybody {
    schemes: Vec<SignatureScheme>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}
