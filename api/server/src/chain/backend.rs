//! The connection to what listens in a pod, for requests that the proxy sends on.
//!
//! Over TLS nobody is verified ([`unverified`]): who asks for `https:` says what a pod speaks. The way there is the node's link,
//! which is.

use super::service::ApiService;
use crate::registry::PodPorts;
use crate::stream::io::io;
use crate::{limits, unverified};
use holdfast_core::{Reason, Status};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
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
    let config = Arc::new(unverified::client_config().map_err(Status::internal)?);
    let connecting = TlsConnector::from(config).connect(nobody, stream);
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
