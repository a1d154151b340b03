//! Small checksummed files, written whole and durably: keys, session, time floor.

use crate::StoreError;
use holdfast_env::Disk;

/// Reads what [`write`] wrote; `None` when there is no such file.
///
/// # Errors
/// [`StoreError::Damaged`] when the checksum does not fit.
pub fn read(disk: &dyn Disk, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let Some(data) = disk.read(path)? else { return Ok(None) };
    match crate::frame::read(&data, 0, 0) {
        crate::frame::Read::Frame(payload, _) => Ok(Some(payload.to_vec())),
        _ => Err(StoreError::Damaged { path: path.to_string(), reason: "checksum does not fit" }),
    }
}

/// Replaces the file durably. An empty value cannot be stored.
///
/// # Errors
/// The disk's.
pub fn write(disk: &dyn Disk, path: &str, value: &[u8]) -> Result<(), StoreError> {
    let mut data = Vec::with_capacity(value.len() + crate::frame::HEADER);
    crate::frame::write(0, value, &mut data);
    Ok(disk.write_durably(path, &data)?)
}
