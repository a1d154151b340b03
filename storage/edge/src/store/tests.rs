use super::*;
use crate::record::Item;
use holdfast_core::{Lineage, Revision, content_hash};
use holdfast_env::host::HostDisk;

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
    assert!(files <= SNAPSHOT_AFTER_SEGMENTS + 2, "{files} segments are left");
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

#[test]
fn a_damaged_snapshot_gives_way_to_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = EdgeStore::open(disk(&dir)).unwrap();
    store.commit(vec![put("a", "1")], Durability::Synced).unwrap();
    store.snapshot().unwrap();
    drop(store);
    std::fs::write(dir.path().join("snapshot.b"), b"garbage that is long enough").unwrap();
    let (store, report) = EdgeStore::open(disk(&dir)).unwrap();
    assert!(report.snapshot_fallback);
    assert_eq!(store.state().items().len(), 1);
}
