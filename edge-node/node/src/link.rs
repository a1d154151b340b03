//! The link loop: connect, run, come back; [`renewal`] of the node's certificate; the [`pace`] of its heartbeats.

mod pace;
mod renewal;
mod time_reset;

use crate::lease::RunLease;
use crate::objects::PODS;
use crate::parts::NodeParts;
use crate::pods::PodCalls;
use crate::static_pods;
use crate::store::SharedStore;
use async_trait::async_trait;
use bytes::Bytes;
use holdfast_core::{Backoff, ContentHash, Lineage, OutboxGen, Revision, Seq, Session, SetDigest};
use holdfast_edge_store::{FactKind, Item, Record, State, Vitals};
use holdfast_env::{Connection, Mono, NetError, Transport, Wall};
use holdfast_kinds::fencing::{self, Fencing};
use holdfast_link::call::NodeCall;
use holdfast_link::{LinkEnd, NodeHost, Traffic, drive_node};
use holdfast_link_engine::limits::BATCH_BYTES;
use holdfast_link_engine::wire::{FactSort, Hello, VERSION, VERSION_MIN, WireFact};
use holdfast_link_engine::{Keepalive, NodeView, Pace, Persist};
use holdfast_mutation::broken;
use pace::{Paces, Shown};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// The first wait after a lost connection.
const RETRY: Duration = Duration::from_millis(500);
/// The longest wait between two attempts.
const RETRY_CAP: Duration = Duration::from_secs(20);
/// The wait after the hub has refused this node.
const REFUSED: Duration = Duration::from_secs(30);

/// Why a connection ends that has brought a new certificate.
const RENEWED: &str = "the node comes back with its new certificate";

/// What the annotation of a pod with a run lease has in it.
const LEASED: &str = "FailOverAfter";

/// How the link is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether a session is up.
    pub connected: bool,
    /// The last session.
    pub session: u64,
    /// Why the last connection ended.
    pub last_error: String,
    /// What carries the connection, or carried the last one.
    pub transport: Option<Transport>,
}

/// What came of trying a hub once.
#[derive(Default)]
struct Tried {
    /// The hub refused this node.
    refused: bool,
    /// The node has a new certificate, and is to come back with it.
    renewed: bool,
}

/// The node as the link's host.
pub struct LinkHost {
    parts: NodeParts,
    store: Arc<SharedStore>,
    calls: Arc<PodCalls>,
    state: watch::Sender<LinkState>,
    /// When the hub was heard last, by both clocks; never in this life of the agent for `None`.
    heard_at: Mutex<Option<(Mono, Wall)>>,
    /// Intervals of heartbeats, by path.
    paces: Mutex<Paces>,
    traffic: Arc<Traffic>,
    connection: Mutex<Option<Weak<dyn Connection>>>,
    /// Whether the link is cut on purpose.
    hold: watch::Sender<bool>,
    lease: Arc<RunLease>,
    reconnected: Arc<tokio::sync::Notify>,
    whole: Arc<tokio::sync::Notify>,
}

/// Keeps the link cut while it lives.
pub struct Hold(Arc<LinkHost>);

impl Drop for Hold {
    fn drop(&mut self) {
        tracing::info!("The link may come back");
        self.0.hold.send_replace(false);
    }
}

/// Why the link is down during a drill.
const DRILL: &str = "a drill cuts it";

/// Completes when the link is to be cut. Cancel safe.
async fn cut(hold: &mut watch::Receiver<bool>) {
    // The sender lives as long as the host.
    if hold.wait_for(|held| *held).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The engine's window on the journal.
struct View<'a>(&'a State);

impl NodeView for View<'_> {
    fn digest(&self) -> &SetDigest {
        self.0.digest()
    }

    fn entries(&self, buckets: u64) -> Vec<(String, ContentHash)> {
        let asked = |key: &str| buckets & (1 << holdfast_core::digest::bucket_of(key)) != 0;
        let items = self.0.items().iter().filter(|(key, _)| asked(key));
        items.map(|(key, item)| (key.clone(), item.hash)).collect()
    }

    fn body(&self, key: &str, hash: ContentHash) -> Option<Bytes> {
        self.0.items().get(key).filter(|item| item.hash == hash).map(|item| item.body.clone())
    }

    fn assigned(&self, key: &str) -> Option<(Lineage, Revision)> {
        self.0.items().get(key).map(|item| (item.lineage, item.revision))
    }

    fn facts_after(&self, after: Seq, max: usize) -> Vec<WireFact> {
        let facts = self.0.outbox().after(after, max);
        // The first goes whatever it measures; what follows it must fit into the frame with it.
        let mut bytes = 0;
        facts
            .into_iter()
            .take_while(|fact| {
                let is_first = bytes == 0;
                bytes += fact.body.len() + fact.key.len();
                is_first || bytes <= BATCH_BYTES
            })
            .map(|fact| WireFact {
                seq: fact.seq,
                sort: match fact.kind {
                    FactKind::State => FactSort::State,
                    FactKind::Log => FactSort::Log,
                },
                key: fact.key,
                body: fact.body,
            })
            .collect()
    }

    fn shortest_lease(&self) -> Option<Duration> {
        let pods = self.0.items_with_prefix(PODS).map(|(_, item)| &item.body);
        // Few pods say so, and their bodies are long.
        let bound = pods.filter(|body| body.windows(LEASED.len()).any(|piece| piece == LEASED.as_bytes()));
        let leases = bound.filter_map(|body| match fencing::of(&serde_json::from_slice(body).ok()?) {
            Fencing::FailOverAfter(after) => Some(after),
            _ => None,
        });
        leases.min()
    }
}

impl LinkHost {
    /// A host; `lease` is renewed by it, `reconnected` is rung when the hub may have written the node's pods off
    /// meanwhile, and `whole` when the node has the hub's whole view.
    pub(crate) fn new(
        parts: NodeParts,
        store: Arc<SharedStore>,
        calls: Arc<PodCalls>,
        reconnected: Arc<tokio::sync::Notify>,
        whole: Arc<tokio::sync::Notify>,
        lease: Arc<RunLease>,
    ) -> Arc<LinkHost> {
        let Vitals { session, .. } = store.vitals();
        let known = LinkState {
            connected: false,
            session: session.0,
            last_error: "no hub was reached yet".into(),
            transport: None,
        };
        let state = watch::channel(known).0;
        let hold = watch::channel(false).0;
        Arc::new(LinkHost {
            parts,
            store,
            calls,
            state,
            heard_at: Mutex::new(None),
            paces: Mutex::default(),
            traffic: Arc::default(),
            connection: Mutex::default(),
            hold,
            lease,
            reconnected,
            whole,
        })
    }

    /// Follows the state of the link.
    pub fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    /// When the hub was last heard of in this life of the node.
    pub fn last_contact(&self) -> Option<(Mono, Wall)> {
        *self.heard_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How heartbeats go on the connection that is up.
    pub fn pace(&self) -> Option<Shown> {
        self.paces().shown()
    }

    fn paces(&self) -> MutexGuard<'_, Paces> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The largest payload of a packet to the hub, where the transport knows it.
    pub fn path_mtu(&self) -> Option<u32> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.upgrade()?;
        connection.carried().path_mtu
    }

    /// Bytes of all connections since the start.
    pub fn counted(&self) -> &Traffic {
        &self.traffic
    }

    /// Cuts the link until the handle is dropped; `None` when it is cut already.
    pub fn hold(self: &Arc<Self>) -> Option<Hold> {
        let first = self.hold.send_if_modified(|held| !std::mem::replace(held, true));
        first.then(|| {
            tracing::info!("The link is cut on purpose");
            Hold(self.clone())
        })
    }

    /// Whether the link is cut on purpose.
    pub fn is_held(&self) -> bool {
        *self.hold.borrow()
    }

    /// Connects and reconnects until dropped.
    pub async fn run(self: Arc<Self>) {
        let env = &self.parts.env;
        let mut backoff = Backoff::new(RETRY, RETRY_CAP);
        let outbox = self.outbox().await;
        let (_, mut shown) = self.parts.identity.in_use();
        let mut hold = self.hold.subscribe();
        loop {
            let mut tried = Tried::default();
            for hub in &self.parts.config.hubs {
                self.show_identity(&mut shown);
                tried = self.attempt(hub, outbox, &mut backoff, &mut hold).await;
            }
            if tried.renewed {
                env.sleep(RETRY).await;
                continue;
            }
            let wait = if tried.refused { REFUSED } else { backoff.fail() };
            // Up to a quarter more, so that a fleet does not come back in step.
            let jitter = wait.mul_f64((env.random_u64() % 1000) as f64 / 4000.0);
            tokio::select! {
                biased;
                () = cut(&mut hold) => {
                    self.note_end("", DRILL.into());
                    if hold.wait_for(|held| !held).await.is_err() {
                        return;
                    }
                    backoff.reset();
                }
                () = env.sleep(wait + jitter) => {}
            }
        }
    }

    /// The hub was heard: it has answered a heartbeat, or the hello (0). When it may have written this node off before
    /// that, node and pods are reported anew; the connection itself may have outlived it.
    fn heard(&self, count: u64) {
        let now = (self.parts.env.monotonic(), self.parts.env.wall());
        let before = self.heard_at.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        let silent = self.paces().answered(now.0, count, self.parts.config.grace);
        if silent && !(broken("silence-not-reported") && before.is_some()) {
            self.reconnected.notify_one();
        }
    }

    /// One connection to its end, which also comes when the link is to be cut.
    async fn attempt(
        self: &Arc<Self>,
        hub: &str,
        outbox: OutboxGen,
        backoff: &mut Backoff,
        hold: &mut watch::Receiver<bool>,
    ) -> Tried {
        let connected = tokio::select! {
            biased;
            () = cut(hold) => return Tried::default(),
            connected = self.parts.connector.connect(hub) => connected,
        };
        let connection = match connected {
            Ok(connection) => connection,
            Err(err) => {
                self.note_end(hub, err.to_string());
                if matches!(err, NetError::Refused(_)) {
                    // One of the two does not take the other's certificate.
                    self.parts.identity.refused();
                    tokio::select! {
                        biased;
                        () = cut(hold) => {}
                        () = self.reset_time(hub) => {}
                    }
                }
                return Tried::default();
            }
        };
        self.state.send_modify(|state| state.transport = Some(connection.transport()));
        *self.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(&connection));
        let end = tokio::select! {
            biased;
            () = cut(hold) => {
                connection.close(DRILL);
                self.note_end(hub, DRILL.into());
                return Tried::default();
            }
            end = self.session(hub, connection.clone(), outbox) => end,
        };
        let mut tried = Tried { refused: end.refused, renewed: end.reason == RENEWED };
        let expired = end.refused && renewal::is_expired(&end.reason);
        if self.state.borrow().connected {
            backoff.reset();
        } else if !expired {
            self.parts.identity.refused();
        }
        self.note_end(hub, end.reason);
        if expired {
            let renewed = tokio::select! {
                biased;
                () = cut(hold) => return tried,
                renewed = self.renew_expired(hub) => renewed,
            };
            match renewed {
                Ok(()) => tried.renewed = true,
                Err(err) => tracing::warn!(hub, err, "The expired certificate could not be renewed"),
            }
        }
        tried
    }

    /// Shows the identity that is in use from the next connection on.
    fn show_identity(&self, shown: &mut u64) {
        let (identity, version) = self.parts.identity.in_use();
        if version != *shown {
            match self.parts.connector.use_identity(&identity) {
                Ok(()) => *shown = version,
                Err(err) => {
                    tracing::error!(err, "The node cannot connect with its new identity");
                    self.parts.identity.refused();
                    *shown = self.parts.identity.in_use().1;
                }
            }
        }
    }

    /// One connection to its end, which also comes when the node has a new identity.
    async fn session(self: &Arc<Self>, hub: &str, connection: Arc<dyn Connection>, outbox: OutboxGen) -> LinkEnd {
        let env = self.parts.env.clone();
        let mut driving = std::pin::pin!(drive_node(env, connection.clone(), self.clone(), self.hello(outbox)));
        tokio::select! {
            biased;
            end = &mut driving => return end,
            () = self.renew_when_due(&connection) => {}
            () = self.reset_while_behind(hub) => {}
        }
        connection.close(RENEWED);
        LinkEnd { reason: RENEWED.into(), ..driving.await }
    }

    fn note_end(&self, hub: &str, reason: String) {
        let news = self.state.borrow().last_error != reason || self.state.borrow().connected;
        if news {
            tracing::warn!(hub, reason, "The link is down");
        }
        self.state.send_modify(|state| {
            state.connected = false;
            state.last_error = reason;
        });
    }

    /// The name of this node's outbox, drawn once; again when its numbers are no longer known for certain.
    async fn outbox(&self) -> OutboxGen {
        if let Some(outbox) = self.store.vitals().outbox {
            return outbox;
        }
        let drawn = OutboxGen(self.parts.env.random_u64());
        if let Err(err) = self.store.set_outbox(drawn).await {
            tracing::error!(%err, "The outbox could not be made");
        }
        drawn
    }

    fn hello(&self, outbox: OutboxGen) -> Hello {
        let config = &self.parts.config;
        let Vitals { lineage, session, .. } = self.store.vitals();
        let root = self.store.read(|state| state.digest().root());
        Hello {
            version_min: VERSION_MIN,
            version_max: VERSION,
            node_uid: config.node_uid.clone(),
            node_name: config.node_name.clone(),
            boot: u128::from_str_radix(&self.parts.host.read().boot_id.replace('-', ""), 16).unwrap_or(0),
            lineage,
            session,
            root,
            outbox,
            clock_micros: i64::try_from(self.parts.env.wall().0.as_micros()).unwrap_or(i64::MAX),
        }
    }
}

#[async_trait]
impl NodeHost for LinkHost {
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn NodeView)) {
        self.store.read(|state| use_view(&View(state)));
    }

    async fn persist(&self, what: Persist) -> Result<(), String> {
        let (asks, batch) = match what {
            Persist::Session { lineage, session } => return self.store.set_session(lineage, session).await,
            Persist::Items(mut batch) => {
                // A mirror that the hub does not know any more is nothing that could be lost: it is made anew.
                let (mirrors, kept): (Vec<String>, Vec<String>) = self
                    .store
                    .read(|state| batch.kept.iter().cloned().partition(|key| static_pods::is_mirror(state, key)));
                batch.kept = kept;
                batch.drops.extend(mirrors);
                for key in &batch.kept {
                    tracing::warn!(key, "The hub does not know this object, but may not delete it: it is kept");
                }
                let session = self.store.vitals().session;
                let (notes, needed) = self.store.read(|state| crate::kept::judge(state, session, &batch));
                let asks = batch.kept.iter().any(|key| key.starts_with(PODS));
                let lineage = batch.lineage;
                let puts = batch.puts.into_iter().map(|(key, hash, revision, body)| Record::PutItem {
                    key,
                    item: Item { hash, lineage, revision, body },
                });
                let drops = batch.drops.into_iter().filter(|key| !needed.contains(key));
                let drops = drops.map(|key| Record::DropItem { key });
                let synced = batch.complete.then_some(Record::SyncedTo { lineage, revision: batch.revision });
                (asks, puts.chain(drops).chain(notes).chain(synced).collect())
            }
        };
        self.store.commit(batch).await?;
        if asks {
            // With the objects that the hub lacks.
            self.reconnected.notify_one();
        }
        Ok(())
    }

    fn is_mute(&self) -> bool {
        self.store.trouble().borrow().as_ref().is_some_and(|trouble| trouble.is_last)
    }

    fn acknowledged(&self, seq: Seq) {
        self.store.acknowledged(seq);
    }

    fn connected(&self, session: Session, time_micros: i64) {
        self.parts.clock.hub_time(time_micros);
        let transport = self.state.borrow().transport.map(Transport::name);
        tracing::info!(session = session.0, transport, "The link is up");
        self.state.send_modify(|state| {
            state.connected = true;
            state.session = session.0;
        });
        self.store.ring_facts();
    }

    fn renewing(&self, count: u64) {
        self.lease.sending(count);
        self.paces().sending(self.parts.env.monotonic(), count);
    }

    fn renewed(&self, count: u64) {
        self.lease.acknowledged(count);
        self.heard(count);
    }

    fn alive(&self, time_micros: i64) {
        self.parts.clock.hub_time(time_micros);
    }

    fn keepalive(&self, path: &str) -> Keepalive {
        self.paces().known(path)
    }

    fn paced(&self, path: &str, known: Keepalive, pace: Option<Pace>) {
        self.paces().learned(path, known, pace);
    }

    fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
    }

    fn in_sync(&self, revision: Revision) {
        self.lease.in_sync();
        let session = self.store.vitals().session;
        let known = self.store.read(|state| crate::kept::in_sync(state, session));
        if !known.is_empty() {
            self.store.lazily(known);
        }
        self.whole.notify_one();
        tracing::debug!(revision = revision.0, "In sync with the hub");
    }

    async fn facts_changed(&self) {
        self.store.facts_changed().await;
    }

    async fn call(&self, call: NodeCall) {
        self.calls.serve(call).await;
    }
}
