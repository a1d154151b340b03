//! The store over a disk that loses power: any subset of the sectors that were written and not synced survives,
//! and so does any subset of the folder's changes that were not synced.
//!
//! One seed is one history of commits, cuts and recoveries; `HOLDFAST_SEEDS` runs more of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, Revision, Seq};
use holdfast_edge_store::{Durability, EdgeStore, Item, Record, StoreError};
use holdfast_env::{Disk, DiskError, File};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

#[derive(Clone)]
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// A file: what the program sees, and what is surely on the medium.
#[derive(Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

/// A change of a folder that is not synced yet.
#[derive(Clone)]
enum Change {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn path(&self) -> &str {
        match self {
            Change::Create(path, _) | Change::Rename(_, path) | Change::Remove(path) => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Change::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Change::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Change::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

struct Medium {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    changes: Vec<Change>,
    rng: Rng,
    /// Operations until the power goes; every one after that fails.
    left: u64,
    full: bool,
}

#[derive(Clone)]
struct FakeDisk(Arc<Mutex<Medium>>);

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl Medium {
    fn step(&mut self, path: &str, operation: &'static str) -> Result<(), DiskError> {
        if self.left == 0 {
            let source = std::io::Error::other("no power");
            return Err(DiskError::Failed { path: path.into(), operation, source });
        }
        self.left -= 1;
        Ok(())
    }

    fn write(&mut self, inode: usize, offset: usize, data: &[u8]) {
        let file = &mut self.inodes[inode];
        if file.seen.len() < offset + data.len() {
            file.seen.resize(offset + data.len(), 0);
        }
        file.seen[offset..offset + data.len()].copy_from_slice(data);
        file.dirty.extend(offset / SECTOR..=(offset + data.len().max(1) - 1) / SECTOR);
    }

    /// The power goes and comes back.
    fn cut(&mut self) {
        let mut rng = self.rng.clone();
        // Each kind of history: nothing survives, everything does, or a coin for each piece.
        let mood = rng.below(4);
        let mut survives = move || match mood {
            0 => false,
            1 => true,
            _ => rng.chance(2),
        };
        for file in &mut self.inodes {
            let mut after = file.durable.clone();
            for sector in std::mem::take(&mut file.dirty) {
                if !survives() {
                    continue;
                }
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(file.seen.len()));
                if from < to {
                    if after.len() < to {
                        after.resize(to, 0);
                    }
                    after[from..to].copy_from_slice(&file.seen[from..to]);
                }
            }
            file.seen.clone_from(&after);
            file.durable = after;
        }
        // A journalling file system keeps the order of a folder's changes: a prefix survives.
        let mut names = self.durable_names.clone();
        for change in std::mem::take(&mut self.changes) {
            if !survives() {
                break;
            }
            change.apply(&mut names);
        }
        self.durable_names.clone_from(&names);
        self.names = names;
        self.rng.next();
        self.left = u64::MAX;
        self.full = false;
    }
}

struct FakeFile {
    disk: FakeDisk,
    path: String,
    inode: usize,
}

impl FakeDisk {
    fn with<T>(&self, run: impl FnOnce(&mut Medium) -> T) -> T {
        run(&mut self.0.lock().unwrap())
    }
}

impl File for FakeFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, DiskError> {
        self.disk.with(|medium| {
            let seen = &medium.inodes[self.inode].seen;
            let from = (offset as usize).min(seen.len());
            let count = buf.len().min(seen.len() - from);
            buf[..count].copy_from_slice(&seen[from..from + count]);
            Ok(count)
        })
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.disk.with(|medium| {
            medium.step(&self.path, "write")?;
            // The operation during which the power goes may have written a part.
            if medium.left == 0 || (medium.full && offset as usize + data.len() > medium.inodes[self.inode].seen.len())
            {
                let part = medium.rng.below(data.len() as u64 + 1) as usize;
                medium.write(self.inode, offset as usize, &data[..part]);
                if medium.left > 0 {
                    return Err(DiskError::Full(self.path.clone()));
                }
                return medium.step(&self.path, "write");
            }
            medium.write(self.inode, offset as usize, data);
            Ok(())
        })
    }

    fn truncate(&self, len: u64) -> Result<(), DiskError> {
        self.disk.with(|medium| {
            medium.step(&self.path, "truncate")?;
            let file = &mut medium.inodes[self.inode];
            file.seen.resize(len as usize, 0);
            // Lengths are metadata: they survive here, what they cut off does not come back.
            file.durable.truncate(len as usize);
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> Result<(), DiskError> {
        self.disk.with(|medium| {
            medium.step(&self.path, "allocate")?;
            if medium.full {
                return Err(DiskError::Full(self.path.clone()));
            }
            let file = &mut medium.inodes[self.inode];
            let len = file.seen.len().max(len as usize);
            file.seen.resize(len, 0);
            Ok(())
        })
    }

    fn sync_data(&self) -> Result<(), DiskError> {
        self.disk.with(|medium| {
            medium.step(&self.path, "sync")?;
            let file = &mut medium.inodes[self.inode];
            file.durable.resize(file.seen.len(), 0);
            for sector in std::mem::take(&mut file.dirty) {
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(file.seen.len()));
                if from < to {
                    file.durable[from..to].copy_from_slice(&file.seen[from..to]);
                }
            }
            Ok(())
        })
    }

    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.disk.with(|medium| medium.inodes[self.inode].seen.len() as u64))
    }
}

impl Disk for FakeDisk {
    fn open(&self, path: &str, create: bool) -> Result<Box<dyn File>, DiskError> {
        self.with(|medium| {
            let inode = match medium.names.get(path) {
                Some(inode) => *inode,
                None if !create => return Err(DiskError::NotFound(path.into())),
                None => {
                    medium.step(path, "create")?;
                    medium.inodes.push(Inode::default());
                    let change = Change::Create(path.into(), medium.inodes.len() - 1);
                    change.apply(&mut medium.names);
                    medium.changes.push(change);
                    medium.inodes.len() - 1
                }
            };
            let file: Box<dyn File> = Box::new(FakeFile { disk: self.clone(), path: path.into(), inode });
            Ok(file)
        })
    }

    fn create_dir_all(&self, _path: &str) -> Result<(), DiskError> {
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), DiskError> {
        self.with(|medium| {
            medium.step(from, "rename")?;
            if !medium.names.contains_key(from) {
                return Err(DiskError::NotFound(from.into()));
            }
            let change = Change::Rename(from.into(), to.into());
            change.apply(&mut medium.names);
            medium.changes.push(change);
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> Result<(), DiskError> {
        self.with(|medium| {
            medium.step(path, "remove")?;
            let change = Change::Remove(path.into());
            change.apply(&mut medium.names);
            medium.changes.push(change);
            Ok(())
        })
    }

    fn list(&self, dir: &str) -> Result<Vec<String>, DiskError> {
        Ok(self.with(|medium| {
            let of = |path: &String| (dir_of(path) == dir).then(|| path.rsplit('/').next().unwrap_or("").to_string());
            medium.names.keys().filter_map(of).collect()
        }))
    }

    fn sync_dir(&self, dir: &str) -> Result<(), DiskError> {
        self.with(|medium| {
            medium.step(dir, "sync_dir")?;
            let mut names = std::mem::take(&mut medium.durable_names);
            let (synced, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut medium.changes).into_iter().partition(|change| dir_of(change.path()) == dir);
            for change in synced {
                change.apply(&mut names);
            }
            medium.durable_names = names;
            medium.changes = rest;
            Ok(())
        })
    }

    fn free(&self) -> Result<u64, DiskError> {
        Ok(u64::MAX)
    }
}

fn put(key: &str, value: u64, size: usize, hostile: bool) -> Record {
    // A body full of something that reads like a header of an early generation.
    let pattern: &[u8] = if hostile { &[8, 0, 0, 0, 1, 2, 3, 4, 1, 0, 0, 0, 0, 0, 0, 0] } else { b"body" };
    let mut body = value.to_le_bytes().to_vec();
    body.extend(pattern.iter().cycle().take(size));
    let item = Item { hash: ContentHash(value), lineage: Lineage(1), revision: Revision(value), body: body.into() };
    Record::PutItem { key: key.into(), item }
}

type Items = BTreeMap<String, u64>;

fn items_of(store: &EdgeStore) -> Items {
    store.state().items().iter().map(|(key, item)| (key.clone(), item.hash.0)).collect()
}

fn history(seed: u64) {
    let medium = Medium {
        inodes: Vec::new(),
        names: BTreeMap::new(),
        durable_names: BTreeMap::new(),
        changes: Vec::new(),
        rng: Rng(seed),
        left: u64::MAX,
        full: false,
    };
    let disk = FakeDisk(Arc::new(Mutex::new(medium)));
    let mut rng = Rng(seed ^ 0xABCD);
    let mut certain = Items::new();
    // A batch that was under way when the power went: there whole, or not at all.
    let mut doubtful: Option<Items> = None;
    let mut highest = Seq(0);
    for round in 0..12u64 {
        let (mut store, report) = EdgeStore::open(Arc::new(disk.clone()))
            .unwrap_or_else(|err| panic!("seed {seed}, round {round}: the store does not open: {err}"));
        assert!(!report.snapshot_fallback, "seed {seed}, round {round}: a snapshot is half there");
        let found = items_of(&store);
        assert!(
            found == certain || doubtful.as_ref() == Some(&found),
            "seed {seed}, round {round}: found {found:?}, certain {certain:?}, doubtful {doubtful:?}"
        );
        certain = found;
        doubtful = None;
        // The next start itself may lose power, too.
        disk.with(|medium| medium.left = rng.below(90));
        for step in 0..40u64 {
            let value = round * 1000 + step + 1;
            if rng.chance(12) {
                let full = rng.chance(2);
                disk.with(|medium| medium.full = full);
            }
            if rng.chance(3) {
                let body = Bytes::from(value.to_le_bytes().to_vec());
                let numbered = if rng.chance(2) {
                    store.put_state_fact("pod", body, Durability::Lazy)
                } else {
                    store.push_log_fact(body, Durability::Lazy)
                };
                match numbered {
                    Ok(seq) => {
                        assert!(seq > highest, "seed {seed}, round {round}: {seq:?} was used before ({highest:?})");
                        highest = seq;
                    }
                    Err(StoreError::Disk(DiskError::Full(_))) => {}
                    Err(_) => break,
                }
                continue;
            }
            let size = match rng.below(6) {
                0 => 300_000,
                1 => 1_200_000,
                2 => 40_000,
                _ => rng.below(3000) as usize,
            };
            let hostile = rng.chance(2);
            let mut after = certain.clone();
            let mut batch = Vec::new();
            for part in 0..=rng.below(3) {
                let key = format!("key-{}", rng.below(6));
                if rng.chance(4) {
                    after.remove(&key);
                    batch.push(Record::DropItem { key });
                } else {
                    after.insert(key.clone(), value * 10 + part);
                    batch.push(put(&key, value * 10 + part, size, hostile));
                }
            }
            match store.commit(batch, Durability::Synced) {
                Ok(()) => certain = after,
                Err(StoreError::Disk(DiskError::Full(_))) => {
                    assert_eq!(items_of(&store), certain, "seed {seed}: a full disk leaves everything as it was");
                }
                Err(_) => {
                    doubtful = Some(after);
                    break;
                }
            }
        }
        drop(store);
        disk.with(Medium::cut);
        if rng.chance(3) {
            // A recovery that is cut short as well.
            disk.with(|medium| medium.left = rng.below(6));
            let _ = EdgeStore::open(Arc::new(disk.clone()));
            disk.with(Medium::cut);
        }
    }
}

#[test]
fn what_was_committed_survives_any_power_cut() {
    let seeds = std::env::var("HOLDFAST_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24);
    for seed in 0..seeds {
        history(seed);
    }
}
