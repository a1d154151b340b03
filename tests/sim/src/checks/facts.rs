//! Invariant 3: facts apply exactly once, and the mark commits with the effect.

use super::{Check, MARKS, text};
use crate::ledger::{NodeNo, Report, Seen, Way, json};
use crate::wire::facts;
use bytes::Bytes;
use holdfast_core::{OutboxGen, Seq};
use holdfast_link_engine::wire::{FactAck, FactSort, Payload};
use holdfast_sim_world::TapSide;
use std::collections::BTreeMap;

/// Prefix of Events in the hub's log.
const EVENTS: &str = "/registry/core/events/";

/// Which facts are where.
#[derive(Default)]
pub struct ExactlyOnce {
    /// How often each node's Event was created in this history of the hub; what came out of a backup was once.
    created: BTreeMap<String, u32>,
    /// Log facts sent: the Event's key, by node, outbox and number.
    sent: BTreeMap<(NodeNo, OutboxGen, Seq), String>,
    /// The highest mark committed, by its key.
    marks: BTreeMap<String, (u64, u64)>,
}

/// Outbox and number of a mark.
fn mark(value: &Bytes) -> (u64, u64) {
    let mark = json(value);
    (mark["outbox"].as_u64().unwrap_or(0), mark["seq"].as_u64().unwrap_or(0))
}

/// The node that an Event comes from, if it comes from one.
fn host(event: &Bytes) -> Option<String> {
    let event = json(event);
    Some(text(&event, &["source", "host"]).to_string()).filter(|host| !host.is_empty())
}

impl Check for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly-once"
    }

    fn see(&mut self, what: &Seen<'_>, report: &mut Report<'_>) {
        match what {
            Seen::Commit(commit) => {
                let has_mark = commit.is_of_node();
                for entry in commit.entries {
                    let Some(value) = &entry.value else { continue };
                    if entry.key.starts_with(MARKS) {
                        let now = mark(value);
                        let old = self.marks.insert(entry.key.to_string(), now);
                        if let Some(old) = old
                            && old.0 == now.0
                            && old.1 >= now.1
                        {
                            report.violation(format!("the mark {} goes from {} to {}", entry.key, old.1, now.1));
                        }
                    }
                    if entry.key.starts_with(EVENTS) && entry.created == entry.revision {
                        let Some(host) = host(value) else { continue };
                        if !has_mark {
                            report.violation(format!("{} of {host} is committed without a mark", entry.key));
                        }
                        let count = self.created.entry(entry.key.to_string()).or_default();
                        *count += 1;
                        if *count > 1 {
                            report.violation(format!("{} of {host} was applied {count} times", entry.key));
                        }
                    }
                }
            }
            Seen::Restored(records) => {
                let of = |prefix: &'static str| records.iter().filter(move |(key, _)| key.starts_with(prefix));
                let events = of(EVENTS).filter(|(_, value)| host(value).is_some());
                self.created = events.map(|(key, _)| (key.to_string(), 1)).collect();
                self.marks = of(MARKS).map(|(key, value)| (key.to_string(), mark(value))).collect();
            }
            Seen::NodeOpened { node, state } => {
                // Log facts are lazy: what was not synced may be lost with the process, whether or not it was sent.
                let kept: Vec<Seq> = state.outbox().after(Seq(0), usize::MAX).iter().map(|fact| fact.seq).collect();
                self.sent.retain(|(of, _, seq), _| of != node || kept.binary_search(seq).is_ok());
            }
            Seen::Frame { node, way: Way::Up, side: TapSide::Sent, frame, .. } => {
                let Some(batch) = facts(frame) else { return };
                for fact in batch.facts.iter().filter(|fact| fact.sort == FactSort::Log) {
                    let event = json(&fact.body);
                    let namespace = text(&event, &["metadata", "namespace"]);
                    let key = format!("{EVENTS}{namespace}/{}", text(&event, &["metadata", "name"]));
                    let known = self.sent.insert((*node, batch.outbox, fact.seq), key.clone());
                    if known.is_some_and(|known| known != key) {
                        report.violation(format!("edge-{node} uses number {} for two facts", fact.seq));
                    }
                }
            }
            Seen::Frame { node, way: Way::Down, side: TapSide::Sent, frame, .. } if frame.kind == FactAck::KIND => {
                let Ok(ack) = frame.decode::<FactAck>() else { return };
                let from = (*node, ack.outbox, Seq(0));
                let covered: Vec<_> =
                    self.sent.range(from..=(*node, ack.outbox, ack.seq)).map(|(at, key)| (*at, key.clone())).collect();
                for (at, key) in covered {
                    self.sent.remove(&at);
                    // Whoever restored the hub lost what came after the backup; the node sends it again.
                    if !self.created.contains_key(&key) {
                        report.violation(format!("{key} of edge-{node} is acknowledged and not in the log"));
                    }
                }
            }
            _ => {}
        }
    }
}
