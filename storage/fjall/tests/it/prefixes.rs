//! What a power cut leaves of the log: each prefix of its bytes, the rest of the file missing or zero. Whatever was acknowledged
//! within the prefix is there, in order, and nothing else; revisions never go back, and the store goes on from there.
//!
//! The bytes are those of fjall's journal as it lay on disk when each write had been answered.

use super::open;
use holdfast_core::Revision;
use holdfast_store::suite::{delete, put, write};
use holdfast_store::{Op, RangeRequest, Store};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

type State = BTreeMap<String, (String, Revision)>;

/// What the store was when its journal had this many bytes.
struct Step {
    bytes: usize,
    revision: Revision,
    state: State,
}

/// The one journal of a store that has written little.
fn journal(folder: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "jnl") {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "fjall's layout changed: {found:?}");
    found.remove(0)
}

/// The written part: the file is made long beforehand, and each batch ends in a mark.
fn written(journal: &Path) -> Vec<u8> {
    let mut bytes = std::fs::read(journal).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.truncate(end);
    bytes
}

async fn state(store: &dyn Store) -> State {
    let records = store.range(RangeRequest::default()).await.unwrap().records;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    records.iter().map(|record| (record.key.to_string(), (text(&record.value), record.modified))).collect()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if path.extension().is_none_or(|ending| ending != "jnl") {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test]
async fn every_prefix_of_the_log_is_a_state_that_was() {
    // In memory where there is such a place: opening a store syncs a lot, and nothing here is about syncs.
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let folder = dir.path().join("store");
    let store = open(&folder);
    let path = journal(&folder);
    let mut steps = Vec::new();
    let long = "text that zstd makes shorter ".repeat(12);
    let writes: Vec<Vec<Op>> = vec![
        vec![],
        vec![put("a", "1")],
        vec![put("a", "2"), put("b", &long)],
        vec![delete("a"), put("c", "3")],
        vec![put("a", "4")],
        vec![delete("b")],
        // The newest entry of the log is a deletion, which a compaction removes.
        vec![],
        vec![put("d", "5")],
    ];
    for ops in writes {
        if ops.is_empty() {
            store.compact(store.revision()).await.unwrap();
        } else {
            write(&*store, ops).await;
        }
        steps.push(Step { bytes: written(&path).len(), revision: store.revision(), state: state(&*store).await });
    }
    let whole = written(&path);
    let length = std::fs::metadata(&path).unwrap().len();
    let rest = dir.path().join("rest");
    copy(&folder, &rest);
    drop(store);
    let within = path.strip_prefix(&folder).unwrap();

    let mut checked = 0;
    for cut in steps[0].bytes..=whole.len() {
        // All around the ends of writes, where lengths and marks are, and some of the rest.
        if cut % 4 != 0 && !steps.iter().any(|step| step.bytes.abs_diff(cut) < 48) {
            continue;
        }
        let expected = steps.iter().rev().find(|step| step.bytes <= cut).unwrap();
        // Missing or zero by turns; each in the middle of some write and at its end.
        let is_zeroed = checked % 2 == 0 || steps.iter().any(|step| step.bytes == cut);
        let folder = dir.path().join("cut");
        copy(&rest, &folder);
        std::fs::write(folder.join(within), &whole[..cut]).unwrap();
        if is_zeroed {
            std::fs::File::options().write(true).open(folder.join(within)).unwrap().set_len(length).unwrap();
        }
        let store = open(&folder);
        let found = (store.revision(), state(&*store).await);
        assert_eq!(found, (expected.revision, expected.state.clone()), "after {cut} of {} bytes", whole.len());
        if checked % 8 == 0 {
            let next = write(&*store, [put("next", "6")]).await;
            assert_eq!(next, expected.revision.next(), "after {cut} bytes");
            drop(store);
            let store = open(&folder);
            assert_eq!((store.revision(), state(&*store).await.len()), (next, expected.state.len() + 1), "after {cut}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
        checked += 1;
    }
    assert!(checked > 300, "only {checked} prefixes");
}
