//! The facts stream: the node sends what the hub has not acknowledged, one batch at a time.

use crate::limits::FACTS_PER_BATCH;
use crate::wire::{FactAck, FactBatch, WireFact, encode};
use bytes::Bytes;
use holdfast_core::{OutboxGen, Seq, Session};

/// The node's side.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    outbox: OutboxGen,
    session: Session,
    /// Sent and not acknowledged: the last number of the batch under way.
    in_flight: Option<Seq>,
    acknowledged: Seq,
}

impl NodeFacts {
    /// Begins after what the hub's mark covers.
    pub fn new(outbox: OutboxGen, session: Session, mark: Seq) -> NodeFacts {
        NodeFacts { outbox, session, in_flight: None, acknowledged: mark }
    }

    /// The next batch, when none is under way and something is owed. `facts_after(seq, max)` lists it.
    pub fn poll(&mut self, facts_after: impl FnOnce(Seq, usize) -> Vec<WireFact>) -> Option<Bytes> {
        if self.in_flight.is_some() {
            return None;
        }
        let facts = facts_after(self.acknowledged, FACTS_PER_BATCH);
        let last = facts.last()?.seq;
        self.in_flight = Some(last);
        Some(encode(&FactBatch { session: self.session, outbox: self.outbox, facts }))
    }

    /// Takes an acknowledgement; the number that is now covered, when it is news.
    pub fn acknowledged(&mut self, ack: &FactAck) -> Option<Seq> {
        if ack.outbox != self.outbox || ack.seq <= self.acknowledged {
            return None;
        }
        self.acknowledged = ack.seq;
        if self.in_flight.is_some_and(|last| last <= ack.seq) {
            self.in_flight = None;
        }
        Some(ack.seq)
    }
}
