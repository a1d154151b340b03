//! Two ends of `quinn-proto` with the link's configuration, and an address translation between them, in virtual time.

use super::super::{endpoint_config, idle_timeout, limits, transport};
use crate::ResetKey;
use crate::identity::ca_hash;
use crate::tls::{self, HUB_NAME};
use bytes::BytesMut;
use holdfast_core::Session;
use holdfast_env::host::HostEnv;
use holdfast_link_engine::FrameReader;
use holdfast_link_engine::heartbeat::address_hash;
use holdfast_link_engine::mux::Side;
use holdfast_link_engine::wire::{HeartbeatAnswer, PacedHeartbeat, Payload, encode};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, ConnectionStats, DatagramEvent, Endpoint, Event, ServerConfig,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Heads of IPv4 and UDP.
const HEADS: usize = 20 + 8;

/// A small generator (xorshift), so that each run is the same.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        Chance(seed | 1)
    }

    /// How late a timer is served: hardly ever by more than a millisecond, and then by up to `latest`.
    fn late(&mut self, latest: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let limit = if (self.0 >> 32).is_multiple_of(8) { latest } else { Duration::from_millis(1) };
        limit.mul_f64((self.0 % 1024) as f64 / 1024.0)
    }
}

/// Which packets keep a place in the translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresh {
    /// Those of both sides.
    Both,
    /// Those of the node alone.
    Outgoing,
}

/// An address translation for one node.
pub(super) struct Translation {
    pub(super) forgets_after: Duration,
    pub(super) refresh: Refresh,
    port: u16,
    used_at: Option<Instant>,
    /// How often the node got another port.
    pub(super) rebindings: usize,
}

impl Translation {
    pub(super) fn new(forgets_after: Duration, refresh: Refresh) -> Translation {
        Translation { forgets_after, refresh, port: 20_000, used_at: None, rebindings: 0 }
    }

    fn is_kept(&self, now: Instant) -> bool {
        self.used_at.is_some_and(|at| now - at <= self.forgets_after)
    }

    /// A packet of the node: where the hub sees it from.
    fn outgoing(&mut self, now: Instant) -> SocketAddr {
        if !self.is_kept(now) && self.used_at.is_some() {
            self.port += 1;
            self.rebindings += 1;
        }
        self.used_at = Some(now);
        self.outside()
    }

    fn outside(&self) -> SocketAddr {
        ([203, 0, 113, 7], self.port).into()
    }

    /// A packet of the hub: whether it gets through.
    fn incoming(&mut self, now: Instant, to: SocketAddr) -> bool {
        let passes = self.is_kept(now) && to == self.outside();
        if passes && self.refresh == Refresh::Both {
            self.used_at = Some(now);
        }
        passes
    }
}

/// One end. There is one connection at most.
struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    inbox: VecDeque<(Instant, SocketAddr, BytesMut)>,
    /// How much later than asked for its next timer is served.
    late: Duration,
}

impl End {
    fn timer(&mut self) -> Option<Instant> {
        let late = self.late;
        self.connection.as_mut()?.1.poll_timeout().map(|at| at + late)
    }

    fn next(&mut self) -> Option<Instant> {
        let inbound = self.inbox.front().map(|(at, ..)| *at);
        self.timer().into_iter().chain(inbound).min()
    }

    /// Does all that is due now.
    fn work(&mut self, now: Instant, chance: &mut Chance, latest: Duration, sent: &mut Vec<(SocketAddr, Vec<u8>)>) {
        let mut buffer = Vec::new();
        while self.inbox.front().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, from, data)) = self.inbox.pop_front() else { break };
            match self.endpoint.handle(now, from, None, None, data, &mut buffer) {
                Some(DatagramEvent::NewConnection(incoming)) => {
                    let accepted = self.endpoint.accept(incoming, now, &mut buffer, None);
                    self.connection = Some(accepted.map_err(|err| err.cause).unwrap());
                }
                Some(DatagramEvent::ConnectionEvent(_, event)) => {
                    if let Some((_, connection)) = &mut self.connection {
                        connection.handle_event(event);
                    }
                }
                Some(DatagramEvent::Response(transmit)) => sent.push((transmit.destination, buffer.clone())),
                None => {}
            }
            buffer.clear();
        }
        if self.timer().is_some_and(|at| at <= now) {
            if let Some((_, connection)) = &mut self.connection {
                connection.handle_timeout(now);
            }
            self.late = chance.late(latest);
        }
        let Some((handle, connection)) = &mut self.connection else { return };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(transmit) = connection.poll_transmit(now, 1, &mut buffer) {
            sent.push((transmit.destination, buffer[..transmit.size].to_vec()));
            buffer.clear();
        }
        while let Some(event) = connection.poll() {
            if let Event::ConnectionLost { reason } = event {
                panic!("a connection was lost: {reason}");
            }
        }
    }
}

/// What has gone over the path, both ways, heads included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) packets: usize,
    pub(super) bytes: usize,
}

impl Counted {
    pub(super) fn since(self, before: Counted) -> Counted {
        Counted { packets: self.packets - before.packets, bytes: self.bytes - before.bytes }
    }
}

/// The two ends and what is between them.
pub(super) struct Path {
    began: Instant,
    pub(super) now: Instant,
    node: End,
    hub: End,
    pub(super) translation: Translation,
    one_way: Duration,
    /// See [`Chance::late`].
    pub(super) latest: Duration,
    chance: Chance,
    pub(super) counted: Counted,
}

fn hub_tls() -> (rustls::ServerConfig, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key).unwrap().der().to_vec();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names.push(SanType::DnsName(HUB_NAME.try_into().unwrap()));
    let leaf = leaf.signed_by(&key, &Issuer::new(params, ca_key)).unwrap().der().to_vec();
    let env = HostEnv::new("/nonexistent");
    let config =
        tls::hub_config(env, &[leaf, ca.clone()], &key.serialize_der(), std::slice::from_ref(&ca), Duration::ZERO);
    (config.unwrap(), ca_hash(&ca).unwrap())
}

impl Path {
    /// A connection that is up, made for heartbeats of this interval at most. It is a join's: transport and packets are
    /// those of any other.
    pub(super) fn connected(translation: Translation, longest: Duration, latest: Duration) -> Path {
        let (hub_tls, ca_hash) = hub_tls();
        let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(hub_tls).unwrap()));
        server.transport_config(transport(idle_timeout(longest), limits::DIALER_STREAMS, Side::Listener));
        let crypto = QuicClientConfig::try_from(tls::join_config(&ca_hash).unwrap()).unwrap();
        let mut client = ClientConfig::new(Arc::new(crypto));
        client.transport_config(transport(idle_timeout(longest), limits::LISTENER_STREAMS, Side::Dialer));
        let end = |server: Option<ServerConfig>, seed: u8| {
            let mut config = endpoint_config(&ResetKey::new(&[seed; ResetKey::BYTES]));
            config.rng_seed(Some([seed; 32]));
            let endpoint = Endpoint::new(Arc::new(config), server.map(Arc::new), true, None);
            End { endpoint, connection: None, inbox: VecDeque::new(), late: Duration::ZERO }
        };
        let now = Instant::now();
        let (mut node, hub) = (end(None, 1), end(Some(server), 2));
        node.connection = Some(node.endpoint.connect(now, client, HUB, HUB_NAME).unwrap());
        let mut path = Path {
            began: now,
            now,
            node,
            hub,
            translation,
            one_way: Duration::from_millis(20),
            latest,
            chance: Chance::new(7),
            counted: Counted::default(),
        };
        path.pass(now + Duration::from_secs(2));
        assert!(!path.node().is_handshaking() && !path.hub().is_handshaking());
        path
    }

    fn node(&mut self) -> &mut Connection {
        &mut self.node.connection.as_mut().unwrap().1
    }

    fn hub(&mut self) -> &mut Connection {
        &mut self.hub.connection.as_mut().unwrap().1
    }

    pub(super) fn hub_stats(&mut self) -> ConnectionStats {
        self.hub().stats()
    }

    /// Time since the beginning.
    pub(super) fn clock(&self) -> Duration {
        self.now - self.began
    }

    /// The node sends a heartbeat.
    pub(super) fn beat(&mut self, count: u64, interval: Duration) {
        let interval_ms = interval.as_millis().try_into().unwrap();
        let beat = PacedHeartbeat { session: SESSION, count, clock_micros: CLOCK, interval_ms };
        self.node().datagrams().send(encode(&beat), true).unwrap();
    }

    /// As whom the hub sees the node.
    pub(super) fn seen(&mut self) -> u32 {
        address_hash(&self.hub().remote_address().to_string())
    }

    /// Lets time pass until an answer has come to a heartbeat, or until then.
    pub(super) fn pass(&mut self, until: Instant) -> Option<HeartbeatAnswer> {
        loop {
            self.carry();
            while let Some(data) = self.hub.connection.as_mut().and_then(|(_, hub)| hub.datagrams().recv()) {
                let beat: PacedHeartbeat = read(&data);
                let answer =
                    HeartbeatAnswer { session: SESSION, count: beat.count, clock_micros: CLOCK, address: self.seen() };
                self.hub().datagrams().send(encode(&answer), true).unwrap();
                self.carry();
            }
            if let Some(data) = self.node().datagrams().recv() {
                return Some(read(&data));
            }
            let next = self.node.next().into_iter().chain(self.hub.next()).min();
            match next.filter(|at| *at <= until) {
                Some(at) => self.now = self.now.max(at),
                None => {
                    self.now = self.now.max(until);
                    return None;
                }
            }
        }
    }

    /// Both ends do what is due now.
    fn carry(&mut self) {
        let mut sent = Vec::new();
        self.node.work(self.now, &mut self.chance, self.latest, &mut sent);
        for (_, data) in sent.drain(..) {
            self.count(&data);
            let from = self.translation.outgoing(self.now);
            self.hub.inbox.push_back((self.now + self.one_way, from, BytesMut::from(&data[..])));
        }
        self.hub.work(self.now, &mut self.chance, self.latest, &mut sent);
        for (to, data) in sent {
            self.count(&data);
            if self.translation.incoming(self.now, to) {
                self.node.inbox.push_back((self.now + self.one_way, HUB, BytesMut::from(&data[..])));
            }
        }
    }

    fn count(&mut self, data: &[u8]) {
        self.counted.packets += 1;
        self.counted.bytes += HEADS + data.len();
    }
}

fn read<T: Payload>(data: &[u8]) -> T {
    let mut reader = FrameReader::default();
    reader.push(data);
    reader.next_frame().unwrap().unwrap().decode().unwrap()
}

/// Numbers as long as those of a real connection.
const SESSION: Session = Session(300);
const CLOCK: i64 = 1_780_000_000_000_000;
const HUB: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)), 6444);
