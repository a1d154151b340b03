//! Who a node is, over real QUIC: joins, clones, renewals, revocation, and its time.

#![allow(clippy::disallowed_methods, reason = "tests spawn and sleep for real")]

use super::*;
use holdfast_core::{Patch, PatchType};
use holdfast_env::{Dialer, World};
use holdfast_link::call::NodeCall;
use holdfast_link::join::{JoinToken, join};
use holdfast_link::renew::{EXPIRED_FOR_GOOD, RenewError, renew};
use holdfast_link::time_reset::{TimeResetError, ask};
use holdfast_link::tls::{self, CertificateClock, CertificateTime, HUB_NAME};
use holdfast_link::{LinkEnd, NodeHost, NodeIdentity, QuicDialer, QuicListener, TcpListener, drive_node, identity};
use holdfast_link_engine::{NodeView, Persist};
use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, Issuer, KeyPair, SanType};
use tokio::task::JoinHandle;

const DAY: i64 = 24 * 3600;
pub(super) const LIMIT: Duration = Duration::from_secs(20);
pub(super) const HEARTBEAT: Duration = Duration::from_millis(500);

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("nothing within the limit")
}

/// A CA whose certificates are valid for a year by the hub's clock.
struct Authority {
    machine: Arc<HostEnv>,
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(machine: Arc<HostEnv>) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Authority { machine, der, issuer: Issuer::new(params, key) }
    }

    fn leaf(&self, name: &str, alternative: SanType) -> CertificateParams {
        let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(self.machine.wall().0.as_secs());
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.push(alternative);
        params.not_before = now - Duration::from_secs(3600);
        params.not_after = now + Duration::from_secs(365 * DAY.unsigned_abs());
        params
    }
}

#[async_trait]
impl NodeIssuer for Authority {
    async fn check_token(&self, _id: &str, _secret: &str) -> Result<(), String> {
        Ok(())
    }
    fn sign(&self, csr: &[u8], node_name: &str, node_uid: &str) -> Result<Vec<Vec<u8>>, String> {
        let request = CertificateSigningRequestParams::from_der(&csr.into()).map_err(|err| err.to_string())?;
        let uri = SanType::URI(format!("holdfast://node/{node_uid}").as_str().try_into().unwrap());
        let params = self.leaf(&format!("system:node:{node_name}"), uri);
        let signed = params.signed_by(&request.public_key, &self.issuer).map_err(|err| err.to_string())?;
        Ok(vec![signed.der().to_vec(), self.der.clone()])
    }
    fn roots(&self) -> Vec<Vec<u8>> {
        vec![self.der.clone()]
    }
    fn sign_time(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        rcgen::SigningKey::sign(self.issuer.key(), message).map_err(|err| err.to_string())
    }
}

/// A cluster that listens.
pub(super) struct Listening {
    pub(super) cluster: Cluster,
    pub(super) listener: Arc<QuicListener>,
    machine: Arc<HostEnv>,
    pub(super) address: String,
    pub(super) tcp_address: String,
    pub(super) ca_hash: String,
    _serving: Vec<Task>,
}

/// As the HTTPS listener does: reads the client's first words, and hands over.
async fn accept(socket: tokio::net::TcpListener, links: Arc<TcpListener>) {
    while let Ok((stream, peer)) = socket.accept().await {
        let links = links.clone();
        tokio::spawn(async move {
            if let Ok(start) = tokio_rustls::LazyConfigAcceptor::new(Default::default(), stream).await {
                links.offer(start, peer);
            }
        });
    }
}

pub(super) async fn listening() -> Listening {
    let machine = HostEnv::new("/nonexistent");
    let authority = Arc::new(Authority::new(machine.clone()));
    let cluster = cluster_on(machine.clone(), authority.clone()).await;
    let key = KeyPair::generate().unwrap();
    let leaf = authority.leaf("hub", SanType::DnsName(HUB_NAME.try_into().unwrap()));
    let leaf = leaf.signed_by(&key, &authority.issuer).unwrap().der().to_vec();
    let (chain, roots) = ([leaf, authority.der.clone()], authority.roots());
    let env: World = cluster.env.clone();
    let config = tls::hub_config(env.clone(), &chain, &key.serialize_der(), &roots, CERTIFICATE_GRACE).unwrap();
    let listener = Arc::new(QuicListener::bind("127.0.0.1:0".parse().unwrap(), config.clone(), HEARTBEAT).unwrap());
    let address = listener.local_address().unwrap().to_string();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp_address = socket.local_addr().unwrap().to_string();
    let tcp = Arc::new(TcpListener::new(env.clone(), config, HEARTBEAT));
    let serving = vec![
        env.spawn("serve", Box::pin(cluster.links.clone().serve(listener.clone()))),
        env.spawn("serve", Box::pin(cluster.links.clone().serve(tcp.clone()))),
        env.spawn("accept", Box::pin(accept(socket, tcp))),
    ];
    Listening {
        cluster,
        listener,
        machine,
        address,
        tcp_address,
        ca_hash: identity::ca_hash(&authority.der).unwrap(),
        _serving: serving,
    }
}

/// A machine that knows nothing of the time.
struct Timeless;

impl CertificateClock for Timeless {
    fn certificate_time(&self) -> CertificateTime {
        CertificateTime { at: Duration::ZERO, trusted: false }
    }
}

/// What a node has on its card.
#[derive(Clone)]
struct Card {
    identity: NodeIdentity,
    session: (Lineage, Session),
}

/// A node with a card that it writes its session on, and nothing else.
pub(super) struct Edge {
    card: Mutex<Card>,
    digest: SetDigest,
}

impl Edge {
    fn with(card: Card) -> Arc<Edge> {
        Arc::new(Edge { card: Mutex::new(card), digest: SetDigest::default() })
    }

    fn card(&self) -> Card {
        lock(&self.card).clone()
    }
}

impl NodeView for Edge {
    fn digest(&self) -> &SetDigest {
        &self.digest
    }
    fn entries(&self, _buckets: u64) -> Vec<(String, holdfast_core::ContentHash)> {
        Vec::new()
    }
    fn body(&self, _key: &str, _hash: holdfast_core::ContentHash) -> Option<Bytes> {
        None
    }
    fn assigned(&self, _key: &str) -> Option<(Lineage, Revision)> {
        None
    }
    fn facts_after(&self, _after: Seq, _max: usize) -> Vec<WireFact> {
        Vec::new()
    }
}

#[async_trait]
impl NodeHost for Edge {
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn NodeView)) {
        use_view(self);
    }
    async fn persist(&self, what: Persist) -> Result<(), String> {
        if let Persist::Session { lineage, session } = what {
            lock(&self.card).session = (lineage, session);
        }
        Ok(())
    }
    fn acknowledged(&self, _seq: Seq) {}
    fn connected(&self, _session: Session, _time_micros: i64) {}
    fn alive(&self, _time_micros: i64) {}
    fn in_sync(&self, _revision: Revision) {}
    async fn facts_changed(&self) {
        std::future::pending().await
    }
    async fn call(&self, _call: NodeCall) {}
}

impl Listening {
    pub(super) async fn join(&self, name: &str) -> Arc<Edge> {
        let token = JoinToken { id: "abcdef".into(), secret: "s".repeat(16), ca_hash: self.ca_hash.clone() };
        let dialer = QuicDialer::new(tls::join_config(&self.ca_hash).unwrap(), HEARTBEAT).unwrap();
        let connection = within(dialer.dial(&self.address)).await.unwrap();
        let env: World = self.cluster.env.clone();
        let identity = within(join(&env, &connection, &token, name)).await.unwrap();
        Edge::with(Card { identity, session: Default::default() })
    }

    async fn dial(&self, card: &Card) -> Arc<dyn Connection> {
        let config = tls::node_config(Arc::new(Timeless), &card.identity).unwrap();
        within(QuicDialer::new(config, HEARTBEAT).unwrap().dial(&self.address)).await.unwrap()
    }

    /// Connects; how it ended comes from the handle.
    async fn connect(&self, edge: &Arc<Edge>) -> JoinHandle<LinkEnd> {
        let card = edge.card();
        let connection = self.dial(&card).await;
        let mut hello = hello(&card.identity.node_name, &card.identity.node_uid, card.session.1.0);
        hello.lineage = card.session.0;
        tokio::spawn(drive_node(self.cluster.env.clone(), connection, edge.clone(), hello))
    }

    /// Connects and waits for the session.
    pub(super) async fn up(&self, edge: &Arc<Edge>) -> JoinHandle<LinkEnd> {
        let card = edge.card();
        let link = self.connect(edge).await;
        let shared = &self.cluster.links.shared;
        let begun = std::time::Instant::now();
        while edge.card().session == card.session
            || shared.session_at(&card.identity.node_name, edge.card().session.1).is_none()
        {
            assert!(begun.elapsed() < LIMIT && !link.is_finished(), "no session");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        link
    }

    async fn renew(&self, card: &Card) -> Result<NodeIdentity, RenewError> {
        let connection = self.dial(card).await;
        let env: World = self.cluster.env.clone();
        within(renew(&env, &connection, &card.identity, card.session.0, card.session.1)).await
    }

    /// The code of the refusal of a renewal.
    async fn refused(&self, card: &Card) -> String {
        match self.renew(card).await {
            Err(RenewError::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }

    async fn has_event(&self, reason: &str) -> bool {
        let request = self.cluster.links.shared.call(
            Target::collection(Gvr::new("", "v1", "events"), "default"),
            Operation::List(holdfast_core::ListOptions::default()),
        );
        let Reply::List(events) = request.await.unwrap() else { panic!("no list") };
        events.items.iter().any(|event| event.to_json()["reason"] == reason)
    }

    async fn annotate(&self, name: &str, value: Json) {
        let body = json!({"metadata": {"annotations": {holdfast_core::meta::REVOKED: value}}});
        let patch = Patch { patch_type: PatchType::Merge, body };
        let operation = Operation::Patch { patch, options: WriteOptions::default() };
        self.cluster.links.shared.call(target("nodes", "", name), operation).await.unwrap();
    }
}

#[tokio::test]
async fn a_cloned_card_is_refused_and_the_original_stays() {
    let hub = listening().await;
    let original = hub.join("edge").await;
    hub.up(&original).await.abort();
    let clone = Edge::with(original.card());
    let link = hub.up(&original).await;
    let end = within(hub.connect(&clone).await).await.unwrap();
    assert!(end.refused && end.reason.starts_with("DuplicateIdentity: "), "{end:?}");
    assert!(hub.has_event("DuplicateIdentity").await);
    assert!(!link.is_finished(), "the original has noticed nothing");
    // Its expired certificate gets it no further.
    hub.machine.set_wall_offset(366 * DAY);
    assert_eq!(hub.refused(&clone.card()).await, "DuplicateIdentity");
}

#[tokio::test]
async fn of_two_that_share_a_session_one_is_cut_and_then_refused() {
    let hub = listening().await;
    let first = hub.join("edge").await;
    let old = hub.up(&first).await;
    // The hub cannot tell a copy from a node that lost the answer to its last hello...
    let second = Edge::with(first.card());
    let new = hub.up(&second).await;
    let end = within(old).await.unwrap();
    assert!(end.reason.starts_with("Replaced: "), "{end:?}");
    // ...but from then on only one of them is the node.
    let end = within(hub.connect(&first).await).await.unwrap();
    assert!(end.reason.starts_with("DuplicateIdentity: "), "{end:?}");
    assert!(!new.is_finished());
}

#[tokio::test]
async fn an_expired_node_renews_once_and_its_old_certificate_is_worth_nothing_then() {
    let hub = listening().await;
    let edge = hub.join("edge").await;
    hub.up(&edge).await.abort();
    hub.machine.set_wall_offset(366 * DAY);
    let end = within(hub.connect(&edge).await).await.unwrap();
    assert!(end.refused && end.reason.starts_with("CertificateExpired: "), "{end:?}");
    let old = edge.card();
    let renewed = hub.renew(&old).await.unwrap();
    // It is written after the answer.
    let begun = std::time::Instant::now();
    while !hub.has_event("CertificateRenewedAfterExpiry").await {
        assert!(begun.elapsed() < LIMIT, "no event");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(hub.refused(&old).await, "RateLimited");
    // The answer was lost: the old certificate is still the last that has connected.
    hub.cluster.env.1.fetch_add(61, Ordering::SeqCst);
    let renewed_again = hub.renew(&old).await.unwrap();
    assert_ne!(renewed.chain, renewed_again.chain);
    lock(&edge.card).identity = renewed_again;
    hub.up(&edge).await.abort();
    hub.cluster.env.1.fetch_add(61, Ordering::SeqCst);
    let stolen = Card { session: edge.card().session, ..old.clone() };
    assert_eq!(hub.refused(&stolen).await, "NotTheLast");
    hub.machine.set_wall_offset((365 + 91) * DAY);
    let connection = hub.dial(&old).await;
    assert_eq!(within(connection.closed()).await, NetError::Refused(EXPIRED_FOR_GOOD.into()));
}

#[tokio::test]
async fn a_session_renews_before_the_end() {
    let hub = listening().await;
    let edge = hub.join("edge").await;
    let card = edge.card();
    let connection = hub.dial(&card).await;
    let env: World = hub.cluster.env.clone();
    let hello = hello("edge", &card.identity.node_uid, 0);
    let link = tokio::spawn(drive_node(env.clone(), connection.clone(), edge.clone(), hello));
    let shared = &hub.cluster.links.shared;
    let begun = std::time::Instant::now();
    while shared.session_at("edge", Session(1)).is_none() {
        assert!(begun.elapsed() < LIMIT);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let code = async |session| match within(renew(&env, &connection, &card.identity, Lineage(1), session)).await {
        Err(RenewError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(Session(9)).await, "Replaced", "not this session");
    // Another connection with the same certificate is not the session, whatever it says.
    let beside = Card { session: (Lineage(1), Session(1)), ..card.clone() };
    assert_eq!(hub.refused(&beside).await, "Replaced");
    let next = within(renew(&env, &connection, &card.identity, Lineage(1), Session(1))).await.unwrap();
    assert_eq!(code(Session(1)).await, "RateLimited");
    assert!(!link.is_finished(), "a renewal does not disturb the session");
    link.abort();
    lock(&edge.card).identity = next;
    hub.up(&edge).await;
    assert!(!hub.has_event("CertificateRenewedAfterExpiry").await);
}

#[tokio::test]
async fn a_deleted_or_revoked_node_is_cut_and_gets_nothing() {
    let hub = listening().await;
    let edge = hub.join("edge").await;
    let link = hub.up(&edge).await;
    hub.annotate("edge", json!("true")).await;
    let end = within(link).await.unwrap();
    assert!(end.refused && end.reason.starts_with("Revoked: "), "{end:?}");
    let end = within(hub.connect(&edge).await).await.unwrap();
    assert!(end.reason.starts_with("Revoked: "), "{end:?}");
    hub.machine.set_wall_offset(366 * DAY);
    assert_eq!(hub.refused(&edge.card()).await, "Revoked");
    hub.machine.set_wall_offset(0);
    hub.annotate("edge", json!(null)).await;
    let link = hub.up(&edge).await;

    let options = holdfast_core::DeleteOptions::default();
    let delete = hub.cluster.links.shared.call(target("nodes", "", "edge"), Operation::Delete(options));
    delete.await.unwrap();
    let end = within(link).await.unwrap();
    assert!(end.refused && end.reason.starts_with("UnknownNode: "), "{end:?}");
    let end = within(hub.connect(&edge).await).await.unwrap();
    assert!(end.reason.starts_with("UnknownNode: "), "{end:?}");
    hub.machine.set_wall_offset(366 * DAY);
    assert_eq!(hub.refused(&edge.card()).await, "UnknownNode");
    // Its name may be taken again; its certificate speaks for another machine then.
    hub.machine.set_wall_offset(0);
    let successor = hub.join("edge").await;
    let end = within(hub.connect(&edge).await).await.unwrap();
    assert!(end.reason.starts_with("UnknownNode: "), "{end:?}");
    hub.up(&successor).await;
}

#[tokio::test]
async fn the_time_is_reset_only_while_it_is_allowed_and_only_for_live_nodes() {
    let hub = listening().await;
    let edge = hub.join("edge").await;
    let env: World = hub.cluster.env.clone();
    // Connected as it will be by a node that takes the hub's certificate for expired.
    let dialer = QuicDialer::new(tls::join_config(&hub.ca_hash).unwrap(), HEARTBEAT).unwrap();
    let asked = async |identity: &NodeIdentity| {
        let connection = within(dialer.dial(&hub.address)).await.unwrap();
        match within(ask(&env, &connection, identity)).await {
            Err(TimeResetError::Refused { code, .. }) => Err(code),
            other => Ok(other),
        }
    };
    let identity = edge.card().identity;
    assert_eq!(asked(&identity).await.unwrap_err(), "NotAllowed");
    let until = holdfast_core::Timestamp::from_wall(hub.machine.wall().0 + Duration::from_secs(600));
    let permission = json!({"metadata": {"name": crate::time_reset::CONFIG_MAP}, "data": {"until": until}});
    hub.cluster.create("configmaps", crate::time_reset::NAMESPACE, permission).await;
    let told = asked(&identity).await.unwrap().unwrap();
    assert!(hub.machine.wall().0.saturating_sub(told) < Duration::from_secs(60));
    assert!(hub.has_event("TimeFloorReset").await);
    let stranger = NodeIdentity { node_uid: "another".into(), ..identity.clone() };
    assert_eq!(asked(&stranger).await.unwrap_err(), "UnknownNode");
    let elsewhere = NodeIdentity { roots: vec![Authority::new(hub.machine.clone()).der], ..identity.clone() };
    assert!(matches!(asked(&elsewhere).await.unwrap(), Err(TimeResetError::NotSigned)));
    hub.machine.set_wall_offset(601);
    assert_eq!(asked(&identity).await.unwrap_err(), "NotAllowed");
}
