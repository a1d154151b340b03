//! Segments: preallocated files that frames are appended to, and that are recycled after a snapshot.
//!
//! Each use of a segment has a generation of its own, written into every frame, so that a recycled file's
//! old content reads as the end.

use crate::StoreError;
use crate::frame::{self, Read};
use crate::limits::SEGMENT_BYTES;
use holdfast_env::{Disk, DiskError, File};
use holdfast_mutation::broken;
use std::sync::Arc;

const DIR: &str = "journal";

fn path(generation: u64) -> String {
    format!("{DIR}/{generation:016x}.log")
}

/// The writing end of the journal.
pub struct Journal {
    disk: Arc<dyn Disk>,
    file: Box<dyn File>,
    generation: u64,
    offset: u64,
    /// Older segments whose content is not in a snapshot yet.
    older: Vec<u64>,
    /// Segments whose content is in a snapshot: raw material.
    free: Vec<u64>,
}

/// What reading the journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replay {
    /// Frames read.
    pub frames: usize,
    /// Whether the last segment ended in a torn frame, as after a power cut.
    pub torn_tail: bool,
}

impl Journal {
    /// Reads every frame of the segments numbered `first` and above, in order, and opens the journal for
    /// appending after the last whole frame. Segments below `first` are free.
    ///
    /// # Errors
    /// The disk's, and [`StoreError::Damaged`] when a frame in the middle is damaged: what follows it was
    /// acknowledged and must not be skipped silently.
    pub fn open(
        disk: Arc<dyn Disk>,
        first: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(Journal, Replay), StoreError> {
        disk.create_dir_all(DIR)?;
        let mut segments: Vec<u64> = disk
            .list(DIR)?
            .iter()
            .filter_map(|name| u64::from_str_radix(name.strip_suffix(".log")?, 16).ok())
            .collect();
        segments.sort_unstable();
        let (free, mut live): (Vec<u64>, Vec<u64>) = segments.into_iter().partition(|number| *number < first);
        check_gapless(first, &live)?;
        let mut replay = Replay::default();
        let mut offset = 0;
        // The last segment with frames, and its bytes up to the last whole one.
        let mut tail = None;
        for (index, generation) in live.iter().enumerate() {
            let last = index + 1 == live.len();
            let data = disk.read(&path(*generation))?.unwrap_or_default();
            offset = 0;
            loop {
                match frame::read(&data, offset, *generation) {
                    Read::Frame(payload, next) => {
                        each(payload)?;
                        replay.frames += 1;
                        offset = next;
                    }
                    Read::End => break,
                    Read::Torn if last => {
                        replay.torn_tail = true;
                        break;
                    }
                    // A later segment was prepared, and the power went before anything was written to it.
                    Read::Torn if all_empty(&*disk, &live[index + 1..])? => {
                        replay.torn_tail = true;
                        wipe_tail(&*disk.open(&path(*generation), false)?, offset as u64)?;
                        break;
                    }
                    Read::Torn => {
                        return Err(StoreError::Damaged { path: path(*generation), reason: "a frame is damaged" });
                    }
                }
            }
            if offset > 0 {
                let mut data = data;
                data.truncate(offset);
                tail = Some((*generation, data));
            }
        }
        let journal = match live.pop() {
            Some(generation) => {
                let file = disk.open(&path(generation), false)?;
                Journal { disk, file, generation, offset: offset as u64, older: live, free }
            }
            None => {
                let (file, free) = new_segment(&*disk, first, free)?;
                Journal { disk, file, generation: first, offset: 0, older: live, free }
            }
        };
        if let Some((generation, data)) = tail
            && !broken("page-cache-trusted")
        {
            make_durable(&*journal.disk, generation, &data)?;
        }
        if replay.torn_tail {
            // What is left of the torn frame must not be read behind a later, shorter one.
            wipe_tail(&*journal.file, journal.offset)?;
        }
        Ok((journal, replay))
    }

    /// Appends a frame and syncs it.
    ///
    /// # Errors
    /// The disk's. After a failed sync the journal must not be used any more.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), StoreError> {
        let mut data = Vec::with_capacity(payload.len() + frame::HEADER * 2);
        if self.offset > 0 && self.offset + (payload.len() + frame::HEADER * 2) as u64 > SEGMENT_BYTES {
            self.roll()?;
        }
        frame::write(self.generation, payload, &mut data);
        let next = self.offset + data.len() as u64;
        // An empty header ends the segment: what a torn write or an earlier use left behind it is never read.
        data.extend_from_slice(&[0; frame::HEADER]);
        if let Err(err) = self.file.write_at(self.offset, &data) {
            // A part of it may be there. When it cannot be taken back the journal is unusable, full disk or not.
            self.file.write_at(self.offset, &[0; frame::HEADER]).map_err(fatal)?;
            self.file.sync_data().map_err(fatal)?;
            return Err(err.into());
        }
        if !broken("commit-without-sync") {
            self.file.sync_data().map_err(fatal)?;
        }
        self.offset = next;
        Ok(())
    }

    /// Segments written and not yet covered by a snapshot.
    pub fn live_segments(&self) -> usize {
        self.older.len() + 1
    }

    /// Begins a new segment and returns its number: a snapshot taken now covers everything below it.
    ///
    /// # Errors
    /// The disk's.
    pub fn roll(&mut self) -> Result<u64, StoreError> {
        let number = self.generation + 1;
        let (file, free) = new_segment(&*self.disk, number, std::mem::take(&mut self.free))?;
        self.free = free;
        self.file = file;
        self.older.push(self.generation);
        self.generation = number;
        self.offset = 0;
        Ok(number)
    }

    /// The content of the segments below `number` is in a durable snapshot.
    pub fn release_below(&mut self, number: u64) {
        let (free, older) = std::mem::take(&mut self.older).into_iter().partition(|segment| *segment < number);
        self.older = older;
        self.free.extend::<Vec<u64>>(free);
    }
}

/// Writes again what was read. After a failed sync Linux counts the pages as clean: what was read may be in the page
/// cache alone, a sync would not write it, and the next power cut would take it back after it was built upon. Only the
/// segment that was being appended can be in doubt, as the journal's life ends with a failed sync.
fn make_durable(disk: &dyn Disk, generation: u64, data: &[u8]) -> Result<(), DiskError> {
    let file = disk.open(&path(generation), false)?;
    file.write_at(0, data)?;
    file.sync_data()
}

fn wipe_tail(file: &dyn File, offset: u64) -> Result<(), DiskError> {
    let length = file.len()?.saturating_sub(offset);
    file.write_at(offset, &vec![0; usize::try_from(length).unwrap_or(0)])?;
    file.sync_data()
}

/// Whether none of these segments holds a frame of its own.
fn all_empty(disk: &dyn Disk, segments: &[u64]) -> Result<bool, DiskError> {
    for generation in segments {
        let data = disk.read(&path(*generation))?.unwrap_or_default();
        if frame::read(&data, 0, *generation) != Read::End {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A full disk that leaves the journal in doubt is no longer an error that the caller may go on after.
fn fatal(err: DiskError) -> StoreError {
    match err {
        DiskError::Full(path) => StoreError::Disk(DiskError::Failed {
            path,
            operation: "write",
            source: std::io::ErrorKind::StorageFull.into(),
        }),
        other => StoreError::Disk(other),
    }
}

/// The segments must follow on the snapshot without a gap. An older snapshot may be all that is readable; the
/// segments after it are recycled by then, and going on without them would lose what was acknowledged.
fn check_gapless(first: u64, live: &[u64]) -> Result<(), StoreError> {
    let gapless = live.iter().zip(first..).all(|(found, wanted)| *found == wanted);
    // Before the first snapshot there may be no segment yet.
    if gapless && (first == 1 || !live.is_empty()) {
        return Ok(());
    }
    Err(StoreError::Damaged { path: path(first), reason: "segments that the snapshot needs are missing" })
}

/// Makes segment `number` from a free one, or from nothing; keeps at most one free segment beyond that.
fn new_segment(disk: &dyn Disk, number: u64, mut free: Vec<u64>) -> Result<(Box<dyn File>, Vec<u64>), DiskError> {
    let recycled = free.pop();
    for spare in free.drain(..) {
        disk.remove(&path(spare))?;
    }
    if let Some(old) = recycled {
        disk.rename(&path(old), &path(number))?;
    }
    let file = disk.open(&path(number), recycled.is_none())?;
    if recycled.is_none() {
        if let Err(err) = file.allocate(SEGMENT_BYTES) {
            drop(file);
            disk.remove(&path(number))?;
            return Err(err);
        }
        file.sync_data()?;
    }
    disk.sync_dir(DIR)?;
    Ok((file, free))
}
