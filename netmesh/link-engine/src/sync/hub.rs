//! The hub's side of the sync stream.

use crate::hub::HubView;
use crate::limits::BATCH_BYTES;
use crate::wire::{
    DropCause, Frame, ItemDrop, ItemPut, Payload, SyncApplied, SyncAsk, SyncBatch, SyncDigests, SyncEntries, SyncState,
    WireError, encode,
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
    puts: Vec<(String, ContentHash)>,
    drops: Vec<String>,
    revision: Revision,
    complete: bool,
}

/// What the hub knows of one node's objects.
#[derive(Clone, Debug)]
pub struct HubSync {
    phase: Phase,
    /// What the node has, as far as it has said or acknowledged.
    known: BTreeMap<String, ContentHash>,
    in_flight: Option<InFlight>,
    next_id: u64,
    /// What the node kept and was told to drop in this connection.
    ended: BTreeSet<String>,
    /// Drops found by comparison, not seen happening.
    comparing: bool,
    applied: Revision,
    whole: bool,
}

impl Default for HubSync {
    fn default() -> HubSync {
        HubSync {
            phase: Phase::Idle,
            known: BTreeMap::new(),
            in_flight: None,
            next_id: 1,
            ended: BTreeSet::new(),
            comparing: false,
            applied: Revision(0),
            whole: false,
        }
    }
}

impl HubSync {
    /// Begins. A node whose root equals the view's has all of it.
    pub fn start(&mut self, node_root: u64, view: &dyn HubView) -> Bytes {
        let root = view.digest().root();
        if node_root == root {
            self.phase = Phase::Following;
            self.known = all(view);
            self.applied = view.revision();
            self.whole = true;
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
                self.known = if broken("everything-sent-again") { BTreeMap::new() } else { all(view) };
                self.known.retain(|key, _| differing & (1 << bucket_of(key)) == 0);
                self.phase = Phase::Entries(differing);
                Ok(Some(encode(&SyncAsk { buckets: differing })))
            }
            (SyncEntries::KIND, Phase::Entries(asked)) => {
                let entries: SyncEntries = frame.decode()?;
                for (key, hash) in entries.entries {
                    if asked & (1 << bucket_of(&key)) != 0 {
                        self.known.insert(key, hash);
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
            (kind, _) => Err(WireError::Unexpected(kind)),
        }
    }

    fn settle(&mut self, batch: InFlight) {
        self.known.extend(batch.puts);
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
        if self.phase != Phase::Following || self.in_flight.is_some() {
            return None;
        }
        let cause = if self.comparing { DropCause::Absent } else { DropCause::Tombstone };
        let mut drops: Vec<ItemDrop> = self
            .known
            .keys()
            .filter(|key| view.get(key).is_none() && !broken("tombstones-forgotten"))
            .map(|key| ItemDrop { key: key.clone(), cause })
            .collect();
        let is_new =
            |key: &&str| view.get(key).is_none() && !self.known.contains_key(*key) && !self.ended.contains(*key);
        let ended: Vec<String> = view.ended().filter(is_new).map(str::to_string).collect();
        drops.extend(ended.iter().map(|key| ItemDrop { key: key.clone(), cause: DropCause::Tombstone }));
        let mut lacking: Vec<(&str, ContentHash)> =
            view.entries().filter(|(key, hash)| self.known.get(*key) != Some(hash)).collect();
        // What pods need goes before the pods, so that no pod is there without its closure.
        lacking.sort_by_key(|(key, _)| (is_pod(key), *key));
        let mut batch =
            SyncBatch { id: self.next_id, revision: view.revision(), puts: Vec::new(), drops, complete: true };
        let mut size = 0;
        for (key, hash) in lacking {
            let Some(item) = view.get(key) else { continue };
            if size >= BATCH_BYTES {
                batch.complete = false;
                break;
            }
            size += item.body.len();
            let body = compress(&item.body);
            batch.puts.push(ItemPut { key: key.to_string(), hash, revision: item.revision, body });
        }
        if batch.puts.is_empty() && batch.drops.is_empty() && self.whole {
            self.applied = view.revision();
            return None;
        }
        self.ended.extend(ended);
        self.next_id += 1;
        self.in_flight = Some(InFlight {
            id: batch.id,
            puts: batch.puts.iter().map(|put| (put.key.clone(), put.hash)).collect(),
            drops: batch.drops.iter().map(|drop| drop.key.clone()).collect(),
            revision: batch.revision,
            complete: batch.complete,
        });
        Some(encode(&batch))
    }
}

fn is_pod(key: &str) -> bool {
    key.starts_with("/v1/pods/")
}

fn all(view: &dyn HubView) -> BTreeMap<String, ContentHash> {
    view.entries().map(|(key, hash)| (key.to_string(), hash)).collect()
}

fn differing(ours: &SetDigest, theirs: &[u64]) -> u64 {
    ours.buckets()
        .iter()
        .zip(theirs)
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .fold(0, |mask, (bucket, _)| mask | 1 << bucket)
}

fn compress(body: &[u8]) -> Bytes {
    // Level 1 cannot fail on memory; an empty result would fail the node's hash check loudly.
    Bytes::from(zstd::bulk::compress(body, 1).unwrap_or_default())
}
