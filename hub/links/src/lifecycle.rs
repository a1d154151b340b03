//! The life cycle of nodes: from heartbeats to the Ready condition.
//!
//! A node is heard through its link. When nothing was heard for the grace period, or longer than the interval lasts that
//! the node itself has chosen within what it is allowed, its conditions become Unknown with upstream's reasons; when it is
//! back it reports itself. Heartbeats live in memory: after a start of the hub every node has a whole grace period.
//!
//! Where several hubs share a store, each judges the nodes whose session was made with it ([`run`]), as it alone heard them,
//! and the leader those for which no hub speaks any more ([`run_for_the_lost`]), by what the store says and never by what it
//! heard itself. A judgement is written only if the node's session is still the one that was looked at: whoever takes the
//! node over in that very moment makes it void.

use crate::failover::Silent;
use crate::hub_links::{Shared, as_hub};
use crate::hubs::{self, Others};
use crate::{leftovers, sessions};
use holdfast_core::{Gvr, ListOptions, NodeUid, Object, Patch, PatchType, Revision, Status, Target, Timestamp, json};
use holdfast_env::Mono;
use holdfast_link_engine::heartbeat::tolerated;
use holdfast_server::{Operation, Reply};
use holdfast_store::{Check, StoreError};
use serde_json::{Value, json as document};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often nodes are looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// The conditions that a silent node no longer speaks for (`core/v1 NodeConditionType`).
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Watches over the nodes of this hub until dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let start = shared.env.monotonic();
    let mut judge = Judge::default();
    let mut swept = false;
    loop {
        shared.env.sleep(PERIOD).await;
        if !shared.answers() {
            shared.cut_all();
            continue;
        }
        if !swept {
            match leftovers::sweep(&*shared.store).await {
                Ok(nodes) => {
                    swept = true;
                    if nodes > 0 {
                        tracing::info!(nodes, "Removed records of nodes that are gone");
                    }
                }
                Err(err) => tracing::warn!(%err, "Could not look for records of nodes that are gone"),
            }
        }
        let nodes = match nodes(&shared).await {
            Ok(nodes) => nodes,
            Err(err) => {
                tracing::warn!(%err, "Could not list nodes");
                continue;
            }
        };
        shared.forget_deleted(&nodes.iter().map(|node| (node.meta.name.clone(), node.meta.uid.clone())).collect());
        for node in nodes {
            if node.meta.is_revoked() {
                shared.cut_revoked(&node.meta.name);
            }
            let checks = match mine(&shared, &node).await {
                Ok(Some(checks)) => checks,
                Ok(None) => continue,
                Err(err) => {
                    tracing::warn!(node = node.meta.name, %err, "Could not read a node's session");
                    continue;
                }
            };
            // A hub that has just started does not know what the nodes have promised its forerunner.
            let unheard = (start, shared.longest_heartbeat);
            let (heard, interval) = shared.last_heard(&node.meta.name).unwrap_or(unheard);
            judge.look(&shared, &node, heard, interval, checks).await;
        }
        judge.replace(&shared).await;
    }
}

/// What has to hold for a judgement about a node of this hub; `None` for one of another. All are this one's where it is the
/// only one.
async fn mine(shared: &Shared, node: &Object) -> Result<Option<Vec<Check>>, StoreError> {
    let Some(hubs) = &shared.hubs else { return Ok(Some(Vec::new())) };
    let (record, unchanged) = sessions::of(&*shared.store, &NodeUid(node.meta.uid.clone())).await?;
    shared.cut_replaced(&node.meta.name, record.issued);
    Ok((record.hub.as_deref() == Some(hubs.name())).then(|| vec![unchanged]))
}

/// Watches over the nodes that no hub speaks for until dropped. What it writes takes place only while `leads` holds.
pub(crate) async fn run_for_the_lost(shared: Arc<Shared>, leads: Check, apis: watch::Sender<BTreeSet<SocketAddr>>) {
    let mut lost = Lost::new(&shared, leads);
    loop {
        shared.env.sleep(PERIOD).await;
        if let Err(err) = lost.look(&shared).await {
            tracing::warn!(%err, "Could not look at the nodes that no hub speaks for");
            continue;
        }
        let there = lost.others.apis(shared.env.monotonic());
        apis.send_if_modified(|known| std::mem::replace(known, there.clone()) != there);
    }
}

/// The nodes that no hub speaks for, as a leader sees them.
pub(crate) struct Lost {
    leads: Check,
    others: Others,
    judge: Judge,
}

impl Lost {
    /// Nothing is known yet.
    pub(crate) fn new(shared: &Shared, leads: Check) -> Lost {
        Lost { leads, others: Others::new(shared.env.monotonic()), judge: Judge::default() }
    }

    /// Looks at all nodes once.
    ///
    /// # Errors
    /// When store or API do not answer: nothing is judged then.
    pub(crate) async fn look(&mut self, shared: &Shared) -> Result<(), Status> {
        let failed = |err: StoreError| Status::unavailable(err.to_string(), 1);
        let Some(own) = &shared.hubs else { return Ok(()) };
        let store = &*shared.store;
        // A store that lags shows hubs silent that are not.
        store.sync().await.map_err(failed)?;
        let now = shared.env.monotonic();
        for record in self.others.look(store, now).await.map_err(failed)? {
            hubs::forget(store, &record, &self.leads).await.map_err(failed)?;
        }
        let mut named = BTreeSet::new();
        for node in nodes(shared).await? {
            let (record, unchanged) = sessions::of(store, &NodeUid(node.meta.uid.clone())).await.map_err(failed)?;
            if record.hub.as_deref() == Some(own.name()) {
                continue;
            }
            let since = self.others.lost_since(record.hub.as_deref(), now);
            named.extend(record.hub);
            if let Some(since) = since {
                let checks = vec![unchanged, self.leads.clone()];
                self.judge.look(shared, &node, since, shared.longest_heartbeat, checks).await;
            }
        }
        self.others.keep_named(&named);
        self.judge.replace(shared).await;
        Ok(())
    }
}

/// Judges nodes by how long they have been silent.
#[derive(Default)]
struct Judge {
    /// Silent nodes whose objects say so, by the revision that was looked at: a silence may last for weeks.
    marked: BTreeMap<String, Revision>,
    /// The silent ones of this look.
    silent: BTreeMap<String, Silent>,
}

impl Judge {
    /// Looks at a node that was heard last at `heard`, and whose next heartbeat may take `interval`. `checks` have to hold
    /// for what is written of it.
    async fn look(&mut self, shared: &Shared, node: &Object, heard: Mono, interval: Duration, checks: Vec<Check>) {
        let silence = shared.env.monotonic().since(heard);
        if silence <= tolerated(shared.grace, interval) {
            return;
        }
        if self.marked.get(&node.meta.name) != Some(&node.revision) {
            match mark_unknown(shared, node, &checks).await {
                Ok(true) => {
                    self.marked.insert(node.meta.name.clone(), node.revision);
                }
                Ok(false) => {}
                Err(err) => tracing::warn!(node = node.meta.name, %err, "Could not mark a silent node"),
            }
        }
        self.silent.insert(node.meta.name.clone(), Silent { silence, checks });
    }

    /// All were looked at: replaces what may be replaced of the silent ones.
    async fn replace(&mut self, shared: &Shared) {
        let silent = std::mem::take(&mut self.silent);
        self.marked.retain(|name, _| silent.contains_key(name));
        if let Err(err) = crate::failover::replace(shared, &silent).await {
            tracing::warn!(%err, "Could not replace the pods of silent nodes");
        }
    }
}

async fn nodes(shared: &Shared) -> Result<Vec<Arc<Object>>, Status> {
    let target = Target::collection(Gvr::new("", "v1", "nodes"), "");
    match shared.call(target, Operation::List(ListOptions::default())).await? {
        Reply::List(list) => Ok(list.items),
        _ => Err(Status::internal("list gave no list")),
    }
}

/// Makes a silent node's conditions Unknown if `checks` hold; true when they were already.
async fn mark_unknown(shared: &Shared, node: &Object, checks: &[Check]) -> Result<bool, Status> {
    let now = Timestamp::from_wall(shared.env.wall().0);
    let Some(conditions) = unknown_conditions(&node.to_json(), now) else { return Ok(true) };
    let patch = Patch {
        patch_type: PatchType::Merge,
        body: document!({
            // The node may have reported in this very moment: then its word stands.
            "metadata": {"resourceVersion": node.revision.to_string()},
            "status": {"conditions": conditions},
        }),
    };
    let target = Target::object(Gvr::new("", "v1", "nodes"), "", &node.meta.name).with_subresource("status");
    match shared.call_if(target, Operation::Patch { patch, options: as_hub() }, checks).await {
        Ok(_) => {
            tracing::info!(node = node.meta.name, "Node is silent; its conditions are Unknown now");
            Ok(false)
        }
        Err(status) if status.is(holdfast_core::Reason::Conflict) => Ok(false),
        Err(status) => Err(status),
    }
}

/// The conditions of a node that fell silent; `None` when they say so already.
fn unknown_conditions(node: &Value, now: Timestamp) -> Option<Vec<Value>> {
    let old: BTreeMap<&str, &Value> = json::items_at(node, &["status", "conditions"])
        .iter()
        .filter_map(|condition| Some((json::str_at(condition, &["type"])?, condition)))
        .collect();
    let mut changed = false;
    let mut conditions = Vec::new();
    for name in CONDITIONS {
        let condition = match old.get(name) {
            Some(condition) if json::str_at(condition, &["status"]) == Some("Unknown") => (*condition).clone(),
            Some(condition) => {
                changed = true;
                let mut condition = (*condition).clone();
                json::set(&mut condition, &["status"], "Unknown");
                json::set(&mut condition, &["reason"], "NodeStatusUnknown");
                json::set(&mut condition, &["message"], "Kubelet stopped posting node status.");
                json::set(&mut condition, &["lastTransitionTime"], now.to_string());
                condition
            }
            None => {
                changed = true;
                document!({
                    "type": name,
                    "status": "Unknown",
                    "reason": "NodeStatusNeverUpdated",
                    "message": "Kubelet never posted node status.",
                    "lastHeartbeatTime": json::str_at(node, &["metadata", "creationTimestamp"]),
                    "lastTransitionTime": now,
                })
            }
        };
        conditions.push(condition);
    }
    let others = old.iter().filter(|(name, _)| !CONDITIONS.contains(name)).map(|(_, condition)| (*condition).clone());
    conditions.extend(others);
    changed.then_some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_is_marked_once() {
        let now = Timestamp::from_secs(1_000);
        let node = document!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "reason": "KubeletReady"},
            {"type": "OfflineReady", "status": "True"},
        ]}});
        let conditions = unknown_conditions(&node, now).unwrap();
        assert_eq!(conditions.len(), 5);
        assert_eq!(conditions[0]["status"], "Unknown");
        assert_eq!(conditions[0]["reason"], "NodeStatusUnknown");
        assert_eq!(conditions[1]["reason"], "NodeStatusNeverUpdated");
        assert_eq!(conditions[4]["type"], "OfflineReady");
        let again = document!({"status": {"conditions": conditions}});
        assert_eq!(unknown_conditions(&again, now), None);
    }
}
