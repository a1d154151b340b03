//! Node IPAM: gives each node its part of the pod network, in `spec.podCIDR` and `spec.podCIDRs`.
//!
//! What was given stands in the Node objects, so nothing else has to survive a restart: a range is free when no node
//! has it. One worker, so that no range is given twice.

use crate::ControllersConfig;
use crate::shared::{Shared, core, start_after, synced};
use crate::views::NodeView;
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, EventRecorder, Involved, Key, Outcome, ReconcileError, Reconciler, WorkQueue, run_controller,
};
use holdfast_core::{Patch, PatchType, Reason};
use holdfast_env::{Task, World};
use ipnet::Ipv4Net;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

struct Controller {
    client: Arc<dyn Client>,
    events: EventRecorder,
    nodes: Arc<Cache<NodeView>>,
    config: Arc<ControllersConfig>,
    /// Given, but perhaps not in the cache yet, by the node's UID.
    given: Mutex<BTreeMap<String, Ipv4Net>>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared, config: &Arc<ControllersConfig>) -> Task {
    let queue = WorkQueue::new(world.clone());
    shared.nodes.enqueue_self(&queue);
    let controller = Arc::new(Controller {
        events: EventRecorder::new(world, client.clone(), "cidrAllocator"),
        client,
        nodes: shared.nodes.cache().clone(),
        config: config.clone(),
        given: Mutex::default(),
    });
    let env = world.clone();
    start_after(world, "node-ipam-controller", vec![synced(&shared.nodes)], move || {
        run_controller(&env, "node-ipam-controller", controller, queue, 1)
    })
}

/// The ranges that are taken, as indices into the subnets of `cluster`; a foreign range takes all that it overlaps.
fn taken(cluster: Ipv4Net, bits: u8, ranges: impl Iterator<Item = Ipv4Net>) -> BTreeSet<usize> {
    let mut taken = BTreeSet::new();
    for range in ranges {
        for (index, subnet) in subnets(cluster, bits).enumerate() {
            if subnet.contains(&range) || range.contains(&subnet) {
                taken.insert(index);
            }
        }
    }
    taken
}

fn subnets(cluster: Ipv4Net, bits: u8) -> impl Iterator<Item = Ipv4Net> {
    cluster.subnets(bits).into_iter().flatten()
}

/// The first free range after the last one that is taken, else the first free one. A range that was just freed is
/// the last to be given again: its old node may be cut off and still use it.
fn choose(cluster: Ipv4Net, bits: u8, taken: &BTreeSet<usize>) -> Option<Ipv4Net> {
    let all: Vec<Ipv4Net> = subnets(cluster, bits).collect();
    let start = taken.last().map_or(0, |last| last + 1);
    let order = (start..all.len()).chain(0..start.min(all.len()));
    order.into_iter().find(|index| !taken.contains(index)).map(|index| all[index])
}

impl Controller {
    fn pick(&self, uid: &str) -> Option<Ipv4Net> {
        let nodes = self.nodes.all();
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|uid, _| nodes.iter().any(|node| node.meta.uid == *uid));
        let known = nodes.iter().flat_map(|node| &node.value.pod_cidrs).filter_map(|cidr| cidr.parse().ok());
        let taken = taken(self.config.cluster_cidr, self.config.node_mask_bits, known.chain(given.values().copied()));
        if let Some(range) = given.get(uid) {
            return Some(*range);
        }
        let range = choose(self.config.cluster_cidr, self.config.node_mask_bits, &taken)?;
        given.insert(uid.to_string(), range);
        Some(range)
    }
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(node) = self.nodes.get(key) else { return Ok(Outcome::Done) };
        if !node.value.pod_cidrs.is_empty() || node.meta.is_deleting() {
            return Ok(Outcome::Done);
        }
        let Some(range) = self.pick(&node.meta.uid) else {
            let message = format!("Node {key} status is now: CIDRNotAvailable");
            self.events.normal(&Involved::new("v1", "Node", key, &node.meta.uid), "CIDRNotAvailable", message);
            return Err(ReconcileError::retry(format!("no free range in {}", self.config.cluster_cidr)));
        };
        let body = json!({
            "metadata": {"uid": node.meta.uid},
            "spec": {"podCIDR": range.to_string(), "podCIDRs": [range.to_string()]},
        });
        // The cache may lag behind: what the node has already is immutable, and stays.
        let at = key.target(core("nodes"));
        let live = match self.client.get(&at).await {
            Err(status) if status.is(Reason::NotFound) => return Ok(Outcome::Done),
            other => other?.to_json(),
        };
        if holdfast_core::json::str_at(&live, &["spec", "podCIDR"]).is_some_and(|cidr| !cidr.is_empty()) {
            return Ok(Outcome::Done);
        }
        match self.client.patch(&at, Patch { patch_type: PatchType::Merge, body }).await {
            Err(status) if status.is(Reason::NotFound) => Ok(Outcome::Done),
            Err(status) => Err(status.into()),
            Ok(_) => {
                tracing::info!(node = %key, %range, "Gave a node its pod range");
                Ok(Outcome::Done)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_go_on_after_the_last_and_wrap() {
        let cluster = net("10.42.0.0/22");
        let choose_after = |ranges: &[&str]| {
            let taken = taken(cluster, 24, ranges.iter().map(|range| net(range)));
            choose(cluster, 24, &taken).map(|range| range.to_string())
        };
        assert_eq!(choose_after(&[]).as_deref(), Some("10.42.0.0/24"));
        assert_eq!(choose_after(&["10.42.1.0/24"]).as_deref(), Some("10.42.2.0/24"));
        assert_eq!(choose_after(&["10.42.3.0/24", "10.42.0.0/24"]).as_deref(), Some("10.42.1.0/24"));
        assert_eq!(choose_after(&["10.42.2.0/23"]).as_deref(), Some("10.42.0.0/24"));
        assert_eq!(choose_after(&["10.42.0.0/16"]), None);
    }
}
