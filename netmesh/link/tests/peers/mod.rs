//! A hub and a node with stores in memory, and an authority for their certificates.

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::digest::bucket_of;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest, content_hash};
use holdfast_env::host::HostEnv;
use holdfast_env::session::{ExecSession, StreamInput, StreamOutput};
use holdfast_env::testing::echo;
use holdfast_env::{Connection, Dialer, NetError, Transport, World};
use holdfast_link::call::NodeCall;
use holdfast_link::tls::{CertificateClock, CertificateTime};
use holdfast_link::{
    Grant, HubHost, LinkEnd, Listener, NodeHost, NodeIdentity, QuicDialer, QuicListener, Refusal, TcpDialer,
    TcpListener, Traffic, drive_hub, drive_node, tls,
};
use holdfast_link_engine::wire::{FactSort, Hello, RenewReply, RenewRequest, VERSION, WireFact};
use holdfast_link_engine::{HubItem, HubView, NodeView, Persist};
use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, Issuer, KeyPair, SanType};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::LazyConfigAcceptor;

pub(crate) const HEARTBEAT: Duration = Duration::from_millis(200);
pub(crate) const LOG_BYTES: usize = 1 << 20;
/// From 1975 to 2100, in seconds since 1970.
pub(crate) const ALWAYS: (u64, u64) = (157_766_400, 4_102_444_800);
/// How long after its end the hub lets a certificate be renewed.
pub(crate) const GRACE: Duration = Duration::from_secs(90 * 24 * 3600);
const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("nothing within the limit")
}

pub(crate) async fn poll(what: &str, is: impl FnMut() -> bool) {
    poll_for(LIMIT, what, is).await;
}

pub(crate) async fn poll_for(limit: Duration, what: &str, mut is: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is() {
        assert!(begun.elapsed() < limit, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn noise(size: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..size).map(|_| next()).collect()
}

pub(crate) struct Authority {
    pub(crate) der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test CA");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Authority { der, issuer: Issuer::new(params, key) }
    }

    /// Params of a certificate that is valid between two moments, in seconds since 1970.
    fn leaf(name: &str, alternative: SanType, (from, to): (u64, u64)) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.push(alternative);
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        params.not_before = epoch + Duration::from_secs(from);
        params.not_after = epoch + Duration::from_secs(to);
        params
    }

    fn node_leaf(uid: &str, name: &str, valid: (u64, u64)) -> CertificateParams {
        let uri = SanType::URI(format!("holdfast://node/{uid}").as_str().try_into().unwrap());
        Authority::leaf(&format!("system:node:{name}"), uri, valid)
    }

    /// What a hub works with whose certificate is valid between two seconds since 1970.
    pub(crate) fn hub_config(&self, env: &World, valid: (u64, u64)) -> rustls::ServerConfig {
        let name = SanType::DnsName(tls::HUB_NAME.try_into().unwrap());
        let key = KeyPair::generate().unwrap();
        let leaf = Authority::leaf("hub", name, valid).signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let chain = [leaf, self.der.clone()];
        tls::hub_config(env.clone(), &chain, &key.serialize_der(), std::slice::from_ref(&self.der), GRACE).unwrap()
    }

    pub(crate) fn node(&self, uid: &str, name: &str) -> NodeIdentity {
        self.node_valid(uid, name, ALWAYS)
    }

    /// The chain that answers a node's request.
    pub(crate) fn sign(&self, csr: &[u8], uid: &str, name: &str, valid: (u64, u64)) -> Vec<Bytes> {
        let request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let leaf = Authority::node_leaf(uid, name, valid).signed_by(&request.public_key, &self.issuer).unwrap();
        vec![Bytes::copy_from_slice(leaf.der()), Bytes::copy_from_slice(&self.der)]
    }

    pub(crate) fn node_valid(&self, uid: &str, name: &str, valid: (u64, u64)) -> NodeIdentity {
        let key = KeyPair::generate().unwrap();
        let leaf = Authority::node_leaf(uid, name, valid).signed_by(&key, &self.issuer).unwrap().der().to_vec();
        let key = key.serialize_der();
        NodeIdentity {
            node_uid: uid.into(),
            node_name: name.into(),
            key,
            chain: vec![leaf, self.der.clone()],
            roots: vec![self.der.clone()],
        }
    }
}

#[derive(Clone, Default)]
pub(crate) struct HubState {
    revision: u64,
    items: BTreeMap<String, (ContentHash, HubItem)>,
    digest: SetDigest,
    refusal: Option<Refusal>,
    pub(crate) online: Option<Arc<dyn Connection>>,
    pub(crate) facts: Vec<u64>,
    pub(crate) beats: usize,
    pub(crate) ended: usize,
    pub(crate) reason: String,
}

impl HubView for HubState {
    fn revision(&self) -> Revision {
        Revision(self.revision)
    }
    fn digest(&self) -> &SetDigest {
        &self.digest
    }
    fn entries(&self) -> Box<dyn Iterator<Item = (&str, ContentHash)> + '_> {
        Box::new(self.items.iter().map(|(key, (hash, _))| (key.as_str(), *hash)))
    }
    fn get(&self, key: &str) -> Option<HubItem> {
        self.items.get(key).map(|(_, item)| item.clone())
    }
    fn needs(&self, _pod: &str) -> Vec<String> {
        Vec::new()
    }
}

pub(crate) type Decide = Box<dyn FnMut(RenewRequest) -> RenewReply + Send>;

#[derive(Default)]
pub(crate) struct HubSide {
    state: Mutex<HubState>,
    /// Decides renewals.
    pub(crate) renewals: Mutex<Option<Decide>>,
    pub(crate) traffic: Arc<Traffic>,
    changed: Notify,
}

impl HubSide {
    pub(crate) fn put(&self, key: &str, body: &[u8]) {
        let mut state = self.state.lock().unwrap();
        state.revision += 1;
        let (hash, revision) = (content_hash(body), Revision(state.revision));
        state.digest.add(key, hash);
        let item = HubItem { revision, body: Bytes::copy_from_slice(body) };
        state.items.insert(key.into(), (hash, item));
        self.changed.notify_one();
    }

    pub(crate) fn refuse(&self, code: &str, reason: &str) {
        self.state.lock().unwrap().refusal = Some(Refusal { code: code.into(), reason: reason.into() });
    }
}

#[async_trait]
impl HubHost for HubSide {
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn HubView)) {
        use_view(&*self.state.lock().unwrap());
    }
    async fn view_changed(&self) {
        self.changed.notified().await;
    }
    async fn grant(&self, hello: &Hello) -> Result<Grant, Refusal> {
        let state = self.state.lock().unwrap();
        match state.refusal.clone() {
            Some(refusal) => Err(refusal),
            None => {
                let mark = Seq(state.facts.last().copied().unwrap_or(0));
                Ok(Grant {
                    lineage: Lineage(1),
                    session: hello.session.next(),
                    mark,
                    heartbeat: HEARTBEAT,
                    longest_heartbeat: HEARTBEAT,
                    grace: HEARTBEAT * 4,
                })
            }
        }
    }
    async fn apply_facts(&self, _session: Session, _outbox: OutboxGen, facts: Vec<WireFact>) -> Result<(), String> {
        self.state.lock().unwrap().facts.extend(facts.iter().map(|fact| fact.seq.0));
        Ok(())
    }
    async fn online(&self, _session: Session, connection: Arc<dyn Connection>) -> Result<(), Refusal> {
        self.state.lock().unwrap().online = Some(connection);
        Ok(())
    }
    fn alive(&self, _session: Session, _clock_micros: i64, _interval: Duration) {
        self.state.lock().unwrap().beats += 1;
    }
    fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }
    fn applied(&self, _revision: Revision) {}
    async fn renew(&self, request: RenewRequest) -> RenewReply {
        match self.renewals.lock().unwrap().as_mut() {
            Some(decide) => decide(request),
            None => RenewReply::Refused { code: "RateLimited".into(), reason: "not now".into() },
        }
    }
    async fn cut(&self) -> Refusal {
        std::future::pending().await
    }
}

/// A node's clock for its TLS.
#[derive(Default)]
pub(crate) struct Clock(Mutex<Option<CertificateTime>>);

impl Clock {
    /// The machine's time, believed.
    pub(crate) fn right() -> Arc<Clock> {
        Arc::default()
    }

    /// Stands at this second since 1970.
    pub(crate) fn at(secs: u64, trusted: bool) -> Arc<Clock> {
        Arc::new(Clock(Mutex::new(Some(CertificateTime { at: Duration::from_secs(secs), trusted }))))
    }
}

impl CertificateClock for Clock {
    fn certificate_time(&self) -> CertificateTime {
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        self.0.lock().unwrap().unwrap_or(CertificateTime { at: now, trusted: true })
    }
}

/// A dialer over this transport.
pub(crate) fn dialer(env: &World, on: Transport, tls: rustls::ClientConfig) -> Arc<dyn Dialer> {
    match on {
        Transport::Quic => Arc::new(QuicDialer::new(tls, HEARTBEAT * 100).unwrap()),
        _ => Arc::new(TcpDialer::new(env.clone(), tls, HEARTBEAT)),
    }
}

/// The hub's listener for one transport.
#[derive(Clone)]
pub(crate) enum Door {
    Quic(Arc<QuicListener>),
    Tcp(Arc<TcpListener>),
}

impl Door {
    /// Listens on loopback. Over TCP, as the HTTPS listener does: it reads the client's first words, and hands over.
    pub(crate) async fn open(env: &World, on: Transport, config: rustls::ServerConfig, port: u16) -> (Door, String) {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        if on == Transport::Quic {
            let listener = QuicListener::bind(address, config, HEARTBEAT).unwrap();
            let address = listener.local_address().unwrap().to_string();
            return (Door::Quic(Arc::new(listener)), address);
        }
        let socket = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let listener = Arc::new(TcpListener::new(env.clone(), config, HEARTBEAT));
        let offers = Arc::downgrade(&listener);
        tokio::spawn(async move {
            while let Ok((stream, peer)) = socket.accept().await {
                let offers = offers.clone();
                tokio::spawn(async move {
                    let start = LazyConfigAcceptor::new(Default::default(), stream).await.unwrap();
                    let hello = start.client_hello();
                    let listener = offers.upgrade().unwrap();
                    assert!(hello.alpn().unwrap().any(|protocol| listener.speaks(protocol)));
                    listener.offer(start, peer);
                });
            }
        });
        (Door::Tcp(listener), address)
    }

    pub(crate) fn listener(&self) -> Arc<dyn Listener> {
        match self {
            Door::Quic(listener) => listener.clone(),
            Door::Tcp(listener) => listener.clone(),
        }
    }

    pub(crate) fn close(&self) {
        match self {
            Door::Quic(listener) => listener.close(),
            Door::Tcp(listener) => listener.close(),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Hub {
    pub(crate) env: World,
    /// The machine under `env`, whose wall clock can be put forward.
    pub(crate) machine: Arc<HostEnv>,
    pub(crate) on: Transport,
    pub(crate) address: String,
    pub(crate) door: Door,
    pub(crate) host: Arc<HubSide>,
}

impl Hub {
    pub(crate) async fn new(ca: &Authority, on: Transport) -> Hub {
        Hub::valid(ca, on, ALWAYS).await
    }

    /// A hub whose certificate is valid between two seconds since 1970.
    pub(crate) async fn valid(ca: &Authority, on: Transport, valid: (u64, u64)) -> Hub {
        let machine = HostEnv::new("/nonexistent");
        let env: World = machine.clone();
        let (door, address) = Door::open(&env, on, ca.hub_config(&env, valid), 0).await;
        Hub { env, machine, on, address, door, host: Arc::default() }
    }

    pub(crate) fn dialer(&self, tls: rustls::ClientConfig) -> Arc<dyn Dialer> {
        dialer(&self.env, self.on, tls)
    }

    pub(crate) async fn accept(&self) -> Result<(Arc<dyn Connection>, bool), NetError> {
        within(self.door.listener().next()).await.unwrap().accept().await
    }

    /// Serves a node's connection.
    pub(crate) fn serve(&self, connection: Arc<dyn Connection>) {
        let (env, host) = (self.env.clone(), self.host.clone());
        tokio::spawn(async move {
            let reason = drive_hub(env, connection, host.clone()).await;
            let mut state = host.state.lock().unwrap();
            state.ended += 1;
            state.reason = reason;
        });
    }

    pub(crate) fn state(&self) -> HubState {
        self.host.state.lock().unwrap().clone()
    }

    pub(crate) async fn until(&self, what: &str, is: impl Fn(&HubState) -> bool) {
        poll(what, || is(&self.host.state.lock().unwrap())).await;
    }
}

#[derive(Default)]
pub(crate) struct NodeState {
    items: BTreeMap<String, (ContentHash, Bytes)>,
    digest: SetDigest,
    facts: Vec<WireFact>,
    pub(crate) acknowledged: u64,
    pub(crate) beats: usize,
    pub(crate) processes: usize,
}

impl NodeState {
    pub(crate) fn keys(&self) -> Vec<String> {
        self.items.keys().cloned().collect()
    }
}

impl NodeView for NodeState {
    fn digest(&self) -> &SetDigest {
        &self.digest
    }
    fn entries(&self, buckets: u64) -> Vec<(String, ContentHash)> {
        let asked = self.items.iter().filter(|(key, _)| buckets & (1 << bucket_of(key)) != 0);
        asked.map(|(key, (hash, _))| (key.clone(), *hash)).collect()
    }
    fn body(&self, key: &str, hash: ContentHash) -> Option<Bytes> {
        self.items.get(key).filter(|(held, _)| *held == hash).map(|(_, body)| body.clone())
    }
    fn assigned(&self, _key: &str) -> Option<(Lineage, Revision)> {
        None
    }
    fn facts_after(&self, after: Seq, max: usize) -> Vec<WireFact> {
        self.facts.iter().filter(|fact| fact.seq > after).take(max).cloned().collect()
    }
}

#[derive(Default)]
pub(crate) struct NodeSide {
    state: Arc<Mutex<NodeState>>,
    changed: Notify,
}

impl NodeSide {
    pub(crate) fn fact(&self, seq: u64) {
        let fact = WireFact { seq: Seq(seq), sort: FactSort::Log, key: String::new(), body: Bytes::from_static(b"{}") };
        self.state.lock().unwrap().facts.push(fact);
        self.changed.notify_one();
    }
}

#[async_trait]
impl NodeHost for NodeSide {
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn NodeView)) {
        use_view(&*self.state.lock().unwrap());
    }
    async fn persist(&self, what: Persist) -> Result<(), String> {
        if let Persist::Items(batch) = what {
            let mut state = self.state.lock().unwrap();
            for (key, hash, _, body) in batch.puts {
                state.digest.add(&key, hash);
                state.items.insert(key, (hash, body));
            }
        }
        Ok(())
    }
    fn acknowledged(&self, seq: Seq) {
        self.state.lock().unwrap().acknowledged = seq.0;
    }
    fn connected(&self, _session: Session, _time_micros: i64) {}
    fn alive(&self, _time_micros: i64) {
        self.state.lock().unwrap().beats += 1;
    }
    fn in_sync(&self, _revision: Revision) {}
    async fn facts_changed(&self) {
        self.changed.notified().await;
    }
    async fn call(&self, call: NodeCall) {
        if let holdfast_core::calls::Call::Forward(forward) = &call.call {
            if forward.port == 81 {
                return call.fail(500, "dial tcp 127.0.0.1:81: connect: connection refused").await;
            }
            let state = self.state.clone();
            state.lock().unwrap().processes += 1;
            call.serve_connection(echo()).await;
            state.lock().unwrap().processes -= 1;
            return;
        }
        if matches!(call.call, holdfast_core::calls::Call::Logs(_)) {
            let (sender, receiver) = mpsc::channel(2);
            let fill = async move {
                for _ in 0..LOG_BYTES / 1024 {
                    if sender.send(Ok(Bytes::from(vec![b'x'; 1024]))).await.is_err() {
                        return;
                    }
                }
            };
            tokio::join!(fill, call.serve_bytes(receiver));
            return;
        }
        let (input, mut inputs) = mpsc::channel(2);
        let (outputs, output) = mpsc::channel(2);
        let state = self.state.clone();
        state.lock().unwrap().processes += 1;
        let process = async move {
            while let Some(given) = inputs.recv().await {
                let told = match given {
                    StreamInput::Stdin(data) => StreamOutput::Stdout(data),
                    StreamInput::StdinClosed => StreamOutput::Exited(3),
                    StreamInput::Resize(_) => continue,
                };
                if outputs.send(told).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = call.serve_session(ExecSession { input, output }) => {}
            () = process => {}
        }
        state.lock().unwrap().processes -= 1;
    }
}

pub(crate) struct Node {
    pub(crate) env: World,
    pub(crate) identity: NodeIdentity,
    pub(crate) host: Arc<NodeSide>,
}

impl Node {
    pub(crate) fn new(ca: &Authority, uid: &str) -> Node {
        Node { env: HostEnv::new("/nonexistent"), identity: ca.node(uid, "edge"), host: Arc::default() }
    }

    /// A connection that the hub serves with its driver.
    pub(crate) async fn dial(&self, hub: &Hub) -> Arc<dyn Connection> {
        let dialer = hub.dialer(self.tls());
        let (dialled, accepted) = tokio::join!(within(dialer.dial(&hub.address)), hub.accept());
        let (connection, joining) = accepted.unwrap();
        assert!(!joining);
        let leaf = connection.peer_certificates().remove(0);
        assert_eq!(holdfast_link::identity::node_of(&leaf).unwrap(), ("uid-1".into(), "edge".into()));
        assert_eq!(connection.transport(), hub.on);
        hub.serve(connection);
        dialled.unwrap()
    }

    pub(crate) fn tls(&self) -> rustls::ClientConfig {
        tls::node_config(Clock::right(), &self.identity).unwrap()
    }

    /// Connects and runs the node's driver.
    pub(crate) async fn connect(&self, hub: &Hub) -> JoinHandle<LinkEnd> {
        let connection = self.dial(hub).await;
        tokio::spawn(self.drive(connection))
    }

    /// Runs the node's driver.
    pub(crate) fn drive(&self, connection: Arc<dyn Connection>) -> impl Future<Output = LinkEnd> + use<> {
        let hello = Hello {
            version_min: 1,
            version_max: VERSION,
            node_uid: self.identity.node_uid.clone(),
            node_name: self.identity.node_name.clone(),
            boot: 1,
            lineage: Lineage(0),
            session: Session(0),
            root: self.host.state.lock().unwrap().digest.root(),
            outbox: OutboxGen(1),
            clock_micros: 0,
        };
        drive_node(self.env.clone(), connection, self.host.clone(), hello)
    }

    pub(crate) async fn until(&self, what: &str, is: impl Fn(&NodeState) -> bool) {
        poll(what, || is(&self.host.state.lock().unwrap())).await;
    }
}
