//! The node's side of the sync stream.

use crate::dictionary::dictionary;
use crate::limits::{MAX_BATCH_BODIES, MAX_ENTRIES, MAX_FRAME_BYTES};
use crate::node::NodeView;
use crate::pack::unpack;
use crate::wire::{
    DropCause, Frame, ItemBody, ItemDrop, ItemPut, ItemPut2, Payload, SyncApplied, SyncAsk, SyncBatch, SyncBatch2,
    SyncDigests, SyncEntries, SyncState, SyncUnfit, WireError, encode,
};
use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, Revision, content_hash};
use holdfast_mutation::broken;
use std::collections::BTreeMap;

/// Key, hash, revision and body of a new or changed object.
pub type Put = (String, ContentHash, Revision, Bytes);

/// A verified batch, for the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemBatch {
    /// The hub's history.
    pub lineage: Lineage,
    /// The revision of the view.
    pub revision: Revision,
    /// New and changed objects.
    pub puts: Vec<Put>,
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

/// Handles a frame from the hub, in this version of the protocol.
///
/// # Errors
/// Malformed or unexpected frames, and bodies by themselves that do not fit their hash: the connection must end.
pub fn handle(frame: &Frame, version: u16, lineage: Lineage, view: &dyn NodeView) -> Result<Step, WireError> {
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
            let SyncBatch { id, revision, puts, drops, complete } = frame.decode()?;
            let puts = whole(puts)?;
            let (drops, kept) = judge(drops, revision, lineage, view);
            let batch = ItemBatch { lineage, revision, puts, drops, kept, complete };
            Ok(Step::Persist(batch, encode(&SyncApplied { id })))
        }
        SyncBatch2::KIND if version >= 2 => {
            let SyncBatch2 { id, revision, puts, drops, complete } = frame.decode()?;
            let Some(puts) = restored(puts, view)? else {
                return Ok(Step::Reply(encode(&SyncUnfit { id, root: view.digest().root() })));
            };
            let (drops, kept) = judge(drops, revision, lineage, view);
            let batch = ItemBatch { lineage, revision, puts, drops, kept, complete };
            Ok(Step::Persist(batch, encode(&SyncApplied { id })))
        }
        other => Err(WireError::Unexpected(other)),
    }
}

/// The bodies of a batch of version 1.
fn whole(puts: Vec<ItemPut>) -> Result<Vec<Put>, WireError> {
    let restore = |put: ItemPut| {
        let body = unpack(&[], &put.body, MAX_FRAME_BYTES).filter(|body| content_hash(body) == put.hash);
        Ok((put.key, put.hash, put.revision, body.ok_or(WireError::Malformed(SyncBatch::KIND))?))
    };
    puts.into_iter().map(restore).collect()
}

/// The bodies of a batch; `None` when a delta leads to none, for want of its base or because the hub took another for it.
fn restored(puts: Vec<ItemPut2>, view: &dyn NodeView) -> Result<Option<Vec<Put>>, WireError> {
    let mut room = MAX_BATCH_BODIES;
    let mut before: BTreeMap<String, (ContentHash, Bytes)> = BTreeMap::new();
    let mut bodies = Vec::new();
    for put in puts {
        let most = room.min(MAX_FRAME_BYTES);
        let fits = |body: &Bytes| content_hash(body) == put.hash;
        let delta_fits = |body: &Bytes| fits(body) || broken("delta-unverified");
        let body = match &put.body {
            ItemBody::Zstd { dictionary: number, data } => {
                let body = dictionary(*number).and_then(|base| unpack(base, data, most)).filter(fits);
                body.ok_or(WireError::Malformed(SyncBatch2::KIND))?
            }
            ItemBody::Delta { base_key, base_hash, data } => {
                let key = if base_key.is_empty() { &put.key } else { base_key };
                let base = before.get(key).filter(|(hash, _)| hash == base_hash).map(|(_, body)| body.clone());
                let base = base.or_else(|| view.body(key, *base_hash));
                match base.and_then(|base| unpack(&base, data, most)).filter(delta_fits) {
                    Some(body) => body,
                    None => return Ok(None),
                }
            }
        };
        room -= body.len();
        before.insert(put.key.clone(), (put.hash, body.clone()));
        bodies.push((put.key, put.hash, put.revision, body));
    }
    Ok(Some(bodies))
}

/// What goes, and what stays because the hub may not delete it.
fn judge(
    drops: Vec<ItemDrop>,
    revision: Revision,
    lineage: Lineage,
    view: &dyn NodeView,
) -> (Vec<String>, Vec<String>) {
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    for drop in drops {
        let may_go = match (drop.cause, view.assigned(&drop.key)) {
            (_, None) | (DropCause::Tombstone, _) => true,
            _ if broken("delete-by-absence") => true,
            (DropCause::Absent, Some((assigner, at))) => assigner == lineage && revision >= at,
        };
        if may_go { gone.push(drop.key) } else { kept.push(drop.key) }
    }
    (gone, kept)
}
