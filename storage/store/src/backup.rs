//! A backup: a store at one revision in one file, and small files that belong to it.
//!
//! Owns the file's form and its checks, over `Read` and `Write`; where the bytes come from and go to is the caller's
//! business. Version 1; it never changes, a further one gets its own number.
//!
//! The file begins with [`MAGIC`]. Then come blocks:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | sort: 1 header, 2 file, 3 records, 4 end |
//! | 4 | length of what follows without the hash, big-endian |
//! | length | a zstd frame |
//! | 32 | SHA-256 over the hash before (of [`MAGIC`] for the first block), sort, length and frame |
//!
//! The header comes first, then files, then records in the order of revision and key, then the end with its counts, and
//! nothing after it. So whatever is lost, changed, moved or added shows, and the first damage has a place.
//!
//! A record is five fields: length of the key (4), key, created (8), modified (8), length of the value (4), value.

use crate::limits::{BACKUP_BLOCK_BYTES, BACKUP_BLOCK_MAX_BYTES, BACKUP_FILE_BYTES, KEY_BYTES, VALUE_BYTES};
use bytes::Bytes;
use holdfast_core::Revision;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::io::{self, Read, Write};

/// How every backup begins.
pub const MAGIC: &[u8; 16] = b"HOLDFAST-BACKUP\n";
/// The version that is written, and the newest that is read.
pub const FORMAT: u32 = 1;

const HEADER: u8 = 1;
const FILE: u8 = 2;
const RECORDS: u8 = 3;
const END: u8 = 4;
const HASH_BYTES: usize = 32;
const LEVEL: i32 = 3;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The version of the file's form.
    pub format: u32,
    /// The revision of the store.
    pub revision: Revision,
    /// The lineage of the store, as text; empty for a store that has none yet.
    pub lineage: String,
    /// When it was made, in seconds since 1970.
    pub made_at_secs: i64,
    /// The release of the program that made it.
    pub made_by: String,
}

/// A record of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupRecord {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// When the key was created last.
    pub created: Revision,
    /// When this version was written.
    pub modified: Revision,
}

/// A part of a backup, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What it says of itself; the first part.
    Header(Header),
    /// A file beside the store: name and bytes.
    File(String, Vec<u8>),
    /// One key of the store.
    Record(BackupRecord),
}

/// Why a backup cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Reading failed.
    #[error("read the backup")]
    Read(#[from] io::Error),
    /// It is something else.
    #[error("it is no backup of a Holdfast hub")]
    Foreign,
    /// A later release wrote it.
    #[error("it has format {0}, and this release reads up to format {FORMAT}")]
    Newer(u32),
    /// It ends too early.
    #[error("it is not whole: it ends at byte {0}")]
    Short(u64),
    /// The block at this byte is not as it was written.
    #[error("it is damaged in the block at byte {at}: {what}")]
    Damaged {
        /// Where the block begins.
        at: u64,
        /// What is wrong.
        what: String,
    },
    /// Whoever is given the parts does not want them.
    #[error("{0}")]
    Refused(String),
}

/// Writes a backup.
pub struct BackupWriter<W> {
    out: W,
    hash: [u8; HASH_BYTES],
    block: Vec<u8>,
    counts: Counts,
}

/// What the end says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    files: u64,
    records: u64,
}

fn chained(hash: &[u8; HASH_BYTES], sort: u8, frame: &[u8]) -> [u8; HASH_BYTES] {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes();
    Sha256::new().chain_update(hash).chain_update([sort]).chain_update(length).chain_update(frame).finalize().into()
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl<W: Write> BackupWriter<W> {
    /// Begins a backup.
    ///
    /// # Errors
    /// The output's.
    pub fn begin(mut out: W, header: &Header) -> io::Result<BackupWriter<W>> {
        out.write_all(MAGIC)?;
        let hash = Sha256::digest(MAGIC).into();
        let mut writer = BackupWriter { out, hash, block: Vec::new(), counts: Counts::default() };
        let header = serde_json::to_vec(header)?;
        writer.block(HEADER, &header)?;
        Ok(writer)
    }

    /// Adds a file; all files come before the records.
    ///
    /// # Errors
    /// The output's; a file that is too large.
    pub fn file(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > BACKUP_FILE_BYTES {
            return Err(invalid("the file is too large for a backup"));
        }
        let mut block = Vec::with_capacity(4 + name.len() + bytes.len());
        put(&mut block, name.as_bytes());
        block.extend_from_slice(bytes);
        self.counts.files += 1;
        self.block(FILE, &block)
    }

    /// Adds a record; records come in the order of revision and key.
    ///
    /// # Errors
    /// The output's.
    pub fn record(&mut self, key: &str, value: &[u8], created: Revision, modified: Revision) -> io::Result<()> {
        put(&mut self.block, key.as_bytes());
        self.block.extend_from_slice(&created.0.to_be_bytes());
        self.block.extend_from_slice(&modified.0.to_be_bytes());
        put(&mut self.block, value);
        self.counts.records += 1;
        if self.block.len() >= BACKUP_BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Ends the backup; the output, which the caller makes durable.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        let counts = serde_json::to_vec(&self.counts)?;
        self.block(END, &counts)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn flush(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        if block.is_empty() { Ok(()) } else { self.block(RECORDS, &block) }
    }

    fn block(&mut self, sort: u8, bytes: &[u8]) -> io::Result<()> {
        let frame = zstd::bulk::compress(bytes, LEVEL)?;
        self.hash = chained(&self.hash, sort, &frame);
        self.out.write_all(&[sort])?;
        self.out
            .write_all(&u32::try_from(frame.len()).map_err(|_| invalid("the block is too large"))?.to_be_bytes())?;
        self.out.write_all(&frame)?;
        self.out.write_all(&self.hash)
    }
}

fn put(block: &mut Vec<u8>, bytes: &[u8]) {
    block.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    block.extend_from_slice(bytes);
}

/// Reads a backup to its end, hands each part out once its block is known to be whole, and returns the header. What was
/// handed out counts only if this succeeds: damage may come later.
///
/// # Errors
/// What is wrong with the backup; [`BackupError::Refused`] is what `each` says.
pub fn read(mut input: impl Read, each: &mut dyn FnMut(Part) -> Result<(), String>) -> Result<Header, BackupError> {
    let mut at = 0;
    let mut magic = [0; MAGIC.len()];
    match fill(&mut input, &mut magic, &mut at) {
        Ok(()) if magic == *MAGIC => {}
        Err(BackupError::Short(read)) if !magic.starts_with(&MAGIC[..usize::try_from(read).unwrap_or(0)]) => {
            return Err(BackupError::Foreign);
        }
        Err(error) => return Err(error),
        Ok(()) => return Err(BackupError::Foreign),
    }
    let mut reading =
        Reading { hash: Sha256::digest(MAGIC).into(), header: None, counts: Counts::default(), last: None };
    loop {
        let begin = at;
        let (sort, bytes) = next_block(&mut input, &mut at, &mut reading.hash)?;
        let damaged = |what: String| BackupError::Damaged { at: begin, what };
        if sort == END {
            let counts: Counts = serde_json::from_slice(&bytes).map_err(|err| damaged(err.to_string()))?;
            if counts != reading.counts {
                let Counts { files, records } = reading.counts;
                return Err(damaged(format!("it counts other than the {files} files and {records} records before it")));
            }
            if input.read(&mut [0])? != 0 {
                return Err(BackupError::Damaged { at, what: "something follows the end".to_owned() });
            }
            return reading.header.ok_or_else(|| damaged("the header is missing".to_owned()));
        }
        for part in reading.parts(sort, &bytes).map_err(|problem| problem.at(begin))? {
            each(part).map_err(BackupError::Refused)?;
        }
    }
}

/// Reads one block and checks its hash.
fn next_block(input: &mut impl Read, at: &mut u64, hash: &mut [u8; HASH_BYTES]) -> Result<(u8, Vec<u8>), BackupError> {
    let begin = *at;
    let damaged = |what: &str| BackupError::Damaged { at: begin, what: what.to_owned() };
    let mut head = [0; 5];
    fill(input, &mut head, at)?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    // What zstd can make of the largest block, and not what a damaged length asks for.
    if length > zstd::zstd_safe::compress_bound(BACKUP_BLOCK_MAX_BYTES) {
        return Err(damaged("its length is impossible"));
    }
    let mut frame = vec![0; length];
    fill(input, &mut frame, at)?;
    let mut told = [0; HASH_BYTES];
    fill(input, &mut told, at)?;
    *hash = chained(hash, head[0], &frame);
    if told != *hash {
        return Err(damaged("its checksum does not fit"));
    }
    let bytes = zstd::bulk::decompress(&frame, BACKUP_BLOCK_MAX_BYTES).map_err(|err| damaged(&err.to_string()))?;
    Ok((head[0], bytes))
}

/// Where reading is.
struct Reading {
    hash: [u8; HASH_BYTES],
    header: Option<Header>,
    counts: Counts,
    /// Revision and key of the last record.
    last: Option<(Revision, String)>,
}

/// What is wrong with a block.
enum Problem {
    Newer(u32),
    Wrong(String),
}

impl Problem {
    fn at(self, at: u64) -> BackupError {
        match self {
            Problem::Newer(format) => BackupError::Newer(format),
            Problem::Wrong(what) => BackupError::Damaged { at, what },
        }
    }
}

impl From<String> for Problem {
    fn from(what: String) -> Problem {
        Problem::Wrong(what)
    }
}

impl Reading {
    fn parts(&mut self, sort: u8, bytes: &[u8]) -> Result<Vec<Part>, Problem> {
        let Some(header) = &self.header else {
            if sort != HEADER {
                return Err("the header is missing".to_owned().into());
            }
            return self.begin(bytes);
        };
        let newest = header.revision;
        match sort {
            FILE if self.counts.records == 0 => {
                self.counts.files += 1;
                let (name, rest) = take(bytes).ok_or_else(|| "its name does not decode".to_owned())?;
                let name = String::from_utf8(name.to_vec()).map_err(|_| "its name is no UTF-8".to_owned())?;
                Ok(vec![Part::File(name, rest.to_vec())])
            }
            RECORDS => self.records(newest, bytes),
            other => Err(format!("a block of sort {other} does not belong here").into()),
        }
    }

    fn begin(&mut self, bytes: &[u8]) -> Result<Vec<Part>, Problem> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let format: Format = serde_json::from_slice(bytes).map_err(|err| err.to_string())?;
        if format.format > FORMAT {
            return Err(Problem::Newer(format.format));
        }
        let header: Header = serde_json::from_slice(bytes).map_err(|err| err.to_string())?;
        self.header = Some(header.clone());
        Ok(vec![Part::Header(header)])
    }

    fn records(&mut self, newest: Revision, mut bytes: &[u8]) -> Result<Vec<Part>, Problem> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let (record, rest) = record(bytes).ok_or_else(|| "a record does not decode".to_owned())?;
            bytes = rest;
            let place = (record.modified, record.key.clone());
            if record.created > record.modified || record.modified > newest || record.modified == Revision(0) {
                return Err(format!("{} has impossible revisions", record.key).into());
            }
            if self.last.as_ref().is_some_and(|last| *last >= place) {
                return Err(format!("{} is out of order", record.key).into());
            }
            self.last = Some(place);
            self.counts.records += 1;
            parts.push(Part::Record(record));
        }
        Ok(parts)
    }
}

fn record(bytes: &[u8]) -> Option<(BackupRecord, &[u8])> {
    let (key, bytes) = take(bytes)?;
    let (created, bytes) = bytes.split_first_chunk::<8>()?;
    let (modified, bytes) = bytes.split_first_chunk::<8>()?;
    let (value, bytes) = take(bytes)?;
    if key.is_empty() || key.len() > KEY_BYTES || value.len() > VALUE_BYTES {
        return None;
    }
    let revision = |bytes: &[u8; 8]| Revision(u64::from_be_bytes(*bytes));
    let key = String::from_utf8(key.to_vec()).ok()?;
    let value = Bytes::copy_from_slice(value);
    Some((BackupRecord { key, value, created: revision(created), modified: revision(modified) }, bytes))
}

fn take(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk::<4>()?;
    bytes.split_at_checked(u32::from_be_bytes(*length) as usize)
}

/// Fills `buffer`, counting in `at` what was read.
fn fill(input: &mut impl Read, buffer: &mut [u8], at: &mut u64) -> Result<(), BackupError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => return Err(BackupError::Short(*at)),
            Ok(read) => {
                filled += read;
                *at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
