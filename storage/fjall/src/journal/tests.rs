//! Journals that fjall wrote, torn as power cuts tear them, and damaged as disks damage them.

use super::*;
use crate::FjallBackend;
use holdfast_core::Revision;
use holdfast_store::{LogBackend, LogEntry};
use std::collections::BTreeMap;
use tempfile::TempDir;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Without zeros, so that no sector of a value is taken for one that was not written.
    fn noise(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|_| u8::try_from(1 + self.next() % 255).unwrap()).collect()
    }
}

/// Everything below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            drop(found.insert(path.clone(), std::fs::read(&path).unwrap()))
        }
    }
    found
}

/// The bytes of a journal that fjall wrote, and where each of its batches ends.
struct Written {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Written {
    /// Of entries with values of these lengths, a list a batch.
    fn new(batches: &[&[usize]]) -> Written {
        let dir = tempfile::tempdir().unwrap();
        let backend = FjallBackend::open(dir.path()).unwrap();
        let mut random = Random(7);
        let now = || {
            let [path] = &journals(dir.path()).unwrap()[..] else { panic!("fjall's layout changed") };
            rest(&File::open(path).unwrap(), 0).unwrap()
        };
        // The first is the format's.
        let mut written = Written { ends: vec![now().len()], bytes: Vec::new() };
        for (revision, lengths) in (1..).map(Revision).zip(batches) {
            let entry = |(n, length): (usize, &usize)| LogEntry {
                revision,
                key: format!("pods/{n}").into(),
                value: Some(random.noise(*length).into()),
                created: revision,
                previous: None,
            };
            let batch: Vec<LogEntry> = lengths.iter().enumerate().map(entry).collect();
            backend.append(&batch).unwrap();
            written.bytes = now();
            written.ends.push(written.bytes.len());
        }
        written
    }

    /// Where the batch that has this byte begins.
    fn begin_of(&self, byte: usize) -> usize {
        self.ends.iter().rev().find(|end| **end <= byte).copied().unwrap_or(0)
    }
}

/// A folder with journals, named by number.
fn folder(journals: &[(u64, &[u8])]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    File::create(dir.path().join("lock")).unwrap();
    for (number, bytes) in journals {
        std::fs::write(dir.path().join(format!("{number}.jnl")), bytes).unwrap();
    }
    dir
}

fn journal_after_settling(bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
    let dir = folder(&[(1, bytes)]);
    settle(dir.path())?;
    Ok(std::fs::read(dir.path().join("1.jnl")).unwrap())
}

/// Refused with the byte, and every file as it was.
fn assert_refused(dir: &Path, journal: u64, at: usize, why: &str) {
    let before = files(dir);
    match settle(dir) {
        Err(StoreError::Failed(text)) => {
            let place = format!("{journal}.jnl at byte {at}: ");
            assert!(text.contains(&place) && text.contains(why), "{place}{why}, not {text}");
        }
        other => panic!("damage of the batch at {at} gave {other:?}"),
    }
    assert!(before == files(dir), "a refused journal was changed");
}

const NEWER: &str = "newer writes were acknowledged";
const NO_TEAR: &str = "is not what a power cut leaves";

#[test]
fn a_torn_batch_is_cut_whatever_sectors_of_it_the_disk_got() {
    for last in [&[30][..], &[500, 1], &[3000; 7], &[40_000]] {
        let written = Written::new(&[&[20], &[700, 3], last]);
        let (begin, end) = (written.ends[2], written.ends[3]);
        let first_sector = begin / 512;
        let sectors = end.div_ceil(512) - first_sector;
        for seed in 0..60 {
            let mut random = Random(seed);
            let mut bytes = written.bytes.clone();
            let mut is_whole = true;
            // Few missing, half of them, and most of them.
            let odds = 1 + seed % 4;
            for sector in (0..sectors).filter(|_| random.next() % 4 < odds) {
                let from = ((first_sector + sector) * 512).max(begin);
                let to = ((first_sector + sector + 1) * 512).min(end);
                bytes[from..to].fill(0);
                is_whole = false;
            }
            // What fjall made long beforehand, or a file that grows with its writes.
            if seed % 2 == 0 {
                bytes.resize(end + 5000, 0);
            } else if seed % 3 == 0 {
                bytes.truncate(rest_of(&bytes));
            }
            let settled = journal_after_settling(&bytes).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            let expected = if is_whole { end } else { begin };
            assert!(settled.starts_with(&written.bytes[..expected]), "seed {seed}");
            assert!(settled[expected..].iter().all(|byte| *byte == 0), "seed {seed}");
        }
    }
}

/// The bytes without the zeros at the end.
fn rest_of(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

#[test]
fn a_batch_whose_writer_was_killed_is_cut_at_any_byte() {
    let written = Written::new(&[&[20], &[700, 300]]);
    let begin = written.ends[1];
    for cut in begin..written.bytes.len() {
        for zeros in [0, 2000] {
            let mut bytes = written.bytes[..cut].to_vec();
            bytes.resize(cut + zeros, 0);
            let settled = journal_after_settling(&bytes).unwrap_or_else(|error| panic!("{cut}: {error}"));
            assert_eq!(settled[..rest_of(&settled)], written.bytes[..begin], "cut at {cut} of {begin}..");
        }
    }
}

#[test]
fn a_flipped_bit_in_what_was_acknowledged_is_refused() {
    let written = Written::new(&[&[20], &[600, 1, 80], &[4], &[300, 200]]);
    let last = written.ends[3];
    for byte in 0..written.bytes.len() {
        let begin = written.begin_of(byte);
        // The sequence number, which nothing sums.
        if (begin + 5..begin + 13).contains(&byte) {
            continue;
        }
        for bit in 0..8 {
            let mut bytes = written.bytes.clone();
            bytes[byte] ^= 1 << bit;
            // The last byte as zero ends the file earlier, as a writer that was killed may.
            if rest_of(&bytes) < bytes.len() {
                continue;
            }
            let judged = tail(&bytes[begin..], begin as u64);
            let (expected, why) = if begin < last { (Tail::Followed, NEWER) } else { (Tail::Wrong, NO_TEAR) };
            assert_eq!(judged, expected, "bit {bit} of byte {byte}");
            if byte % 16 == 0 {
                assert_refused(folder(&[(1, &bytes)]).path(), 1, begin, why);
            }
        }
    }
}

#[test]
fn sectors_that_the_disk_lost_later_are_refused() {
    let written = Written::new(&[&[2000], &[3000], &[10]]);
    for begin in (0..written.ends[2] - 512).step_by(700) {
        let mut random = Random(begin as u64);
        for content in [vec![0; 512], random.noise(512)] {
            let mut bytes = written.bytes.clone();
            bytes[begin..begin + 512].copy_from_slice(&content);
            assert_refused(folder(&[(3, &bytes)]).path(), 3, written.begin_of(begin), NEWER);
        }
    }
}

#[test]
fn an_older_journal_is_never_torn() {
    let written = Written::new(&[&[20], &[700]]);
    let begin = written.ends[1];
    let torn = &written.bytes[..begin + 100];
    assert_refused(folder(&[(9, torn), (10, &written.bytes)]).path(), 9, begin, NEWER);
    assert_refused(folder(&[(9, torn), (10, &[0; 1000])]).path(), 9, begin, NEWER);
    let dir = folder(&[(10, torn), (9, &written.bytes)]);
    settle(dir.path()).expect("the newest may be");
    assert_eq!(std::fs::read(dir.path().join("10.jnl")).unwrap(), written.bytes[..begin]);
}

#[test]
fn what_is_no_store_yet_and_what_is_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    settle(&dir.path().join("none")).unwrap();
    settle(dir.path()).unwrap();
    for empty in [&[][..], &[0; 3000]] {
        assert_eq!(journal_after_settling(empty).unwrap(), empty);
    }
    let written = Written::new(&[&[20], &[700]]);
    let torn = &written.bytes[..written.ends[1] + 100];
    let dir = folder(&[(1, torn)]);
    let lock = File::open(dir.path().join("lock")).unwrap();
    lock.try_lock().unwrap();
    settle(dir.path()).unwrap();
    assert_eq!(std::fs::read(dir.path().join("1.jnl")).unwrap(), torn, "another process is writing it");
}

#[test]
fn a_damaged_store_does_not_open_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let entry = |revision| LogEntry {
        revision: Revision(revision),
        key: "pods/a".into(),
        value: Some(Random(revision).noise(100).into()),
        created: Revision(1),
        previous: (revision > 1).then(|| Revision(revision - 1)),
    };
    let backend = FjallBackend::open(dir.path()).unwrap();
    for revision in 1..20 {
        backend.append(&[entry(revision)]).unwrap();
    }
    drop(backend);
    let path = journals(dir.path()).unwrap().remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = rest_of(&bytes) / 2;
    let tag = middle + bytes[middle..].windows(4).position(|four| four == MAGIC).unwrap() + 4;
    assert_eq!(bytes[tag], START);
    bytes[tag] = 9;
    std::fs::write(&path, &bytes).unwrap();
    let before = files(dir.path());
    for _ in 0..2 {
        let opened = FjallBackend::open(dir.path()).map(drop);
        assert!(matches!(&opened, Err(StoreError::Failed(text)) if text.contains(NEWER)), "{opened:?}");
        assert!(before == files(dir.path()));
    }
}
