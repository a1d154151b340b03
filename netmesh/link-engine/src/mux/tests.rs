//! Two ends in virtual time, and one end with a peer that breaks the rules.

use super::limits::{
    CONNECTION_CREDIT, CONNECTION_WINDOW, DATAGRAM_BYTES, DATAGRAM_COST, DIALER_STREAMS, LISTENER_STREAMS,
    PAYLOAD_BYTES, SEND_BYTES, STREAM_WINDOW,
};
use super::wire::MuxFrame;
use super::*;
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;

const IDLE: Duration = Duration::from_secs(40);
const NOW: Duration = Duration::from_secs(1000);

struct Pair {
    now: Duration,
    node: Mux,
    hub: Mux,
}

impl Pair {
    fn new() -> Pair {
        Pair { now: NOW, node: Mux::new(Side::Dialer, NOW, IDLE), hub: Mux::new(Side::Listener, NOW, IDLE) }
    }

    /// Carries bytes both ways until nothing is left to carry.
    fn settle(&mut self) {
        loop {
            let to_hub = carry(&mut self.node, &mut self.hub, self.now, usize::MAX);
            let to_node = carry(&mut self.hub, &mut self.node, self.now, usize::MAX);
            if to_hub + to_node == 0 {
                return;
            }
        }
    }

    fn stream(&mut self) -> (u32, u32) {
        let near = self.node.open().unwrap();
        self.settle();
        (near, self.hub.accept().unwrap())
    }
}

/// Carries what `from` has to say, once, in pieces of `piece` bytes. How many bytes it was.
fn carry(from: &mut Mux, to: &mut Mux, now: Duration, piece: usize) -> usize {
    let mut out = BytesMut::new();
    from.transmit(&mut out, 1);
    out.chunks(piece.min(out.len()).max(1)).for_each(|piece| to.receive(now, piece));
    out.len()
}

fn write_all(mux: &mut Mux, stream: u32, data: &[u8]) -> usize {
    let data = Bytes::copy_from_slice(data);
    let mut taken = 0;
    while let Write::Taken(more) = mux.write(stream, &data.slice(taken..)) {
        taken += more;
    }
    taken
}

fn read_all(mux: &mut Mux, stream: u32) -> (Vec<u8>, Read) {
    let mut all = Vec::new();
    loop {
        match mux.read(stream, 1000) {
            Read::Data(piece) => all.extend_from_slice(&piece),
            last => return (all, last),
        }
    }
}

/// What the hub says of a peer that sends these frames.
fn broken(frames: &[MuxFrame]) -> String {
    broken_to(Side::Listener, frames)
}

fn broken_to(side: Side, frames: &[MuxFrame]) -> String {
    let mut mux = Mux::new(side, NOW, IDLE);
    let mut bytes = BytesMut::new();
    frames.iter().for_each(|frame| frame.encode(&mut bytes));
    mux.receive(NOW, &bytes);
    assert!(mux.wakes().contains(&Wake::All));
    told(&mut mux)
}

/// The reason that it gives, which must be the one that the peer hears, and its last word.
fn told(mux: &mut Mux) -> String {
    let Some(Ended::Broken(reason)) = mux.ended().cloned() else { panic!("it goes on: {:?}", mux.ended()) };
    let (mut out, mut expected) = (BytesMut::new(), BytesMut::new());
    mux.transmit(&mut out, usize::MAX);
    MuxFrame::Close { reason: Bytes::from(reason.clone()) }.encode(&mut expected);
    assert_eq!(out, expected);
    assert!(!mux.wants_transmit());
    reason
}

#[test]
fn streams_of_a_higher_priority_go_first() {
    let mut pair = Pair::new();
    let (log, log_there) = pair.stream();
    let (facts, facts_there) = pair.stream();
    pair.node.set_priority(facts, 2);
    write_all(&mut pair.node, log, &[1; SEND_BYTES]);
    write_all(&mut pair.node, facts, &[2; 2 * PAYLOAD_BYTES]);
    let got = |pair: &mut Pair, stream| read_all(&mut pair.hub, stream).0.len();
    for _ in 0..2 {
        carry(&mut pair.node, &mut pair.hub, NOW, usize::MAX);
    }
    assert_eq!((got(&mut pair, facts_there), got(&mut pair, log_there)), (2 * PAYLOAD_BYTES, 0));
    pair.settle();
    assert_eq!(got(&mut pair, log_there), SEND_BYTES);
}

#[test]
fn both_ends_open_streams_and_end_them_in_order() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    assert_eq!(write_all(&mut pair.node, near, b"question"), 8);
    pair.node.finish(near);
    pair.settle();
    assert_eq!(read_all(&mut pair.hub, far), (b"question".to_vec(), Read::End));
    assert_eq!(write_all(&mut pair.hub, far, b"answer"), 6);
    pair.hub.release_sender(far);
    pair.hub.release_receiver(far);
    pair.settle();
    assert_eq!(read_all(&mut pair.node, near), (b"answer".to_vec(), Read::End));
    assert_eq!(pair.node.write(near, &Bytes::from_static(b"more")), Write::Ended);

    let call = pair.hub.open().unwrap();
    pair.settle();
    assert_eq!(pair.node.accept(), Some(call));
    assert_ne!(call % 2, near % 2);
    assert_eq!(pair.node.ended(), None);
}

#[test]
fn a_writer_waits_for_its_reader() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    let mut sent = 0;
    for _ in 0..100 {
        sent += write_all(&mut pair.node, near, &[7; 50_000]);
        pair.settle();
    }
    // A window at the peer, and a queue here.
    assert_eq!(sent, STREAM_WINDOW as usize + SEND_BYTES);
    pair.node.wakes();
    let (read, last) = read_all(&mut pair.hub, far);
    assert_eq!((read.len(), last), (STREAM_WINDOW as usize, Read::Wait));
    pair.settle();
    assert!(pair.node.wakes().contains(&Wake::Writer(near)));
    assert_eq!(read_all(&mut pair.hub, far).0.len(), SEND_BYTES);
}

#[test]
fn unread_streams_hold_no_more_than_the_connections_window() {
    let mut pair = Pair::new();
    let near: Vec<u32> = std::iter::from_fn(|| pair.hub.open()).collect();
    assert_eq!(near.len(), LISTENER_STREAMS as usize);
    pair.settle();
    let far: Vec<u32> = std::iter::from_fn(|| pair.node.accept()).collect();
    let mut sent = vec![0; near.len()];
    for _ in 0..10 {
        for (near, sent) in near.iter().zip(&mut sent) {
            *sent += write_all(&mut pair.hub, *near, &[7; SEND_BYTES]);
        }
        pair.settle();
    }
    assert_eq!(sent.iter().sum::<usize>(), CONNECTION_WINDOW as usize + near.len() * SEND_BYTES);
    // Dropped unread: the room comes back, and the others' bytes follow.
    let half = near.len() / 2;
    far[..half].iter().for_each(|far| pair.node.release_receiver(*far));
    pair.settle();
    for near in &near[..half] {
        assert_eq!(pair.hub.write(*near, &Bytes::from_static(b"x")), Write::Stopped(0));
    }
    let mut read = 0;
    for _ in 0..10 {
        far[half..].iter().for_each(|far| read += read_all(&mut pair.node, *far).0.len());
        pair.settle();
    }
    assert_eq!(read, sent[half..].iter().sum::<usize>());
}

#[test]
fn calls_that_nobody_reads_leave_room_for_the_others() {
    let mut pair = Pair::new();
    let calls: Vec<u32> = (0..64).map(|_| pair.hub.open().unwrap()).collect();
    let objects = pair.hub.open().unwrap();
    pair.settle();
    for _ in 0..10 {
        calls.iter().for_each(|call| _ = write_all(&mut pair.hub, *call, &[7; SEND_BYTES]));
        pair.settle();
    }
    let mut through = 0;
    for _ in 0..100 {
        through += write_all(&mut pair.hub, objects, &[7; SEND_BYTES]);
        pair.settle();
        read_all(&mut pair.node, objects);
    }
    assert_eq!(through, 100 * SEND_BYTES);
    const { assert!(CONNECTION_WINDOW - 64 * STREAM_WINDOW > CONNECTION_CREDIT) };
}

#[test]
fn resets_and_stops_carry_their_codes() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    write_all(&mut pair.node, near, b"lost");
    pair.settle();
    pair.node.reset(near, 77);
    pair.settle();
    assert_eq!(pair.hub.read(far, 10), Read::Reset(77));
    // The other half lives on.
    assert_eq!(write_all(&mut pair.hub, far, b"still"), 5);
    pair.settle();
    assert_eq!(read_all(&mut pair.node, near).0, b"still");
    pair.node.stop(near, 78);
    pair.settle();
    assert_eq!(pair.hub.write(far, &Bytes::from_static(b"x")), Write::Stopped(78));
    assert_eq!((pair.node.ended(), pair.hub.ended()), (None, None));
}

#[test]
fn streams_that_are_over_make_room_for_others() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        let open: Vec<u32> = std::iter::from_fn(|| pair.node.open()).collect();
        assert_eq!(open.len(), DIALER_STREAMS as usize);
        pair.settle();
        pair.node.wakes();
        for near in open {
            let far = pair.hub.accept().unwrap();
            pair.node.release_sender(near);
            pair.node.release_receiver(near);
            pair.hub.release_sender(far);
            pair.hub.release_receiver(far);
        }
        pair.settle();
        assert!(pair.node.wakes().contains(&Wake::Open));
    }
    assert_eq!((pair.node.ended(), pair.hub.ended()), (None, None));
}

#[test]
fn a_heartbeat_waits_for_no_more_than_a_frame_of_bulk() {
    let mut pair = Pair::new();
    let bulk: Vec<_> = (0..4).map(|_| pair.stream().0).collect();
    let control = pair.stream().0;
    bulk.iter().for_each(|near| _ = write_all(&mut pair.node, *near, &[7; SEND_BYTES]));
    write_all(&mut pair.node, control, b"short");
    assert!(pair.node.send_datagram(Bytes::from_static(b"beat")));
    let mut out = BytesMut::new();
    pair.node.transmit(&mut out, 1);
    assert_eq!(&out[..11], [8, 0, 0, 0, 0, 4, 0, b'b', b'e', b'a', b't']);
    let mut before = 0;
    loop {
        let mut out = BytesMut::new();
        pair.node.transmit(&mut out, 1);
        if out.ends_with(b"short") {
            break;
        }
        before += out.len();
    }
    assert!(before <= bulk.len() * (PAYLOAD_BYTES + 7), "{before}");
}

#[test]
fn datagrams_are_dropped_not_waited_for_and_the_newest_stay() {
    let mut pair = Pair::new();
    let count = |mux: &mut Mux| std::iter::from_fn(|| mux.recv_datagram()).collect::<Vec<_>>();
    (0..10_000u32).for_each(|n| assert!(pair.node.send_datagram(Bytes::copy_from_slice(&n.to_le_bytes()))));
    pair.settle();
    let arrived = count(&mut pair.hub);
    assert_eq!(arrived.len(), DATAGRAM_BYTES / (4 + DATAGRAM_COST));
    assert_eq!(arrived.last().unwrap()[..], 9_999u32.to_le_bytes());
    // A peer that floods fills no memory either.
    for _ in 0..10_000 {
        pair.node.send_datagram(Bytes::new());
        pair.settle();
    }
    assert_eq!(count(&mut pair.hub).len(), DATAGRAM_BYTES / DATAGRAM_COST);
    assert!(!pair.node.send_datagram(Bytes::from(vec![0; PAYLOAD_BYTES + 1])));
}

#[test]
fn a_close_tells_the_reason_and_ends_everything() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    pair.hub.close(&"ü".repeat(400));
    pair.settle();
    assert_eq!(pair.node.ended(), Some(&Ended::There("ü".repeat(256))));
    assert!(pair.node.wakes().contains(&Wake::All));
    assert_eq!(pair.node.write(near, &Bytes::from_static(b"x")), Write::Ended);
    assert_eq!(pair.hub.write(far, &Bytes::from_static(b"x")), Write::Ended);
    assert_eq!((pair.node.open(), pair.hub.open()), (None, None));
    assert_eq!((pair.node.next_deadline(), pair.hub.next_deadline()), (None, None));
}

/// Lets time pass to the next deadline of either end, whose words are lost when `cut`.
fn pass(pair: &mut Pair, cut: bool) {
    pair.now = pair.node.next_deadline().into_iter().chain(pair.hub.next_deadline()).min().unwrap();
    let now = pair.now;
    pair.node.tick(now);
    pair.hub.tick(now);
    if cut {
        let mut lost = BytesMut::new();
        pair.node.transmit(&mut lost, usize::MAX);
        pair.hub.transmit(&mut lost, usize::MAX);
    } else {
        pair.settle();
    }
}

#[test]
fn silence_ends_a_connection_after_its_time() {
    // Nobody says anything: over, as with QUIC.
    let mut pair = Pair::new();
    pass(&mut pair, false);
    assert_eq!(pair.now, NOW + IDLE);
    assert_eq!(pair.node.ended(), Some(&Ended::Silent("the peer was silent for 40 s".into())));

    // One speaks, the other has nothing to say but that it is there.
    let mut pair = Pair::new();
    for _ in 0..60 {
        pair.now += Duration::from_secs(10);
        let now = pair.now;
        pair.node.send_datagram(Bytes::from_static(b"beat"));
        pair.node.tick(now);
        pair.hub.tick(now);
        pair.settle();
    }
    assert_eq!((pair.node.ended(), pair.hub.ended()), (None, None));

    // Now both are quiet: one question, one answer, and then the end.
    let begun = pair.now;
    pair.node.send_datagram(Bytes::from_static(b"beat"));
    pair.settle();
    while pair.node.ended().is_none() && pair.now < begun + 4 * IDLE {
        pass(&mut pair, false);
    }
    assert_eq!(pair.now, begun + IDLE / 2 + IDLE);

    // The path is cut: over after the same time.
    let mut pair = Pair::new();
    let begun = pair.now;
    pair.node.send_datagram(Bytes::from_static(b"beat"));
    while pair.node.ended().is_none() {
        pass(&mut pair, true);
    }
    assert!(pair.now - begun <= IDLE && pair.now - begun > IDLE - Duration::from_secs(20), "{:?}", pair.now - begun);
}

#[test]
fn a_frame_that_comes_in_drops_does_not_keep_the_connection() {
    let mut hub = Mux::new(Side::Listener, NOW, IDLE);
    let mut now = NOW;
    for byte in [1u8, 1, 0, 0, 0, 0] {
        now += Duration::from_secs(8);
        hub.tick(now);
        hub.receive(now, &[byte]);
    }
    assert_eq!(told(&mut hub), "a frame was not finished within 40 s");
}

#[test]
fn a_peer_that_breaks_a_rule_is_told_which() {
    let open = |stream| MuxFrame::Open { stream };
    let data = |stream, length| MuxFrame::Data { stream, bytes: Bytes::from(vec![0; length]) };
    let mut hub = Mux::new(Side::Listener, NOW, IDLE);
    hub.receive(NOW, &[1, 1, 0, 0, 0, 1, 64]);
    assert_eq!(told(&mut hub), "a frame of 16385 bytes is larger than is allowed");

    assert_eq!(broken(&[data(1, 1)]), "a frame came for the unknown stream 1");
    assert_eq!(broken(&[data(2, 1)]), "a frame came for the unknown stream 2");
    assert_eq!(broken(&[data(0, 1)]), "a frame came for the unknown stream 0");
    assert_eq!(broken(&[MuxFrame::Stop { stream: 9, code: 0 }]), "a frame came for the unknown stream 9");
    assert_eq!(broken(&[open(3)]), "stream 3 was opened out of turn");
    assert_eq!(broken(&[open(1), open(1)]), "stream 1 was opened out of turn");
    assert_eq!(broken(&[open(1), MuxFrame::Fin { stream: 1 }, data(1, 1)]), "a frame came after the end of stream 1");

    let flood: Vec<_> = (0..=DIALER_STREAMS).map(|n| open(2 * n + 1)).collect();
    assert_eq!(broken(&flood), "more streams were opened than are allowed");

    let full = STREAM_WINDOW as usize / PAYLOAD_BYTES;
    let overrun: Vec<_> = std::iter::once(open(1)).chain((0..=full).map(|_| data(1, PAYLOAD_BYTES))).collect();
    assert_eq!(broken(&overrun), "stream 1 overran its window");
    let mut many = Vec::new();
    for stream in (1..=68).map(|n| 2 * n) {
        many.push(open(stream));
        many.extend((0..full).map(|_| data(stream, PAYLOAD_BYTES)));
    }
    assert_eq!(broken_to(Side::Dialer, &many), "the streams overran the connection's window");

    let room = "more room was given";
    assert!(broken(&[open(1), MuxFrame::Credit { stream: 1, bytes: 1 }]).starts_with(room));
    assert!(broken(&[MuxFrame::ConnectionCredit { bytes: u32::MAX }]).starts_with(room));
    assert_eq!(broken(&[MuxFrame::StreamCredit { streams: 1 }]), "more streams were allowed than there may be");
}

#[test]
fn a_stopped_stream_takes_no_memory_but_keeps_the_rules() {
    let mut pair = Pair::new();
    let (near, far) = pair.stream();
    write_all(&mut pair.node, near, &[7; SEND_BYTES]);
    let mut out = BytesMut::new();
    pair.node.transmit(&mut out, usize::MAX);
    pair.hub.release_receiver(far);
    pair.hub.release_sender(far);
    // What was under way arrives after the stop and before the peer knows of it.
    pair.hub.receive(NOW, &out);
    assert_eq!(pair.hub.read(far, 10), Read::End);
    pair.settle();
    pair.node.release_sender(near);
    pair.node.release_receiver(near);
    pair.settle();
    assert_eq!((pair.node.ended(), pair.hub.ended()), (None, None));
    assert_eq!(std::iter::from_fn(|| pair.node.open()).count(), DIALER_STREAMS as usize);
}

/// More often than there is room for: what was lost each time would be missed at the end.
fn many_times(mut give_up: impl FnMut(&mut Pair, u32, u32)) {
    let mut pair = Pair::new();
    for _ in 0..2 * CONNECTION_WINDOW as usize / PAYLOAD_BYTES {
        let (near, far) = pair.stream();
        assert_eq!(write_all(&mut pair.node, near, &[7; SEND_BYTES]), SEND_BYTES);
        give_up(&mut pair, near, far);
        pair.node.release_sender(near);
        pair.node.release_receiver(near);
        pair.hub.release_sender(far);
        pair.hub.release_receiver(far);
        pair.settle();
    }
    let (near, far) = pair.stream();
    write_all(&mut pair.node, near, &[7; SEND_BYTES]);
    pair.settle();
    assert_eq!(read_all(&mut pair.hub, far).0.len(), SEND_BYTES);
    assert_eq!((pair.node.ended(), pair.hub.ended()), (None, None));
}

#[test]
fn the_room_of_bytes_that_nobody_read_comes_back() {
    many_times(|pair, _, far| {
        pair.settle();
        pair.hub.stop(far, 1);
    });
    many_times(|pair, near, _| {
        pair.settle();
        pair.node.reset(near, 1);
        pair.settle();
    });
    many_times(|pair, _, far| pair.hub.stop(far, 1));
    many_times(|pair, _, far| {
        let now = pair.now;
        carry(&mut pair.node, &mut pair.hub, now, usize::MAX);
        pair.hub.read(far, 100);
        pair.hub.stop(far, 1);
        carry(&mut pair.node, &mut pair.hub, now, usize::MAX);
    });
}

/// A step of one end.
#[derive(Clone, Debug)]
enum Step {
    Open,
    Write(usize, usize),
    Read(usize, usize),
    Finish(usize),
    Carry(usize),
    Datagram(usize),
}

fn step() -> impl Strategy<Value = (bool, Step)> {
    let which = 0..6usize;
    let act = prop_oneof![
        1 => Just(Step::Open),
        4 => (which.clone(), 1..40_000usize).prop_map(|(which, length)| Step::Write(which, length)),
        4 => (which.clone(), 1..60_000usize).prop_map(|(which, length)| Step::Read(which, length)),
        1 => which.prop_map(Step::Finish),
        4 => (1..5000usize).prop_map(Step::Carry),
        1 => (0..100usize).prop_map(Step::Datagram),
    ];
    (any::<bool>(), act)
}

proptest! {
    /// Whatever the ends do in whatever order: bytes of a stream arrive whole and in order, and no rule is broken.
    #[test]
    fn bytes_arrive_in_order(steps in prop::collection::vec(step(), 1..200)) {
        let mut pair = Pair::new();
        // By stream and by whether the node wrote it: how much was written, and how much was read.
        let mut written: BTreeMap<(u32, bool), usize> = BTreeMap::new();
        let mut read: BTreeMap<(u32, bool), usize> = BTreeMap::new();
        let mut known: [Vec<u32>; 2] = Default::default();
        for (node, step) in steps {
            let (mine, other) =
                if node { (&mut pair.node, &mut pair.hub) } else { (&mut pair.hub, &mut pair.node) };
            known[usize::from(node)].extend(std::iter::from_fn(|| mine.accept()));
            let pick = |which: usize| known[usize::from(node)].get(which).copied();
            match step {
                Step::Open => known[usize::from(node)].extend(mine.open()),
                Step::Write(which, length) => if let Some(stream) = pick(which) {
                    let at = written.entry((stream, node)).or_default();
                    let data: Vec<u8> = (*at..*at + length).map(|n| (n % 251) as u8).collect();
                    *at += write_all(mine, stream, &data);
                },
                Step::Read(which, length) => if let Some(stream) = pick(which) {
                    let at = read.entry((stream, !node)).or_default();
                    if let Read::Data(piece) = mine.read(stream, length) {
                        prop_assert!(piece.iter().enumerate().all(|(n, byte)| usize::from(*byte) == (*at + n) % 251));
                        *at += piece.len();
                    }
                },
                Step::Finish(which) => if let Some(stream) = pick(which) { mine.finish(stream) },
                Step::Carry(piece) => _ = carry(mine, other, NOW, piece),
                Step::Datagram(length) => _ = mine.send_datagram(Bytes::from(vec![0; length])),
            }
        }
        for _ in 0..50 {
            pair.settle();
            for (node, mux) in [(true, &mut pair.node), (false, &mut pair.hub)] {
                known[usize::from(node)].extend(std::iter::from_fn(|| mux.accept()));
                for stream in &known[usize::from(node)] {
                    *read.entry((*stream, !node)).or_default() += read_all(mux, *stream).0.len();
                }
            }
        }
        prop_assert_eq!(pair.node.ended(), None);
        prop_assert_eq!(pair.hub.ended(), None);
        read.retain(|_, length| *length > 0);
        written.retain(|_, length| *length > 0);
        prop_assert_eq!(read, written);
    }

    /// No bytes make it panic, and what it holds of a stranger stays small.
    #[test]
    fn strange_bytes_are_taken_or_refused(bytes in prop::collection::vec(0..16u8, 0..4000)) {
        let mut hub = Mux::new(Side::Listener, NOW, IDLE);
        let mut out = BytesMut::new();
        for piece in bytes.chunks(100) {
            hub.receive(NOW, piece);
            hub.transmit(&mut out, usize::MAX);
        }
        prop_assert!(out.len() <= 4 * bytes.len() + 1000);
    }
}
