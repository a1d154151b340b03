//! The facts stream: the node sends what the hub has not acknowledged, one batch at a time. Since version 2 the facts of
//! a batch are compressed together, over a dictionary.

use crate::dictionary::{NEWEST, dictionary};
use crate::limits::{FACTS_PER_BATCH, MAX_FACTS, MAX_FRAME_BYTES};
use crate::pack::{pack_over_newest, unpack};
use crate::wire::{FactAck, FactBatch, FactBatch2, Frame, Payload, WireError, WireFact, encode};
use bytes::Bytes;
use holdfast_core::{OutboxGen, Seq, Session};

/// The node's side.
#[derive(Clone, Debug, Default)]
pub struct NodeFacts {
    version: u16,
    outbox: OutboxGen,
    session: Session,
    /// Sent and not acknowledged: the last number of the batch under way.
    in_flight: Option<Seq>,
    acknowledged: Seq,
}

impl NodeFacts {
    /// Begins after what the hub's mark covers, in this version of the protocol.
    pub fn new(version: u16, outbox: OutboxGen, session: Session, mark: Seq) -> NodeFacts {
        NodeFacts { version, outbox, session, in_flight: None, acknowledged: mark }
    }

    /// The next batch, when none is under way and something is owed. `facts_after(seq, max)` lists it.
    pub fn poll(&mut self, facts_after: impl FnOnce(Seq, usize) -> Vec<WireFact>) -> Option<Bytes> {
        if self.in_flight.is_some() {
            return None;
        }
        let facts = facts_after(self.acknowledged, FACTS_PER_BATCH);
        let last = facts.last()?.seq;
        self.in_flight = Some(last);
        let batch = FactBatch { session: self.session, outbox: self.outbox, facts };
        Some(if self.version >= 2 { encode(&batch.packed()) } else { encode(&batch) })
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

impl FactBatch {
    /// The same for version 2.
    fn packed(&self) -> FactBatch2 {
        // Postcard fails only on types that cannot be encoded at all.
        let facts = postcard::to_stdvec(&self.facts).unwrap_or_default();
        let data = pack_over_newest(&facts);
        FactBatch2 { session: self.session, outbox: self.outbox, dictionary: NEWEST, data }
    }

    /// Reads a batch of either version, as far as `version` allows it.
    ///
    /// # Errors
    /// When the frame is another, of a later version, or malformed, which too many or too large facts are too.
    pub fn read(frame: &Frame, version: u16) -> Result<FactBatch, WireError> {
        if frame.kind != FactBatch2::KIND || version < 2 {
            return frame.decode();
        }
        let malformed = WireError::Malformed(frame.kind);
        let batch: FactBatch2 = frame.decode()?;
        let base = dictionary(batch.dictionary).ok_or(malformed)?;
        let facts = unpack(base, &batch.data, MAX_FRAME_BYTES).ok_or(malformed)?;
        let facts: Vec<WireFact> = postcard::from_bytes(&facts).map_err(|_| malformed)?;
        if facts.len() > MAX_FACTS {
            return Err(malformed);
        }
        Ok(FactBatch { session: batch.session, outbox: batch.outbox, facts })
    }
}
