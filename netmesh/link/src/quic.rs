//! QUIC by quinn (RFC 9000), bounded for small boxes: by the bounds of the link over TCP, see [`limits`].
//!
//! Nothing is sent while nothing is to be said: heartbeats keep the connection, so quinn's own keep-alive stays off. A
//! heartbeat, its answer with the acknowledgement, and the acknowledgement of that are three packets. The last one must
//! not come late: quinn waits for it only a little longer than the 25 ms that the other end may take to send it, and a box
//! that is busy wakes up later than that, which would cost two probes and their acknowledgements. So the hub asks nodes to
//! acknowledge at once, by the extension for that (draft-ietf-quic-ack-frequency); the hub's own acknowledgements go with
//! its answers.

mod socket;

use crate::listen::{Attempt, HANDSHAKE, Listener, WAITING};
use crate::renew::EXPIRED_FOR_GOOD;
use crate::tls::{HUB_NAME, TlsError};
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_env::{BiStream, Carried, Connection, Dialer, NetError, RecvStream, SendStream, Transport};
use holdfast_link_engine::mux::{Side, limits};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Bytes that wait to be sent or acknowledged.
const SEND_WINDOW: u64 = 1 << 20;
/// quinn gives room on the connection back once an eighth of its window was read: so much is added.
const RECEIVE_WINDOW: u32 = limits::CONNECTION_WINDOW / 4 * 5;

/// Bytes kept of an attempt that waits to be looked at, beside its first packet.
const WAITING_BYTES: u64 = 4 << 10;
/// The largest packet of a path is looked for when the path is new, and then this often.
const MTU_SEARCH: Duration = Duration::from_secs(24 * 3600);

/// How a peer's TLS says that our certificate has ended: alert `certificate_expired` (RFC 8446, 6.2; RFC 9001, 4.8).
const CERTIFICATE_EXPIRED: u8 = 45;

/// `streams`: how many the peer may have open.
fn transport(idle: Duration, streams: u32, side: Side) -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    if side == Side::Listener {
        let mut acknowledgements = quinn::AckFrequencyConfig::default();
        acknowledgements.ack_eliciting_threshold(0u32.into());
        transport.ack_frequency_config(Some(acknowledgements));
    }
    let mut mtu_search = quinn::MtuDiscoveryConfig::default();
    mtu_search.interval(MTU_SEARCH);
    transport
        .mtu_discovery_config(Some(mtu_search))
        .keep_alive_interval(None)
        .stream_receive_window(limits::STREAM_WINDOW.into())
        .receive_window(RECEIVE_WINDOW.into())
        .send_window(SEND_WINDOW)
        .max_concurrent_bidi_streams(streams.into())
        .max_concurrent_uni_streams(0u32.into())
        .datagram_receive_buffer_size(Some(limits::DATAGRAM_BYTES))
        .datagram_send_buffer_size(limits::DATAGRAM_BYTES)
        .max_idle_timeout(quinn::IdleTimeout::try_from(idle).ok());
    Arc::new(transport)
}

/// Time without a packet after which a connection is dead: three heartbeats of the longest interval and ten seconds. The
/// shorter time of the two ends counts; a node gives up earlier, by the interval that it uses.
pub fn idle_timeout(heartbeat: Duration) -> Duration {
    heartbeat * 3 + Duration::from_secs(10)
}

/// What a hub knows a packet by that is for an earlier life of it. With the same key, it tells the sender at once that
/// the connection is gone (stateless reset, RFC 9000, 10.3); else that goes on speaking until it finds nobody answers.
pub struct ResetKey(hmac::Key);

impl ResetKey {
    /// Bytes of a secret.
    pub const BYTES: usize = 32;

    /// The key made of a secret.
    pub fn new(secret: &[u8; ResetKey::BYTES]) -> ResetKey {
        ResetKey(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// A key for one life of a hub.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn random() -> Result<ResetKey, TlsError> {
        let mut secret = [0; ResetKey::BYTES];
        let drawn = SystemRandom::new().fill(&mut secret);
        drawn.map_err(|_| TlsError::Config("the machine has no randomness".into()))?;
        Ok(ResetKey::new(&secret))
    }
}

/// Draws connection ids. They are shorter than quinn's, and packets with unknown ones are not told from foreign ones: an
/// earlier life's must be answered with a reset, and quinn limits how often it does that.
struct Ids;

/// Bytes of a connection id; each packet carries one.
const ID_BYTES: usize = 5;

impl quinn::ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        let mut id = [0; ID_BYTES];
        // Without randomness no handshake succeeds either: the id is taken, and quinn asks again.
        let _ = SystemRandom::new().fill(&mut id);
        quinn::ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn endpoint_config(key: &ResetKey) -> quinn::EndpointConfig {
    let mut endpoint = quinn::EndpointConfig::new(Arc::new(key.0.clone()));
    endpoint.cid_generator(|| Box::new(Ids));
    endpoint
}

/// Accepts connections at the hub.
pub struct QuicListener {
    endpoint: quinn::Endpoint,
}

impl QuicListener {
    /// Listens on a UDP address. `heartbeat` is the longest interval of heartbeats.
    ///
    /// # Errors
    /// When the address is taken or the configuration is refused.
    pub fn bind(address: SocketAddr, tls: rustls::ServerConfig, heartbeat: Duration) -> Result<QuicListener, TlsError> {
        QuicListener::bind_keyed(address, tls, heartbeat, &ResetKey::random()?)
    }

    /// Listens as [`QuicListener::bind`] does, as the successor of earlier listeners with this key.
    ///
    /// # Errors
    /// When the address is taken or the configuration is refused.
    pub fn bind_keyed(
        address: SocketAddr,
        tls: rustls::ServerConfig,
        heartbeat: Duration,
        key: &ResetKey,
    ) -> Result<QuicListener, TlsError> {
        let config = |err: &dyn std::fmt::Display| TlsError::Config(err.to_string());
        let crypto = QuicServerConfig::try_from(tls).map_err(|err| config(&err))?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        server
            .transport_config(transport(idle_timeout(heartbeat), limits::DIALER_STREAMS, Side::Listener))
            .max_incoming(WAITING)
            .incoming_buffer_size(WAITING_BYTES)
            .incoming_buffer_size_total(WAITING_BYTES * WAITING as u64);
        let endpoint = socket::endpoint(endpoint_config(key), Some(server), address)
            .map_err(|err| TlsError::Config(format!("cannot listen on udp {address}: {err}")))?;
        Ok(QuicListener { endpoint })
    }

    /// The address that it listens on.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.endpoint.local_addr().ok()
    }

    /// Connections that it holds, handshakes included.
    pub fn open_connections(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Stops listening and ends all connections.
    pub fn close(&self) {
        self.endpoint.close(0u32.into(), b"the hub is stopping");
    }
}

#[async_trait]
impl Listener for QuicListener {
    async fn next(&self) -> Option<Box<dyn Attempt>> {
        let incoming = self.endpoint.accept().await?;
        Some(Box::new(QuicAttempt(incoming)))
    }
}

struct QuicAttempt(quinn::Incoming);

#[async_trait]
impl Attempt for QuicAttempt {
    fn address(&self) -> IpAddr {
        self.0.remote_address().ip()
    }

    fn is_from_there(&self) -> bool {
        self.0.remote_address_validated() || !self.0.may_retry()
    }

    fn ask_for_proof(self: Box<Self>) {
        // A Retry packet (RFC 9000, 8.1.2). One that cannot be made is a refusal, as the attempt is dropped with it.
        let _ = self.0.retry();
    }

    async fn accept(self: Box<Self>) -> Result<(Arc<dyn Connection>, bool), NetError> {
        let peer = self.0.remote_address().to_string();
        let connecting = self.0.accept().map_err(|err| NetError::Refused(err.to_string()))?;
        let connection = tokio::time::timeout(HANDSHAKE, connecting)
            .await
            .map_err(|_| NetError::Unreachable(peer))?
            .map_err(ended)?;
        let joining = connection
            .handshake_data()
            .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
            .and_then(|data| data.protocol)
            .is_some_and(|protocol| protocol == holdfast_link_engine::wire::ALPN_JOIN);
        Ok((Arc::new(QuicConnection { connection, local: None }), joining))
    }
}

/// Dials the hub.
pub struct QuicDialer {
    v4: quinn::Endpoint,
    v6: Option<quinn::Endpoint>,
    client: quinn::ClientConfig,
}

impl QuicDialer {
    /// A dialer with an identity, or one for joining.
    ///
    /// # Errors
    /// When no UDP socket can be had or the configuration is refused.
    pub fn new(tls: rustls::ClientConfig, heartbeat: Duration) -> Result<QuicDialer, TlsError> {
        let config = |err: &dyn std::fmt::Display| TlsError::Config(err.to_string());
        let crypto = QuicClientConfig::try_from(tls).map_err(|err| config(&err))?;
        let mut client = quinn::ClientConfig::new(Arc::new(crypto));
        client.transport_config(transport(idle_timeout(heartbeat), limits::LISTENER_STREAMS, Side::Dialer));
        let key = ResetKey::random()?;
        let endpoint = |ip: IpAddr| socket::endpoint(endpoint_config(&key), None, (ip, 0).into());
        let v4 = endpoint(Ipv4Addr::UNSPECIFIED.into()).map_err(|err| config(&err))?;
        let v6 = endpoint(Ipv6Addr::UNSPECIFIED.into()).ok();
        Ok(QuicDialer { v4, v6, client })
    }
}

#[async_trait]
impl Dialer for QuicDialer {
    async fn dial(&self, address: &str) -> Result<Arc<dyn Connection>, NetError> {
        let unreachable = |why: &dyn std::fmt::Display| NetError::Unreachable(format!("{address} ({why})"));
        let mut addresses = tokio::net::lookup_host(address).await.map_err(|err| unreachable(&err))?;
        let peer = addresses.next().ok_or_else(|| unreachable(&"no address"))?;
        let endpoint = if peer.is_ipv4() { &self.v4 } else { self.v6.as_ref().unwrap_or(&self.v4) };
        let connecting = endpoint.connect_with(self.client.clone(), peer, HUB_NAME).map_err(|err| unreachable(&err))?;
        let connection = tokio::time::timeout(HANDSHAKE, connecting)
            .await
            .map_err(|_| unreachable(&"no answer"))?
            .map_err(|err| match err {
                quinn::ConnectionError::TimedOut => unreachable(&"no answer"),
                other => ended(other),
            })?;
        Ok(Arc::new(QuicConnection { connection, local: socket::local_address(peer) }))
    }
}

fn ended(err: quinn::ConnectionError) -> NetError {
    match err {
        quinn::ConnectionError::TransportError(err) => NetError::Refused(err.to_string()),
        quinn::ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::crypto(CERTIFICATE_EXPIRED) =>
        {
            NetError::Refused(EXPIRED_FOR_GOOD.into())
        }
        // Too many wait there already: no word about this node.
        quinn::ConnectionError::ConnectionClosed(close)
            if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
        {
            NetError::Unreachable("the hub takes no more connections at the moment".into())
        }
        quinn::ConnectionError::ConnectionClosed(close) => NetError::Refused(close.to_string()),
        quinn::ConnectionError::ApplicationClosed(close) => {
            NetError::Closed(String::from_utf8_lossy(&close.reason).into_owned())
        }
        other => NetError::Closed(other.to_string()),
    }
}

struct QuicConnection {
    connection: quinn::Connection,
    /// The address of this end, as the dialler knows it.
    local: Option<IpAddr>,
}

#[async_trait]
impl Connection for QuicConnection {
    async fn open_bi(&self) -> Result<BiStream, NetError> {
        let (sender, receiver) = self.connection.open_bi().await.map_err(ended)?;
        Ok((Box::new(QuicSend(sender)), Box::new(QuicRecv(receiver))))
    }

    async fn accept_bi(&self) -> Result<BiStream, NetError> {
        let (sender, receiver) = self.connection.accept_bi().await.map_err(ended)?;
        Ok((Box::new(QuicSend(sender)), Box::new(QuicRecv(receiver))))
    }

    fn send_datagram(&self, data: Bytes) -> Result<(), NetError> {
        self.connection.send_datagram(data).map_err(|err| NetError::Closed(err.to_string()))
    }

    async fn recv_datagram(&self) -> Result<Bytes, NetError> {
        self.connection.read_datagram().await.map_err(ended)
    }

    fn close(&self, reason: &str) {
        self.connection.close(0u32.into(), reason.as_bytes());
    }

    async fn closed(&self) -> NetError {
        ended(self.connection.closed().await)
    }

    fn peer_certificates(&self) -> Vec<Vec<u8>> {
        self.connection
            .peer_identity()
            .and_then(|identity| identity.downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>().ok())
            .map(|chain| chain.iter().map(|der| der.to_vec()).collect())
            .unwrap_or_default()
    }

    fn peer_address(&self) -> String {
        self.connection.remote_address().to_string()
    }

    fn local_address(&self) -> Option<String> {
        self.connection.local_ip().or(self.local).map(|ip| ip.to_string())
    }

    fn transport(&self) -> Transport {
        Transport::Quic
    }

    fn carried(&self) -> Carried {
        let stats = self.connection.stats();
        Carried {
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            path_mtu: Some(u32::from(stats.path.current_mtu)),
        }
    }
}

struct QuicSend(quinn::SendStream);

#[async_trait]
impl SendStream for QuicSend {
    async fn write(&mut self, data: Bytes) -> Result<(), NetError> {
        self.0.write_chunk(data).await.map_err(|err| match err {
            quinn::WriteError::ConnectionLost(err) => ended(err),
            quinn::WriteError::Stopped(code) => NetError::Reset(code.into_inner()),
            other => NetError::Closed(other.to_string()),
        })
    }

    async fn finish(&mut self) -> Result<(), NetError> {
        self.0.finish().map_err(|err| NetError::Closed(err.to_string()))
    }

    fn reset(&mut self, code: u64) {
        // A stream that is closed already needs no reset.
        let _ = self.0.reset(quinn::VarInt::from_u64(code).unwrap_or(quinn::VarInt::MAX));
    }

    fn set_priority(&mut self, priority: i32) {
        // A stream that is closed already sends nothing.
        let _ = self.0.set_priority(priority);
    }
}

struct QuicRecv(quinn::RecvStream);

#[async_trait]
impl RecvStream for QuicRecv {
    async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        match self.0.read_chunk(max, true).await {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes)),
            Err(quinn::ReadError::Reset(code)) => Err(NetError::Reset(code.into_inner())),
            Err(quinn::ReadError::ConnectionLost(err)) => Err(ended(err)),
            Err(other) => Err(NetError::Closed(other.to_string())),
        }
    }

    fn stop(&mut self, code: u64) {
        // Nothing to stop when the stream has ended.
        let _ = self.0.stop(quinn::VarInt::from_u64(code).unwrap_or(quinn::VarInt::MAX));
    }
}

#[cfg(test)]
mod tests;
