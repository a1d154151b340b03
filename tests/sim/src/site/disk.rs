//! What a box keeps, on its disk: two slots that are written in turn. A write that the power cuts off costs its own slot,
//! and the other holds what was there before.

use holdfast_core::content_hash;
use holdfast_env::{Disk, DiskError};
use holdfast_site_engine::Kept;
use serde::{Deserialize, Serialize};

const SLOTS: [&str; 2] = ["site/a", "site/b"];
/// Longest record.
const MAX_BYTES: usize = 64 << 10;

#[derive(Serialize, Deserialize)]
struct Slot {
    count: u64,
    kept: Kept,
}

/// What is on the disk, and how often it was written.
pub fn load(disk: &dyn Disk) -> (u64, Kept) {
    let slots = SLOTS.iter().filter_map(|path| read(disk, path));
    slots.max_by_key(|slot| slot.count).map_or((0, Kept::default()), |slot| (slot.count, slot.kept))
}

fn read(disk: &dyn Disk, path: &str) -> Option<Slot> {
    let file = disk.open(path, false).ok()?;
    let mut bytes = vec![0; MAX_BYTES];
    let count = file.read_at(0, &mut bytes).ok()?;
    let (head, body) = bytes.get(..count)?.split_at_checked(16)?;
    let (len, sum) = head.split_at(8);
    let body = body.get(..usize::try_from(u64::from_le_bytes(len.try_into().ok()?)).ok()?)?;
    (content_hash(body).0.to_le_bytes().as_slice() == sum).then(|| postcard::from_bytes(body).ok())?
}

/// Writes, as the write of this count; durable when it returns.
///
/// # Errors
/// The disk's; nothing is known of what it holds then but that the write before is there.
pub fn save(disk: &dyn Disk, count: u64, kept: &Kept) -> Result<(), DiskError> {
    let body = postcard::to_allocvec(&Slot { count, kept: kept.clone() }).unwrap_or_default();
    let mut bytes = (body.len() as u64).to_le_bytes().to_vec();
    bytes.extend(content_hash(&body).0.to_le_bytes());
    bytes.extend(body);
    let file = disk.open(SLOTS[usize::from(count % 2 == 1)], true)?;
    file.write_at(0, &bytes)?;
    file.sync_data()?;
    disk.sync_dir("site")
}
