//! The hub's side of the sync stream.

use super::known::{Held, Known, size};
use super::order::{Lacking, is_pod, order};
use crate::hub::HubView;
use crate::limits::{BATCH_BYTES, BATCH_WIRE_BYTES};
use crate::wire::{
    DropCause, Frame, ItemBody, ItemDrop, ItemPut, ItemPut2, Payload, SyncApplied, SyncAsk, SyncBatch, SyncBatch2,
    SyncDigests, SyncEntries, SyncState, SyncUnfit, WireError, encode,
};
use bytes::Bytes;
use holdfast_core::digest::{DIGEST_BUCKETS, bucket_of};
use holdfast_core::{ContentHash, Revision, SetDigest};
use holdfast_mutation::broken;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// The node has not been compared yet.
    Idle,
    /// Waiting for the digests.
    Digests,
    /// Waiting for the entries of these buckets.
    Entries(u64),
    /// Known what the node has; changes follow.
    Following,
}

#[derive(Clone, Debug)]
struct InFlight {
    id: u64,
    puts: BTreeMap<String, Held>,
    drops: Vec<String>,
    revision: Revision,
    complete: bool,
    /// It may come back as unfit.
    has_deltas: bool,
}

/// What the hub knows of one node's objects.
#[derive(Clone, Debug)]
pub struct HubSync {
    version: u16,
    phase: Phase,
    known: Known,
    in_flight: Option<InFlight>,
    next_id: u64,
    /// What the node kept and was told to drop in this connection.
    ended: BTreeSet<String>,
    /// Drops found by comparison, not seen happening.
    comparing: bool,
    applied: Revision,
    whole: bool,
    /// Deltas have done well so far.
    deltas: bool,
}

impl HubSync {
    /// In this version of the protocol.
    pub fn new(version: u16) -> HubSync {
        HubSync {
            version,
            phase: Phase::Idle,
            known: Known::default(),
            in_flight: None,
            next_id: 1,
            ended: BTreeSet::new(),
            comparing: false,
            applied: Revision(0),
            whole: false,
            deltas: version >= 2,
        }
    }

    /// Begins, or begins anew. A node whose root equals the view's has all of it.
    pub fn start(&mut self, node_root: u64, view: &dyn HubView) -> Bytes {
        let root = view.digest().root();
        self.whole = node_root == root;
        if self.whole {
            self.phase = Phase::Following;
            self.known = Known::all(view);
            self.applied = view.revision();
        } else {
            self.phase = Phase::Digests;
        }
        encode(&SyncState { revision: view.revision(), root })
    }

    /// The revision whose whole view the node has durably; 0 before the first.
    pub fn applied(&self) -> Revision {
        self.applied
    }

    /// Handles a frame of the node; the frame to send, if any.
    ///
    /// # Errors
    /// Malformed or unexpected frames.
    pub fn handle(&mut self, frame: &Frame, view: &dyn HubView) -> Result<Option<Bytes>, WireError> {
        match (frame.kind, self.phase.clone()) {
            (SyncDigests::KIND, Phase::Digests) => {
                let digests: SyncDigests = frame.decode()?;
                if digests.buckets.len() != DIGEST_BUCKETS {
                    return Err(WireError::Malformed(frame.kind));
                }
                let differing = differing(view.digest(), &digests.buckets);
                // Buckets that agree hold what the view holds.
                self.known = if broken("everything-sent-again") { Known::default() } else { Known::all(view) };
                self.known.retain(|key| differing & (1 << bucket_of(key)) == 0);
                self.phase = Phase::Entries(differing);
                Ok(Some(encode(&SyncAsk { buckets: differing })))
            }
            (SyncEntries::KIND, Phase::Entries(asked)) => {
                let entries: SyncEntries = frame.decode()?;
                for (key, hash) in entries.entries {
                    if asked & (1 << bucket_of(&key)) != 0 {
                        // The body comes with the next look at the view, if that has it.
                        self.known.insert(key, Held { hash, body: None });
                    }
                }
                self.phase = Phase::Following;
                self.comparing = true;
                Ok(self.poll(view))
            }
            (SyncApplied::KIND, Phase::Following) => {
                let applied: SyncApplied = frame.decode()?;
                match self.in_flight.take() {
                    Some(batch) if batch.id == applied.id => self.settle(batch),
                    _ => return Err(WireError::Unexpected(frame.kind)),
                }
                Ok(self.poll(view))
            }
            (SyncUnfit::KIND, Phase::Following) => {
                let unfit: SyncUnfit = frame.decode()?;
                match self.in_flight.take() {
                    Some(batch) if batch.id == unfit.id && batch.has_deltas => {}
                    _ => return Err(WireError::Unexpected(frame.kind)),
                }
                // What was taken for known is not so. Without deltas this cannot happen again.
                self.deltas = false;
                Ok(Some(self.start(unfit.root, view)))
            }
            (kind, _) => Err(WireError::Unexpected(kind)),
        }
    }

    fn settle(&mut self, batch: InFlight) {
        for (key, held) in batch.puts {
            self.known.insert(key, held);
        }
        for key in batch.drops {
            // A node may keep what we may not delete; it is forgotten here, as asking again would never end.
            self.known.remove(&key);
        }
        if batch.complete {
            self.applied = batch.revision;
            self.comparing = false;
            self.whole = true;
        }
    }

    /// The next batch, when the node lacks something and none is under way.
    pub fn poll(&mut self, view: &dyn HubView) -> Option<Bytes> {
        if self.phase != Phase::Following {
            return None;
        }
        let current: BTreeMap<&str, ContentHash> = view.entries().collect();
        self.known.follow(view, &current);
        if self.in_flight.is_some() {
            return None;
        }
        let mut lacking: Vec<Lacking<'_>> = current
            .iter()
            .filter(|(key, hash)| self.known.hash(key) != Some(**hash))
            .filter_map(|(key, hash)| Some(Lacking { key, hash: *hash, item: view.get(key)? }))
            .collect();
        let urgent = order(&mut lacking, |key| self.known.hash(key).is_some(), view);
        // What is urgent is durable as soon as it is there, not only with the bulk behind it.
        let next = if urgent > 0 { &lacking[..urgent] } else { &lacking[..] };
        let (puts, batch) = self.fill(next);
        let left = &lacking[puts.len()..];
        // What a pod's old version may need goes with it, not before it.
        let pods_only = left.iter().any(|lacks| is_pod(lacks.key) && self.known.hash(lacks.key).is_some());
        let cause = if self.comparing { DropCause::Absent } else { DropCause::Tombstone };
        let mut drops: Vec<ItemDrop> = self
            .known
            .keys()
            .filter(|key| !current.contains_key(key) && !broken("tombstones-forgotten"))
            .filter(|key| is_pod(key) || !pods_only)
            .map(|key| ItemDrop { key: key.to_string(), cause })
            .collect();
        let is_new =
            |key: &&str| view.get(key).is_none() && self.known.hash(key).is_none() && !self.ended.contains(*key);
        let ended: Vec<String> = view.ended().filter(is_new).map(str::to_string).collect();
        drops.extend(ended.iter().map(|key| ItemDrop { key: key.clone(), cause: DropCause::Tombstone }));
        if puts.is_empty() && drops.is_empty() && self.whole {
            self.applied = view.revision();
            return None;
        }
        self.ended.extend(ended);
        let frame = SyncBatch2 { id: self.next_id, revision: view.revision(), puts, drops, complete: left.is_empty() };
        self.next_id += 1;
        self.in_flight = Some(InFlight {
            id: frame.id,
            puts: batch,
            drops: frame.drops.iter().map(|drop| drop.key.clone()).collect(),
            revision: frame.revision,
            complete: frame.complete,
            has_deltas: frame.puts.iter().any(|put| matches!(put.body, ItemBody::Delta { .. })),
        });
        Some(if self.version >= 2 { encode(&frame) } else { encode(&first_version(frame)) })
    }

    /// As much from the front of what lacks as a batch takes, at least one: for the wire, and to remember.
    fn fill(&self, lacking: &[Lacking<'_>]) -> (Vec<ItemPut2>, BTreeMap<String, Held>) {
        let (mut puts, mut batch) = (Vec::new(), BTreeMap::new());
        let (mut raw, mut wire) = (0, 0);
        for Lacking { key, hash, item } in lacking {
            if raw >= BATCH_BYTES {
                break;
            }
            let body = if self.version >= 2 {
                self.known.body(&batch, key, &item.body, self.deltas)
            } else {
                ItemBody::Zstd { dictionary: 0, data: crate::pack::pack(&[], &item.body) }
            };
            let bytes = key.len() + size(&body);
            if wire + bytes > BATCH_WIRE_BYTES && !puts.is_empty() {
                break;
            }
            (raw, wire) = (raw + item.body.len(), wire + bytes);
            puts.push(ItemPut2 { key: key.to_string(), hash: *hash, revision: item.revision, body });
            batch.insert(key.to_string(), Held { hash: *hash, body: Some(item.body.clone()) });
        }
        (puts, batch)
    }
}

/// The batch as version 1 has it. Its bodies stand by themselves.
fn first_version(batch: SyncBatch2) -> SyncBatch {
    let put = |put: ItemPut2| {
        let (ItemBody::Zstd { data, .. } | ItemBody::Delta { data, .. }) = put.body;
        ItemPut { key: put.key, hash: put.hash, revision: put.revision, body: data }
    };
    SyncBatch {
        id: batch.id,
        revision: batch.revision,
        puts: batch.puts.into_iter().map(put).collect(),
        drops: batch.drops,
        complete: batch.complete,
    }
}

fn differing(ours: &SetDigest, theirs: &[u64]) -> u64 {
    ours.buckets()
        .iter()
        .zip(theirs)
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .fold(0, |mask, (bucket, _)| mask | 1 << bucket)
}
