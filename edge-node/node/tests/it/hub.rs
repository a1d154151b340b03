//! A hub that takes sessions, renews certificates, and keeps no objects.

use crate::identity::LIMIT;
use crate::machine::HEARTBEAT;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest};
use holdfast_env::host::HostEnv;
use holdfast_env::{Connection, Env, Task, World};
use holdfast_link::identity::{Standing, standing};
use holdfast_link::join::{Doorkeeper, serve_join};
use holdfast_link::renew::serve_expired;
use holdfast_link::time_reset::answer;
use holdfast_link::{Grant, HubHost, Listener, NodeIdentity, QuicListener, Refusal, drive_hub, tls};
use holdfast_link_engine::wire::{
    Hello, JoinReply, JoinRequest, RenewReply, RenewRequest, TimeResetReply, TimeResetRequest, WireFact,
};
use holdfast_link_engine::{HubItem, HubView};
use rcgen::{CertificateParams, CertificateSigningRequestParams, DnType, Issuer, KeyPair, PublicKeyData, SanType};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const GRACE: Duration = Duration::from_secs(3600);

pub(crate) struct Hub {
    pub(crate) machine: Arc<HostEnv>,
    pub(crate) address: String,
    ca: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
    state: watch::Sender<State>,
}

#[derive(Default)]
struct State {
    /// Life of certificates.
    life: Duration,
    /// The certificate of each session that was up.
    sessions: Vec<Vec<u8>>,
    renewed_after_end: usize,
    resets: usize,
}

impl State {
    fn seen(&self) -> (usize, usize) {
        let leaves: BTreeSet<&Vec<u8>> = self.sessions.iter().collect();
        (self.sessions.len(), leaves.len())
    }
}

struct NoObjects(SetDigest);

impl HubView for NoObjects {
    fn revision(&self) -> Revision {
        Revision(1)
    }
    fn digest(&self) -> &SetDigest {
        &self.0
    }
    fn entries(&self) -> Box<dyn Iterator<Item = (&str, ContentHash)> + '_> {
        Box::new(std::iter::empty())
    }
    fn get(&self, _key: &str) -> Option<HubItem> {
        None
    }
    fn needs(&self, _pod: &str) -> Vec<String> {
        Vec::new()
    }
}

impl Hub {
    /// A hub whose nodes' certificates live for `life`.
    pub(crate) fn start(life: Duration) -> (Arc<Hub>, Task) {
        let machine = HostEnv::new("/nonexistent");
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let ca = params.self_signed(&key).unwrap().der().to_vec();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let mut own = CertificateParams::default();
        own.subject_alt_names.push(SanType::DnsName(tls::HUB_NAME.try_into().unwrap()));
        set_validity(&mut own, machine.wall().0, Duration::from_secs(365 * 24 * 3600));
        let chain = [own.signed_by(&key, &issuer).unwrap().der().to_vec(), ca.clone()];
        let world: World = machine.clone();
        let roots = std::slice::from_ref(&ca);
        let config = tls::hub_config(world.clone(), &chain, &key.serialize_der(), roots, GRACE).unwrap();
        let listener = QuicListener::bind("127.0.0.1:0".parse().unwrap(), config, HEARTBEAT).unwrap();
        let address = listener.local_address().unwrap().to_string();
        let (state, _) = watch::channel(State { life, ..State::default() });
        let hub = Arc::new(Hub { machine, address, ca, issuer, state });
        let serving = hub.clone();
        let task = world.spawn(
            "hub",
            Box::pin(async move {
                while let Some(incoming) = listener.next().await {
                    let hub = serving.clone();
                    tokio::spawn(async move {
                        if let Ok((connection, joining)) = incoming.accept().await {
                            hub.serve(connection, joining).await;
                        }
                    });
                }
            }),
        );
        (hub, task)
    }

    async fn serve(self: Arc<Self>, connection: Arc<dyn Connection>, joining: bool) {
        let world: World = self.machine.clone();
        if joining {
            let _ = serve_join(&world, &connection, &*self).await;
            return;
        }
        let leaf = connection.peer_certificates().remove(0);
        if standing(&leaf, self.machine.wall().0, GRACE).unwrap() == Standing::Valid {
            drive_hub(world, connection, self).await;
            return;
        }
        let hub = self.clone();
        let decide = move |request: RenewRequest| async move {
            hub.state.send_modify(|state| state.renewed_after_end += 1);
            hub.sign(&request.csr)
        };
        let _ = serve_expired(&world, &connection, decide).await;
    }

    fn leaf(&self, key: &impl PublicKeyData) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "system:node:edge");
        params.subject_alt_names.push(SanType::URI("holdfast://node/uid-1".try_into().unwrap()));
        let life = self.state.borrow().life;
        set_validity(&mut params, self.machine.wall().0, life);
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    fn sign(&self, csr: &[u8]) -> RenewReply {
        let request = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let chain = vec![self.leaf(&request.public_key).into(), Bytes::from(self.ca.clone())];
        RenewReply::Renewed { chain, roots: vec![self.ca.clone().into()] }
    }

    /// What a join would have brought.
    pub(crate) fn identity(&self) -> NodeIdentity {
        let key = KeyPair::generate().unwrap();
        NodeIdentity {
            node_uid: "uid-1".into(),
            node_name: "edge".into(),
            chain: vec![self.leaf(&key), self.ca.clone()],
            key: key.serialize_der(),
            roots: vec![self.ca.clone()],
        }
    }

    /// Sessions that were up, and the different certificates that they came with.
    pub(crate) fn seen(&self) -> (usize, usize) {
        self.state.borrow().seen()
    }

    /// Waits until what was seen is so.
    pub(crate) async fn until(&self, what: &str, is: impl Fn((usize, usize)) -> bool) {
        let mut changes = self.state.subscribe();
        let seen = changes.wait_for(|state| is(state.seen()));
        assert!(tokio::time::timeout(LIMIT, seen).await.is_ok(), "waited in vain for {what}");
    }

    /// Renewals after the end of a certificate, and resets of the time.
    pub(crate) fn given(&self) -> (usize, usize) {
        let state = self.state.borrow();
        (state.renewed_after_end, state.resets)
    }
}

/// From now on, to the second, for `life`.
fn set_validity(params: &mut CertificateParams, now: Duration, life: Duration) {
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
    params.not_after = params.not_before + life;
}

#[async_trait]
impl HubHost for Hub {
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn HubView)) {
        use_view(&NoObjects(SetDigest::default()));
    }
    async fn view_changed(&self) {
        std::future::pending().await
    }
    async fn grant(&self, hello: &Hello) -> Result<Grant, Refusal> {
        let session = hello.session.next();
        Ok(Grant {
            lineage: Lineage(1),
            session,
            mark: Seq(0),
            heartbeat: HEARTBEAT,
            longest_heartbeat: HEARTBEAT,
            grace: HEARTBEAT * 4,
        })
    }
    async fn apply_facts(&self, _: Session, _: OutboxGen, _: Vec<WireFact>) -> Result<(), String> {
        Ok(())
    }
    async fn online(&self, _session: Session, connection: Arc<dyn Connection>) -> Result<(), Refusal> {
        let leaf = connection.peer_certificates().remove(0);
        self.state.send_modify(|state| state.sessions.push(leaf));
        Ok(())
    }
    fn alive(&self, _session: Session, _clock_micros: i64, _interval: Duration) {}
    fn applied(&self, _revision: Revision) {}
    async fn renew(&self, request: RenewRequest) -> RenewReply {
        self.sign(&request.csr)
    }
    async fn cut(&self) -> Refusal {
        std::future::pending().await
    }
}

#[async_trait]
impl Doorkeeper for Hub {
    async fn join(&self, _request: JoinRequest) -> JoinReply {
        JoinReply::Refused { reason: "nobody joins here".into() }
    }
    async fn time_reset(&self, request: TimeResetRequest) -> TimeResetReply {
        self.state.send_modify(|state| state.resets += 1);
        let now = i64::try_from(self.machine.wall().0.as_micros()).unwrap();
        let sign = |message: &[u8]| rcgen::SigningKey::sign(self.issuer.key(), message).map_err(|err| err.to_string());
        answer(&request, now, sign).unwrap()
    }
}
