//! Invariant 2: what the node acknowledged survives, whole batches or not at all. Flipped bits may cost some of it; what
//! is there then is what the hub once sent.

use super::Check;
use crate::ledger::{NodeNo, Report, Seen, Way};
use crate::wire::{Batch, batch};
use holdfast_core::{ContentHash, content_hash};
use holdfast_link_engine::wire::{DropCause, Payload, SyncApplied, SyncUnfit};
use holdfast_sim_world::TapSide;
use std::collections::{BTreeMap, BTreeSet};

type Items = BTreeMap<String, ContentHash>;

#[derive(Default)]
struct Node {
    /// What the node has said it has.
    acknowledged: Items,
    /// Objects that the hub said are absent, which the node may keep or let go, and those of batches whose connection
    /// ended before they were acknowledged.
    maybe: BTreeSet<String>,
    /// Batches that reached the node and were not acknowledged.
    open: Vec<(u64, Batch)>,
    /// All that ever reached it.
    sent: BTreeSet<(String, ContentHash)>,
    /// Bits of its store have flipped since it was opened last.
    is_flipped: bool,
}

fn apply(items: &mut Items, maybe: &mut BTreeSet<String>, batch: &Batch, restored: bool) {
    for (key, hash) in &batch.puts {
        items.insert(key.clone(), *hash);
        maybe.remove(key);
    }
    for drop in &batch.drops {
        match drop.cause {
            // What a pod names that a restore made the hub forget is kept with it.
            DropCause::Tombstone if restored && !drop.key.starts_with("/v1/pods/") => {
                maybe.insert(drop.key.clone());
            }
            DropCause::Tombstone => {
                items.remove(&drop.key);
            }
            DropCause::Absent => {
                maybe.insert(drop.key.clone());
            }
        }
    }
}

/// What each node must have.
#[derive(Default)]
pub struct Durable {
    restored: bool,
    nodes: BTreeMap<NodeNo, Node>,
}

impl Check for Durable {
    fn name(&self) -> &'static str {
        "durable"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Restored(_) => self.restored = true,
            Seen::Flipped { node } => self.nodes.entry(*node).or_default().is_flipped = true,
            Seen::Frame { node, connection, way: Way::Down, side: TapSide::Delivered, frame } => {
                if let Some(batch) = batch(frame) {
                    let known = self.nodes.entry(*node).or_default();
                    known.sent.extend(batch.puts.iter().cloned());
                    known.open.push((*connection, batch));
                }
            }
            Seen::Frame { node, connection, way: Way::Up, side: TapSide::Sent, frame }
                if frame.kind == SyncApplied::KIND =>
            {
                let Ok(applied) = frame.decode::<SyncApplied>() else { return };
                let known = self.nodes.entry(*node).or_default();
                let Some(at) = known.open.iter().position(|(c, b)| c == connection && b.id == applied.id) else {
                    return report
                        .violation(format!("edge-{node} acknowledges batch {} that it never had", applied.id));
                };
                // Batches of a connection are applied in order; those of an earlier one may be there or not.
                for (of, batch) in known.open.drain(..=at).collect::<Vec<_>>() {
                    if of == *connection {
                        apply(&mut known.acknowledged, &mut known.maybe, &batch, self.restored);
                    } else {
                        known.maybe.extend(batch.puts.into_iter().map(|(key, _)| key));
                        known.maybe.extend(batch.drops.into_iter().map(|drop| drop.key));
                    }
                }
            }
            Seen::Frame { node, connection, way: Way::Up, side: TapSide::Sent, frame }
                if frame.kind == SyncUnfit::KIND =>
            {
                let Ok(unfit) = frame.decode::<SyncUnfit>() else { return };
                let known = self.nodes.entry(*node).or_default();
                known.open.retain(|(of, batch)| of != connection || batch.id != unfit.id);
            }
            Seen::NodeOpened { node, state } => {
                let found: Items = state.items().iter().map(|(key, item)| (key.clone(), item.hash)).collect();
                for (key, _) in state.items().iter().filter(|(_, item)| content_hash(&item.body) != item.hash) {
                    report.violation(format!("edge-{node} opens a journal with another {key} than its hash says"));
                }
                let known = self.nodes.entry(*node).or_default();
                let fits = |wanted: &Items, maybe: &BTreeSet<String>| {
                    let (mut wanted, mut found) = (wanted.clone(), found.clone());
                    for key in maybe {
                        wanted.remove(key);
                        found.remove(key);
                    }
                    wanted == found
                };
                let (mut items, mut maybe) = (known.acknowledged.clone(), known.maybe.clone());
                let mut good = fits(&items, &maybe);
                for (_, batch) in &known.open {
                    if good {
                        break;
                    }
                    apply(&mut items, &mut maybe, batch, self.restored);
                    good = fits(&items, &maybe);
                }
                if std::mem::take(&mut known.is_flipped) {
                    for (key, hash) in
                        found.iter().filter(|(key, hash)| !known.sent.contains(&((*key).clone(), **hash)))
                    {
                        report.violation(format!(
                            "edge-{node} opens a journal with {key} as {hash:?}, which nobody sent"
                        ));
                    }
                } else if !good {
                    let lost: Vec<_> = known
                        .acknowledged
                        .iter()
                        .filter(|(key, hash)| found.get(*key) != Some(hash) && !known.maybe.contains(*key))
                        .map(|(key, _)| key)
                        .collect();
                    let more: Vec<_> = found.keys().filter(|key| !known.acknowledged.contains_key(*key)).collect();
                    report.violation(format!(
                        "edge-{node} opens a journal that is no state it can be in: not as acknowledged {lost:?}, more {more:?}"
                    ));
                }
                known.acknowledged = found;
                known.maybe.clear();
                known.open.clear();
            }
            _ => {}
        }
    }
}
