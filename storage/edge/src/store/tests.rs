use super::*;
use crate::limits::{QUARANTINED_BYTES, QUARANTINED_FILES};
use crate::record::Item;
use holdfast_core::{Revision, content_hash};
use holdfast_env::host::HostDisk;
use holdfast_sim_world::{Rng, SimDisk};

fn disk(dir: &tempfile::TempDir) -> Arc<dyn Disk> {
    Arc::new(HostDisk::new(dir.path()))
}

fn put(key: &str, body: &str) -> Record {
    let item = Item {
        hash: content_hash(body.as_bytes()),
        lineage: Lineage(1),
        revision: Revision(7),
        body: Bytes::copy_from_slice(body.as_bytes()),
    };
    Record::PutItem { key: key.to_string(), item }
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, report) = EdgeStore::open(disk(&dir)).unwrap();
    assert_eq!(report, OpenReport::default());
    store.commit(vec![put("a", "1"), put("b", "2")], Durability::Synced).unwrap();
    store.commit(vec![Record::DropItem { key: "a".into() }], Durability::Synced).unwrap();
    let seq = store.put_state_fact("pods/x", Bytes::from_static(b"Running"), Durability::Lazy).unwrap();
    assert_eq!(store.put_state_fact("pods/x", Bytes::from_static(b"Running"), Durability::Lazy).unwrap(), seq);
    let digest = store.state().digest().clone();
    drop(store);

    let (mut store, report) = EdgeStore::open(disk(&dir)).unwrap();
    assert!(!report.torn_tail);
    assert_eq!(store.state().items().keys().collect::<Vec<_>>(), ["b"]);
    assert_eq!(*store.state().digest(), digest);
    let later = store.put_state_fact("pods/x", Bytes::from_static(b"Failed"), Durability::Synced).unwrap();
    assert!(later > seq, "a number may not be used twice, even when its fact was not synced");
}

#[test]
fn snapshots_bound_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EdgeStore::open(disk(&dir)).unwrap();
    let body = "x".repeat(100_000);
    for round in 0..120 {
        store.commit(vec![put(&format!("key-{}", round % 7), &format!("{round}{body}"))], Durability::Synced).unwrap();
    }
    let items = store.state().items().clone();
    drop(store);
    let files = std::fs::read_dir(dir.path().join("journal")).unwrap().count();
    // Those since the last snapshot, those since the one before it, and one to recycle.
    assert!(files <= (SNAPSHOT_AFTER_SEGMENTS + 1) * 2 + 1, "{files} segments are left");
    let (store, _) = EdgeStore::open(disk(&dir)).unwrap();
    assert_eq!(*store.state().items(), items);
}

/// Cuts the journal's newest segment at every byte: what was acknowledged before the cut is there, nothing is
/// half there.
#[test]
fn a_torn_tail_loses_only_what_was_not_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EdgeStore::open(disk(&dir)).unwrap();
    store.commit(vec![put("a", "1")], Durability::Synced).unwrap();
    store.commit(vec![put("b", "2"), put("c", "3")], Durability::Synced).unwrap();
    drop(store);
    let path = dir.path().join("journal/0000000000000001.log");
    let whole = std::fs::read(&path).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for cut in 0..used {
        let copy = tempfile::tempdir().unwrap();
        std::fs::create_dir(copy.path().join("journal")).unwrap();
        let mut torn = whole.clone();
        torn[cut..].fill(0xEE);
        std::fs::write(copy.path().join("journal/0000000000000001.log"), &torn).unwrap();
        let (mut store, _) = EdgeStore::open(disk(&copy)).unwrap();
        let keys: Vec<&String> = store.state().items().keys().collect();
        assert!(keys.is_empty() || keys == ["a"], "cut at {cut}: {keys:?}");
        store.commit(vec![put("d", "4")], Durability::Synced).unwrap();
        let before = store.state().items().clone();
        drop(store);
        let (store, _) = EdgeStore::open(disk(&copy)).unwrap();
        assert_eq!(*store.state().items(), before, "cut at {cut}");
    }
}

fn keys(store: &EdgeStore) -> Vec<&str> {
    store.state().items().keys().map(String::as_str).collect()
}

fn reopen(disk: &SimDisk) -> (EdgeStore, OpenReport) {
    EdgeStore::open(Arc::new(disk.clone())).unwrap()
}

/// Bytes of a file up to the last that is not zero.
fn used(disk: &SimDisk, path: &str) -> usize {
    disk.read(path).unwrap().unwrap().iter().rposition(|byte| *byte != 0).unwrap() + 1
}

const SEGMENT: &str = "journal/0000000000000001.log";

/// Flips each byte of a journal of three frames in turn.
#[test]
fn a_flipped_bit_costs_what_stands_behind_it_and_never_the_start() {
    let length = {
        let disk = SimDisk::new(Rng::new(1));
        written(&disk);
        used(&disk, SEGMENT)
    };
    for at in 0..length {
        let disk = SimDisk::new(Rng::new(1));
        let ends = written(&disk);
        assert!(disk.flip_bit(SEGMENT, at, u8::try_from(at % 8).unwrap()));
        let whole = ends.iter().filter(|end| **end <= at).count();
        let (mut store, report) = reopen(&disk);
        assert_eq!(keys(&store), &["a", "b", "c"][..whole], "flipped at {at}");
        assert_eq!(report.lost.is_some(), whole < 2, "flipped at {at}: {report:?}");
        assert_eq!(report.aside.len(), usize::from(whole < 2), "flipped at {at}: {report:?}");
        assert!(whole == 2 || !report.torn_tail || report.lost.is_some());
        assert_eq!(store.vitals().doubt, if whole < 2 { Doubt::Loss } else { Doubt::Tail }, "flipped at {at}");
        assert_eq!(store.vitals().session, Session(7), "the session does not go back");
        store.commit(vec![put("d", "4")], Durability::Synced).unwrap();
        drop(store);
        let (mut store, report) = reopen(&disk);
        assert_eq!((report.lost, report.torn_tail), (None, false), "it is mended");
        assert_eq!(keys(&store).len(), whole + 1);
        assert!(store.vitals().doubt > Doubt::None, "and still in doubt");
        store.loss_told().unwrap();
        store.settle().unwrap();
        assert_eq!(reopen(&disk).0.vitals().doubt, Doubt::None);
    }
}

/// Commits a, b and c; the offsets after each.
fn written(disk: &SimDisk) -> Vec<usize> {
    let (mut store, _) = reopen(disk);
    store.set_session(Lineage(9), Session(7)).unwrap();
    let mut ends = Vec::new();
    for key in ["a", "b", "c"] {
        store.commit(vec![put(key, key)], Durability::Synced).unwrap();
        ends.push(used(disk, SEGMENT));
    }
    ends
}

#[test]
fn damaged_frames_at_a_segments_end_are_missed_by_the_next() {
    let disk = SimDisk::new(Rng::new(1));
    let (mut store, _) = reopen(&disk);
    store.commit(vec![put("a", "1")], Durability::Synced).unwrap();
    store.commit(vec![put("b", "2")], Durability::Synced).unwrap();
    let at = used(&disk, SEGMENT) - 1;
    store.commit(vec![put("c", &"x".repeat(1 << 20))], Durability::Synced).unwrap();
    store.commit(vec![put("d", "4")], Durability::Synced).unwrap();
    drop(store);
    let (store, report) = reopen(&disk);
    assert_eq!((keys(&store), report.lost), (vec!["a", "b", "c", "d"], None));
    drop(store);
    assert!(disk.flip_bit(SEGMENT, at, 0));
    let (store, report) = reopen(&disk);
    assert_eq!(keys(&store), ["a"]);
    assert_eq!(report.lost, Some((SEGMENT.into(), "its last frames are damaged")));
    let aside = ["0000000000000003.log.1", "0000000000000002.log.2", "0000000000000001.log.3"];
    assert_eq!(report.aside, aside.map(|name| format!("quarantine/{name}")));
    drop(store);
    assert_eq!(reopen(&disk).1.lost, None);
}

#[test]
fn one_damaged_snapshot_costs_nothing() {
    for (damaged, snapshots) in [("snapshot.a", 1), ("snapshot.a", 2), ("snapshot.b", 2), ("snapshot.a", 3)] {
        let disk = SimDisk::new(Rng::new(1));
        let (mut store, _) = reopen(&disk);
        for round in 0..snapshots {
            store.commit(vec![put(&format!("before-{round}"), "1")], Durability::Synced).unwrap();
            store.snapshot().unwrap();
        }
        store.commit(vec![put("after", "2")], Durability::Synced).unwrap();
        let digest = store.state().digest().clone();
        drop(store);
        assert!(disk.flip_bit(damaged, 40, 1));
        let (mut store, report) = reopen(&disk);
        assert!(report.snapshot_fallback && report.lost.is_none(), "{damaged} of {snapshots}: {report:?}");
        assert_eq!(*store.state().digest(), digest);
        assert_eq!(store.vitals().doubt, Doubt::None);
        store.snapshot().unwrap();
        drop(store);
        let (store, report) = reopen(&disk);
        assert!(!report.snapshot_fallback);
        assert_eq!(*store.state().digest(), digest);
    }
}

#[test]
fn without_any_snapshot_the_store_begins_anew() {
    let disk = SimDisk::new(Rng::new(1));
    let (mut store, _) = reopen(&disk);
    for round in 0..3 {
        store.commit(vec![put(&format!("key-{round}"), "1")], Durability::Synced).unwrap();
        store.snapshot().unwrap();
    }
    drop(store);
    assert!(disk.flip_bit("snapshot.a", 40, 1) && disk.flip_bit("snapshot.b", 40, 1));
    let (mut store, report) = reopen(&disk);
    assert!(store.state().items().is_empty());
    assert_eq!((report.lost.is_some(), store.vitals().doubt), (true, Doubt::Loss));
    store.commit(vec![put("new", "1")], Durability::Synced).unwrap();
    drop(store);
    let (store, report) = reopen(&disk);
    assert_eq!((keys(&store), report.lost), (vec!["new"], None));
}

#[test]
fn unreadable_vitals_begin_anew_under_another_name() {
    let disk = SimDisk::new(Rng::new(1));
    let (mut store, _) = reopen(&disk);
    store.set_session(Lineage(9), Session(7)).unwrap();
    store.set_outbox(OutboxGen(5)).unwrap();
    let body = || Bytes::from_static(b"fact");
    let first = store.push_log_fact(body(), 0, Durability::Synced).unwrap();
    store.push_log_fact(body(), 0, Durability::Synced).unwrap();
    store.commit(vec![Record::Acknowledged { seq: first }], Durability::Synced).unwrap();
    drop(store);
    for copy in 0..4 {
        assert!(disk.flip_bit("vitals", 20 + copy * 256, 1));
    }
    let (store, report) = reopen(&disk);
    assert!(report.vitals_lost && report.lost.is_none());
    let vitals = *store.vitals();
    assert_eq!((vitals.lineage, vitals.session, vitals.outbox), (Lineage(0), Session(0), None));
    assert_eq!(vitals.doubt, Doubt::Tail);
    assert_eq!(store.state().outbox().after(Seq(0), 9).len(), 1, "what the hub has is not sent under the new name");
    drop(store);
    assert!(!reopen(&disk).1.vitals_lost);
}

#[test]
fn the_quarantine_is_bounded() {
    let disk = SimDisk::new(Rng::new(1));
    for round in 0..30 {
        let (mut store, _) = reopen(&disk);
        store.commit(vec![put("a", &round.to_string())], Durability::Synced).unwrap();
        store.commit(vec![put("b", &round.to_string())], Durability::Synced).unwrap();
        drop(store);
        assert!(disk.flip_bit(SEGMENT, 20, 1));
        assert!(reopen(&disk).1.lost.is_some());
    }
    let files = disk.list("quarantine").unwrap();
    assert_eq!(files.len(), QUARANTINED_FILES);
    assert!(files.contains(&"0000000000000001.log.30".to_string()), "{files:?}");
    let sizes = files.iter().map(|file| disk.open(&format!("quarantine/{file}"), false).unwrap().len().unwrap());
    assert!(sizes.sum::<u64>() <= QUARANTINED_BYTES);
}

#[test]
fn damage_on_a_full_disk_does_not_keep_the_store_from_opening() {
    let disk = SimDisk::new(Rng::new(1));
    written(&disk);
    assert!(disk.flip_bit(SEGMENT, 20, 1));
    disk.set_full(true);
    let (mut store, report) = reopen(&disk);
    assert!(report.lost.is_some());
    store.commit(vec![put("d", "4")], Durability::Synced).unwrap();
    store.set_session(Lineage(9), Session(8)).unwrap();
}

#[test]
fn the_word_about_a_gap_is_said_once() {
    let disk = SimDisk::new(Rng::new(1));
    let (mut store, _) = reopen(&disk);
    let lost = Record::LogFactsLost { count: 2, from_micros: 5, to_micros: 9 };
    store.commit(vec![lost.clone(), lost], Durability::Synced).unwrap();
    drop(store);
    let (mut store, _) = reopen(&disk);
    let word = |gap: Gap| Bytes::from(format!("{} from {} to {}", gap.count, gap.from_micros, gap.to_micros));
    let (seq, said) = store.tell_gap(11, word).unwrap().unwrap();
    assert_eq!(said, "4 from 5 to 9");
    assert_eq!(store.tell_gap(12, word).unwrap(), None);
    drop(store);
    disk.cut();
    let (mut store, _) = reopen(&disk);
    assert_eq!(store.tell_gap(13, word).unwrap(), None);
    let facts = store.state().outbox().after(Seq(0), 9);
    assert_eq!(facts.iter().map(|fact| (fact.seq, &fact.body)).collect::<Vec<_>>(), [(seq, &said)]);
}

#[test]
fn bytes_and_syncs_are_counted_by_purpose() {
    let disk = SimDisk::new(Rng::new(1));
    let (mut store, _) = reopen(&disk);
    let of = |store: &EdgeStore, purpose| store.written().get(&purpose).copied().unwrap_or_default();
    store.commit(vec![put("a", &"x".repeat(1000))], Durability::Synced).unwrap();
    let items = of(&store, Purpose::Items);
    assert!(items.bytes > 1000 && items.syncs == 1, "{items:?}");
    store.commit(vec![Record::PutNote { key: "n".into(), value: vec![1; 100] }], Durability::Lazy).unwrap();
    assert_eq!(of(&store, Purpose::Notes), Written::default());
    store.push_log_fact(Bytes::from(vec![2; 500]), 0, Durability::Synced).unwrap();
    let (notes, facts, vitals) = (of(&store, Purpose::Notes), of(&store, Purpose::Facts), of(&store, Purpose::Vitals));
    assert!(notes.bytes > 100 && notes.syncs == 0, "{notes:?}");
    assert!(facts.bytes > 500 && facts.syncs == 1, "{facts:?}");
    assert_eq!(vitals, Written { bytes: 512, syncs: 1 });
    let (bytes, syncs) = disk.written();
    store.snapshot().unwrap();
    assert_eq!(of(&store, Purpose::Snapshots).syncs, 1);
    let after = disk.written();
    assert_eq!(of(&store, Purpose::Snapshots).bytes, after.0 - bytes);
    assert!(after.1 > syncs);
}

#[test]
fn what_older_releases_wrote_still_reads() {
    let fact = Bytes::from_static(b"f");
    let item = Item { hash: content_hash(b"b"), lineage: Lineage(1), revision: Revision(2), body: fact.clone() };
    let records = vec![
        Record::PutItem { key: "k".into(), item },
        Record::DropItem { key: "k".into() },
        Record::PutNote { key: OLD_NOTES[1].into(), value: 5u64.to_le_bytes().to_vec() },
        Record::DropNote { key: "k".into() },
        Record::StateFact { key: "k".into(), seq: Seq(3), body: fact.clone() },
        Record::DropStateFact { key: "k".into() },
        Record::LogFact { seq: Seq(4), body: fact.clone() },
        Record::Acknowledged { seq: Seq(3) },
        Record::SeqCeiling { seq: Seq(300) },
        Record::SyncedTo { lineage: Lineage(1), revision: Revision(2) },
        Record::Follows { end: 700 },
        Record::LogFactAt { seq: Seq(5), at_micros: -6, body: fact },
        Record::LogFactsLost { count: 1, from_micros: 2, to_micros: 3 },
        Record::LossTold,
    ];
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let written: String = records.iter().map(|record| hex(postcard::to_allocvec(record).unwrap())).collect();
    assert_eq!(written, include_str!("golden.hex"));

    // And a journal of a release without vitals.
    let disk = SimDisk::new(Rng::new(1));
    let mut data = Vec::new();
    let session = postcard::to_allocvec(&(Lineage(9), Session(4))).unwrap();
    let mut old: Vec<Record> = records[..10].to_vec();
    old.push(Record::PutNote { key: OLD_NOTES[0].into(), value: session });
    crate::frame::write(1, &postcard::to_allocvec(&old).unwrap(), &mut data);
    disk.open(SEGMENT, true).unwrap().write_at(0, &data).unwrap();
    let (mut store, report) = reopen(&disk);
    assert_eq!((report.frames, report.lost), (1, None));
    let vitals = *store.vitals();
    assert_eq!((vitals.lineage, vitals.session), (Lineage(9), Session(4)));
    assert_eq!((vitals.outbox, vitals.ceiling), (Some(OutboxGen(5)), Seq(300)));
    assert!(store.state().notes().is_empty());
    assert_eq!(store.push_log_fact(Bytes::new(), 0, Durability::Synced).unwrap(), Seq(300));
}

#[test]
fn after_the_disk_failed_only_the_memory_is_told_anything() {
    let disk = SimDisk::new(Rng::new(3));
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let (mut store, _) = EdgeStore::open(shared.clone()).unwrap();
    store.commit(vec![put("a", "1")], Durability::Synced).unwrap();
    store.put_state_fact("pods/x", Bytes::from_static(b"Running"), Durability::Synced).unwrap();
    disk.fail_syncs(1);
    let err = store.commit(vec![put("b", "2")], Durability::Synced).unwrap_err();
    assert!(matches!(err, StoreError::Disk(DiskError::Failed { .. })), "{err}");
    let written = disk.written();
    let refused = |outcome: Result<(), StoreError>| assert!(matches!(outcome, Err(StoreError::Ended)), "{outcome:?}");
    refused(store.commit(vec![put("c", "3")], Durability::Synced));
    refused(store.set_session(Lineage(1), Session(2)));
    refused(store.flush());
    // What the hub is told meanwhile is under new numbers, and more than waits for a sync otherwise.
    let mut last = Seq::default();
    for round in 0..MAX_LAZY_RECORDS + 10 {
        let seq = store.put_state_fact("pods/x", Bytes::from(round.to_string()), Durability::Lazy).unwrap();
        assert!(seq > last);
        last = seq;
    }
    assert_eq!(store.state().items().keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(disk.written(), written);
    drop(store);
    let (mut store, _) = EdgeStore::open(shared).unwrap();
    assert_eq!(store.state().items().keys().next().map(String::as_str), Some("a"));
    assert_eq!(*store.state().outbox().state_fact("pods/x").unwrap().1, Bytes::from_static(b"Running"));
    let seq = store.put_state_fact("pods/x", Bytes::from_static(b"new"), Durability::Synced).unwrap();
    assert!(seq > last, "a number that left the node may not be used again");
}
