//! fjall's journals as they lie on disk, judged before fjall opens them.
//!
//! fjall (3.1) takes whatever it cannot decode for the batch that a power cut tore, and cuts the file there: damage in the middle
//! of a journal would silently take every later batch along, acknowledged ones too. So here each journal is read first, and only
//! what may be a torn batch is cut. What tells them apart:
//!
//! - A batch is synced before the next one begins, so at most the last one of the newest journal is torn. Whole batches behind
//!   what cannot be read prove that it was acknowledged. So does an older journal: it was synced before its successor was made.
//! - A tear ends early, or leaves a sector as it was before: zero.
//!
//! Not told apart: an acknowledged batch, the very last one, of which a disk later loses whole sectors. Not seen: a changed
//! sequence number, which fjall's checksum leaves out.
//!
//! The bytes, little-endian. A batch is a start, its items and an end:
//!
//! | part | bytes |
//! |---|---|
//! | start | 1, items `u32`, sequence number `u64` |
//! | item | 2, value type `u8`, compression `u8` (0: none), keyspace `u64`, key's length `u16`, value's length twice `u32`, key, value |
//! | clear | 4, keyspace `u64` |
//! | end | 3, XXH3 of the items and clears `u64`, `FJL\x03` |

use holdfast_store::StoreError;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: [u8; 4] = *b"FJL\x03";
/// An end's bytes.
const END_BYTES: usize = 13;
/// What a disk writes whole or not at all, at least.
const SECTOR_BYTES: u64 = 512;

/// Judges the journals under `folder`, cuts what a power cut tore, and writes the newest batch again: after a sync that failed
/// the system may show what the disk never got. Without a store, or while another process has it open, nothing is done.
///
/// # Errors
/// [`StoreError::Failed`] with the file and the byte when what was acknowledged is damaged; no file has been changed then. Also
/// when a file cannot be read, cut, written or synced.
pub(crate) fn settle(folder: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path, what: &str, error: &io::Error| {
        StoreError::Failed(format!("cannot {what} the store's journal {}: {error}", path.display()))
    };
    // fjall's own lock, which it takes again right after: a batch that is being written looks torn.
    let lock = match File::open(folder.join("lock")) {
        Ok(lock) => lock,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        Err(error) => return Err(failed(&folder.join("lock"), "open", &error)),
    };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(failed(&folder.join("lock"), "lock", &error)),
    }
    let journals = journals(folder).map_err(|error| failed(folder, "find", &error))?;
    let mut newest = None;
    for (n, path) in journals.iter().enumerate() {
        let scan = scan(path).map_err(|error| failed(path, "read", &error))?;
        let is_newest = n + 1 == journals.len();
        if let Some(reason) = scan.damage(is_newest) {
            return Err(StoreError::Failed(format!(
                "the store under {} is damaged: {} at byte {}: {reason}; nothing was changed; restore a backup",
                folder.display(),
                path.display(),
                scan.end
            )));
        }
        newest = is_newest.then_some((path, scan));
    }
    match newest {
        Some((path, scan)) => scan.make_durable(path).map_err(|error| failed(path, "sync", &error)),
        None => Ok(()),
    }
}

/// Oldest first.
fn journals(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found: Vec<(u64, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Other names are fjall's to refuse.
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// A journal that was read to its end.
#[derive(Debug)]
struct Scan {
    /// Where the last whole batch begins and ends.
    begin: u64,
    end: u64,
    tail: Tail,
}

/// What follows the last whole batch.
#[derive(Debug, PartialEq, Eq)]
enum Tail {
    /// Nothing but zeros, if that.
    Empty,
    /// Less than a batch, as a tear may leave it.
    Torn,
    /// Something unreadable, and whole batches behind it.
    Followed,
    /// Something unreadable that no tear explains.
    Wrong,
}

impl Scan {
    fn damage(&self, is_newest: bool) -> Option<&'static str> {
        match self.tail {
            Tail::Empty => None,
            Tail::Torn if is_newest => None,
            Tail::Torn | Tail::Followed => Some("it cannot be read, and newer writes were acknowledged"),
            Tail::Wrong => Some("it cannot be read, and is not what a power cut leaves"),
        }
    }

    /// Of the newest journal.
    fn make_durable(&self, path: &Path) -> io::Result<()> {
        let file = File::options().read(true).write(true).open(path)?;
        if self.tail == Tail::Torn {
            tracing::warn!(
                journal = %path.display(),
                byte = self.end,
                "dropping a batch that was never acknowledged: its writing was cut short"
            );
            file.set_len(self.end)?;
        }
        let mut batch = vec![0; usize::try_from(self.end - self.begin).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut batch, self.begin)?;
        file.write_all_at(&batch, self.begin)?;
        file.sync_all()
    }
}

fn scan(path: &Path) -> io::Result<Scan> {
    let file = File::open(path)?;
    let mut reader = BufReader::with_capacity(64 << 10, &file);
    let (mut begin, mut end) = (0, 0);
    while let Found::Whole(bytes) = read_batch(&mut reader)? {
        (begin, end) = (end, end + bytes);
    }
    Ok(Scan { begin, end, tail: tail(&rest(&file, end)?, end) })
}

/// What is written behind `from`, without the zeros at the end.
fn rest(file: &File, from: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut block = vec![0; 64 << 10];
    let mut at = from;
    loop {
        let read = file.read_at(&mut block, at)?;
        let Some(read_block) = block.get(..read).filter(|block| !block.is_empty()) else { return Ok(bytes) };
        if let Some(last) = read_block.iter().rposition(|byte| *byte != 0) {
            // Zeros passed over before count now.
            bytes.resize(usize::try_from(at - from).unwrap_or(usize::MAX), 0);
            bytes.extend_from_slice(&read_block[..=last]);
        }
        at += read as u64;
    }
}

/// Judges what follows the last whole batch of a journal: `rest` begins at the byte `at` and ends in one that is not zero.
fn tail(rest: &[u8], at: u64) -> Tail {
    if rest.is_empty() {
        return Tail::Empty;
    }
    let is_whole = |begin: usize| matches!(read_batch(&mut &rest[begin..]), Ok(Found::Whole(_)));
    if (1..rest.len()).any(|begin| rest[begin] == START && is_whole(begin)) {
        return Tail::Followed;
    }
    // A length that was damaged may also point behind the end, which then is there.
    let has_end = rest.len() >= END_BYTES && rest[rest.len() - END_BYTES] == END && rest.ends_with(&MAGIC);
    let ends_early = !has_end && matches!(read_batch(&mut &*rest), Ok(Found::Short));
    if ends_early || has_hole(rest, at) { Tail::Torn } else { Tail::Wrong }
}

/// Whether a sector of it, or what of one belongs to it, is zero.
fn has_hole(rest: &[u8], at: u64) -> bool {
    let first = usize::try_from(SECTOR_BYTES - at % SECTOR_BYTES).unwrap_or(0).min(rest.len());
    let (head, whole) = rest.split_at(first);
    let is_zero = |piece: &[u8]| piece.iter().all(|byte| *byte == 0);
    is_zero(head) || whole.chunks(SECTOR_BYTES as usize).any(is_zero)
}

enum Found {
    /// A batch of so many bytes.
    Whole(u64),
    /// The beginning of one.
    Short,
    /// What cannot be one.
    Wrong,
}

fn read_batch(reader: &mut impl Read) -> io::Result<Found> {
    let mut batch = Batch { reader, bytes: 0, sum: Xxh3::new() };
    match batch.read() {
        Ok(true) => Ok(Found::Whole(batch.bytes)),
        Ok(false) => Ok(Found::Wrong),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Found::Short),
        Err(error) => Err(error),
    }
}

struct Batch<'a, R> {
    reader: &'a mut R,
    /// Read so far.
    bytes: u64,
    sum: Xxh3,
}

impl<R: Read> Batch<'_, R> {
    /// Whether it is a whole one.
    fn read(&mut self) -> io::Result<bool> {
        if self.take()? != [START] {
            return Ok(false);
        }
        let items = u32::from_le_bytes(self.take()?);
        let _sequence: [u8; 8] = self.take()?;
        for _ in 0..items {
            if !self.item()? {
                return Ok(false);
            }
        }
        Ok(self.take()? == [END] && u64::from_le_bytes(self.take()?) == self.sum.digest() && self.take()? == MAGIC)
    }

    fn item(&mut self) -> io::Result<bool> {
        let [tag] = self.summed()?;
        if tag == CLEAR {
            let _keyspace: [u8; 8] = self.summed()?;
            return Ok(true);
        }
        // Of the types, the fourth belongs to stores that keep values elsewhere.
        if tag != ITEM || self.summed::<1>()? > [2] || self.summed()? != [0] {
            return Ok(false);
        }
        let _keyspace: [u8; 8] = self.summed()?;
        let key = u16::from_le_bytes(self.summed()?);
        let value = u32::from_le_bytes(self.summed()?);
        if u32::from_le_bytes(self.summed()?) != value {
            return Ok(false);
        }
        // A damaged length asks for up to 4 GiB: never as one piece.
        let mut left = u64::from(key) + u64::from(value);
        let mut block = [0; 4096];
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            self.reader.read_exact(&mut block[..piece])?;
            self.sum.update(&block[..piece]);
            self.bytes += piece as u64;
            left -= piece as u64;
        }
        Ok(true)
    }

    fn summed<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let bytes = self.take()?;
        self.sum.update(&bytes);
        Ok(bytes)
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        self.bytes += N as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
