//! [`HubLinks`]: the listener, the connected nodes, and everything that runs for them.

use crate::calls::LinkCalls;
use crate::hubs::{Hubs, HubsConfig};
use crate::places::{Admission, Places};
use crate::renew::Renewals;
use crate::session::{Cut, NodeSession};
use crate::tokens::NodeTokens;
use crate::views::Views;
use crate::{join, lifecycle, renew, session};
use async_trait::async_trait;
use holdfast_core::{Gvr, Lineage, Object, Reason, Revision, Session, Status, Target, UserInfo, WriteOptions, user};
use holdfast_env::{BoxFuture, Connection, Mono, Task, World};
use holdfast_link::identity::{Standing, hub_of, node_of, standing};
use holdfast_link::renew::EXPIRED_FOR_GOOD;
use holdfast_link::{Listener, Refusal, Traffic, drive_hub, relay};
use holdfast_link_engine::wire::RelayRequest;
use holdfast_registry::CommitWith;
use holdfast_server::{Api, NodeCalls, Operation, Reply, Request, RequestContext};
use holdfast_store::{Check, Condition, Store};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// Handshakes under way at a time; further ones wait in the listener's queue, and beyond that are refused.
const MAX_HANDSHAKES: usize = 256;
/// Joins under way at a time; further ones are told to come again. They have places of their own: whoever holds them
/// all without a word keeps no node of the cluster away.
const MAX_JOINS: usize = 64;
/// Streams of other hubs at a time; further ones are told to come again. More than one node takes, and few enough that their
/// buffers stay small beside the hub.
const MAX_RELAYS: usize = 512;
/// How often a node's record is made anew because its Node changed meanwhile, as others may write that as well.
pub(crate) const NODE_TRIES: u32 = 10;

/// Makes nodes' identities.
#[async_trait]
pub trait NodeIssuer: Send + Sync + 'static {
    /// Checks a bootstrap token; the reason when it is refused.
    async fn check_token(&self, id: &str, secret: &str) -> Result<(), String>;
    /// Signs a node's request (DER): the chain, leaf first. The certificate's subject is
    /// `system:node:<name>` in `system:nodes`, with the SAN URI `holdfast://node/<uid>`.
    fn sign(&self, csr: &[u8], node_name: &str, node_uid: &str) -> Result<Vec<Vec<u8>>, String>;
    /// The CA certificates that nodes trust, DER.
    fn roots(&self) -> Vec<Vec<u8>>;
    /// The CA's signature (ASN.1, ECDSA P-256, SHA-256) of a time reset.
    fn sign_time(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// The parts of the hub that links work with.
#[derive(Clone)]
pub struct HubLinksConfig {
    /// Clocks, randomness, tasks.
    pub env: World,
    /// The hub's store.
    pub store: Arc<dyn Store>,
    /// The API, behind its codec.
    pub api: Arc<Api>,
    /// Makes nodes' identities.
    pub issuer: Arc<dyn NodeIssuer>,
    /// The store's history.
    pub lineage: Lineage,
    /// How often nodes send heartbeats to begin with.
    pub heartbeat: Duration,
    /// The longest interval that a node may find for itself.
    pub longest_heartbeat: Duration,
    /// Silence after which a node counts as gone (`node-monitor-grace-period`).
    pub grace: Duration,
    /// How long after its end a certificate may be renewed.
    pub certificate_grace: Duration,
    /// A node is issued one certificate in this time at most.
    pub renewal_interval: Duration,
    /// Where other hubs use the same store: this one among them.
    pub hubs: Option<HubsConfig>,
}

struct Active {
    session: Session,
    /// Revision of the session record.
    at: Revision,
    connection: Arc<dyn Connection>,
    node_uid: String,
    cut: Arc<Cut>,
}

/// What the parts of this crate share.
pub(crate) struct Shared {
    pub(crate) env: World,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) api: Arc<Api>,
    pub(crate) lineage: Lineage,
    pub(crate) heartbeat: Duration,
    pub(crate) longest_heartbeat: Duration,
    pub(crate) grace: Duration,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) issuer: Arc<dyn NodeIssuer>,
    pub(crate) certificate_grace: Duration,
    pub(crate) renewals: Renewals,
    pub(crate) views: Arc<Views>,
    pub(crate) hubs: Option<Arc<Hubs>>,
    active: Mutex<BTreeMap<String, Active>>,
    /// When each was heard, and how long its next heartbeat may take.
    heard: Mutex<BTreeMap<String, (Mono, Duration)>>,
    /// Minted tokens outlive connections: a node that comes back is not sent new ones.
    tokens: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<NodeTokens>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// A request of the hub itself.
    pub(crate) async fn call(&self, target: Target, operation: Operation) -> Result<Reply, Status> {
        self.call_if(target, operation, &[]).await
    }

    /// The same; a write takes place only if `checks` hold.
    pub(crate) async fn call_if(
        &self,
        target: Target,
        operation: Operation,
        checks: &[Check],
    ) -> Result<Reply, Status> {
        let mut cx = RequestContext::new(UserInfo::new("system:holdfast:links", &[user::MASTERS]), "links");
        if !checks.is_empty() {
            cx.extension = Some(Arc::new(CommitWith { checks: checks.to_vec(), ..CommitWith::default() }));
        }
        self.api.call(Request { cx, target, operation }).await
    }

    pub(crate) async fn get(&self, target: Target) -> Result<Arc<Object>, Status> {
        match self.call(target, Operation::Get).await? {
            Reply::Object { object, .. } => Ok(object),
            _ => Err(Status::internal("get gave no object")),
        }
    }

    /// A node's session is durable on both sides; an older connection of it is cut.
    pub(crate) fn connect(&self, host: &NodeSession, session: Session, at: Revision, connection: Arc<dyn Connection>) {
        let node_uid = host.node_uid().to_string();
        let active = Active { session, at, connection, node_uid, cut: host.cut_handle() };
        if let Some(old) = lock(&self.active).insert(host.node_name().to_string(), active) {
            old.cut.pull("Replaced", "a newer connection of this node took over");
        }
        self.alive(host.node_name(), session, self.heartbeat);
    }

    /// A word of the node was heard.
    pub(crate) fn alive(&self, node: &str, session: Session, interval: Duration) {
        if lock(&self.active).get(node).is_some_and(|active| active.session == session) {
            lock(&self.heard).insert(node.to_string(), (self.env.monotonic(), interval));
        }
    }

    /// When a node was heard last, and how long its next heartbeat may take.
    pub(crate) fn last_heard(&self, node: &str) -> Option<(Mono, Duration)> {
        lock(&self.heard).get(node).copied()
    }

    /// The revision of the session record that this session's writes check; `None` once it was replaced.
    pub(crate) fn session_at(&self, node: &str, session: Session) -> Option<Revision> {
        lock(&self.active).get(node).filter(|active| active.session == session).map(|active| active.at)
    }

    pub(crate) fn connection(&self, node: &str) -> Option<Arc<dyn Connection>> {
        lock(&self.active).get(node).map(|active| active.connection.clone())
    }

    /// Whether this hub may answer heartbeats now.
    pub(crate) fn answers(&self) -> bool {
        self.hubs.as_ref().is_none_or(|hubs| hubs.answers(&self.env))
    }

    /// The connection of a node for another hub; why there is none.
    fn connection_for(&self, asked: &RelayRequest) -> Result<Arc<dyn Connection>, String> {
        let active = lock(&self.active);
        let active = active.get(&asked.node_name).filter(|active| active.node_uid == asked.node_uid);
        let connection = active.map(|active| active.connection.clone());
        connection
            .ok_or_else(|| format!("node {:?} is not connected to the hub that it was linked to", asked.node_name))
    }

    /// The node has got a session that this hub did not issue to the connection here, which is of no use any more.
    pub(crate) fn cut_replaced(&self, node: &str, issued: Session) {
        if let Some(active) = lock(&self.active).get(node).filter(|active| active.session < issued) {
            active.cut.pull("Replaced", "a newer connection of this node took over");
        }
    }

    /// Ends all connections: this hub does not speak for its nodes any more.
    pub(crate) fn cut_all(&self) {
        for active in lock(&self.active).values() {
            active.connection.close(session::LOST_STORE);
        }
    }

    /// The certificate that a session came with, if `host` is the connection that has it.
    pub(crate) fn certificate(&self, host: &NodeSession, session: Session) -> Option<Vec<u8>> {
        let active = lock(&self.active);
        let active = active.get(host.node_name()).filter(|active| active.session == session)?;
        if !Arc::ptr_eq(&active.cut, &host.cut_handle()) {
            return None;
        }
        active.connection.peer_certificates().into_iter().next()
    }

    fn disconnect(&self, node: &str, connection: &Arc<dyn Connection>) {
        let mut active = lock(&self.active);
        if active.get(node).is_some_and(|active| Arc::ptr_eq(&active.connection, connection)) {
            active.remove(node);
        }
    }

    /// The tokens of a node's pods.
    pub(crate) fn tokens_of(&self, node: &str) -> Arc<tokio::sync::Mutex<NodeTokens>> {
        lock(&self.tokens).entry(node.to_string()).or_default().clone()
    }

    /// Cuts a node whose certificates are revoked.
    pub(crate) fn cut_revoked(&self, node: &str) {
        if let Some(active) = lock(&self.active).get(node) {
            active.cut.pull("Revoked", "the certificates of this node are revoked");
        }
    }

    /// Cuts nodes whose Node object is gone or is another one.
    pub(crate) fn forget_deleted(&self, nodes: &BTreeMap<String, String>) {
        self.renewals.retain(|uid| nodes.values().any(|node| node == uid));
        lock(&self.heard).retain(|name, _| nodes.contains_key(name));
        lock(&self.tokens).retain(|name, _| nodes.contains_key(name));
        for (name, active) in lock(&self.active).iter() {
            if nodes.get(name) != Some(&active.node_uid) {
                active.cut.pull("UnknownNode", "the Node object was deleted");
            }
        }
    }

    /// A check that the Node of this name and identity, which exists and is not revoked, is as it was now; without one, why
    /// the node is refused.
    pub(crate) async fn live(&self, name: &str, uid: &str) -> Result<Check, Refusal> {
        let refuse = |code: &str, reason: String| Err(Refusal { code: code.into(), reason });
        match self.get(Target::object(Gvr::new("", "v1", "nodes"), "", name)).await {
            Ok(node) if node.meta.uid != uid => {
                refuse("UnknownNode", format!("node {name:?} has another identity now; join again"))
            }
            Ok(node) if node.meta.is_revoked() => {
                refuse("Revoked", format!("the certificates of node {name:?} are revoked"))
            }
            Ok(node) => {
                let kind = holdfast_kinds::by_gvr("", "v1", "nodes").map(holdfast_kinds::storage_prefix);
                let key = format!("{}{name}", kind.unwrap_or_default());
                Ok(Check { key, condition: Condition::ModifiedAt(node.revision) })
            }
            Err(status) if status.is(Reason::NotFound) => {
                refuse("UnknownNode", format!("node {name:?} does not exist; join again"))
            }
            Err(status) => refuse("Unavailable", status.message().into()),
        }
    }

    /// Says in an Event that an identity is used twice.
    pub(crate) async fn duplicate_identity(&self, node: &str) {
        tracing::warn!(node, "A node's identity is used by two machines, or its disk was set back");
        let message = "Another machine uses this node's identity, or this node's disk was set back";
        self.warn_of(node, "DuplicateIdentity", message).await;
    }

    /// Records a warning Event about a node.
    pub(crate) async fn warn_of(&self, node: &str, reason: &str, message: &str) {
        self.warn_as(node, &format!("{node}.{:x}", self.env.random_u64()), reason, message).await;
    }

    /// The same under a name, unless there is one of that name.
    pub(crate) async fn warn_as(&self, node: &str, name: &str, reason: &str, message: &str) {
        let now = holdfast_core::Timestamp::from_wall(self.env.wall().0);
        let body = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": "default"},
            "involvedObject": {"kind": "Node", "name": node, "apiVersion": "v1"},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": "holdfast-links"},
            "firstTimestamp": now, "lastTimestamp": now, "count": 1,
        });
        let target = Target::collection(Gvr::new("", "v1", "events"), "default");
        let create = Operation::Create { body, options: as_hub() };
        match self.call(target, create).await {
            Err(status) if !status.is(Reason::AlreadyExists) => {
                tracing::warn!(node, reason, err = %status, "Could not record an event");
            }
            _ => {}
        }
    }
}

/// What the links write of their own accord is the hub's.
pub(crate) fn as_hub() -> WriteOptions {
    WriteOptions { field_manager: "holdfast-hub".into(), ..WriteOptions::default() }
}

/// All links of a hub. Dropping it ends them.
pub struct HubLinks {
    shared: Arc<Shared>,
    connections: Mutex<Vec<Task>>,
    handshakes: Arc<Places>,
    joins: Arc<Places>,
    relays: Semaphore,
    _tasks: Vec<Task>,
}

/// Who comes in by a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guests {
    Nodes,
    Hubs,
}

impl HubLinks {
    /// Starts following the store and watching over the nodes; connections come in through
    /// [`HubLinks::serve`].
    pub fn start(config: HubLinksConfig) -> Arc<HubLinks> {
        let HubLinksConfig { env, store, api, issuer, lineage, certificate_grace, renewal_interval, .. } = config;
        let shared = Arc::new(Shared {
            env: env.clone(),
            store: store.clone(),
            api,
            lineage,
            heartbeat: config.heartbeat,
            longest_heartbeat: config.longest_heartbeat,
            grace: config.grace,
            traffic: Arc::default(),
            issuer,
            certificate_grace,
            renewals: Renewals::new(renewal_interval),
            views: Arc::new(Views::default()),
            hubs: config.hubs.map(|hubs| Arc::new(Hubs::new(hubs))),
            active: Mutex::default(),
            heard: Mutex::default(),
            tokens: Mutex::default(),
        });
        let follow = shared.views.clone().follow(store.clone(), env.clone());
        let mut tasks = vec![
            env.spawn("links-views", Box::pin(follow)),
            env.spawn("links-lifecycle", Box::pin(lifecycle::run(shared.clone()))),
        ];
        if let Some(hubs) = &shared.hubs {
            tasks.push(env.spawn("links-hubs", Box::pin(hubs.clone().keep(store, env.clone()))));
        }
        Arc::new(HubLinks {
            shared,
            connections: Mutex::default(),
            handshakes: Places::new(MAX_HANDSHAKES),
            joins: Places::new(MAX_JOINS),
            relays: Semaphore::new(MAX_RELAYS),
            _tasks: tasks,
        })
    }

    /// Bytes of all links by purpose.
    pub fn traffic(&self) -> Arc<Traffic> {
        self.shared.traffic.clone()
    }

    /// Reaches into nodes, for the registry.
    pub fn node_calls(&self) -> Arc<dyn NodeCalls> {
        Arc::new(LinkCalls(self.shared.clone()))
    }

    /// What a leader among hubs does beside its controllers, until dropped: judges the nodes that no hub speaks for, and tells
    /// `apis` where the hubs that are there are reached by pods. Writes take place only while `leads` holds.
    pub fn watch_over_the_lost(&self, leads: Check, apis: watch::Sender<BTreeSet<SocketAddr>>) -> BoxFuture<()> {
        Box::pin(lifecycle::run_for_the_lost(self.shared.clone(), leads, apis))
    }

    /// Waits until the other hubs know of this one; before that it takes no node. Cancel safe.
    pub async fn entered(&self) {
        if let Some(hubs) = &self.shared.hubs {
            hubs.entered().await;
        }
    }

    /// Tells the other hubs that this one stops. Its listeners and connections are closed.
    pub async fn leave(&self) {
        if let Some(hubs) = &self.shared.hubs {
            hubs.leave(&*self.shared.store, &self.shared.env).await;
        }
    }

    /// Accepts connections of nodes until the listener closes. Several listeners may be served: they share the bound on
    /// what is under way.
    pub async fn serve(self: Arc<Self>, listener: Arc<dyn Listener>) {
        self.accept(listener, Guests::Nodes).await;
    }

    /// The same for those of other hubs, who want streams to nodes that are linked here.
    pub async fn serve_hubs(self: Arc<Self>, listener: Arc<dyn Listener>) {
        self.accept(listener, Guests::Hubs).await;
    }

    async fn accept(self: Arc<Self>, listener: Arc<dyn Listener>, guests: Guests) {
        while let Some(incoming) = listener.next().await {
            let (address, is_from_there) = (incoming.address(), incoming.is_from_there());
            match self.handshakes.admit(address, is_from_there) {
                Admission::Admitted => {}
                Admission::Prove => {
                    incoming.ask_for_proof();
                    continue;
                }
                // Dropped, it is refused.
                Admission::Refused => continue,
            }
            let Some(place) = self.handshakes.place(is_from_there.then_some(address)).await else { return };
            let links = self.clone();
            let serve = async move {
                let accepted = incoming.accept().await;
                drop(place);
                match accepted {
                    Ok((connection, _)) if guests == Guests::Hubs => links.relay(connection).await,
                    Ok((connection, true)) => links.join(connection).await,
                    Ok((connection, false)) => links.connection(connection).await,
                    Err(err) => tracing::debug!(%err, "A connection did not come about"),
                }
            };
            let task = self.shared.env.spawn("link", Box::pin(serve));
            let mut connections = lock(&self.connections);
            connections.retain(|task| !task.is_finished());
            connections.push(task);
        }
    }

    /// Serves one join, or a node that asks for the time.
    pub async fn join(&self, connection: Arc<dyn Connection>) {
        // An address that is none is that of a test's or the simulator's network.
        let address = connection.peer_address().parse::<SocketAddr>();
        let address = address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip());
        let Some(_place) = self.joins.place_now(address) else {
            return connection.close("the hub serves as many joins as it can; try again");
        };
        let doorkeeper = join::Door(&self.shared);
        if let Err(err) = holdfast_link::join::serve_join(&self.shared.env, &connection, &doorkeeper).await {
            tracing::debug!(peer = connection.peer_address(), %err, "A join did not finish");
        }
    }

    /// Serves what another hub wants of a node that is linked here.
    pub async fn relay(&self, connection: Arc<dyn Connection>) {
        let certificate = connection.peer_certificates().into_iter().next().unwrap_or_default();
        let hub = match hub_of(&certificate) {
            Ok(hub) => hub,
            Err(err) => return connection.close(&format!("only hubs come here: {err}")),
        };
        let Ok(_place) = self.relays.try_acquire() else {
            return connection.close("this hub carries as many calls of others as it can; try again");
        };
        let reach = |asked: &RelayRequest| self.shared.connection_for(asked);
        if let Err(err) = relay::serve(&self.shared.env, &connection, &self.shared.traffic, reach).await {
            tracing::debug!(hub, %err, "What was carried for another hub broke off");
        }
    }

    /// Serves one node's connection to its end.
    pub async fn connection(&self, connection: Arc<dyn Connection>) {
        let shared = &self.shared;
        let certificates = connection.peer_certificates();
        let (uid, name) = match certificates.first().map(|leaf| node_of(leaf)) {
            Some(Ok(node)) => node,
            Some(Err(err)) => return connection.close(&err.to_string()),
            None => return connection.close("a node must show its certificate"),
        };
        let (now, grace) = (shared.env.wall().0, shared.certificate_grace);
        match certificates.first().map(|leaf| standing(leaf, now, grace)) {
            Some(Ok(Standing::Valid)) => {}
            Some(Ok(Standing::ExpiredWithinGrace)) => return renew::expired(shared, &connection, &name, &uid).await,
            _ => return connection.close(EXPIRED_FOR_GOOD),
        }
        let host = NodeSession::new(shared.clone(), &name, &uid);
        let refresh = shared.env.spawn("link-view", Box::pin(host.clone().refresh()));
        let reason = drive_hub(shared.env.clone(), connection.clone(), host.clone()).await;
        drop(refresh);
        shared.disconnect(&name, &connection);
        host.leave();
        tracing::info!(node = name, reason, "Node disconnected");
    }
}

#[cfg(test)]
mod tests;
