//! The life cycle of nodes: from heartbeats to the Ready condition.
//!
//! A node is heard through its link. When nothing was heard for the grace period, or longer than the interval lasts that
//! the node itself has chosen within what it is allowed, its conditions become Unknown with upstream's reasons; when it is
//! back it reports itself. Heartbeats live in memory: after a start of the hub every node has a whole grace period.

use crate::hub_links::{Shared, as_hub};
use crate::leftovers;
use holdfast_core::{Gvr, ListOptions, Object, Patch, PatchType, Revision, Status, Target, Timestamp, json};
use holdfast_link_engine::heartbeat::tolerated;
use holdfast_server::{Operation, Reply};
use serde_json::{Value, json as document};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often nodes are looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// The conditions that a silent node no longer speaks for (`core/v1 NodeConditionType`).
const CONDITIONS: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

/// Watches over the nodes until dropped.
pub(crate) async fn run(shared: Arc<Shared>) {
    let start = shared.env.monotonic();
    // Silent nodes whose objects say so, by the revision that was looked at: a silence may last for weeks.
    let mut marked: BTreeMap<String, Revision> = BTreeMap::new();
    let mut swept = false;
    loop {
        shared.env.sleep(PERIOD).await;
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
        match nodes(&shared).await {
            Ok(nodes) => {
                shared.forget_deleted(
                    &nodes.iter().map(|node| (node.meta.name.clone(), node.meta.uid.clone())).collect(),
                );
                let mut silent = BTreeMap::new();
                for node in nodes {
                    if node.meta.is_revoked() {
                        shared.cut_revoked(&node.meta.name);
                    }
                    let now = shared.env.monotonic();
                    // A hub that has just started does not know what the nodes have promised its forerunner.
                    let unheard = (start, shared.longest_heartbeat);
                    let (heard, interval) = shared.last_heard(&node.meta.name).unwrap_or(unheard);
                    let silence = now.since(heard);
                    if silence <= tolerated(shared.grace, interval) {
                        continue;
                    }
                    if marked.get(&node.meta.name) != Some(&node.revision) {
                        match mark_unknown(&shared, &node).await {
                            Ok(true) => {
                                marked.insert(node.meta.name.clone(), node.revision);
                            }
                            Ok(false) => {}
                            Err(err) => tracing::warn!(node = node.meta.name, %err, "Could not mark a silent node"),
                        }
                    }
                    silent.insert(node.meta.name.clone(), silence);
                }
                marked.retain(|name, _| silent.contains_key(name));
                if let Err(err) = crate::failover::replace(&shared, &silent).await {
                    tracing::warn!(%err, "Could not replace the pods of silent nodes");
                }
            }
            Err(err) => tracing::warn!(%err, "Could not list nodes"),
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

/// Makes a silent node's conditions Unknown; true when they were already.
async fn mark_unknown(shared: &Shared, node: &Object) -> Result<bool, Status> {
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
    match shared.call(target, Operation::Patch { patch, options: as_hub() }).await {
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
