//! A cluster in a world of its own.

use crate::checks::{self, End, EndNode, text};
use crate::hub::SimHub;
use crate::ledger::{Ledger, json};
use crate::limits::EPOCH;
use crate::log::Backup;
use crate::node::SimNode;
use crate::wire;
use holdfast_node::objects::PODS;
use holdfast_sim_world::{Net, Universe};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Prefix of Events in the hub's log.
const HUB_EVENTS: &str = "/registry/core/events/";

/// A cluster.
pub struct Cluster {
    /// Time and tasks.
    pub universe: Universe,
    /// The network.
    pub net: Net,
    /// What was seen.
    pub ledger: Ledger,
    /// The hub.
    pub hub: Arc<SimHub>,
    /// The nodes.
    pub nodes: Vec<Arc<SimNode>>,
}

impl Cluster {
    /// A cluster whose machines are off; its nodes' certificates live for `certificate_life`. `dir` is for what the
    /// nodes' volumes write.
    pub fn new(seed: u64, nodes: u32, certificate_life: Duration, log: Backup, dir: &Path) -> Cluster {
        let universe = Universe::new(seed);
        let net = Net::new(&universe);
        let ledger = Ledger::new(&universe);
        wire::watch(&net, &ledger);
        let hub = SimHub::new(&universe, &net, Some(&ledger), log, certificate_life);
        let node = |no| SimNode::new(no, &universe, &net, &ledger, EPOCH, dir);
        let nodes = (1..=nodes).map(node).collect();
        Cluster { universe, net, ledger, hub, nodes }
    }

    /// How things are.
    pub fn end(&self) -> End {
        let by = |prefix: &str, field: [&str; 2]| -> BTreeMap<String, Value> {
            let docs = self.hub.log.under(prefix).into_iter().map(|(_, value)| json(&value));
            docs.map(|doc| (text(&doc, &field).to_string(), doc)).collect()
        };
        let machines = self.nodes.iter().map(|node| self.end_node(node)).collect();
        let events = by(HUB_EVENTS, ["metadata", "name"]);
        // By the name of the Event, see `PodKept` of the hub's links.
        let kept = events.into_keys().filter_map(|name| Some(name.split_once(".podkept.")?.1.to_string())).collect();
        let (pods, nodes) = (by(checks::PODS, ["metadata", "uid"]), by(checks::NODES, ["metadata", "name"]));
        End { pods, nodes, kept, machines }
    }

    fn end_node(&self, node: &SimNode) -> EndNode {
        let mut end = EndNode { no: node.no, name: node.name.clone(), ..EndNode::default() };
        end.cut = self.net.path(node.no, wire::HUB).cut || self.net.path(wire::HUB, node.no).cut || !self.hub.is_on();
        end.running = node.oci.running();
        let Some(store) = node.store() else { return end };
        store.read(|state| {
            for (key, item) in state.items_with_prefix(PODS) {
                let pod = json(&item.body);
                let uid = text(&pod, &["metadata", "uid"]).to_string();
                if let Some((_, fact)) = state.outbox().state_fact(key) {
                    let fact = json(fact);
                    if text(&fact, &["uid"]) == uid {
                        end.statuses.insert(uid.clone(), fact["status"].clone());
                    }
                }
                end.pods.insert(uid, pod);
            }
        });
        end
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &self.nodes {
            self.net.silence(node.no);
        }
        self.hub.kill();
        self.universe.end();
    }
}
