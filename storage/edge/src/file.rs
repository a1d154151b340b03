//! Small checksummed files: [`read`] and [`write()`] for what is written whole and seldom (the identity), [`Slots`] for
//! what is replaced in place, also on a full disk.

use crate::StoreError;
use crate::frame::{self, HEADER, Read};
use crate::limits::SLOT_BYTES;
use holdfast_env::{Disk, DiskError, File};

/// Bytes of one copy in a slot.
const COPY_BYTES: usize = SLOT_BYTES / 2;

/// Reads what [`write()`] wrote; `None` when there is no such file.
///
/// # Errors
/// [`StoreError::Damaged`] when the checksum does not fit.
pub fn read(disk: &dyn Disk, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(data) = disk.read(path)? else { return Ok(None) };
    match frame::read(&data, 0, 0) {
        Read::Frame(payload, _) => Ok(Some(payload.to_vec())),
        _ => Err(StoreError::Damaged { path: path.to_string(), reason: "checksum does not fit" }),
    }
}

/// Replaces the file durably. An empty value cannot be stored.
///
/// # Errors
/// The disk's.
pub fn write(disk: &dyn Disk, path: &str, value: &[u8]) -> Result<(), StoreError> {
    let mut data = Vec::with_capacity(value.len() + HEADER);
    frame::write(0, value, &mut data);
    Ok(disk.write_durably(path, &data)?)
}

/// A small value that is replaced in place: two slots, written in turn, each numbered and holding the value twice. A
/// write that was cut short leaves a copy of the value before it, and so does a flipped bit; only both copies of a slot
/// damaged make the value doubtful. It needs no room on the disk once it is made.
pub struct Slots {
    file: Box<dyn File>,
    /// The number of the newest slot; its parity says which of the two it is.
    number: u64,
    /// A slot is damaged that the next write alone would leave so.
    is_damaged: bool,
}

/// What the slots held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The newest readable value.
    pub value: Option<Vec<u8>>,
    /// A slot is neither readable nor empty: the value may be older than the last that was written.
    pub is_doubtful: bool,
}

impl Slots {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(disk: &dyn Disk, path: &str) -> Result<(Slots, Found), StoreError> {
        let file = match disk.open(path, false) {
            Err(DiskError::NotFound(_)) => disk.open(path, true)?,
            opened => opened?,
        };
        let whole = (SLOT_BYTES * 2) as u64;
        if file.len()? < whole {
            file.allocate(whole)?;
            file.sync_data()?;
            disk.sync_dir(path.rsplit_once('/').map_or("", |(dir, _)| dir))?;
        }
        let mut found = Found::default();
        let mut newest = 0;
        for slot in 0..2 {
            let mut data = vec![0; SLOT_BYTES];
            let length = file.read_at((slot * SLOT_BYTES) as u64, &mut data)?;
            data.truncate(length);
            let mut bad = 0;
            for copy in data.chunks(COPY_BYTES) {
                let number = copy.get(8..HEADER).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
                match frame::read(copy, 0, number) {
                    Read::Frame(payload, _) if number % 2 == slot as u64 => {
                        if number > newest {
                            newest = number;
                            found.value = Some(payload.to_vec());
                        }
                    }
                    _ if copy.iter().all(|byte| *byte == 0) => {}
                    _ => bad += 1,
                }
            }
            found.is_doubtful |= bad == SLOT_BYTES / COPY_BYTES;
        }
        Ok((Slots { file, number: newest, is_damaged: found.is_doubtful }, found))
    }

    /// Replaces the value durably.
    ///
    /// # Errors
    /// The disk's, and [`StoreError::TooLarge`].
    pub fn write(&mut self, value: &[u8]) -> Result<(), StoreError> {
        if value.is_empty() || value.len() + HEADER > COPY_BYTES {
            return Err(StoreError::TooLarge(value.len()));
        }
        self.write_next(value)?;
        if std::mem::take(&mut self.is_damaged) {
            self.write_next(value)?;
        }
        Ok(())
    }

    fn write_next(&mut self, value: &[u8]) -> Result<(), StoreError> {
        let number = self.number + 1;
        let mut copy = Vec::with_capacity(COPY_BYTES);
        frame::write(number, value, &mut copy);
        copy.resize(COPY_BYTES, 0);
        self.file.write_at(number % 2 * SLOT_BYTES as u64, &copy.repeat(SLOT_BYTES / COPY_BYTES))?;
        self.file.sync_data()?;
        self.number = number;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_sim_world::{Rng, SimDisk};

    #[test]
    fn the_newest_slot_counts_and_a_damaged_one_is_told() {
        let disk = SimDisk::new(Rng::new(1));
        let open = || Slots::open(&disk, "x").unwrap();
        let (mut slots, found) = open();
        assert_eq!(found, Found::default());
        slots.write(b"one").unwrap();
        assert_eq!(open().1, Found { value: Some(b"one".to_vec()), is_doubtful: false });
        disk.set_full(true);
        slots.write(b"two").unwrap();
        disk.set_full(false);
        slots.write(b"three").unwrap();
        assert_eq!(open().1, Found { value: Some(b"three".to_vec()), is_doubtful: false });
        let flip = |at| assert!(disk.flip_bit("x", SLOT_BYTES + at, 3));
        flip(HEADER);
        assert_eq!(open().1, Found { value: Some(b"three".to_vec()), is_doubtful: false }, "the other copy is good");
        flip(COPY_BYTES + 1);
        let (mut slots, found) = open();
        assert_eq!(found, Found { value: Some(b"two".to_vec()), is_doubtful: true });
        slots.write(b"four").unwrap();
        assert_eq!(open().1, Found { value: Some(b"four".to_vec()), is_doubtful: false });
    }
}
