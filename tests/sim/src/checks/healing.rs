//! Invariant 6: healing sends what differs and nothing else; and of what differs only what the node can read.

use super::Check;
use crate::ledger::{NodeNo, Report, Seen, Way};
use crate::wire::{Batch, batch};
use holdfast_core::ContentHash;
use holdfast_link_engine::wire::{Payload, SyncApplied, SyncUnfit};
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
    open: Vec<(u64, Batch)>,
}

impl Check for OnlyDifferences {
    fn name(&self) -> &'static str {
        "only-differences"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Frame { node, connection, way: Way::Down, side: TapSide::Sent, frame } => {
                let Some(batch) = batch(frame) else { return };
                let known = self.nodes.entry(*node).or_default();
                for (key, hash) in &batch.bases {
                    if known.has.get(key).is_some_and(|has| has != hash) {
                        report.violation(format!("edge-{node} is sent a change of another {key} than it has"));
                    }
                }
                for (key, hash) in &batch.puts {
                    if known.has.get(key) == Some(hash) && !known.dropped.contains(key) {
                        report.violation(format!("{key} is sent to edge-{node}, which has it"));
                    }
                    // Whether it arrives is not known before the node has said so.
                    known.has.remove(key);
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
                for (key, hash) in &batch.puts {
                    known.has.insert(key.clone(), *hash);
                    known.dropped.remove(key);
                }
                for drop in batch.drops {
                    known.has.remove(&drop.key);
                    known.dropped.insert(drop.key);
                }
            }
            Seen::Frame { node, way: Way::Up, side: TapSide::Sent, frame, .. } if frame.kind == SyncUnfit::KIND => {
                report.violation(format!("edge-{node} cannot make what it was sent of what it has"));
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
