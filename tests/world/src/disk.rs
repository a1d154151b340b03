//! A disk that loses power: any subset of the sectors that were written and not synced survives, and a prefix of
//! the folder's changes that were not synced (a journalling file system keeps their order).

use crate::rng::Rng;
use crate::universe::lock;
use holdfast_env::{Disk, DiskError, File};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// What survives or not as a whole.
const SECTOR: usize = 512;

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
    /// Syncs until the process is killed.
    syncs_left: u64,
    full: bool,
    failing_syncs: u32,
    bytes: u64,
    syncs: u64,
}

/// A disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Mutex<Medium>>);

fn dir_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn failed(path: &str, operation: &'static str, why: &str) -> DiskError {
    DiskError::Failed { path: path.into(), operation, source: std::io::Error::other(why.to_string()) }
}

impl Medium {
    fn step(&mut self, path: &str, operation: &'static str) -> Result<(), DiskError> {
        if self.left == 0 {
            return Err(failed(path, operation, "no power"));
        }
        if self.syncs_left == 0 {
            return Err(failed(path, operation, "the process is being killed"));
        }
        self.left -= 1;
        Ok(())
    }

    /// Something is durable; an error when the process does not live to hear of it.
    fn synced(&mut self, path: &str) -> Result<(), DiskError> {
        self.syncs_left = self.syncs_left.saturating_sub(1);
        match self.syncs_left {
            0 => Err(failed(path, "sync", "the process is being killed")),
            _ => Ok(()),
        }
    }

    fn write(&mut self, inode: usize, offset: usize, data: &[u8]) {
        self.bytes += data.len() as u64;
        let file = &mut self.inodes[inode];
        if file.seen.len() < offset + data.len() {
            file.seen.resize(offset + data.len(), 0);
        }
        file.seen[offset..offset + data.len()].copy_from_slice(data);
        file.dirty.extend(offset / SECTOR..=(offset + data.len().max(1) - 1) / SECTOR);
    }

    fn cut(&mut self) {
        let mut rng = self.rng.fork();
        // Each kind of history: nothing survives, everything does, or a coin for each piece.
        let mood = rng.below(4);
        let mut survives = move || match mood {
            0 => false,
            1 => true,
            _ => rng.chance(2),
        };
        for file in &mut self.inodes {
            let dirty = std::mem::take(&mut file.dirty);
            if dirty.is_empty() && file.seen == file.durable {
                continue;
            }
            let mut after = file.durable.clone();
            for sector in dirty {
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
        let mut names = self.durable_names.clone();
        for change in std::mem::take(&mut self.changes) {
            if !survives() {
                break;
            }
            change.apply(&mut names);
        }
        self.durable_names.clone_from(&names);
        self.names = names;
        self.left = u64::MAX;
        self.syncs_left = u64::MAX;
        self.full = false;
        self.failing_syncs = 0;
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(rng: Rng) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(Medium {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            rng,
            left: u64::MAX,
            syncs_left: u64::MAX,
            full: false,
            failing_syncs: 0,
            bytes: 0,
            syncs: 0,
        })))
    }

    fn with<T>(&self, run: impl FnOnce(&mut Medium) -> T) -> T {
        run(&mut lock(&self.0))
    }

    /// The power goes and comes back; faults that were set end.
    pub fn cut(&self) {
        self.with(Medium::cut);
    }

    /// The power goes during the operation after these many; until [`SimDisk::cut`] every one fails.
    pub fn cut_after(&self, operations: u64) {
        self.with(|medium| medium.left = operations);
    }

    /// Whether the power has gone by [`SimDisk::cut_after`].
    pub fn is_dead(&self) -> bool {
        self.with(|medium| medium.left == 0)
    }

    /// The process is killed right after so many further syncs of a file or a folder, before it hears of the last.
    pub fn kill_after_syncs(&self, syncs: u64) {
        self.with(|medium| medium.syncs_left = syncs);
    }

    /// Whether the process is to be killed by [`SimDisk::kill_after_syncs`]; until [`SimDisk::process_gone`] nothing that
    /// it asks of the disk works.
    pub fn is_killed(&self) -> bool {
        self.with(|medium| medium.syncs_left == 0)
    }

    /// The process that was to be killed is gone.
    pub fn process_gone(&self) {
        self.with(|medium| {
            if medium.syncs_left == 0 {
                medium.syncs_left = u64::MAX;
            }
        });
    }

    /// No file can grow while this is set.
    pub fn set_full(&self, full: bool) {
        self.with(|medium| medium.full = full);
    }

    /// The next syncs fail with EIO.
    pub fn fail_syncs(&self, count: u32) {
        self.with(|medium| medium.failing_syncs = count);
    }

    /// Flips a bit of a file that is on the medium; false when there is no such byte.
    pub fn flip_bit(&self, path: &str, offset: usize, bit: u8) -> bool {
        self.with(|medium| {
            let Some(inode) = medium.names.get(path).copied() else { return false };
            let file = &mut medium.inodes[inode];
            let Some(byte) = file.durable.get_mut(offset) else { return false };
            *byte ^= 1 << (bit % 8);
            if let Some(seen) = file.seen.get_mut(offset) {
                *seen ^= 1 << (bit % 8);
            }
            true
        })
    }

    /// Another card is put in: nothing of the old one is left. For a machine that is off.
    pub fn replace(&self) {
        self.with(|medium| {
            medium.inodes.clear();
            medium.names.clear();
            medium.durable_names.clear();
            medium.changes.clear();
        });
    }

    /// Bytes of a file up to the last that is not zero, on the medium.
    pub fn used(&self, path: &str) -> usize {
        self.with(|medium| {
            let inode = medium.names.get(path).and_then(|inode| medium.inodes.get(*inode));
            inode.and_then(|file| file.durable.iter().rposition(|byte| *byte != 0)).map_or(0, |at| at + 1)
        })
    }

    /// Bytes written and syncs of files and folders done since the disk was made.
    pub fn written(&self) -> (u64, u64) {
        self.with(|medium| (medium.bytes, medium.syncs))
    }
}

struct SimFile {
    disk: SimDisk,
    path: String,
    inode: usize,
}

impl File for SimFile {
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
            let grows = offset as usize + data.len() > medium.inodes[self.inode].seen.len();
            if medium.left == 0 || (medium.full && grows) {
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
            medium.syncs += 1;
            if medium.failing_syncs > 0 {
                medium.failing_syncs -= 1;
                // As Linux does: the pages count as clean, and what was in them is lost on the medium.
                medium.inodes[self.inode].dirty.clear();
                return Err(failed(&self.path, "sync", "input/output error"));
            }
            let file = &mut medium.inodes[self.inode];
            file.durable.resize(file.seen.len(), 0);
            for sector in std::mem::take(&mut file.dirty) {
                let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(file.seen.len()));
                if from < to {
                    file.durable[from..to].copy_from_slice(&file.seen[from..to]);
                }
            }
            medium.synced(&self.path)
        })
    }

    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.disk.with(|medium| medium.inodes[self.inode].seen.len() as u64))
    }
}

impl Disk for SimDisk {
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
            let file: Box<dyn File> = Box::new(SimFile { disk: self.clone(), path: path.into(), inode });
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
            medium.syncs += 1;
            let mut names = std::mem::take(&mut medium.durable_names);
            let (synced, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut medium.changes).into_iter().partition(|change| dir_of(change.path()) == dir);
            for change in synced {
                change.apply(&mut names);
            }
            medium.durable_names = names;
            medium.changes = rest;
            medium.synced(dir)
        })
    }

    fn free(&self) -> Result<u64, DiskError> {
        Ok(self.with(|medium| if medium.full { 0 } else { 1 << 33 }))
    }
}
