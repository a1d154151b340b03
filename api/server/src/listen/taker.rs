//! Connections on the HTTPS port that speak another protocol than HTTP.

use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio_rustls::server::StartHandshake;

/// Takes connections over whose client asks for another protocol by ALPN (RFC 7301), before the handshake: it brings
/// its own TLS configuration, and bounds what it takes.
pub trait Taker: Send + Sync + 'static {
    /// Whether a client that offers this protocol is its.
    fn speaks(&self, protocol: &[u8]) -> bool;
    /// Takes a connection over; the client's first words are read. Must not wait; what it does not want, it drops.
    fn take(&self, start: StartHandshake<TcpStream>, peer: SocketAddr);
}
