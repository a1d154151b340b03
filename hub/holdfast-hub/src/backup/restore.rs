//! `restore`: a hub's folder as a backup has it, in a history of its own.
//!
//! Everything is built aside and made durable first; renaming it to [`READY`] decides. From then on the restore is done,
//! even if this program ends: whoever opens the folder next puts it in place ([`finish`]). What was there is moved aside
//! and never deleted.

use super::{Contents, now};
use crate::data_dir::{DataFolder, ON_ETCD};
use anyhow::{Context, ensure};
use bytes::Bytes;
use holdfast_core::{Lineage, Revision};
use holdfast_links::lineage;
use holdfast_store::{LogBackend, LogEntry};
use holdfast_store_fjall::FjallBackend;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Where a restore is built; worthless until it is whole.
const BUILDING: &str = "restore.tmp";
/// A restore that is whole and not in place yet.
const READY: &str = "restoring";
/// What a restore replaces.
const PARTS: &[&str] = &["pki", "store"];
/// Bytes of values in one batch.
const BATCH_BYTES: usize = 4 << 20;
/// Entries in one batch.
const BATCH_ENTRIES: usize = 1024;

/// Restores the backup `file` into `data_dir`, whose hub is stopped; with `force` also if there is a hub.
pub(crate) fn run(data_dir: &Path, file: &Path, force: bool) -> anyhow::Result<()> {
    let contents = Contents::read(file)?;
    let folder = DataFolder::open(data_dir)?;
    ensure!(
        !folder.join(ON_ETCD).exists(),
        "the hub of {} keeps its objects in etcd, into which nothing is restored: restore into another --data-dir",
        data_dir.display()
    );
    let used = PARTS.iter().any(|part| folder.join(part).exists());
    let shown = data_dir.display();
    ensure!(!used || force, "there is a hub in --data-dir {shown}; with --force it is moved aside");
    let replaced = replaced_revision(&folder);
    let since = u64::try_from(now().secs() - contents.header.made_at_secs).unwrap_or(0);
    let revision = lineage::first_revision(contents.header.revision, since, replaced);
    let lineage = random_lineage()?;
    build(&folder, &contents, revision, lineage).with_context(|| format!("build {shown}/{BUILDING}"))?;
    let (building, ready) = (folder.join(BUILDING), folder.join(READY));
    std::fs::rename(&building, &ready).with_context(|| format!("rename {}", building.display()))?;
    let aside = finish(folder.path())?;
    println!("{shown}: {} records, revision {revision}, lineage {lineage}", contents.records.len());
    if let Some(aside) = aside {
        eprintln!("The hub that was there is in {}.", folder.join(&aside).display());
    }
    eprintln!("Start the hub; nodes come back by themselves, and report the pods that it has forgotten.");
    Ok(())
}

/// Puts a restore in place that was decided. The name of the folder with what was there before, if anything was.
pub(crate) fn finish(data_dir: &Path) -> anyhow::Result<Option<String>> {
    let ready = data_dir.join(READY);
    if !ready.exists() {
        return Ok(None);
    }
    let sync = |path: &Path| File::open(path).and_then(|folder| folder.sync_all());
    let put = || -> std::io::Result<Option<String>> {
        sync(data_dir)?;
        let mut aside = None;
        for part in PARTS.iter().filter(|part| ready.join(part).exists()) {
            let place = data_dir.join(part);
            if place.exists() {
                let name = match &aside {
                    Some(name) => name,
                    None => aside.insert(make_aside(data_dir)?),
                };
                std::fs::rename(&place, data_dir.join(name).join(part))?;
            }
            std::fs::rename(ready.join(part), place)?;
        }
        sync(data_dir)?;
        std::fs::remove_dir(&ready)?;
        sync(data_dir)?;
        Ok(aside)
    };
    put().with_context(|| format!("put the restored hub of {} in place", ready.display()))
}

/// A new folder for what is replaced.
fn make_aside(data_dir: &Path) -> std::io::Result<String> {
    let at = now().secs();
    for count in 0.. {
        let name = if count == 0 { format!("replaced-{at}") } else { format!("replaced-{at}-{count}") };
        match DirBuilder::new().mode(0o700).create(data_dir.join(&name)) {
            Err(err) if err.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => return made.map(|()| name),
        }
    }
    Err(std::io::ErrorKind::AlreadyExists.into())
}

/// The newest revision of the store that is there, as far as it can be read.
fn replaced_revision(folder: &DataFolder) -> Option<Revision> {
    let path = folder.join("store");
    if !path.exists() {
        return None;
    }
    let read = FjallBackend::open(&path).and_then(|backend| backend.load(&mut |_| {}));
    // A damaged store is why people restore.
    read.map_err(|err| eprintln!("The revision of {} cannot be read: {err}", path.display())).ok()
}

fn random_lineage() -> anyhow::Result<Lineage> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("draw random bytes")?;
    Ok(Lineage(u128::from_be_bytes(bytes)))
}

fn build(folder: &DataFolder, contents: &Contents, revision: Revision, lineage: Lineage) -> anyhow::Result<()> {
    let building = folder.join(BUILDING);
    if building.exists() {
        // Of a restore that did not get to its end.
        std::fs::remove_dir_all(&building).context("remove what an earlier restore left")?;
    }
    for path in [&building, &building.join("pki")] {
        DirBuilder::new().mode(0o700).create(path).with_context(|| format!("make {}", path.display()))?;
    }
    for (name, bytes) in &contents.files {
        let path = building.join(name);
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(bytes)).with_context(|| format!("write {}", path.display()))?;
    }
    let backend = FjallBackend::open(&building.join("store"))?;
    fill(&backend, contents, revision, lineage)?;
    // Closes the store, so that all of it is in files.
    drop(backend);
    let root = File::open(&building).context("open the restored folder")?;
    rustix::fs::syncfs(&root).context("make the restored folder durable")
}

/// Writes the records as they were, and on top what begins the new history.
fn fill(backend: &FjallBackend, contents: &Contents, revision: Revision, lineage: Lineage) -> anyhow::Result<()> {
    let mut batch = Batch { backend, entries: Vec::new(), bytes: 0 };
    for record in &contents.records {
        batch.add(LogEntry {
            revision: record.modified,
            key: record.key.as_str().into(),
            value: Some(backend.encode(&record.value)),
            created: record.created,
            previous: None,
        })?;
    }
    let records = contents.records.iter().map(|record| (record.key.as_str(), &record.value));
    let writes = lineage::begin_another(records, contents.header.revision, lineage, now());
    let known: BTreeMap<&str, (Revision, Revision)> =
        contents.records.iter().map(|record| (record.key.as_str(), (record.created, record.modified))).collect();
    for (key, value) in writes.map_err(anyhow::Error::msg)? {
        let before = known.get(key.as_str());
        let (created, previous) = (before.map_or(revision, |before| before.0), before.map(|before| before.1));
        let value: Bytes = backend.encode(&value);
        batch.add(LogEntry { revision, key: key.as_str().into(), value: Some(value), created, previous })?;
    }
    batch.flush()?;
    // Whatever a client asks for from before now is answered with 410.
    backend.compact(revision).context("set the first revision")
}

struct Batch<'a> {
    backend: &'a FjallBackend,
    entries: Vec<LogEntry>,
    bytes: usize,
}

impl Batch<'_> {
    fn add(&mut self, entry: LogEntry) -> anyhow::Result<()> {
        self.bytes += entry.value.as_ref().map_or(0, Bytes::len);
        self.entries.push(entry);
        if self.bytes >= BATCH_BYTES || self.entries.len() >= BATCH_ENTRIES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.bytes = 0;
        self.backend.append(&std::mem::take(&mut self.entries)).context("write the restored store")
    }
}
