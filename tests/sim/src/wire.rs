//! Reads what goes over the wire into frames, on its own.

use crate::ledger::{Ledger, NodeNo, Seen, Way};
use holdfast_core::ContentHash;
use holdfast_link_engine::wire::{FactBatch, ItemBody, ItemDrop, SyncBatch, SyncBatch2, VERSION};
use holdfast_link_engine::{Frame, FrameReader};
use holdfast_sim_world::{Net, TapSide};
use std::collections::{BTreeMap, BTreeSet};

/// The hub's number in the network.
pub const HUB: u32 = 0;

/// Shows every frame of the network to the ledger.
pub fn watch(net: &Net, ledger: &Ledger) {
    let ledger = ledger.clone();
    let mut readers: BTreeMap<(u64, u64, u32, bool), FrameReader> = BTreeMap::new();
    net.tap(move |tap| {
        let node: NodeNo = if tap.from == HUB { tap.to } else { tap.from };
        let way = if tap.from == HUB { Way::Down } else { Way::Up };
        let (connection, side) = (tap.connection, tap.side);
        let key = (tap.connection, tap.stream.unwrap_or(0), tap.from, side == TapSide::Delivered);
        let mut datagram = FrameReader::default();
        let reader = match tap.stream {
            Some(_) => readers.entry(key).or_default(),
            None => &mut datagram,
        };
        reader.push(tap.data);
        while let Ok(Some(frame)) = reader.next_frame() {
            ledger.see(&Seen::Frame { node, connection, way, side, frame: &frame });
        }
    });
}

/// A batch of objects, of whatever version.
pub struct Batch {
    /// Its number within the connection.
    pub id: u64,
    /// Key and hash of each object.
    pub puts: Vec<(String, ContentHash)>,
    /// Key and hash of what the node must have already, so that it can make the objects of it.
    pub bases: Vec<(String, ContentHash)>,
    /// Objects that go.
    pub drops: Vec<ItemDrop>,
}

/// Reads a frame that is a batch of objects.
pub fn batch(frame: &Frame) -> Option<Batch> {
    if let Ok(batch) = frame.decode::<SyncBatch>() {
        let puts = batch.puts.into_iter().map(|put| (put.key, put.hash)).collect();
        return Some(Batch { id: batch.id, puts, bases: Vec::new(), drops: batch.drops });
    }
    let batch: SyncBatch2 = frame.decode().ok()?;
    let (mut puts, mut bases) = (Vec::new(), Vec::new());
    let mut before = BTreeSet::new();
    for put in batch.puts {
        if let ItemBody::Delta { base_key, base_hash, .. } = put.body {
            let base = (if base_key.is_empty() { put.key.clone() } else { base_key }, base_hash);
            if !before.contains(&base) {
                bases.push(base);
            }
        }
        before.insert((put.key.clone(), put.hash));
        puts.push((put.key, put.hash));
    }
    Some(Batch { id: batch.id, puts, bases, drops: batch.drops })
}

/// Reads a frame that is a batch of facts.
pub fn facts(frame: &Frame) -> Option<FactBatch> {
    FactBatch::read(frame, VERSION).ok()
}
