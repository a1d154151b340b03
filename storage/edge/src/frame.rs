//! A checksummed frame: length (u32), CRC-32C (u32) over generation and payload, generation (u64), payload.
//! Little endian. A header of zeros ends a segment.

/// Bytes before the payload.
pub const HEADER: usize = 16;

/// What stands at an offset of a segment.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<'a> {
    /// A whole frame, and the offset after it.
    Frame(&'a [u8], usize),
    /// A header of zeros, or the end of the data: the writer's own end.
    End,
    /// No frame of this generation, and not the writer's own end either: what an earlier use of the file left, or a
    /// damaged header.
    Foreign,
    /// Something was begun here and is not whole: a torn write, or damage.
    Torn,
}

fn checksum(generation: u64, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&generation.to_le_bytes()), payload)
}

/// Appends a frame to `out`.
pub fn write(generation: u64, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(!payload.is_empty() && payload.len() <= crate::limits::MAX_FRAME_BYTES);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&checksum(generation, payload).to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Reads the frame at `offset`.
pub fn read(data: &[u8], offset: usize, generation: u64) -> Read<'_> {
    let Some(header) = data.get(offset..offset + HEADER) else { return Read::End };
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = word(0) as usize;
    let written = u64::from(word(8)) | u64::from(word(12)) << 32;
    if header.iter().all(|byte| *byte == 0) {
        return Read::End;
    }
    if length == 0 || written != generation {
        return Read::Foreign;
    }
    let start = offset + HEADER;
    match data.get(start..start.saturating_add(length)) {
        Some(payload) if checksum(generation, payload) == word(4) => Read::Frame(payload, start + length),
        _ => Read::Torn,
    }
}

/// Whether a whole frame of this generation begins anywhere behind `offset`. The writer syncs a frame before it begins
/// the next, so a write that was cut short has none behind it: damage has.
pub fn any_after(data: &[u8], offset: usize, generation: u64) -> bool {
    (offset + 1..data.len().saturating_sub(HEADER)).any(|at| {
        data[at + 8..at + HEADER] == generation.to_le_bytes() && matches!(read(data, at, generation), Read::Frame(..))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn torn_and_foreign_frames_are_told_apart() {
        let mut data = Vec::new();
        write(7, b"hello", &mut data);
        assert_eq!(read(&data, 0, 7), Read::Frame(b"hello", HEADER + 5));
        assert_eq!(read(&data, 0, 8), Read::Foreign);
        assert_eq!(read(&data, HEADER + 5, 7), Read::End);
        write(7, b"more", &mut data);
        assert!(any_after(&data, 0, 7) && !any_after(&data, HEADER + 5, 7) && !any_after(&data, 0, 8));
        data.truncate(HEADER + 5);
        let last = data.len() - 1;
        data[last] ^= 1;
        assert_eq!(read(&data, 0, 7), Read::Torn);
        assert_eq!(read(&data[..last], 0, 7), Read::Torn);
    }
}
