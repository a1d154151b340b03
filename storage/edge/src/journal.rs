//! Segments: preallocated files that frames are appended to, and that are recycled after a snapshot.
//!
//! Each use of a segment has a generation of its own, written into every frame, so that a recycled file's
//! old content reads as the end. The first frame of a segment says where the segment before it ended, so that frames
//! that were damaged at a segment's end are missed.

use crate::StoreError;
use crate::frame::{self, Read};
use crate::limits::SEGMENT_BYTES;
use crate::quarantine;
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
    /// Where the segment before this one ended; `None` when there is none that counts.
    previous_end: Option<u64>,
    /// Older segments that a snapshot may still need.
    older: Vec<u64>,
    /// Segments that no snapshot needs: raw material.
    free: Vec<u64>,
}

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the beginning of the first segment.
    First,
    /// At the beginning of a segment; the one before ended here.
    After {
        /// The offset after the last readable frame of the segment before.
        end: u64,
        /// What stands there was begun as a frame.
        is_torn: bool,
    },
    /// Behind another.
    Within,
}

/// Why a segment's frames end where they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// The writer's own end.
    Clean,
    /// What a power cut leaves, and what a damaged last frame looks like.
    Odd { is_torn: bool },
    /// The frame does not follow on the segment before.
    Unlinked,
}

/// One segment, read.
struct Segment {
    generation: u64,
    data: Vec<u8>,
    /// The offset after the last readable frame.
    end: usize,
    stop: Stop,
}

/// What reading the journal found; nothing is changed yet.
pub struct Scan {
    disk: Arc<dyn Disk>,
    first: u64,
    /// Segments from `first` on that are read, the last of them the one to go on in.
    read: Vec<Segment>,
    /// Segments behind the damage.
    behind: Vec<u64>,
    older: Vec<u64>,
    free: Vec<u64>,
    /// Frames read.
    pub frames: usize,
    /// The journal ends in something that is no whole frame, as after a power cut.
    pub is_doubtful: bool,
    /// What is damaged, and how: from there on nothing was read, though it was acknowledged.
    pub lost: Option<(String, &'static str)>,
}

/// Reads every frame of the segments numbered `first` and above, in order, up to the first damage. `each` takes a frame
/// and says whether it follows on what is before it. Segments from `kept` to `first` are kept for an older snapshot,
/// if all are there; the rest is free.
///
/// # Errors
/// The disk's, and those of `each`.
pub fn scan(
    disk: Arc<dyn Disk>,
    kept: u64,
    first: u64,
    mut each: impl FnMut(Place, &[u8]) -> Result<bool, StoreError>,
) -> Result<Scan, StoreError> {
    disk.create_dir_all(DIR)?;
    let mut segments: Vec<u64> =
        disk.list(DIR)?.iter().filter_map(|name| u64::from_str_radix(name.strip_suffix(".log")?, 16).ok()).collect();
    segments.sort_unstable();
    let (mut free, live): (Vec<u64>, Vec<u64>) = segments.into_iter().partition(|number| *number < first);
    let mut older = free.split_off(free.partition_point(|number| *number < kept));
    if !older.iter().copied().eq(kept..first) {
        free.append(&mut older);
    }
    let mut scan = Scan {
        disk,
        first,
        read: Vec::new(),
        behind: Vec::new(),
        older,
        free,
        frames: 0,
        is_doubtful: false,
        lost: None,
    };
    // Before the first snapshot there may be no segment yet.
    if live.is_empty() && first > 1 {
        scan.lost = Some((path(first), "a segment is missing"));
    }
    let mut left = live.iter().copied().peekable();
    while let Some(generation) = left.peek().copied() {
        let wanted = first + scan.read.len() as u64;
        if generation != wanted {
            scan.lost = Some((path(wanted), "a segment is missing"));
            break;
        }
        let data = scan.disk.read(&path(generation))?.unwrap_or_default();
        let mut segment = Segment { generation, data, end: 0, stop: Stop::Clean };
        let mut place = match scan.read.last() {
            None => Place::First,
            Some(before) => {
                Place::After { end: before.end as u64, is_torn: before.stop == Stop::Odd { is_torn: true } }
            }
        };
        segment.stop = loop {
            match frame::read(&segment.data, segment.end, generation) {
                Read::Frame(payload, next) => {
                    if !each(place, payload)? {
                        break Stop::Unlinked;
                    }
                    place = Place::Within;
                    scan.frames += 1;
                    segment.end = next;
                }
                Read::End => break Stop::Clean,
                Read::Foreign => break Stop::Odd { is_torn: false },
                Read::Torn => break Stop::Odd { is_torn: true },
            }
        };
        if segment.stop == Stop::Unlinked {
            let before = scan.read.last().map_or(generation, |before| before.generation);
            scan.lost = Some((path(before), "its last frames are damaged"));
            break;
        }
        left.next();
        let is_damaged = frame::any_after(&segment.data, segment.end, generation);
        if segment.end > 0 {
            scan.is_doubtful = false;
        }
        scan.is_doubtful |= segment.stop != Stop::Clean;
        scan.read.push(segment);
        if is_damaged {
            scan.lost = Some((path(generation), "a frame is damaged"));
            break;
        }
    }
    scan.behind = left.collect();
    Ok(scan)
}

impl Scan {
    /// Opens the journal for appending behind the last frame that was read. What is behind damage is put aside; the
    /// paths that it has now are added to `aside`.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(mut self, aside: &mut Vec<String>) -> Result<Journal, StoreError> {
        let disk = self.disk;
        for generation in self.behind.iter().rev() {
            aside.extend(quarantine::put_aside(&*disk, &path(*generation))?);
        }
        let previous_end = self.read.len().checked_sub(2).and_then(|at| self.read.get(at)).map(|s| s.end as u64);
        let tail = self.read.iter().rposition(|segment| segment.end > 0).unwrap_or(0);
        let cut = self.lost.is_some().then(|| self.read.len().saturating_sub(1));
        for (index, segment) in self.read.iter_mut().enumerate().skip(tail) {
            if self.lost.as_ref().is_some_and(|(lost, _)| *lost == path(segment.generation)) {
                aside.extend(quarantine::copy_aside(&*disk, &path(segment.generation), &segment.data)?);
            }
            let file = disk.open(&path(segment.generation), false)?;
            segment.data.truncate(segment.end);
            if index == tail && segment.end > 0 && !broken("page-cache-trusted") {
                make_durable(&*file, &segment.data)?;
            }
            if segment.stop != Stop::Clean || cut == Some(index) {
                // What is left of the torn frame must not be read behind a later, shorter one.
                wipe_tail(&*file, segment.end as u64)?;
            }
        }
        let mut older = self.older;
        older.extend(self.read.iter().map(|segment| segment.generation));
        let Some(last) = self.read.last() else {
            let (file, free) = new_segment(&*disk, self.first, self.free)?;
            return Ok(Journal { disk, file, generation: self.first, offset: 0, previous_end: None, older, free });
        };
        older.pop();
        let file = disk.open(&path(last.generation), false)?;
        let (generation, offset) = (last.generation, last.end as u64);
        Ok(Journal { disk, file, generation, offset, previous_end, older, free: self.free })
    }
}

impl Journal {
    /// Appends a frame to the segment and syncs it.
    ///
    /// # Errors
    /// The disk's. After a failed sync the journal must not be used any more.
    pub fn append(&mut self, payload: &[u8]) -> Result<(), StoreError> {
        let mut data = Vec::with_capacity(payload.len() + frame::HEADER * 2);
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

    /// Segments from number `first` on.
    pub fn segments_from(&self, first: u64) -> usize {
        self.older.iter().filter(|number| **number >= first).count() + 1
    }

    /// Where the segment before ended, when the next frame is the first of its segment.
    pub fn previous_end(&self) -> Option<u64> {
        self.previous_end.filter(|_| self.offset == 0)
    }

    /// Whether a frame with this payload begins a new segment.
    fn overflows(&self, payload: usize) -> bool {
        self.offset > 0 && self.offset + (payload + frame::HEADER * 2) as u64 > SEGMENT_BYTES
    }

    /// Begins a new segment when the next payload, of this length, needs one.
    ///
    /// # Errors
    /// The disk's.
    pub fn make_room(&mut self, payload: usize) -> Result<(), StoreError> {
        if self.overflows(payload) {
            self.roll()?;
        }
        Ok(())
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
        self.previous_end = Some(self.offset);
        self.generation = number;
        self.offset = 0;
        Ok(number)
    }

    /// No snapshot needs the segments below `number` any more.
    pub fn release_below(&mut self, number: u64) {
        let (free, older) = std::mem::take(&mut self.older).into_iter().partition(|segment| *segment < number);
        self.older = older;
        self.free.extend::<Vec<u64>>(free);
    }
}

/// Writes again what was read. After a failed sync Linux counts the pages as clean: what was read may be in the page
/// cache alone, a sync would not write it, and the next power cut would take it back after it was built upon. Only the
/// segment that was being appended can be in doubt, as the journal's life ends with a failed sync.
fn make_durable(file: &dyn File, data: &[u8]) -> Result<(), DiskError> {
    file.write_at(0, data)?;
    file.sync_data()
}

fn wipe_tail(file: &dyn File, offset: u64) -> Result<(), DiskError> {
    let length = file.len()?.saturating_sub(offset);
    file.write_at(offset, &vec![0; usize::try_from(length).unwrap_or(0)])?;
    file.sync_data()
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

/// Makes segment `number` from a free one, or from nothing; keeps at most one free segment beyond that.
fn new_segment(disk: &dyn Disk, number: u64, mut free: Vec<u64>) -> Result<(Box<dyn File>, Vec<u64>), DiskError> {
    let recycled = free.pop();
    for spare in free.drain(..) {
        disk.remove(&path(spare))?;
    }
    if let Some(old) = recycled {
        // Ended before it has begun: what an earlier use left reads as neither damage nor a torn write.
        let file = disk.open(&path(old), false)?;
        file.write_at(0, &[0; frame::HEADER])?;
        file.sync_data()?;
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
