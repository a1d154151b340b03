//! Reads what goes over the wire into frames, on its own.

use crate::ledger::{Ledger, NodeNo, Seen, Way};
use holdfast_link_engine::FrameReader;
use holdfast_sim_world::{Net, TapSide};
use std::collections::BTreeMap;

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
