//! The link over one TLS 1.3 connection over TCP, where UDP is blocked.
//!
//! The node dials the hub's HTTPS port and asks for the link by its ALPN. The hub's HTTPS listener reads the
//! client's first words and offers what is ours to a [`TcpListener`]; handshakes are then done here, with the same
//! TLS configuration as over QUIC. [`crate::mux`] makes streams of the bytes.

use crate::listen::{Attempt, HANDSHAKE, Listener};
use crate::mux::{self, Peer};
use crate::quic::idle_timeout;
use crate::renew::EXPIRED_FOR_GOOD;
use crate::tls::HUB_NAME;
use async_trait::async_trait;
use holdfast_env::{Connection, Dialer, NetError, Transport, World};
use holdfast_link_engine::mux::Side;
use holdfast_link_engine::wire::ALPN_JOIN;
use rustls::pki_types::{CertificateDer, ServerName};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::server::StartHandshake;

/// Attempts that wait for their handshake; a further one is dropped, and its node tries again.
const WAITING: usize = 64;
/// Bytes that the kernel takes beyond what is under way, and that TLS holds back: a heartbeat waits for no more.
const UNSENT_BYTES: u32 = 32 << 10;

/// Makes a socket answer quickly.
fn tune(socket: &TcpStream) {
    // Both only make it better: a kernel that cannot is good enough.
    let _ = socket.set_nodelay(true);
    let _ = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES);
}

fn chain(certificates: Option<&[CertificateDer<'_>]>) -> Vec<Vec<u8>> {
    certificates.unwrap_or_default().iter().map(|certificate| certificate.to_vec()).collect()
}

fn peer(socket: &TcpStream, certificates: Vec<Vec<u8>>) -> Peer {
    Peer {
        certificates,
        address: socket.peer_addr().map(|address| address.to_string()).unwrap_or_default(),
        local: socket.local_addr().map(|address| address.ip().to_string()).ok(),
        transport: Transport::Tcp,
    }
}

/// What TLS says when it says no: ours of the peer, or, in an alert, the peer's of us. With TLS 1.3 the latter comes
/// after the handshake.
pub(crate) fn refusal(err: &std::io::Error) -> Option<NetError> {
    match err.get_ref()?.downcast_ref::<rustls::Error>()? {
        // RFC 8446, 6.2.
        rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired) => {
            Some(NetError::Refused(EXPIRED_FOR_GOOD.into()))
        }
        refusal => Some(NetError::Refused(refusal.to_string())),
    }
}

/// What a handshake's failure means: TLS that says no is a refusal, everything else a path that does not carry us.
fn failed(address: &str, err: &std::io::Error) -> NetError {
    match refusal(err) {
        Some(refusal) => refusal,
        None => NetError::Unreachable(format!("{address} over TCP ({err})")),
    }
}

/// Dials the hub's HTTPS port.
pub struct TcpDialer {
    env: World,
    tls: TlsConnector,
    idle: Duration,
}

impl TcpDialer {
    /// A dialer with an identity, or one for joining.
    pub fn new(env: World, tls: rustls::ClientConfig, heartbeat: Duration) -> TcpDialer {
        TcpDialer { env, tls: TlsConnector::from(Arc::new(tls)), idle: idle_timeout(heartbeat) }
    }

    async fn connect(&self, address: &str) -> Result<Arc<dyn Connection>, NetError> {
        let socket = TcpStream::connect(address).await.map_err(|err| failed(address, &err))?;
        tune(&socket);
        let name = ServerName::try_from(HUB_NAME).map_err(|err| NetError::Refused(err.to_string()))?;
        let mut stream = self.tls.connect(name, socket).await.map_err(|err| failed(address, &err))?;
        let (socket, session) = stream.get_mut();
        if session.alpn_protocol().is_none() {
            return Err(NetError::Refused(format!("{address} serves no link over TCP")));
        }
        session.set_buffer_limit(Some(UNSENT_BYTES as usize));
        let peer = peer(socket, chain(session.peer_certificates()));
        Ok(mux::connection(&self.env, stream, Side::Dialer, self.idle, peer))
    }
}

#[async_trait]
impl Dialer for TcpDialer {
    async fn dial(&self, address: &str) -> Result<Arc<dyn Connection>, NetError> {
        let connected = self.env.timeout(HANDSHAKE, self.connect(address)).await;
        connected.unwrap_or_else(|| Err(NetError::Unreachable(format!("{address} over TCP (no answer)"))))
    }
}

/// A connection whose client asked for the link, before the handshake.
struct TcpAttempt {
    env: World,
    start: StartHandshake<TcpStream>,
    address: SocketAddr,
    tls: Arc<rustls::ServerConfig>,
    idle: Duration,
    live: Arc<Live>,
}

impl TcpAttempt {
    async fn handshake(self) -> Result<(Arc<dyn Connection>, bool), NetError> {
        let address = self.address.to_string();
        let mut stream = self.start.into_stream(self.tls).await.map_err(|err| failed(&address, &err))?;
        let (socket, session) = stream.get_mut();
        tune(socket);
        let joining = session.alpn_protocol() == Some(ALPN_JOIN);
        session.set_buffer_limit(Some(UNSENT_BYTES as usize));
        let peer = peer(socket, chain(session.peer_certificates()));
        let connection = mux::connection(&self.env, stream, Side::Listener, self.idle, peer);
        self.live.add(&connection);
        Ok((connection, joining))
    }
}

#[async_trait]
impl Attempt for TcpAttempt {
    fn address(&self) -> IpAddr {
        self.address.ip()
    }

    fn is_from_there(&self) -> bool {
        true
    }

    fn ask_for_proof(self: Box<Self>) {}

    async fn accept(self: Box<Self>) -> Result<(Arc<dyn Connection>, bool), NetError> {
        let (env, peer) = (self.env.clone(), self.address.to_string());
        let done = env.timeout(HANDSHAKE, self.handshake()).await;
        done.unwrap_or(Err(NetError::Unreachable(peer)))
    }
}

/// The connections that are to hear of the hub's end.
#[derive(Default)]
struct Live(Mutex<Vec<Weak<dyn Connection>>>);

impl Live {
    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, connection: &Arc<dyn Connection>) {
        let mut live = self.lock();
        live.retain(|connection| connection.strong_count() > 0);
        live.push(Arc::downgrade(connection));
    }
}

/// Accepts, at the hub, what the HTTPS listener hands over.
pub struct TcpListener {
    env: World,
    tls: Arc<rustls::ServerConfig>,
    idle: Duration,
    live: Arc<Live>,
    offers: Mutex<Option<mpsc::Sender<TcpAttempt>>>,
    attempts: tokio::sync::Mutex<mpsc::Receiver<TcpAttempt>>,
}

impl TcpListener {
    /// A listener that waits for offers. `tls` is the link's, as over QUIC.
    pub fn new(env: World, tls: rustls::ServerConfig, heartbeat: Duration) -> TcpListener {
        let (offers, attempts) = mpsc::channel(WAITING);
        TcpListener {
            env,
            tls: Arc::new(tls),
            idle: idle_timeout(heartbeat),
            live: Arc::default(),
            offers: Mutex::new(Some(offers)),
            attempts: tokio::sync::Mutex::new(attempts),
        }
    }

    /// Whether this is a protocol of the link (ALPN, RFC 7301).
    pub fn speaks(&self, protocol: &[u8]) -> bool {
        self.tls.alpn_protocols.iter().any(|own| own == protocol)
    }

    /// Takes over a connection whose client asked for the link. Does not wait: what cannot be taken is dropped.
    pub fn offer(&self, start: StartHandshake<TcpStream>, address: SocketAddr) {
        let offers = self.offers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (env, tls, live) = (self.env.clone(), self.tls.clone(), self.live.clone());
        let attempt = TcpAttempt { env, start, address, tls, idle: self.idle, live };
        if offers.is_none_or(|offers| offers.try_send(attempt).is_err()) {
            tracing::debug!(peer = %address, "A connection over TCP was dropped: too many are waiting");
        }
    }

    /// Stops listening and ends all connections.
    pub fn close(&self) {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner).take();
        let live: Vec<_> = self.live.lock().drain(..).collect();
        live.iter().filter_map(Weak::upgrade).for_each(|connection| connection.close("the hub is stopping"));
    }
}

#[async_trait]
impl Listener for TcpListener {
    async fn next(&self) -> Option<Box<dyn Attempt>> {
        let attempt = self.attempts.lock().await.recv().await?;
        Some(Box::new(attempt))
    }
}
