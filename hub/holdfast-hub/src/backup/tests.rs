use super::*;
use holdfast_core::Revision;
use holdfast_store::suite::{delete, put, write as commit};
use holdfast_store::{LogBackend, LogEntry, StoreError};
use std::collections::BTreeMap;

const LINEAGE: &str = "000000000000000000000000000000ff";

fn pod(name: &str, uid: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","namespace":"a","uid":"{uid}"}}}}"#)
}

/// A stopped hub's folder.
async fn hub(data_dir: &Path) -> Revision {
    std::fs::create_dir_all(data_dir.join("pki")).unwrap();
    for name in ["ca.crt", "ca.key", "sa.key", "ca.tmp"] {
        std::fs::write(data_dir.join("pki").join(name), format!("{name} of the first")).unwrap();
    }
    let store = CachedStore::open(Arc::new(FjallBackend::open(&data_dir.join("store")).unwrap())).unwrap();
    commit(&*store, [put("/holdfast/lineage", LINEAGE), put("/links/n", "{}")]).await;
    commit(&*store, [put("/registry/core/pods/a/one", &pod("one", "u-1"))]).await;
    commit(
        &*store,
        [put("/registry/core/pods/a/two", &pod("two", "u-2")), put("/registry/core/secrets/a/s", &pod("s", "u-3"))],
    )
    .await;
    commit(&*store, [delete("/registry/core/pods/a/two")]).await;
    commit(&*store, [put("/registry/core/pods/a/one", &pod("one", "u-1"))]).await
}

fn state(data_dir: &Path) -> (Revision, BTreeMap<String, LogEntry>) {
    let backend = FjallBackend::open(&data_dir.join("store")).unwrap();
    let mut entries = BTreeMap::new();
    let revision = backend.load(&mut |entry| drop(entries.insert(entry.key.to_string(), entry))).unwrap();
    (revision, entries)
}

fn said(result: anyhow::Result<()>) -> String {
    format!("{:#}", result.unwrap_err())
}

/// Everything below a folder, as far as it can be compared.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn a_stopped_hub_is_backed_up_and_restored_as_another_history() {
    let root = tempfile::tempdir().unwrap();
    let (first, second, file) = (root.path().join("one"), root.path().join("two"), root.path().join("hub.backup"));
    let revision = hub(&first).await;
    let (_, before) = state(&first);
    let (folder, target) = (first.clone(), file.clone());
    // As the program does it: without a runtime around it.
    let done = std::thread::spawn(move || run(&folder, &target)).join().unwrap();
    done.unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!root.path().join(".hub.backup.partial").exists());
    let contents = Contents::read(&file).unwrap();
    assert_eq!((contents.header.revision, contents.header.lineage.as_str()), (revision, LINEAGE));
    let counts: Vec<(String, usize)> = contents.counts().into_iter().collect();
    let expected = [("/holdfast/", 1), ("/links/", 1), ("pods", 1), ("secrets", 1)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_string(), count)));

    restore(&second, &file, false).unwrap();
    assert_eq!(std::fs::read(second.join("pki/ca.key")).unwrap(), b"ca.key of the first");
    assert!(!second.join("pki/ca.tmp").exists());
    let (restored, after) = state(&second);
    assert!(restored.0 >= revision.0 + 1_000_000_000);
    for key in ["/links/n", "/registry/core/pods/a/one", "/registry/core/secrets/a/s"] {
        assert_eq!(after[key].value, before[key].value, "{key}");
        assert_eq!((after[key].created, after[key].revision), (before[key].created, before[key].revision), "{key}");
    }
    let lineage = String::from_utf8(after["/holdfast/lineage"].value.clone().unwrap().to_vec()).unwrap();
    assert!(lineage != LINEAGE && lineage.len() == 32);
    assert_eq!(after["/holdfast/lineage"].revision, restored);
    assert!(after.contains_key("/known-pods/u-1") && !after.contains_key("/known-pods/u-2"));

    let store = CachedStore::open(Arc::new(FjallBackend::open(&second.join("store")).unwrap())).unwrap();
    for old in [revision, revision.next(), Revision(restored.0 - 1)] {
        let watch = store.watch("/registry/", old).map(drop);
        assert!(matches!(watch, Err(StoreError::Compacted { .. })), "{old}: {watch:?}");
    }
    assert_eq!(commit(&*store, [put("a", "b")]).await, restored.next());
}

#[tokio::test]
async fn a_hub_that_is_there_is_moved_aside_and_only_with_force() {
    let root = tempfile::tempdir().unwrap();
    let (data_dir, file) = (root.path().join("hub"), root.path().join("f"));
    hub(&data_dir).await;
    let (folder, target) = (data_dir.clone(), file.clone());
    std::thread::spawn(move || run(&folder, &target)).join().unwrap().unwrap();
    std::fs::write(data_dir.join("pki/ca.key"), "rotated since").unwrap();
    let last = {
        let store = CachedStore::open(Arc::new(FjallBackend::open(&data_dir.join("store")).unwrap())).unwrap();
        commit(&*store, [put("/registry/core/pods/a/late", &pod("late", "u-9"))]).await
    };
    let refused = said(restore(&data_dir, &file, false));
    assert!(refused.contains("there is a hub in --data-dir") && refused.contains("--force"), "{refused}");
    assert_eq!(state(&data_dir).0, last);
    restore(&data_dir, &file, true).unwrap();
    let (revision, entries) = state(&data_dir);
    assert!(revision > last && !entries.contains_key("/registry/core/pods/a/late"));
    assert_eq!(std::fs::read(data_dir.join("pki/ca.key")).unwrap(), b"ca.key of the first");
    let aside: Vec<PathBuf> = std::fs::read_dir(&data_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("replaced-"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(state(&aside[0]).0, last);
    assert_eq!(std::fs::read(aside[0].join("pki/ca.key")).unwrap(), b"rotated since");
    restore(&data_dir, &file, true).unwrap();
    assert!(state(&data_dir).0 > revision, "the same backup again begins above all that came of it");
}

#[tokio::test]
async fn a_restore_that_was_cut_short_is_nothing_or_is_finished() {
    let root = tempfile::tempdir().unwrap();
    let (data_dir, file) = (root.path().join("hub"), root.path().join("f"));
    let revision = hub(&data_dir).await;
    let (folder, target) = (data_dir.clone(), file.clone());
    std::thread::spawn(move || run(&folder, &target)).join().unwrap().unwrap();
    // Half built: nobody looks at it, and the next restore begins anew.
    std::fs::create_dir_all(data_dir.join("restore.tmp/store")).unwrap();
    std::fs::write(data_dir.join("restore.tmp/store/junk"), "x").unwrap();
    drop(DataFolder::open(&data_dir).unwrap());
    assert_eq!(state(&data_dir).0, revision);
    // Decided, and cut after each of the four steps that put it in place.
    for steps in 0..=4 {
        let dir = root.path().join(format!("cut-{steps}"));
        std::fs::create_dir_all(&dir).unwrap();
        for part in ["pki", "store"] {
            std::fs::create_dir_all(dir.join(part)).unwrap();
            std::fs::write(dir.join(part).join("old"), "").unwrap();
            std::fs::create_dir_all(dir.join("restoring").join(part)).unwrap();
            std::fs::write(dir.join("restoring").join(part).join("new"), "").unwrap();
        }
        std::fs::create_dir_all(dir.join("replaced-1")).unwrap();
        let moves = [
            ("pki", "replaced-1/pki"),
            ("restoring/pki", "pki"),
            ("store", "replaced-1/store"),
            ("restoring/store", "store"),
        ];
        for (from, to) in &moves[..steps] {
            std::fs::rename(dir.join(from), dir.join(to)).unwrap();
        }
        drop(DataFolder::open(&dir).unwrap());
        for part in ["pki", "store"] {
            assert!(dir.join(part).join("new").exists(), "{steps}: {part}");
        }
        assert!(!dir.join("restoring").exists());
        let kept = files(&dir).keys().filter(|path| path.ends_with("old")).count();
        assert_eq!(kept, 2, "{steps}: nothing old is lost");
    }
}

#[tokio::test]
async fn damage_is_refused_before_anything_is_touched() {
    let root = tempfile::tempdir().unwrap();
    let (data_dir, file) = (root.path().join("hub"), root.path().join("f"));
    hub(&data_dir).await;
    let (folder, target) = (data_dir.clone(), file.clone());
    std::thread::spawn(move || run(&folder, &target)).join().unwrap().unwrap();
    let good = std::fs::read(&file).unwrap();
    let empty = root.path().join("other");
    // Every byte in the store's own tests; here a few, and what comes of them.
    for at in [0, 3, 20, good.len() / 3, good.len() / 2, good.len() - 40, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        std::fs::write(&file, &bad).unwrap();
        let before = files(&data_dir);
        let refused = said(restore(&data_dir, &file, true));
        assert!(refused.contains("is of no use"), "{at}: {refused}");
        assert_eq!(said(check(None, Some(&file))), refused);
        assert_eq!(files(&data_dir), before, "{at}");
        assert!(restore(&empty, &file, false).is_err() && !empty.exists());
    }
    std::fs::write(&file, &good[..good.len() - 1]).unwrap();
    let refused = said(restore(&empty, &file, false));
    assert!(refused.contains("it is not whole"), "{refused}");
    let refused = said(restore(&empty, &root.path().join("none"), false));
    assert!(refused.contains("open the backup"), "{refused}");
}

#[test]
fn what_does_not_belong_into_a_backup_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("f");
    let header =
        Header { format: FORMAT, revision: Revision(9), lineage: "1".into(), made_at_secs: 1, made_by: "x".into() };
    let make = |names: &[&str], key: &str, value: &str| {
        let mut writer = BackupWriter::begin(Vec::new(), &header).unwrap();
        names.iter().for_each(|name| writer.file(name, b"x").unwrap());
        writer.record(key, value.as_bytes(), Revision(1), Revision(1)).unwrap();
        std::fs::write(&file, writer.finish().unwrap()).unwrap();
        Contents::read(&file).map(drop)
    };
    let keys = ["pki/ca.crt", "pki/ca.key", "pki/sa.key"];
    make(&keys, "/registry/core/pods/a/a", &pod("a", "u")).unwrap();
    for name in ["pki/../../etc/passwd", "pki/..", "pki/", "admin.kubeconfig", "/etc/passwd"] {
        let refused = said(make(&[&keys[..], &[name]].concat(), "/a", "x"));
        assert!(refused.contains("unknown place"), "{name}: {refused}");
    }
    assert!(said(make(&keys[..2], "/a", "x")).contains("lacks pki/sa.key"));
    let refused = said(make(&keys, "/registry/core/pods/a/a", "{"));
    assert!(refused.contains("/registry/core/pods/a/a does not decode"), "{refused}");
}

#[tokio::test]
async fn a_damaged_store_is_found_by_check() {
    let root = tempfile::tempdir().unwrap();
    hub(root.path()).await;
    check(Some(root.path()), None).unwrap();
    {
        let store = CachedStore::open(Arc::new(FjallBackend::open(&root.path().join("store")).unwrap())).unwrap();
        commit(&*store, [put("/registry/core/pods/a/bad", "no object")]).await;
    }
    let found = said(check(Some(root.path()), None));
    assert!(found.contains("/registry/core/pods/a/bad does not decode"), "{found}");
    assert!(said(check(Some(&root.path().join("none")), None)).contains("there is no hub in --data-dir"));
    assert!(said(check(None, None)).contains("what to check?"));
}
