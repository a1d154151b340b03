//! Hubs that share a store: which of them there are, which one a node is linked to, and how its streams are reached.
//!
//! `/hubs/<name>` is written by each hub every [`RENEW`] and says where the others reach it. The record of a node's session
//! (`/links/<node uid>`, [`crate::sessions`]) names the hub that the node made the session durable with; who writes for the
//! node checks that record. So a node has one hub at a time, and that hub alone judges whether the node is silent, as it
//! alone hears it. When a hub's own record has not changed for [`SPEAKS_FOR`], by the clock of whoever looks, it speaks for
//! nobody any more, and the nodes that are linked nowhere else are the leader's to judge ([`crate::lifecycle`]).
//!
//! *Invariant:* a hub answers no heartbeat later than [`ANSWERS_FOR`] after it has sent its last renewal that was committed.
//! Whoever takes it for gone counts from [`SPEAKS_FOR`] after that renewal at the earliest: a node's run lease is over before its
//! pods are replaced.
//!
//! Where there is one hub, none of this is, and nothing is written.

use crate::hub_links::Shared;
use crate::sessions::{self, put, read};
use holdfast_core::{Gvr, NodeUid, Reason, Revision, Status, Target};
use holdfast_env::{Connection, Dialer, Mono, World};
use holdfast_link::identity::hub_of;
use holdfast_link::relay::Relayed;
use holdfast_link_engine::wire::RelayRequest;
use holdfast_store::{Check, Condition, Op, RangeRequest, Record, Store, StoreError, Txn, TxnOutcome};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Prefix of the records of hubs.
const HUBS: &str = "/hubs/";
/// Between two renewals of a hub's record.
pub const RENEW: Duration = Duration::from_secs(10);
/// Between two tries when one failed.
const AGAIN: Duration = Duration::from_secs(2);
/// How long after it sent its last renewal that was committed a hub answers heartbeats.
pub const ANSWERS_FOR: Duration = Duration::from_secs(30);
/// How long after the last change of its record a hub speaks for its nodes.
pub const SPEAKS_FOR: Duration = Duration::from_secs(40);
/// The record of a hub that says nothing for so long is removed.
const FORGET: Duration = Duration::from_secs(24 * 3600);
/// How long a hub that stops may take to say so; the others find out by themselves.
const LEAVE: Duration = Duration::from_secs(5);
/// How long a hub may take to be reached by another.
const DIAL: Duration = Duration::from_secs(10);
/// When to come again, in seconds, for who wants a node that is not to be reached now.
const COME_AGAIN: u32 = 5;

const _: () = assert!(RENEW.as_secs() < ANSWERS_FOR.as_secs() && ANSWERS_FOR.as_secs() < SPEAKS_FOR.as_secs());

/// A hub among others.
#[derive(Clone)]
pub struct HubsConfig {
    /// Its name, which no other has, nor had before.
    pub name: String,
    /// Where the others reach it, as `host:port`.
    pub address: String,
    /// Where pods reach its API, if they do.
    pub api: Option<SocketAddr>,
    /// Reaches them.
    pub dialer: Arc<dyn Dialer>,
}

/// A hub, as the others read of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct HubRecord {
    /// `host:port`.
    address: String,
    /// Where pods reach its API, if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    api: Option<SocketAddr>,
}

/// This hub among the hubs of its store.
pub(crate) struct Hubs {
    config: HubsConfig,
    /// Until when it answers heartbeats, by the clock that goes on while the machine sleeps; 0 before and after its time.
    answers_until: watch::Sender<Duration>,
}

impl Hubs {
    pub(crate) fn new(config: HubsConfig) -> Hubs {
        Hubs { config, answers_until: watch::Sender::new(Duration::ZERO) }
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    /// Whether it may answer heartbeats, and speak for its nodes.
    pub(crate) fn answers(&self, env: &World) -> bool {
        env.boottime() < *self.answers_until.borrow()
    }

    /// Waits until the other hubs know of this one. Cancel safe.
    pub(crate) async fn entered(&self) {
        let mut until = self.answers_until.subscribe();
        // The sender lives in `self`, so this cannot fail.
        let _ = until.wait_for(|until| !until.is_zero()).await;
    }

    fn key(&self) -> String {
        format!("{HUBS}{}", self.config.name)
    }

    /// Keeps this hub's record alive until dropped.
    pub(crate) async fn keep(self: Arc<Self>, store: Arc<dyn Store>, env: World) {
        let mut was_warned = false;
        loop {
            let sent = env.boottime();
            let wait = match self.renew(&*store).await {
                Ok(()) => {
                    was_warned = false;
                    self.answers_until.send_replace(sent + ANSWERS_FOR);
                    RENEW
                }
                Err(StoreError::Closed) => return,
                Err(err) => {
                    if !std::mem::replace(&mut was_warned, true) {
                        tracing::warn!(%err, "Could not tell the other hubs of this one");
                    }
                    AGAIN
                }
            };
            env.sleep(wait).await;
        }
    }

    async fn renew(&self, store: &dyn Store) -> Result<(), StoreError> {
        let record = HubRecord { address: self.config.address.clone(), api: self.config.api };
        store.txn(Txn { checks: Vec::new(), ops: vec![put(self.key(), &record)?] }).await.map(drop)
    }

    /// Nothing is answered any more, and the others need not wait to find out.
    pub(crate) async fn leave(&self, store: &dyn Store, env: &World) {
        self.answers_until.send_replace(Duration::ZERO);
        let delete = Op::Delete { key: self.key() };
        match env.timeout(LEAVE, store.txn(Txn { checks: Vec::new(), ops: vec![delete] })).await {
            Some(Ok(_)) => {}
            Some(Err(err)) => tracing::warn!(%err, "Could not tell the other hubs that this one stops"),
            None => tracing::warn!("Could not tell the other hubs in time that this one stops"),
        }
    }
}

/// A hub's record as it was seen last.
struct Seen {
    revision: Revision,
    /// When this version was new.
    at: Mono,
    api: Option<SocketAddr>,
}

/// What one who watches over lost nodes knows of the hubs: who speaks for its nodes.
pub(crate) struct Others {
    since: Mono,
    /// By name.
    seen: BTreeMap<String, Seen>,
    /// Those that nodes name, and that are not there: since when.
    gone: BTreeMap<String, Mono>,
}

impl Others {
    /// Nothing is known of what was before `since`.
    pub(crate) fn new(since: Mono) -> Others {
        Others { since, seen: BTreeMap::new(), gone: BTreeMap::new() }
    }

    /// Looks at the records of hubs. Those of hubs that are long gone are given back, to be removed.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn look(&mut self, store: &dyn Store, now: Mono) -> Result<Vec<Arc<Record>>, StoreError> {
        let request = RangeRequest { prefix: HUBS.to_string(), ..RangeRequest::default() };
        let records = store.range(request).await?.records;
        Ok(self.take(records, now))
    }

    fn take(&mut self, records: Vec<Arc<Record>>, now: Mono) -> Vec<Arc<Record>> {
        let before = std::mem::take(&mut self.seen);
        let mut old = Vec::new();
        for record in records {
            let name = record.key.strip_prefix(HUBS).unwrap_or_default().to_string();
            let at = before.get(&name).filter(|seen| seen.revision == record.modified).map_or(now, |seen| seen.at);
            if now.since(at) > FORGET {
                old.push(record.clone());
            }
            self.gone.remove(&name);
            let api = serde_json::from_slice::<HubRecord>(&record.value).ok().and_then(|hub| hub.api);
            self.seen.insert(name, Seen { revision: record.modified, at, api });
        }
        for name in before.into_keys().filter(|name| !self.seen.contains_key(name)).collect::<Vec<_>>() {
            self.gone.entry(name).or_insert(now);
        }
        old
    }

    /// Since when nobody speaks for a node that was linked to `hub` last; `None` while somebody does.
    pub(crate) fn lost_since(&mut self, hub: Option<&str>, now: Mono) -> Option<Mono> {
        let Some(hub) = hub else { return Some(self.since) };
        match self.seen.get(hub) {
            Some(seen) => Some(seen.at.after(SPEAKS_FOR)).filter(|end| *end <= now),
            None => Some(*self.gone.entry(hub.to_string()).or_insert(now)),
        }
    }

    /// Where pods reach the APIs of those that are there.
    pub(crate) fn apis(&self, now: Mono) -> BTreeSet<SocketAddr> {
        self.seen.values().filter(|seen| seen.at.after(SPEAKS_FOR) > now).filter_map(|seen| seen.api).collect()
    }

    /// Forgets hubs that are gone and that no node names any more.
    pub(crate) fn keep_named(&mut self, named: &BTreeSet<String>) {
        self.gone.retain(|name, _| named.contains(name));
    }
}

/// Removes the record of a hub that is long gone, if `only_if` holds.
///
/// # Errors
/// The store's.
pub(crate) async fn forget(store: &dyn Store, record: &Record, only_if: &Check) -> Result<(), StoreError> {
    let key = record.key.to_string();
    let unchanged = Check { key: key.clone(), condition: Condition::ModifiedAt(record.modified) };
    let txn = Txn { checks: vec![unchanged, only_if.clone()], ops: vec![Op::Delete { key }] };
    if let TxnOutcome::Committed { .. } = store.txn(txn).await? {
        tracing::info!(hub = record.key.strip_prefix(HUBS), "Removed the record of a hub that is gone");
    }
    Ok(())
}

/// The way to a node that is not linked here: through the hub that it is linked to.
///
/// # Errors
/// 503 with the reason.
pub(crate) async fn through_another(shared: &Shared, hubs: &Hubs, node: &str) -> Result<Arc<dyn Connection>, Status> {
    let missing = |why: String| Status::unavailable(format!("node {node:?} {why}"), COME_AGAIN);
    let unlinked = || missing("is not connected to any hub".into());
    let object = match shared.get(Target::object(Gvr::new("", "v1", "nodes"), "", node)).await {
        Err(status) if status.is(Reason::NotFound) => return Err(unlinked()),
        object => object?,
    };
    let unread = |err: StoreError| missing(format!("cannot be found: {err}"));
    let store = &*shared.store;
    let uid = object.meta.uid.clone();
    let (record, _) = sessions::of(store, &NodeUid(uid.clone())).await.map_err(unread)?;
    let name = record.hub.filter(|name| name != hubs.name()).ok_or_else(unlinked)?;
    let (hub, condition) = read::<HubRecord>(store, &format!("{HUBS}{name}")).await.map_err(unread)?;
    if condition == Condition::Absent {
        return Err(missing("was linked to a hub that has gone".into()));
    }
    let address = hub.address;
    let unreached = |why: String| missing(format!("is linked to another hub, which cannot be reached: {why}"));
    let dialled = shared.env.timeout(DIAL, hubs.config.dialer.dial(&address)).await;
    let dialled = dialled.ok_or_else(|| unreached(format!("{address} does not answer")))?;
    let connection = dialled.map_err(|err| unreached(err.to_string()))?;
    let shown = connection.peer_certificates().first().map(|leaf| hub_of(leaf));
    if !matches!(&shown, Some(Ok(shown)) if *shown == name) {
        connection.close("another hub was meant");
        return Err(unreached(format!("another one answers at {address}")));
    }
    let request = RelayRequest { node_name: node.to_string(), node_uid: uid };
    Ok(Relayed::new(shared.env.clone(), connection, request))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono(Duration::from_secs(seconds))
    }

    fn record(name: &str, revision: u64) -> Arc<Record> {
        let at = Revision(revision);
        let value = format!(r#"{{"address":"{name}:1","api":"192.0.2.{}:6443"}}"#, name.len());
        Arc::new(Record::new(format!("{HUBS}{name}").as_str().into(), value.into(), at, at))
    }

    #[test]
    fn a_hub_speaks_for_its_nodes_while_its_record_changes() {
        let mut others = Others::new(at(100));
        assert_eq!(others.lost_since(None, at(500)), Some(at(100)), "linked to no hub that is known");
        others.take(vec![record("a", 1), record("b", 2)], at(100));
        assert_eq!(others.apis(at(139)), ["192.0.2.1:6443".parse().unwrap()].into());
        assert!(others.apis(at(140)).is_empty());
        assert_eq!(others.lost_since(Some("a"), at(139)), None);
        others.take(vec![record("a", 3), record("b", 2)], at(110));
        others.take(vec![record("a", 3), record("b", 2)], at(145));
        assert_eq!(others.lost_since(Some("a"), at(145)), None);
        assert_eq!(others.lost_since(Some("b"), at(145)), Some(at(140)), "it may have answered until then");
        // It was only cut off, and is back.
        others.take(vec![record("a", 3), record("b", 9)], at(150));
        assert_eq!(others.lost_since(Some("b"), at(150)), None);
        // One that stops says so.
        others.take(vec![record("b", 9)], at(152));
        assert_eq!(others.lost_since(Some("a"), at(160)), Some(at(152)));
        assert_eq!(others.lost_since(Some("never seen"), at(160)), Some(at(160)));
        assert_eq!(others.lost_since(Some("never seen"), at(170)), Some(at(160)));
        others.keep_named(&["a".to_string()].into());
        assert_eq!(others.lost_since(Some("never seen"), at(180)), Some(at(180)));
        assert_eq!(others.lost_since(Some("a"), at(180)), Some(at(152)));
        let old = others.take(vec![record("b", 9)], at(151).after(FORGET));
        assert_eq!(old.len(), 1);
    }
}
