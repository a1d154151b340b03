//! The node's side of the sync stream.

use crate::limits::MAX_ENTRIES;
use crate::node::NodeView;
use crate::wire::{DropCause, Frame, Payload, SyncApplied, SyncAsk, SyncBatch, SyncDigests, SyncEntries, SyncState};
use crate::wire::{WireError, encode};
use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, Revision, content_hash};
use holdfast_mutation::broken;

/// A verified batch, for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemBatch {
    /// The hub's history.
    pub lineage: Lineage,
    /// The revision of the view.
    pub revision: Revision,
    /// Key, hash, revision and body of each new or changed object.
    pub puts: Vec<(String, ContentHash, Revision, Bytes)>,
    /// Keys that go.
    pub drops: Vec<String>,
    /// Keys that the hub does not have but may not delete: kept and reported.
    pub kept: Vec<String>,
    /// With this batch the node has the whole view.
    pub complete: bool,
}

/// What to do after a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Answer at once.
    Reply(Bytes),
    /// Make durable, then answer with the bytes.
    Persist(ItemBatch, Bytes),
    /// Both have the same; nothing to do.
    InSync(Revision),
}

/// Handles a frame from the hub.
///
/// # Errors
/// Malformed or unexpected frames, and bodies that do not fit their hash: the connection must end.
pub fn handle(frame: &Frame, lineage: Lineage, view: &dyn NodeView) -> Result<Step, WireError> {
    match frame.kind {
        SyncState::KIND => {
            let state: SyncState = frame.decode()?;
            if state.root == view.digest().root() {
                return Ok(Step::InSync(state.revision));
            }
            Ok(Step::Reply(encode(&SyncDigests { buckets: view.digest().buckets().to_vec() })))
        }
        SyncAsk::KIND => {
            let ask: SyncAsk = frame.decode()?;
            let mut entries = view.entries(ask.buckets);
            entries.truncate(MAX_ENTRIES);
            Ok(Step::Reply(encode(&SyncEntries { entries })))
        }
        SyncBatch::KIND => {
            let batch: SyncBatch = frame.decode()?;
            let reply = encode(&SyncApplied { id: batch.id });
            Ok(Step::Persist(verify(batch, lineage, view)?, reply))
        }
        other => Err(WireError::Unexpected(other)),
    }
}

fn verify(batch: SyncBatch, lineage: Lineage, view: &dyn NodeView) -> Result<ItemBatch, WireError> {
    let mut puts = Vec::with_capacity(batch.puts.len());
    for put in batch.puts {
        let body = decompress(&put.body).ok_or(WireError::Malformed(SyncBatch::KIND))?;
        if content_hash(&body) != put.hash {
            return Err(WireError::Malformed(SyncBatch::KIND));
        }
        puts.push((put.key, put.hash, put.revision, Bytes::from(body)));
    }
    let (mut drops, mut kept) = (Vec::new(), Vec::new());
    for drop in batch.drops {
        let may_go = match (drop.cause, view.assigned(&drop.key)) {
            (_, None) | (DropCause::Tombstone, _) => true,
            _ if broken("delete-by-absence") => true,
            (DropCause::Absent, Some((assigner, at))) => assigner == lineage && batch.revision >= at,
        };
        if may_go { drops.push(drop.key) } else { kept.push(drop.key) }
    }
    Ok(ItemBatch { lineage, revision: batch.revision, puts, drops, kept, complete: batch.complete })
}

/// Bounded by what an object may measure, whatever the frame claims.
fn decompress(data: &[u8]) -> Option<Vec<u8>> {
    zstd::bulk::decompress(data, crate::limits::MAX_FRAME_BYTES).ok()
}
