//! One node's connection as the hub's host of it.

use crate::adoption::Verdict;
use crate::facts::FactWriter;
use crate::hub_links::{NODE_TRIES, Shared};
use crate::sessions::{Issued, issue, ready};
use crate::tokens::NodeTokens;
use crate::view::{NodeView, build};
use crate::views::Slot;
use crate::{certificates, renew};
use async_trait::async_trait;
use holdfast_core::{NodeUid, OutboxGen, Revision, Session};
use holdfast_env::Connection;
use holdfast_link::{Grant, HubHost, Refusal, Traffic};
use holdfast_link_engine::HubView;
use holdfast_link_engine::wire::{Hello, RenewReply, RenewRequest, WireFact};
use holdfast_store::Check;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How often a view that lacks a token is tried again, in seconds.
const TOKEN_RETRY_SECS: u64 = 5;

/// Why a hub that could not tell the others of itself for a while takes no nodes.
pub(crate) const LOST_STORE: &str = "the hub has lost the cluster's store; another hub may have it";

/// The host of one connection.
pub(crate) struct NodeSession {
    shared: Arc<Shared>,
    node_name: String,
    node_uid: NodeUid,
    slot: Arc<Slot>,
    view: Mutex<Arc<NodeView>>,
    view_ready: Notify,
    /// Keys of pods that the node kept and that have to go.
    ended: Mutex<BTreeSet<String>>,
    tokens: Arc<tokio::sync::Mutex<NodeTokens>>,
    cut: Arc<Cut>,
}

/// Ends a connection from outside, telling the node why.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    why: Mutex<Option<Refusal>>,
    pulled: Notify,
}

impl Cut {
    /// Pulls it; the first reason stays.
    pub(crate) fn pull(&self, code: &str, reason: &str) {
        lock(&self.why).get_or_insert_with(|| refusal(code, reason));
        self.pulled.notify_one();
    }

    async fn wait(&self) -> Refusal {
        loop {
            if let Some(refusal) = lock(&self.why).clone() {
                return refusal;
            }
            self.pulled.notified().await;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(code: &str, reason: impl Into<String>) -> Refusal {
    Refusal { code: code.into(), reason: reason.into() }
}

impl NodeSession {
    /// The host of a connection whose certificate speaks for this node.
    pub(crate) fn new(shared: Arc<Shared>, node_name: &str, node_uid: &str) -> Arc<NodeSession> {
        let slot = shared.views.open(node_name);
        let tokens = shared.tokens_of(node_name);
        Arc::new(NodeSession {
            shared,
            node_name: node_name.to_string(),
            node_uid: NodeUid(node_uid.to_string()),
            slot,
            view: Mutex::default(),
            view_ready: Notify::new(),
            ended: Mutex::default(),
            tokens,
            cut: Arc::default(),
        })
    }

    /// The UID that the certificate carries.
    pub(crate) fn node_uid(&self) -> &str {
        &self.node_uid.0
    }

    /// The connection has ended: its view is no longer kept.
    pub(crate) fn leave(&self) {
        self.shared.views.forget(&self.node_name, &self.slot);
    }

    /// The node's name.
    pub(crate) fn node_name(&self) -> &str {
        &self.node_name
    }

    /// Cuts this connection from outside.
    pub(crate) fn cut_handle(&self) -> Arc<Cut> {
        self.cut.clone()
    }

    /// Keeps the view up to date until dropped.
    pub(crate) async fn refresh(self: Arc<Self>) {
        loop {
            let due = self.rebuild().await;
            self.view_ready.notify_one();
            let wait = due.unwrap_or(std::time::Duration::from_secs(24 * 3600));
            tokio::select! {
                biased;
                () = self.slot.dirty.notified() => {}
                () = self.shared.env.sleep(wait) => {}
            }
        }
    }

    /// Builds the view anew; how long it may stand without a change of the store.
    async fn rebuild(&self) -> Option<std::time::Duration> {
        let retry = Some(std::time::Duration::from_secs(TOKEN_RETRY_SECS));
        // One build at a time: an older one that ends later would take objects back.
        let mut tokens = self.tokens.lock().await;
        let older = lock(&self.view).clone();
        let mut view = match build(&*self.shared.store, &self.shared.views, &self.node_name, &older).await {
            Ok(view) => view,
            Err(err) => {
                tracing::warn!(node = self.node_name, %err, "Could not build a node's view");
                return retry;
            }
        };
        let wanted = view.tokens();
        let items = tokens.items(&self.shared.api, &self.shared.env, &self.node_name, &wanted).await;
        let missing = items.len() < wanted.len();
        let revision = view.revision();
        for (key, body) in items {
            view.put(key, revision, body);
        }
        self.slot.depends_on(&view);
        {
            let mut current = lock(&self.view);
            view.ended = lock(&self.ended).clone();
            view.finish(&current);
            *current = Arc::new(view);
        }
        if missing {
            return retry;
        }
        let now = holdfast_core::Timestamp::from_wall(self.shared.env.wall().0);
        tokens.next_renewal().map(|at| at.since(now).max(std::time::Duration::from_secs(TOKEN_RETRY_SECS)))
    }

    /// Does what became of a kept pod, and tells people.
    async fn settle(&self, key: &str, uid: &str, verdict: Verdict) {
        let (reason, message) = match verdict {
            Verdict::Adopted(lost_owners) if lost_owners.is_empty() => return,
            Verdict::Adopted(lost_owners) => {
                ("PodOrphaned", format!("is back without its owners, which do not exist: {}", lost_owners.join(", ")))
            }
            Verdict::Kept(why) => ("PodKept", format!("stays on its node, unknown to the hub: {why}")),
            Verdict::Ended(why) => {
                lock(&self.ended).insert(key.to_string());
                Arc::make_mut(&mut *lock(&self.view)).ended.insert(key.to_string());
                self.view_ready.notify_one();
                ("PodEnded", format!("is ended: {why}"))
            }
        };
        let pod = key.trim_start_matches("/v1/pods/");
        let message = format!("Pod {pod} ({uid}), which the hub did not know after a restore, {message}");
        // The node asks again in each session: one Event an outcome.
        let name = format!("{}.{}.{uid}", self.node_name, reason.to_lowercase());
        self.shared.warn_as(&self.node_name, &name, reason, &message).await;
    }

    /// The check that the Node is as it was; or what is wrong with the words of a hello, measured against certificate and Node
    /// object.
    async fn check(&self, hello: &Hello) -> Result<Check, Refusal> {
        if hello.node_uid != self.node_uid.0 || hello.node_name != self.node_name {
            return Err(refusal("WrongIdentity", "the hello does not fit the certificate"));
        }
        self.shared.live(&self.node_name, &self.node_uid.0).await
    }
}

#[async_trait]
impl HubHost for NodeSession {
    fn with_view(&self, use_view: &mut dyn FnMut(&dyn HubView)) {
        use_view(&**lock(&self.view));
    }

    async fn view_changed(&self) {
        self.view_ready.notified().await;
    }

    async fn grant(&self, hello: &Hello) -> Result<Grant, Refusal> {
        if !self.answers() {
            return Err(refusal("Unavailable", LOST_STORE));
        }
        // Another hub may have shown the node more than this one has read yet.
        if let Err(err) = self.shared.store.sync().await {
            let reason = format!("the hub cannot find out whether it has all of the cluster's store: {err}");
            return Err(refusal("Unavailable", reason));
        }
        let mut alive = self.check(hello).await?;
        // The node must not be compared with an empty view.
        if self.rebuild().await.is_some() && lock(&self.view).revision() == Revision(0) {
            return Err(refusal("Unavailable", "the hub cannot read its store"));
        }
        let mut tries = NODE_TRIES;
        let issued = loop {
            match issue(&*self.shared.store, self.shared.lineage, &self.node_uid, &alive, hello).await {
                Ok(Issued::NodeChanged) if tries > 0 => {
                    tries -= 1;
                    alive = self.check(hello).await?;
                }
                issued => break issued,
            }
        };
        match issued {
            Ok(Issued::Session(session, mark)) => Ok(Grant {
                lineage: self.shared.lineage,
                session,
                mark,
                heartbeat: self.shared.heartbeat,
                longest_heartbeat: self.shared.longest_heartbeat,
                grace: self.shared.grace,
            }),
            Ok(Issued::Duplicate) => {
                self.shared.duplicate_identity(&self.node_name).await;
                Err(refusal(
                    "DuplicateIdentity",
                    "another machine uses this node's identity, or this disk was set back",
                ))
            }
            Ok(Issued::NodeChanged) => Err(refusal("Unavailable", "the Node changes too often")),
            Err(err) => Err(refusal("Unavailable", err.to_string())),
        }
    }

    async fn apply_facts(&self, session: Session, outbox: OutboxGen, facts: Vec<WireFact>) -> Result<(), String> {
        let session_at = self.shared.session_at(&self.node_name, session).ok_or("the session was replaced")?;
        let writer = FactWriter {
            env: self.shared.env.clone(),
            api: self.shared.api.clone(),
            store: self.shared.store.clone(),
            node_name: self.node_name.clone(),
            node_uid: self.node_uid.clone(),
            session_at,
            verdicts: Mutex::default(),
        };
        for fact in &facts {
            writer.apply(outbox, fact).await?;
            // At once: the facts behind it may have to wait.
            let verdicts = std::mem::take(&mut *lock(&writer.verdicts));
            for (key, (uid, verdict)) in verdicts {
                self.settle(&key, &uid, verdict).await;
            }
        }
        Ok(())
    }

    async fn online(&self, session: Session, connection: Arc<dyn Connection>) -> Result<(), Refusal> {
        let hub = self.shared.hubs.as_ref().map(|hubs| hubs.name());
        match ready(&*self.shared.store, &self.node_uid, session, hub).await {
            Ok(Some(at)) => {
                tracing::info!(
                    node = self.node_name,
                    session = session.0,
                    peer = connection.peer_address(),
                    transport = connection.transport().name(),
                    "Node connected"
                );
                let leaf = connection.peer_certificates().into_iter().next();
                self.shared.connect(self, session, at, connection);
                if let Some(leaf) = leaf
                    && let Err(err) = certificates::confirmed(&*self.shared.store, &self.node_uid, at, &leaf).await
                {
                    // Nothing is lost: the certificate stays good, and the next connection notes it.
                    tracing::warn!(node = self.node_name, %err, "Could not note a node's certificate");
                }
                Ok(())
            }
            Ok(None) => Err(refusal("Replaced", "a newer connection of this node took over")),
            Err(err) => Err(refusal("Unavailable", err.to_string())),
        }
    }

    fn alive(&self, session: Session, _clock_micros: i64, interval: std::time::Duration) {
        self.shared.alive(&self.node_name, session, interval);
    }

    fn answers(&self) -> bool {
        self.shared.answers()
    }

    fn traffic(&self) -> Arc<Traffic> {
        self.shared.traffic.clone()
    }

    fn applied(&self, revision: Revision) {
        tracing::debug!(node = self.node_name, revision = revision.0, "Node has its view");
    }

    async fn renew(&self, request: RenewRequest) -> RenewReply {
        renew::within_session(&self.shared, self, request).await
    }

    async fn cut(&self) -> Refusal {
        self.cut.wait().await
    }
}
