//! The bytes of every frame. They may never change: two releases must understand each other.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use bytes::Bytes;
use holdfast_core::calls::{Call, ContainerRef, ExecCall, ForwardCall, LogCall, PageCall};
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq, Session};
use holdfast_link_engine::wire::*;
use holdfast_link_engine::{FrameReader, Stream};
use std::collections::BTreeSet;
use std::fmt::Debug;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Encodes, compares, reads back; the type's number, or what differs.
fn check<T: Payload + PartialEq + Debug>(record: &T, golden: &str, wrong: &mut Vec<String>) -> u16 {
    let bytes = encode(record);
    if hex(&bytes) != golden {
        wrong.push(format!("{} is {}", std::any::type_name::<T>(), hex(&bytes)));
    }
    let mut reader = FrameReader::default();
    reader.push(&bytes);
    let frame = reader.next_frame().unwrap().unwrap();
    assert_eq!(frame.decode::<T>().unwrap(), *record);
    assert!(!reader.is_mid_frame());
    T::KIND
}

fn container() -> ContainerRef {
    ContainerRef { namespace: "ns".into(), pod: "p".into(), pod_uid: "u".into(), container: "c".into() }
}

#[test]
fn every_frame_has_its_golden_bytes() {
    let mut wrong = Vec::new();
    let w = &mut wrong;
    let logs = LogCall {
        container: container(),
        follow: true,
        previous: false,
        timestamps: true,
        tail_lines: Some(5),
        since_micros: None,
        limit_bytes: Some(9),
    };
    let exec = ExecCall {
        container: container(),
        command: vec!["ls".into()],
        tty: true,
        stdin: false,
        stdout: true,
        stderr: true,
    };
    let forward = ForwardCall { pod_uid: "u".into(), namespace: "ns".into(), pod: "p".into(), port: 8080 };
    let page = PageCall { path: "/p".into(), query: "q".into() };
    let hello = Hello {
        version_min: 1,
        version_max: 2,
        node_uid: "uid".into(),
        node_name: "edge".into(),
        boot: 3,
        lineage: Lineage(4),
        session: Session(5),
        root: 6,
        outbox: OutboxGen(7),
        clock_micros: -8,
    };
    let welcome = Welcome {
        version: 1,
        lineage: Lineage(300),
        session: Session(2),
        time_micros: 3,
        heartbeat_ms: 25_000,
        mark: Seq(4),
    };
    let batch = SyncBatch {
        id: 1,
        revision: Revision(2),
        puts: vec![ItemPut {
            key: "k".into(),
            hash: ContentHash(3),
            revision: Revision(4),
            body: Bytes::from_static(b"zz"),
        }],
        drops: vec![
            ItemDrop { key: "a".into(), cause: DropCause::Tombstone },
            ItemDrop { key: "b".into(), cause: DropCause::Absent },
        ],
        complete: true,
    };
    let body2 = |body| ItemPut2 { key: "k".into(), hash: ContentHash(3), revision: Revision(4), body };
    let batch2 = SyncBatch2 {
        id: 1,
        revision: Revision(2),
        puts: vec![
            body2(ItemBody::Zstd { dictionary: 1, data: Bytes::from_static(b"zz") }),
            body2(ItemBody::Delta {
                base_key: "b".into(),
                base_hash: ContentHash(300),
                data: Bytes::from_static(b"dd"),
            }),
        ],
        drops: vec![ItemDrop { key: "a".into(), cause: DropCause::Tombstone }],
        complete: false,
    };
    let facts2 =
        FactBatch2 { session: Session(1), outbox: OutboxGen(2), dictionary: 1, data: Bytes::from_static(b"ff") };
    let fact = |sort| WireFact { seq: Seq(1), sort, key: "k".into(), body: Bytes::from_static(b"{}") };
    let facts = FactBatch {
        session: Session(1),
        outbox: OutboxGen(2),
        facts: vec![fact(FactSort::State), fact(FactSort::Log)],
    };
    let request = JoinRequest {
        token_id: "id".into(),
        token_secret: "s".into(),
        node_name: "n".into(),
        csr: Bytes::from_static(b"csr"),
    };
    let joined = JoinReply::Joined {
        node_uid: "u".into(),
        chain: vec![Bytes::from_static(b"c")],
        roots: vec![Bytes::from_static(b"r")],
    };
    let renew = RenewRequest { lineage: Lineage(4), session: Session(5), csr: Bytes::from_static(b"csr") };
    let renewed = RenewReply::Renewed { chain: vec![Bytes::from_static(b"c")], roots: vec![Bytes::from_static(b"r")] };
    let kinds = [
        check(&Open { stream: Stream::Control }, GOLDEN[0], w),
        check(&Open { stream: Stream::Facts }, GOLDEN[1], w),
        check(&Open { stream: Stream::Sync }, GOLDEN[2], w),
        check(&Open { stream: Stream::Call }, GOLDEN[3], w),
        check(&hello, GOLDEN[4], w),
        check(&welcome, GOLDEN[5], w),
        check(&SessionReady { session: Session(9) }, GOLDEN[6], w),
        check(&Refuse { code: "C".into(), reason: "r".into() }, GOLDEN[7], w),
        check(&SyncState { revision: Revision(1), root: 2 }, GOLDEN[8], w),
        check(&SyncDigests { buckets: vec![1, 300] }, GOLDEN[9], w),
        check(&SyncAsk { buckets: 1 << 63 }, GOLDEN[10], w),
        check(&SyncEntries { entries: vec![("k".into(), ContentHash(1))] }, GOLDEN[11], w),
        check(&batch, GOLDEN[12], w),
        check(&SyncApplied { id: 1 }, GOLDEN[13], w),
        check(&facts, GOLDEN[14], w),
        check(&FactAck { outbox: OutboxGen(1), seq: Seq(2) }, GOLDEN[15], w),
        check(&CallStart { request_id: "r".into(), call: Call::Logs(logs) }, GOLDEN[16], w),
        check(&CallStart { request_id: "r".into(), call: Call::Exec(exec) }, GOLDEN[17], w),
        check(&CallInput::Stdin(Bytes::from_static(b"in")), GOLDEN[18], w),
        check(&CallInput::StdinClosed, GOLDEN[19], w),
        check(&CallInput::Resize(80, 25), GOLDEN[20], w),
        check(&CallOutput::Stdout(Bytes::from_static(b"o")), GOLDEN[21], w),
        check(&CallOutput::Stderr(Bytes::from_static(b"e")), GOLDEN[22], w),
        check(&CallOutput::Exited(-1), GOLDEN[23], w),
        check(&CallOutput::Failed(404, "t".into()), GOLDEN[24], w),
        check(&CallOutput::End, GOLDEN[25], w),
        check(&Heartbeat { session: Session(1), count: 2, clock_micros: 3 }, GOLDEN[26], w),
        check(&request, GOLDEN[27], w),
        check(&joined, GOLDEN[28], w),
        check(&JoinReply::Refused { reason: "no".into() }, GOLDEN[29], w),
        check(&Open { stream: Stream::Renew }, GOLDEN[30], w),
        check(&renew, GOLDEN[31], w),
        check(&renewed, GOLDEN[32], w),
        check(&RenewReply::Refused { code: "C".into(), reason: "no".into() }, GOLDEN[33], w),
        check(&TimeResetRequest { node_uid: "u".into(), nonce: 300 }, GOLDEN[34], w),
        check(&TimeResetReply::Reset { time_micros: 3, signature: Bytes::from_static(b"s") }, GOLDEN[35], w),
        check(&TimeResetReply::Refused { code: "C".into(), reason: "no".into() }, GOLDEN[36], w),
        check(&batch2, GOLDEN[37], w),
        check(&SyncUnfit { id: 1, root: 300 }, GOLDEN[38], w),
        check(&facts2, GOLDEN[39], w),
        check(&HeartbeatAnswer { session: Session(1), count: 2, clock_micros: 3, address: 300 }, GOLDEN[40], w),
        check(&PacedHeartbeat { session: Session(1), count: 2, clock_micros: 3, interval_ms: 300 }, GOLDEN[41], w),
        check(&HeartbeatLimits { longest_ms: 300, grace_ms: 2, address: 3 }, GOLDEN[42], w),
        check(&CallStart { request_id: "r".into(), call: Call::Forward(forward) }, GOLDEN[43], w),
        check(&CallOpened {}, GOLDEN[44], w),
        check(&CallStart { request_id: "r".into(), call: Call::Page(page) }, GOLDEN[45], w),
        check(&PageOpened { content_type: "t".into() }, GOLDEN[46], w),
        check(&RelayRequest { node_name: "edge".into(), node_uid: "u".into() }, GOLDEN[47], w),
        check(&RelayReply::Opened, GOLDEN[48], w),
        check(&RelayReply::Refused { reason: "no".into() }, GOLDEN[49], w),
    ];
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let covered: BTreeSet<u16> = kinds.into_iter().collect();
    assert_eq!(covered, KINDS.iter().copied().collect());
}

/// In the order of the test.
const GOLDEN: &[&str] = &[
    "01000100000000",
    "01000100000001",
    "01000100000002",
    "01000100000003",
    "0a0011000000010203756964046564676503040506070f",
    "0b000900000001ac020206a8c30104",
    "0c000100000009",
    "0d000400000001430172",
    "1400020000000102",
    "1500040000000201ac02",
    "16000a00000080808080808080808001",
    "17000400000001016b01",
    "180012000000010201016b0304027a7a0201610001620101",
    "19000100000001",
    "1e00110000000102020100016b027b7d0101016b027b7d",
    "1f00020000000102",
    "2800140000000172000175026e73017001630100000101050109",
    "2800140000000172010175026e730170016301026c7300010101",
    "2900040000000002696e",
    "29000100000001",
    "290003000000025019",
    "2a000300000000016f",
    "2a0003000000010165",
    "2a00020000000201",
    "2a00050000000394030174",
    "2a000100000004",
    "320003000000010206",
    "3c000b0000000269640173016e03637372",
    "3d0009000000000175010163010172",
    "3d000400000001026e6f",
    "01000100000004",
    "3e0006000000040503637372",
    "3f000700000000010163010172",
    "3f0006000000010143026e6f",
    "4000040000000175ac02",
    "41000400000000060173",
    "410006000000010143026e6f",
    "1a001d000000010202016b03040001027a7a016b0304010162ac020264640101610000",
    "1b000300000001ac02",
    "200006000000010201026666",
    "330005000000010206ac02",
    "340005000000010206ac02",
    "350004000000ac020203",
    "28000c0000000172020175026e730170903f",
    "2b0000000000",
    "280008000000017203022f700171",
    "2c00020000000174",
    "46000700000004656467650175",
    "47000100000000",
    "47000400000001026e6f",
];
