//! Compaction on disk, damage, and full disks. The store's contract runs in `tests/it`.

use super::*;
use crate::format;
use holdfast_store::suite::{delete, put, write};
use holdfast_store::{CachedStore, Op, RangeRequest, Store, Txn};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::sync::Arc;

fn open(path: &Path) -> (Arc<FjallBackend>, Arc<CachedStore>) {
    let backend = Arc::new(FjallBackend::open(path).unwrap());
    (backend.clone(), CachedStore::open(backend).unwrap())
}

fn load_error(path: &Path) -> String {
    match FjallBackend::open(path).and_then(|backend| backend.load(&mut |_| {})) {
        Err(StoreError::Failed(text)) => text,
        other => panic!("damage went unseen: {other:?}"),
    }
}

#[tokio::test]
async fn compaction_removes_replaced_entries_and_deletions() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, store) = open(dir.path());
    let entries = || backend.with_engine(Engine::log_len).unwrap();
    for n in 0..600 {
        write(&*store, [put("a", &n.to_string()), put(&format!("b{n}"), "v")]).await;
    }
    let middle = store.revision();
    for n in 0..600 {
        write(&*store, [delete(&format!("b{n}"))]).await;
    }
    let last = write(&*store, [put("a", "2")]).await;
    assert_eq!(entries(), 1200 + 600 + 1);
    store.compact(middle).await.unwrap();
    assert_eq!(entries(), 601 + 600 + 1, "599 versions of `a` were replaced by then");
    store.compact(last).await.unwrap();
    assert_eq!(entries(), 1);
    let gone = write(&*store, [delete("a")]).await;
    store.compact(gone).await.unwrap();
    assert_eq!(entries(), 0);
    drop((store, backend));
    let (_, store) = open(dir.path());
    assert_eq!(store.revision(), gone, "an empty log still knows its revision");
    assert_eq!(write(&*store, [put("a", "3")]).await, gone.next());
}

#[tokio::test]
async fn damaged_entry_is_told_with_its_revision() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, store) = open(dir.path());
    write(&*store, [put("ok", "v")]).await;
    let revision = write(&*store, [put("pods/a", &"text ".repeat(100))]).await;
    drop(store);
    let entry = LogEntry { revision, key: "pods/a".into(), value: None, created: revision, previous: None };
    let mut cut = format::entry(&LogEntry { value: Some(values::encode(&b"text ".repeat(100))), ..entry.clone() });
    cut.truncate(cut.len() - 3);
    let begin = "the store's log is damaged at revision 2, pods/a: ";
    let mut backend = Some(backend);
    for (bytes, end) in [
        (cut, "its value: "),
        (vec![7], "it is too short"),
        (format::entry(&entry), "it is a deletion, and the index has it live"),
    ] {
        let open = backend.take().unwrap_or_else(|| Arc::new(FjallBackend::open(dir.path()).unwrap()));
        open.with_engine(|engine| engine.damage(revision, "pods/a", &bytes)).unwrap();
        drop(open);
        let text = load_error(dir.path());
        assert!(text.starts_with(&format!("{begin}{end}")), "{text}");
    }
}

#[tokio::test]
async fn damaged_files_fail_the_open_without_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (backend, store) = open(dir.path());
    write(&*store, [put("a", "1")]).await;
    drop((store, backend));
    let version = dir.path().join("version");
    assert!(version.exists(), "fjall's layout changed");
    std::fs::write(&version, b"not fjall").unwrap();
    let text = load_error(dir.path());
    assert!(text.starts_with(&format!("cannot open the store under {}: ", dir.path().display())), "{text}");
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let backend = FjallBackend::open(dir.path()).unwrap();
    backend.with_engine(|engine| engine.set_meta("store/format", b"2").unwrap()).unwrap();
    drop(backend);
    let text = load_error(dir.path());
    assert!(text.ends_with(" was written in format 2; this version reads format 1"), "{text}");
}

/// Runs `test` in a thread that has a small disk of its own, at the given path.
fn on_small_disk(bytes: u64, test: impl FnOnce(&Path) + Send + 'static) {
    let run = move || {
        let dir = tempfile::tempdir().unwrap();
        // The mount is the thread's alone and goes with it.
        unshare(CloneFlags::CLONE_NEWNS).expect("needs root");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let options = format!("size={bytes}");
        mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())).unwrap();
        test(&dir.path().join("store"));
        nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    };
    std::thread::spawn(run).join().unwrap();
}

fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn writes_stop_at_the_reserve_and_go_on_when_there_is_room() {
    on_small_disk(RESERVE_BYTES + (24 << 20), |path| {
        let (_, store) = open(path);
        block_on(async {
            write(&*store, [put("a", "1")]).await;
            let ballast = path.parent().unwrap().join("ballast");
            std::fs::write(&ballast, vec![1; 26 << 20]).unwrap();
            let txn = Txn { checks: vec![], ops: vec![put("a", "2")] };
            assert_eq!(store.txn(txn).await.err(), Some(StoreError::Full));
            assert_eq!(store.get("a").await.unwrap().unwrap().modified, Revision(1));
            store.compact(Revision(1)).await.expect("compaction has the reserve");
            std::fs::remove_file(ballast).unwrap();
            assert_eq!(write(&*store, [put("a", "3")]).await, Revision(2));
        });
    });
}

#[test]
fn full_disk_inside_the_engine_loses_nothing_acknowledged() {
    on_small_disk(6 << 20, |path| {
        // Without the reserve, so that fjall itself meets the end of the disk.
        let store = CachedStore::open(Arc::new(FjallBackend::with_reserve(path, None).unwrap())).unwrap();
        let ballast = path.parent().unwrap().join("ballast");
        std::fs::write(&ballast, vec![1; 1 << 20]).unwrap();
        block_on(async {
            let big = |n: u64| {
                let value = noise(n, 200 << 10);
                Txn { checks: vec![], ops: vec![Op::Put { key: format!("k{n}"), value }] }
            };
            let mut written = 0;
            let refused = loop {
                match store.txn(big(written)).await {
                    Ok(_) => written += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(refused, StoreError::Full);
            assert!(written > 5 && store.revision() == Revision(written), "{written}");
            std::fs::remove_file(ballast).unwrap();
            store.txn(big(written)).await.expect("there is room again");
            drop(store);
            let store = CachedStore::open(Arc::new(FjallBackend::with_reserve(path, None).unwrap())).unwrap();
            let found = store.range(RangeRequest::default()).await.unwrap();
            assert_eq!((found.records.len() as u64, store.revision()), (written + 1, Revision(written + 1)));
            for record in &found.records {
                let n: u64 = record.key[1..].parse().unwrap();
                assert_eq!((record.modified, &record.value), (Revision(n + 1), &noise(n, 200 << 10)));
            }
        });
    });
}

/// Takes what is left of a disk, to the last page.
fn fill(ballast: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(ballast).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[1; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn other_writes_that_meet_the_end_of_the_disk_stop_nothing_for_good() {
    on_small_disk(6 << 20, |path| {
        let backend = Arc::new(FjallBackend::with_reserve(path, None).unwrap());
        let store = CachedStore::open(backend.clone()).unwrap();
        let ballast = path.parent().unwrap().join("ballast");
        block_on(async {
            for n in 0..600 {
                write(&*store, [put("a", &n.to_string()), put(&format!("b{n}"), "v")]).await;
            }
            fill(&ballast);
            assert_eq!(backend.put_meta("lineage", &noise(1, 100_000)), Err(StoreError::Full));
            assert_eq!(backend.meta("lineage").unwrap(), None);
            // What it had written of it is free again.
            fill(&ballast.with_extension("more"));
            assert_eq!(store.compact(store.revision()).await, Err(StoreError::Full));
            std::fs::remove_file(&ballast).unwrap();
            write(&*store, [put("a", "there is room again")]).await;
            backend.put_meta("lineage", b"abc").unwrap();
            store.compact(store.revision()).await.unwrap();
            drop((store, backend));
            let backend = Arc::new(FjallBackend::with_reserve(path, None).unwrap());
            assert_eq!(backend.meta("lineage").unwrap().as_deref(), Some(b"abc".as_slice()));
            assert_eq!(backend.with_engine(Engine::log_len).unwrap(), 601);
            assert_eq!(CachedStore::open(backend).unwrap().revision(), Revision(601));
        });
    });
}
