//! Probes over the network, from the node's own: TCP, HTTP and HTTPS ([`http`]), gRPC ([`grpc`]).
//!
//! Each probe is a connection of its own. Texts of failures are those that upstream's probes show, as far as the kernel's
//! words allow.

mod grpc;
mod http;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use holdfast_node::Prober;
use holdfast_node::parts::{HttpAnswer, HttpProbe};
use holdfast_server::unverified;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// What probes call themselves.
const AGENT: &str = "kube-probe/1.36";

/// Probes from the node's own network.
#[derive(Debug)]
pub(crate) struct NetProber {
    tls: Arc<rustls::ClientConfig>,
}

impl NetProber {
    /// A prober.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn new() -> Result<NetProber, rustls::Error> {
        Ok(NetProber { tls: Arc::new(unverified::client_config()?) })
    }
}

#[async_trait]
impl Prober for NetProber {
    async fn http(&self, request: HttpProbe, timeout: Duration) -> Result<HttpAnswer, String> {
        match tokio::time::timeout(timeout, http::get(&self.tls, &request)).await {
            Ok(result) => result,
            Err(_) => Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into()),
        }
    }

    async fn tcp(&self, host: &str, port: u16, timeout: Duration) -> Result<(), String> {
        match tokio::time::timeout(timeout, connect(host, port)).await {
            Ok(connected) => connected.map(|_| ()),
            Err(_) => Err(format!("dial tcp {}: i/o timeout", authority(host, port))),
        }
    }

    async fn grpc(&self, host: &str, port: u16, service: &str, timeout: Duration) -> Result<(), String> {
        grpc::check(host, port, service, timeout).await
    }
}

/// `host:port`, with brackets where the host has colons.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A connection, or upstream's words for why there is none.
async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((host, port)).await;
    stream.map_err(|err| format!("dial tcp {}: {}", authority(host, port), dial_words(&err)))
}

/// What `talk` comes to, while hyper's connection is driven. Its error is told to whoever waits for the answer.
async fn beside<T>(connection: impl Future, talk: impl Future<Output = T>) -> T {
    tokio::pin!(talk, connection);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut talk => return answer,
            _ = &mut connection, if open => open = false,
        }
    }
}

/// The kernel's answer to a connect as Go prints it.
fn dial_words(err: &io::Error) -> String {
    let words = match err.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset by peer",
        io::ErrorKind::HostUnreachable => "no route to host",
        io::ErrorKind::NetworkUnreachable => "network is unreachable",
        io::ErrorKind::TimedOut => "connection timed out",
        // A name that cannot be resolved, for example.
        _ => return err.to_string(),
    };
    format!("connect: {words}")
}
