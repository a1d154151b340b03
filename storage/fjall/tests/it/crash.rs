//! A process that writes under load is killed at some point, again and again, over the same folder. What it
//! acknowledged must be there, and revisions must have no gaps.
//!
//! SIGKILL keeps the page cache, so this shows atomicity and order, not what a power cut leaves; that the sync
//! comes before the answer is shown by the tests of `CachedStore`.

use super::open;
use bytes::Bytes;
use holdfast_core::Revision;
use holdfast_store::{Op, RangeRequest, Store, Txn, TxnOutcome};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const FOLDER: &str = "HOLDFAST_STORE_CRASH_FOLDER";
const ROUNDS: u32 = 10;
const WRITERS: usize = 8;
const DEADLINE: Duration = Duration::from_secs(60);

fn acks_of(folder: &Path, writer: usize) -> PathBuf {
    folder.join(format!("acks-{writer}"))
}

fn value(writer: usize, n: u64) -> Bytes {
    // Half noise, so that memtables fill and values still compress.
    let mut state = (writer as u64) << 32 | n;
    let mut bytes = vec![b'x'; 8000];
    for byte in &mut bytes[..6000] {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    bytes.into()
}

/// The child's half: writes until it is killed, and notes each answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of `acknowledged_writes_survive_sigkill`"]
async fn write_until_killed() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("started by its parent"));
    let store = open(&folder.join("store"));
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        let mut acks = OpenOptions::new().create(true).append(true).open(acks_of(&folder, writer)).unwrap();
        tasks.spawn(async move {
            let last = store.get(&format!("last/{writer}")).await.unwrap();
            let first = last.map_or(0, |last| String::from_utf8_lossy(&last.value).parse::<u64>().unwrap() + 1);
            for n in first.. {
                let last = Op::Put { key: format!("last/{writer}"), value: n.to_string().into() };
                let one = Op::Put { key: format!("one/{writer}/{n}"), value: value(writer, n) };
                let outcome = store.txn(Txn { checks: vec![], ops: vec![last, one] }).await.unwrap();
                let TxnOutcome::Committed { revision, .. } = outcome else { panic!("{outcome:?}") };
                acks.write_all(format!("{n} {revision}\n").as_bytes()).unwrap();
            }
        });
    }
    let compact = store.clone();
    tasks.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(30)).await;
            compact.compact(compact.revision()).await.unwrap();
        }
    });
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

/// What was acknowledged: per writer, number → revision. A line that the kill cut short counts as not told.
fn acks(folder: &Path) -> Vec<BTreeMap<u64, Revision>> {
    let read = |writer| {
        let text = std::fs::read_to_string(acks_of(folder, writer)).unwrap_or_default();
        let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let parse = |line: &str| {
            let (n, revision) = line.split_once(' ').unwrap();
            (n.parse().unwrap(), Revision(revision.parse().unwrap()))
        };
        whole.map(parse).collect()
    };
    (0..WRITERS).map(read).collect()
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path) -> Killed {
    let output = File::create(folder.join("child.log")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "crash::write_until_killed", "--ignored", "--nocapture"]).env(FOLDER, folder);
    child.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    Killed(child.spawn().unwrap())
}

#[tokio::test]
async fn acknowledged_writes_survive_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    let seed = u64::from(std::process::id());
    let mut told_before = 0;
    for round in 0..ROUNDS {
        let mut child = start(folder);
        let begun = Instant::now();
        let told = || acks(folder).iter().map(BTreeMap::len).sum::<usize>();
        // A random number of answers, then a random moment after them.
        let some = 1 + ((seed * 31 + u64::from(round) * 977) % 800) as usize;
        while told() < told_before + some {
            let log = || std::fs::read_to_string(folder.join("child.log")).unwrap_or_default();
            assert!(child.0.try_wait().unwrap().is_none(), "the child ended by itself: {}", log());
            assert!(begun.elapsed() < DEADLINE, "round {round}: the child is stuck: {}", log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros((seed * 7 + u64::from(round) * 1733) % 9000)).await;
        drop(child);

        let acks = acks(folder);
        told_before = acks.iter().map(BTreeMap::len).sum();
        let store = open(&folder.join("store"));
        let found = store.range(RangeRequest { prefix: "one/".to_owned(), ..Default::default() }).await.unwrap();
        let mut revisions: Vec<u64> = Vec::new();
        let mut by_key = BTreeMap::new();
        for record in &found.records {
            revisions.push(record.modified.0);
            by_key.insert(&*record.key, record);
        }
        revisions.sort_unstable();
        let expected: Vec<u64> = (1..=store.revision().0).collect();
        assert!(revisions == expected, "round {round}: {} entries for revision {}", revisions.len(), store.revision());
        for (writer, acks) in acks.iter().enumerate() {
            for (n, revision) in acks {
                let record = by_key.get(&*format!("one/{writer}/{n}"));
                let record = record.unwrap_or_else(|| panic!("round {round}: write {n} of {writer} is lost"));
                assert_eq!((record.modified, &record.value), (*revision, &value(writer, *n)), "round {round}");
            }
            let Some(newest) = acks.keys().next_back() else { continue };
            let last = store.get(&format!("last/{writer}")).await.unwrap().unwrap();
            let last: u64 = String::from_utf8_lossy(&last.value).parse().unwrap();
            assert!(last >= *newest, "round {round}: writer {writer} is back at {last}, {newest} was told");
        }
    }
    assert!(told_before > ROUNDS as usize);
}
