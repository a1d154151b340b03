//! Invariant 6: healing sends what differs and nothing else.

use super::Check;
use crate::ledger::{NodeNo, Report, Seen, Way};
use holdfast_core::ContentHash;
use holdfast_link_engine::wire::{Payload, SyncApplied, SyncBatch};
use holdfast_sim_world::TapSide;
use std::collections::{BTreeMap, BTreeSet};

/// What each node has, as far as it told the hub.
#[derive(Default)]
pub struct OnlyDifferences {
    nodes: BTreeMap<NodeNo, Node>,
}

#[derive(Default)]
struct Node {
    has: BTreeMap<String, ContentHash>,
    /// What the hub last said to drop. A node that keeps a pod keeps what the pod names, and does not tell.
    dropped: BTreeSet<String>,
    open: Vec<(u64, SyncBatch)>,
}

impl Check for OnlyDifferences {
    fn name(&self) -> &'static str {
        "only-differences"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Frame { node, connection, way: Way::Down, side: TapSide::Sent, frame }
                if frame.kind == SyncBatch::KIND =>
            {
                let Ok(batch) = frame.decode::<SyncBatch>() else { return };
                let known = self.nodes.entry(*node).or_default();
                for put in &batch.puts {
                    if known.has.get(&put.key) == Some(&put.hash) && !known.dropped.contains(&put.key) {
                        report.violation(format!("{} is sent to edge-{node}, which has it", put.key));
                    }
                    // Whether it arrives is not known before the node has said so.
                    known.has.remove(&put.key);
                }
                for drop in &batch.drops {
                    known.has.remove(&drop.key);
                }
                known.open.push((*connection, batch));
            }
            Seen::Frame { node, connection, way: Way::Up, side: TapSide::Delivered, frame }
                if frame.kind == SyncApplied::KIND =>
            {
                let Ok(applied) = frame.decode::<SyncApplied>() else { return };
                let known = self.nodes.entry(*node).or_default();
                let Some(at) = known.open.iter().position(|(c, b)| c == connection && b.id == applied.id) else {
                    return;
                };
                let (_, batch) = known.open.remove(at);
                for put in &batch.puts {
                    known.has.insert(put.key.clone(), put.hash);
                    known.dropped.remove(&put.key);
                }
                for drop in batch.drops {
                    known.has.remove(&drop.key);
                    known.dropped.insert(drop.key);
                }
            }
            // The journal says best what the node has.
            Seen::NodeOpened { node, state } => {
                let known = self.nodes.entry(*node).or_default();
                known.has = state.items().iter().map(|(key, item)| (key.clone(), item.hash)).collect();
                known.open.clear();
            }
            _ => {}
        }
    }
}
