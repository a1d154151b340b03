//! The listener. Tasks: one that accepts, one for each connection; all owned by [`Server`].

use super::stall::StallGuard;
use crate::chain::service::{ApiService, Peer};
use crate::docs::metrics::Gauge;
use crate::limits;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A running server.
pub struct Server {
    address: SocketAddr,
    tls: TlsAcceptor,
    service: Arc<ApiService>,
    /// Stops accepting and asks connections to finish.
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    /// Serves `service` on a bound listener.
    ///
    /// # Errors
    /// When the listener's address cannot be told.
    pub fn start(listener: TcpListener, tls: Arc<ServerConfig>, service: Arc<ApiService>) -> std::io::Result<Server> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let tls = TlsAcceptor::from(tls);
        let accept =
            Accept { tls: tls.clone(), service: service.clone(), stop: stop.clone(), connections: connections.clone() };
        connections.spawn(accept.run(listener));
        Ok(Server { address, tls, service, stop, connections })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves a connection that somebody else has accepted.
    pub fn adopt(&self, stream: TcpStream, peer: SocketAddr) {
        let (tls, service, stop) = (self.tls.clone(), self.service.clone(), self.stop.clone());
        self.connections.spawn(serve(stream, peer, tls, service, stop));
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        // The task that accepts is one of them.
        self.connections.len().saturating_sub(1)
    }

    /// Stops accepting, ends watches and sessions, lets requests finish for at most `grace`.
    /// Returns whether all had finished.
    pub async fn shutdown(self, grace: Duration) -> bool {
        self.stop.cancel();
        self.service.closing.cancel();
        self.connections.close();
        self.service.tasks.close();
        let drained = async {
            self.connections.wait().await;
            self.service.tasks.wait().await;
        };
        tokio::time::timeout(grace, drained).await.is_ok()
    }
}

struct Accept {
    tls: TlsAcceptor,
    service: Arc<ApiService>,
    stop: CancellationToken,
    connections: TaskTracker,
}

/// A pause after an error of `accept`, which is nearly always a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl Accept {
    async fn run(self, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(limits::CONNECTIONS));
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(err) => {
                    tracing::warn!(%err, "Could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (tls, service, stop) = (self.tls.clone(), self.service.clone(), self.stop.clone());
            self.connections.spawn(async move {
                serve(stream, address, tls, service, stop).await;
                drop(slot);
            });
        }
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    tls: TlsAcceptor,
    service: Arc<ApiService>,
    stop: CancellationToken,
) {
    let _counted = service.metrics.count(Gauge::Connections);
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(limits::HANDSHAKE, tls.accept(stream));
    let stream = tokio::select! {
        handshake = handshake => match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err(err)) => {
                service.metrics.handshake_refused();
                return tracing::debug!(peer = %address, %err, "TLS handshake failed");
            }
            Err(_) => return tracing::debug!(peer = %address, "TLS handshake took too long"),
        },
        () = stop.cancelled() => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let certificates: Vec<Vec<u8>> = certificates.iter().map(|certificate| certificate.to_vec()).collect();
    let peer = Peer { address: Some(address), certificates: Arc::new(certificates) };
    let answer = service_fn(move |request| {
        let (service, peer) = (service.clone(), peer.clone());
        async move { Ok::<_, Infallible>(service.handle(peer, request).await) }
    });
    let builder = builder();
    let connection =
        builder.serve_connection_with_upgrades(TokioIo::new(StallGuard::new(stream, limits::WRITE_STALL)), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(err) = ended {
        tracing::debug!(peer = %address, err = %err, "Connection ended");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits::HEADER_READ);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits::PING_EVERY)
        .keep_alive_timeout(limits::PING_ANSWER)
        .max_concurrent_streams(limits::H2_STREAMS)
        .max_header_list_size(limits::HEADER_BYTES);
    builder
}
