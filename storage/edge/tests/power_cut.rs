//! The store over a disk that loses power: any subset of the sectors that were written and not synced survives,
//! and so does any subset of the folder's changes that were not synced. And over one whose bits flip: what is found then
//! is something that was once committed.
//!
//! One seed is one history of commits, cuts and recoveries; `HOLDFAST_SEEDS` runs more of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use bytes::Bytes;
use holdfast_core::{ContentHash, Lineage, OutboxGen, Revision, Seq};
use holdfast_edge_store::{Doubt, Durability, EdgeStore, Item, Record, StoreError};
use holdfast_env::{Disk, DiskError};
use holdfast_sim_world::{Rng, SimDisk};
use std::collections::BTreeMap;
use std::sync::Arc;

fn put(key: &str, value: u64, size: usize, hostile: bool) -> Record {
    // A body full of something that reads like a header of an early generation.
    let pattern: &[u8] = if hostile { &[8, 0, 0, 0, 1, 2, 3, 4, 1, 0, 0, 0, 0, 0, 0, 0] } else { b"body" };
    let mut body = value.to_le_bytes().to_vec();
    body.extend_from_slice(&pattern.repeat(size.div_ceil(pattern.len()))[..size]);
    let item = Item { hash: ContentHash(value), lineage: Lineage(1), revision: Revision(value), body: body.into() };
    Record::PutItem { key: key.into(), item }
}

type Items = BTreeMap<String, u64>;

fn items_of(store: &EdgeStore) -> Items {
    store.state().items().iter().map(|(key, item)| (key.clone(), item.hash.0)).collect()
}

/// Flips up to three bits of a file of the store, among the bytes that are in use.
fn flip(disk: &SimDisk, rng: &mut Rng) {
    let mut files: Vec<String> = disk.list("journal").unwrap().iter().map(|name| format!("journal/{name}")).collect();
    files.extend(["snapshot.a", "snapshot.b", "vitals"].map(String::from));
    let file = rng.pick(&files).clone();
    let Some(data) = disk.read(&file).unwrap() else { return };
    let Some(last) = data.iter().rposition(|byte| *byte != 0) else { return };
    for _ in 0..=rng.below(3) {
        disk.flip_bit(&file, rng.below(last as u64 + 1) as usize, rng.below(8) as u8);
    }
}

fn history(seed: u64, flips: bool) {
    let disk = SimDisk::new(Rng::new(seed));
    let mut rng = Rng::new(seed ^ 0xABCD);
    let mut certain = Items::new();
    // A batch that was under way when the power went: there whole, or not at all.
    let mut doubtful: Option<Items> = None;
    let mut highest = Seq(0);
    // All that was ever committed.
    let mut once = vec![Items::new()];
    for round in 0..12u64 {
        let (mut store, report) = EdgeStore::open(Arc::new(disk.clone()))
            .unwrap_or_else(|err| panic!("seed {seed}, round {round}: the store does not open: {err}"));
        let found = items_of(&store);
        if flips {
            assert!(once.contains(&found), "seed {seed}, round {round}: found {found:?}, which never was");
            let whole = found == certain || doubtful.as_ref() == Some(&found);
            let told = store.vitals().doubt > Doubt::None;
            assert!(whole || told, "seed {seed}, round {round}: something is lost, and the store does not know");
            if store.vitals().outbox.is_none() {
                // Numbers begin anew under another name.
                highest = Seq(0);
            }
            assert!(!report.vitals_lost || store.vitals().outbox.is_none(), "seed {seed}, round {round}");
            store.set_outbox(OutboxGen(round)).unwrap();
            store.loss_told().unwrap();
            store.settle().unwrap();
        } else {
            assert!(!report.snapshot_fallback, "seed {seed}, round {round}: a snapshot is half there");
            assert!(!report.vitals_lost, "seed {seed}, round {round}: a slot is half there");
            assert_eq!(report.lost, None, "seed {seed}, round {round}: a power cut is no damage");
            assert!(
                found == certain || doubtful.as_ref() == Some(&found),
                "seed {seed}, round {round}: found {found:?}, certain {certain:?}, doubtful {doubtful:?}"
            );
        }
        certain = found;
        doubtful = None;
        // The next start itself may lose power, too.
        disk.cut_after(rng.below(90));
        for step in 0..40u64 {
            let value = round * 1000 + step + 1;
            if rng.chance(12) {
                let full = rng.chance(2);
                disk.set_full(full);
            }
            if rng.chance(3) {
                let body = Bytes::from(value.to_le_bytes().to_vec());
                let numbered = if rng.chance(2) {
                    store.put_state_fact("pod", body, Durability::Lazy)
                } else {
                    store.push_log_fact(body, 0, Durability::Lazy)
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
                Ok(()) => {
                    once.push(after.clone());
                    certain = after;
                }
                Err(StoreError::Disk(DiskError::Full(_))) => {
                    assert_eq!(items_of(&store), certain, "seed {seed}: a full disk leaves everything as it was");
                }
                Err(_) => {
                    once.push(after.clone());
                    doubtful = Some(after);
                    break;
                }
            }
        }
        drop(store);
        disk.cut();
        if flips && rng.chance(2) {
            flip(&disk, &mut rng);
        }
        if rng.chance(3) {
            // A recovery that is cut short as well.
            disk.cut_after(rng.below(6));
            let _ = EdgeStore::open(Arc::new(disk.clone()));
            disk.cut();
        }
    }
}

fn seeds() -> u64 {
    std::env::var("HOLDFAST_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

#[test]
fn what_was_committed_survives_any_power_cut() {
    (0..seeds()).for_each(|seed| history(seed, false));
}

#[test]
fn flipped_bits_cost_no_more_than_what_is_told() {
    (0..seeds()).for_each(|seed| history(seed, true));
}
