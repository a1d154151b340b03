//! The listener. Tasks: one that accepts, one for each connection; all owned by [`Server`].

use super::stall::StallGuard;
use super::taker::Taker;
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
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A running server.
pub struct Server {
    address: SocketAddr,
    accept: Accept,
}

impl Server {
    /// Serves `service` on a bound listener; connections of another protocol than HTTP go to `taker`.
    ///
    /// # Errors
    /// When the listener's address cannot be told.
    pub fn start(
        listener: TcpListener,
        tls: Arc<ServerConfig>,
        service: Arc<ApiService>,
        taker: Option<Arc<dyn Taker>>,
    ) -> std::io::Result<Server> {
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let connections = TaskTracker::new();
        let accept = Accept { tls, service, taker, stop, connections: connections.clone() };
        connections.spawn(accept.clone().run(listener));
        Ok(Server { address, accept })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves a connection that somebody else has accepted.
    pub fn adopt(&self, stream: TcpStream, peer: SocketAddr) {
        self.accept.connections.spawn(serve(stream, peer, self.accept.clone()));
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        // The task that accepts is one of them.
        self.accept.connections.len().saturating_sub(1)
    }

    /// Stops accepting, ends watches and sessions, lets requests finish for at most `grace`.
    /// Returns whether all had finished.
    pub async fn shutdown(self, grace: Duration) -> bool {
        let Accept { service, stop, connections, .. } = self.accept;
        stop.cancel();
        service.closing.cancel();
        connections.close();
        service.tasks.close();
        let drained = async {
            connections.wait().await;
            service.tasks.wait().await;
        };
        tokio::time::timeout(grace, drained).await.is_ok()
    }
}

#[derive(Clone)]
struct Accept {
    tls: Arc<ServerConfig>,
    service: Arc<ApiService>,
    taker: Option<Arc<dyn Taker>>,
    /// Stops accepting and asks connections to finish.
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
            let one = self.clone();
            self.connections.spawn(async move {
                serve(stream, address, one).await;
                drop(slot);
            });
        }
    }

    /// The handshake; `None` when the taker has the connection now.
    async fn handshake(&self, stream: TcpStream, peer: SocketAddr) -> std::io::Result<Option<TlsStream<TcpStream>>> {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        if let Some(taker) = &self.taker {
            let offered = start.client_hello().alpn();
            if offered.into_iter().flatten().any(|protocol| taker.speaks(protocol)) {
                taker.take(start, peer);
                return Ok(None);
            }
        }
        start.into_stream(self.tls.clone()).await.map(Some)
    }
}

async fn serve(stream: TcpStream, address: SocketAddr, accept: Accept) {
    let (service, stop) = (accept.service.clone(), accept.stop.clone());
    let _counted = service.metrics.count(Gauge::Connections);
    let _ = stream.set_nodelay(true);
    let handshake = tokio::time::timeout(limits::HANDSHAKE, accept.handshake(stream, address));
    let stream = tokio::select! {
        handshake = handshake => match handshake {
            Ok(Ok(Some(stream))) => stream,
            Ok(Ok(None)) => return,
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
