//! Node and hub joined in memory: virtual time, any order between streams, in order within one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod deltas;
mod world;

use holdfast_core::{Lineage, Seq, Session};
use holdfast_link_engine::wire::{
    DropCause, FactAck, Heartbeat, HeartbeatAnswer, Open, PacedHeartbeat, Payload, SessionReady, SyncBatch2, SyncState,
    encode,
};
use holdfast_link_engine::{Frame, HubInput, HubOutput, NodeInput, NodeOutput, Stream, WireError, limits};
use proptest::prelude::*;
use std::time::Duration;
use world::{HubView, NodeStore, World, body};

const A: Lineage = Lineage(0xA);
const B: Lineage = Lineage(0xB);

fn world(seed: u64) -> World {
    World::new(seed, NodeStore::default(), HubView::new(A))
}

#[test]
fn a_handshake_makes_a_session_on_both_sides() {
    let mut world = world(1);
    world.run();
    assert_eq!(world.node_connected, Some(Session(1)));
    assert_eq!(world.hub_online, Some(Session(1)));
    assert_eq!((world.node.session, world.node.lineage), (Session(1), A));
    world.reconnect();
    world.run();
    assert_eq!(world.hub_online, Some(Session(2)));
}

#[test]
fn versions_without_overlap_are_refused_with_a_reason() {
    let mut world = world(2);
    world.hello.version_min = 7;
    world.hello.version_max = 9;
    world.reconnect_as_is();
    world.run();
    let (reason, refused) = world.node_closed.clone().unwrap();
    assert!(refused && reason.starts_with("Version: "), "{reason}");
    assert!(world.hub_online.is_none());
}

#[test]
fn a_cloned_card_is_refused() {
    let mut world = world(3);
    world.run();
    let clone = world.node.clone();
    world.reconnect();
    world.run();
    world.node = clone;
    world.reconnect();
    world.run();
    let (reason, refused) = world.node_closed.clone().unwrap();
    assert!(refused && reason.starts_with("DuplicateIdentity"), "{reason}");
}

#[test]
fn a_welcome_that_was_lost_is_no_duplicate() {
    let mut world = world(4);
    world.run();
    for _ in 0..3 {
        // The hub grants, the node never hears of it.
        world.reconnect();
        let issued = world.hub.issued;
        while world.hub.issued == issued {
            assert!(world.step());
        }
    }
    world.reconnect();
    world.run();
    assert!(world.node_closed.is_none());
    assert_eq!(world.hub_online, Some(Session(5)));
}

#[test]
fn silence_in_the_handshake_ends_it_on_both_sides() {
    let mut world = world(5);
    world.cut_wires();
    let due = world.node_link.next_deadline().unwrap();
    assert_eq!(due, limits::HANDSHAKE);
    assert!(world.node_input(due - Duration::from_nanos(1), NodeInput::Tick).is_empty());
    assert!(matches!(&world.node_input(due, NodeInput::Tick)[..], [NodeOutput::Close { refused: false, .. }]));
    let due = world.hub_link.next_deadline().unwrap();
    assert!(matches!(&world.hub_input(due, HubInput::Tick)[..], [HubOutput::Close(_)]));
    assert_eq!(world.hub_link.next_deadline(), None);
}

#[test]
fn equal_sets_cost_one_frame() {
    let mut world = world(6);
    for n in 0..50 {
        world.hub.put(&format!("/v1/configmaps/ns/{n}"), body(n, 10));
        world.node.take(&world.hub.clone(), &format!("/v1/configmaps/ns/{n}"));
    }
    world.reconnect();
    world.run();
    assert_eq!(world.sync_from_hub, [SyncState::KIND]);
    assert_eq!(world.in_sync, Some(world.hub.revision));
    assert_eq!(world.applied, Some(world.hub.revision));
}

#[test]
fn changes_follow_as_they_come() {
    let mut world = world(7);
    world.hub.put("/v1/pods/ns/a", body(1, 10));
    world.run();
    world.hub.put("/v1/pods/ns/b", body(2, 10));
    world.hub.remove("/v1/pods/ns/a");
    world.view_changed();
    world.run();
    world.assert_equal();
    assert_eq!(world.drops, [("/v1/pods/ns/a".to_string(), DropCause::Tombstone)]);
    assert_eq!(world.applied, Some(world.hub.revision));
    let frames = world.sync_from_hub.len();
    world.view_changed();
    world.run();
    assert_eq!(world.sync_from_hub.len(), frames, "nothing changed, nothing is said");
}

#[test]
fn a_change_during_a_batch_is_not_lost() {
    let mut world = world(8);
    world.hub.put("/v1/pods/ns/a", body(1, 10));
    while !world.sync_from_hub.contains(&SyncBatch2::KIND) {
        assert!(world.step());
    }
    // In flight: the object changes, goes and comes back.
    world.hub.put("/v1/pods/ns/a", body(2, 10));
    world.hub.put("/v1/pods/ns/c", body(3, 10));
    world.view_changed();
    world.run();
    world.assert_equal();
}

#[test]
fn absence_deletes_only_within_the_lineage_that_assigned() {
    let mut world = world(10);
    world.hub.put("/v1/pods/ns/shared", body(1, 10));
    world.node.put("/v1/pods/ns/ours", body(2, 10), A, 1);
    world.node.put("/v1/pods/ns/other", body(3, 10), B, 1);
    world.node.put("/v1/pods/ns/newer", body(4, 10), A, 1_000_000);
    world.reconnect();
    world.run();
    assert_eq!(world.node.keys(), ["/v1/pods/ns/newer", "/v1/pods/ns/other", "/v1/pods/ns/shared"]);
    assert_eq!(world.kept, ["/v1/pods/ns/newer", "/v1/pods/ns/other"]);
    assert_eq!(world.in_sync, Some(world.hub.revision));
    // Not asked again, whatever else changes.
    let frames = world.sync_from_hub.len();
    for _ in 0..3 {
        world.view_changed();
        world.run();
    }
    assert_eq!(world.sync_from_hub.len(), frames);
    world.hub.put("/v1/pods/ns/more", body(5, 10));
    world.view_changed();
    world.run();
    assert_eq!(world.sync_from_hub.len(), frames + 1);
    assert_eq!(world.kept.len(), 2);
    // A new connection asks once more, and that is all.
    world.reconnect();
    world.run();
    assert_eq!(world.kept.len(), 4);
    // The hub knows it again: it is adopted.
    world.hub.put("/v1/pods/ns/other", body(3, 10));
    world.hub.put("/v1/pods/ns/newer", body(4, 11));
    world.view_changed();
    world.run();
    world.assert_equal();
}

#[test]
fn facts_go_in_order_one_batch_at_a_time() {
    let mut world = world(11);
    for n in 1..=200 {
        world.node.fact(n);
    }
    world.reconnect();
    world.run();
    assert_eq!(world.hub.facts, (1..=200).collect::<Vec<u64>>());
    assert_eq!(world.fact_batches, [64, 64, 64, 8]);
    assert_eq!(world.most_in_flight, 1);
    assert_eq!(world.node.acknowledged, Seq(200));
    world.node.fact(201);
    world.facts_changed();
    world.facts_changed();
    world.run();
    assert_eq!(world.hub.facts.len(), 201);
}

#[test]
fn after_a_lost_ack_the_node_goes_on_from_the_mark() {
    let mut world = world(12);
    for n in 1..=100 {
        world.node.fact(n);
    }
    world.reconnect();
    while world.hub.facts.len() < 64 {
        assert!(world.step());
    }
    world.reconnect();
    world.run();
    assert_eq!(world.hub.facts, (1..=100).collect::<Vec<u64>>(), "each fact once");
}

#[test]
fn facts_that_overtake_the_session_wait_for_it() {
    let mut world = world(13);
    world.node.fact(1);
    world.reconnect();
    world.hold(Stream::Control, SessionReady::KIND);
    world.run();
    assert!(world.hub_online.is_none() && world.hub.facts.is_empty());
    world.release();
    world.run();
    assert_eq!(world.hub.facts, [1]);
}

#[test]
fn a_second_early_batch_is_a_violation() {
    let mut world = world(14);
    world.node.fact(1);
    world.reconnect();
    world.hold(Stream::Control, SessionReady::KIND);
    world.run();
    let frame = world::frame(&world.last_facts.clone().unwrap());
    let outputs = world.hub_input(Duration::ZERO, HubInput::Frame(Stream::Facts, frame));
    assert!(matches!(&outputs[..], [HubOutput::Close(_)]), "{outputs:?}");
}

#[test]
fn heartbeats_keep_their_interval_and_are_answered() {
    let mut world = world(15);
    world.run();
    let interval = world::HEARTBEAT;
    let due = world.node_link.next_deadline().unwrap();
    assert_eq!(due, world.now + interval);
    assert!(world.node_input(due - Duration::from_millis(1), NodeInput::Tick).is_empty());
    world.advance(interval);
    assert_eq!(world.node_link.next_deadline(), Some(due + interval));
    assert_eq!((world.alive_at_hub, world.alive_at_node), (1, 1));
    // Foreign and broken datagrams are as good as lost.
    for data in [&b""[..], b"x", &[50, 0, 255, 255, 255, 255], &[0; 64]] {
        let outputs = world.hub_input(due, HubInput::Datagram(data.to_vec().into(), 5));
        assert!(outputs.is_empty(), "{outputs:?}");
        assert!(world.node_input(due, NodeInput::Datagram(data.to_vec().into())).is_empty());
    }
    world.drop_datagrams = true;
    world.advance(interval);
    assert_eq!(world.alive_at_hub, 1);
    world.drop_datagrams = false;
    world.advance(limits::ANSWER);
    assert_eq!(world.alive_at_hub, 2, "it is sent again");
    world.drop_datagrams = true;
    world.advance(interval * 2 + limits::SILENCE);
    let (reason, refused) = world.node_closed.clone().unwrap();
    assert!(!refused && reason.contains("silent"), "{reason}");
}

#[test]
fn the_interval_rises_to_what_the_hub_allows_and_the_hub_is_told_before() {
    let mut world = world(15);
    world.run();
    let longest = Duration::from_millis(u64::from(world::LIMITS.longest_ms));
    let mut intervals = Vec::new();
    for _ in 0..8 {
        let before = world.pace.unwrap().interval;
        world.advance(world.node_link.next_deadline().unwrap() - world.now);
        let after = world.pace.unwrap().interval;
        assert!(world.promised >= after, "{:?} was promised, then it was {after:?}", world.promised);
        intervals.push(before.as_millis());
    }
    assert_eq!(intervals, [25_000, 25_000, 37_500, 37_500, 56_250, 56_250, 60_000, 60_000]);
    assert!(world.promised == longest && world.alive_at_hub == 8 && world.alive_at_node == 8);
}

#[test]
fn an_older_node_is_answered_in_its_own_words() {
    let mut world = world(15);
    world.run();
    let beat = Heartbeat { session: Session(1), count: 3, clock_micros: 4 };
    let outputs = world.hub_input(Duration::ZERO, HubInput::Datagram(encode(&beat), 9));
    let answer = Heartbeat { clock_micros: 8, ..beat };
    let alive = HubOutput::Alive { clock_micros: 4, interval: world::HEARTBEAT };
    assert_eq!(outputs, [alive, HubOutput::SendDatagram(encode(&answer))]);
    let beat = PacedHeartbeat { session: Session(1), count: 3, clock_micros: 4, interval_ms: u32::MAX };
    let outputs = world.hub_input(Duration::ZERO, HubInput::Datagram(encode(&beat), 9));
    let answer = HeartbeatAnswer { session: Session(1), count: 3, clock_micros: 8, address: 9 };
    // More than the hub allows counts as that.
    let alive = HubOutput::Alive { clock_micros: 4, interval: Duration::from_secs(60) };
    assert_eq!(outputs, [alive, HubOutput::SendDatagram(encode(&answer))]);
}

fn raw(kind: u16, payload: &[u8]) -> Frame {
    Frame { kind, payload: payload.to_vec().into() }
}

#[test]
fn unknown_frames_are_skipped_everywhere() {
    let mut world = world(16);
    world.noise = true;
    world.hub.put("/v1/pods/ns/a", body(1, 10));
    world.node.fact(1);
    world.reconnect();
    world.run();
    world.assert_equal();
    assert_eq!(world.hub.facts, [1]);
    for stream in [Stream::Control, Stream::Sync, Stream::Facts] {
        let now = world.now;
        assert_eq!(world.hub_input(now, HubInput::Frame(stream, raw(999, b"?"))), []);
        assert_eq!(world.node_input(now, NodeInput::Frame(stream, raw(999, b"?"))), []);
    }
}

#[test]
fn malformed_and_misplaced_frames_end_the_connection() {
    for (stream, kind) in [(Stream::Control, 12), (Stream::Sync, 24), (Stream::Sync, 25), (Stream::Facts, 31)] {
        let mut world = world(17);
        world.run();
        let now = world.now;
        let outputs = world.hub_input(now, HubInput::Frame(stream, raw(kind, &[0xFF; 3])));
        assert!(matches!(&outputs[..], [HubOutput::Close(_)]), "{kind}: {outputs:?}");
        assert_eq!(world.hub_input(now, HubInput::ViewChanged), [], "closed is closed");
        let outputs = world.node_input(now, NodeInput::Frame(stream, raw(kind, &[0xFF; 3])));
        assert!(matches!(&outputs[..], [NodeOutput::Close { refused: false, .. }]), "{kind}: {outputs:?}");
    }
}

#[test]
fn a_body_that_does_not_fit_its_hash_is_not_taken() {
    let mut world = world(18);
    world.run();
    let mut batch = world::batch(&world.hub, "/v1/pods/ns/x", b"content");
    batch.puts[0].hash.0 ^= 1;
    let now = world.now;
    let outputs = world.node_input(now, NodeInput::Frame(Stream::Sync, world::frame(&encode(&batch))));
    assert!(matches!(&outputs[..], [NodeOutput::Close { .. }]), "{outputs:?}");
}

#[test]
fn an_ack_for_another_outbox_is_ignored() {
    let mut world = world(19);
    world.node.fact(1);
    world.run();
    let now = world.now;
    let ack = FactAck { outbox: holdfast_core::OutboxGen(12345), seq: Seq(9) };
    let outputs = world.node_input(now, NodeInput::Frame(Stream::Facts, world::frame(&encode(&ack))));
    assert!(!outputs.iter().any(|output| matches!(output, NodeOutput::Acknowledged(_))));
}

#[test]
fn oversized_frames_stop_the_reader_before_they_are_read() {
    let mut reader = holdfast_link_engine::FrameReader::default();
    let length = limits::MAX_FRAME_BYTES as u32 + 1;
    reader.push(&[&[77u8, 77][..], &length.to_le_bytes()].concat());
    assert_eq!(reader.next_frame(), Err(WireError::TooLarge(length as usize)));
    let mut reader = holdfast_link_engine::FrameReader::default();
    let open = encode(&Open { stream: Stream::Facts });
    for byte in [&[99u8, 9, 2, 0, 0, 0, 1, 2][..], &open].concat() {
        assert_eq!(reader.next_frame().unwrap(), None);
        reader.push(&[byte]);
    }
    assert_eq!(reader.next_frame().unwrap().unwrap().kind, Open::KIND);
}

fn sets() -> impl Strategy<Value = Vec<(u8, u8, u8)>> {
    // (object, version at the hub or 0, version at the node or 0)
    proptest::collection::vec((0..80u8, 0..4u8, 0..4u8), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn any_two_states_converge_in_three_round_trips(sets in sets(), seed in any::<u64>()) {
        let mut world = world(seed);
        for (object, at_hub, at_node) in sets {
            let group = if object % 3 == 0 { "pods" } else { "configmaps" };
            let key = format!("/v1/{group}/ns/{object}");
            let size = if object == 7 { 700 << 10 } else { 20 };
            world.hub.remove(&key);
            world.node.remove(&key);
            if at_hub > 0 {
                world.hub.put(&key, body(u64::from(at_hub), size));
            }
            if at_node > 0 {
                world.node.put(&key, body(u64::from(at_node), size), A, 1);
            }
        }
        world.reconnect();
        world.run();
        world.assert_equal();
        prop_assert!(world.node_closed.is_none());
        let more_batches = world.batches.len().saturating_sub(1);
        prop_assert!(world.sync_from_hub.len() - more_batches <= 3, "{:?}", world.sync_from_hub);
        prop_assert_eq!(world.in_sync, Some(world.hub.revision));
        prop_assert_eq!(world.applied, Some(world.hub.revision));
    }

    #[test]
    fn no_bytes_make_an_engine_panic(kind in 0..70u16, payload in proptest::collection::vec(any::<u8>(), 0..64), ready in any::<bool>()) {
        for stream in [Stream::Control, Stream::Sync, Stream::Facts] {
            let mut world = world(1);
            if ready {
                world.run();
            }
            let now = world.now;
            world.hub_input(now, HubInput::Frame(stream, raw(kind, &payload)));
            world.node_input(now, NodeInput::Frame(stream, raw(kind, &payload)));
        }
    }
}
