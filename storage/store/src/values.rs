//! Values as stores keep them, on a disk or in etcd: zstd level 1, or as they are when that is not smaller.
//!
//! The compressor belongs to the calling thread: its tables cost more to set up than an object costs to
//! compress. So does the decompressor of [`decode`]. First byte 0: the value follows; 1: its length (4 bytes, big-endian), then a zstd frame.

use crate::limits::VALUE_BYTES;
use bytes::Bytes;
use std::cell::RefCell;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::compress_bound;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const PREFIX_BYTES: usize = 5;
const LEVEL: i32 = 1;
/// Shorter values gain nothing.
const LEAST_BYTES: usize = 96;

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<Decoder>> = const { RefCell::new(None) };
}

/// The stored form of a value.
pub fn encode(value: &[u8]) -> Bytes {
    if let Some(encoded) = compress(value) {
        return encoded.into();
    }
    let mut plain = Vec::with_capacity(1 + value.len());
    plain.push(PLAIN);
    plain.extend_from_slice(value);
    plain.into()
}

fn compress(value: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(value.len()).ok()?;
    if value.len() < LEAST_BYTES {
        return None;
    }
    COMPRESSOR.with_borrow_mut(|compressor| {
        if compressor.is_none() {
            *compressor = Compressor::new(LEVEL).ok();
        }
        let mut encoded = vec![0; PREFIX_BYTES + compress_bound(value.len())];
        let (prefix, frame) = encoded.split_at_mut(PREFIX_BYTES);
        prefix[0] = ZSTD;
        prefix[1..].copy_from_slice(&length.to_be_bytes());
        let frame_bytes = compressor.as_mut()?.compress_to_buffer(value, frame).ok()?;
        encoded.truncate(PREFIX_BYTES + frame_bytes);
        (encoded.len() < value.len()).then_some(encoded)
    })
}

/// The value again.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(encoded: &[u8]) -> Result<Bytes, String> {
    DECODER.with_borrow_mut(|decoder| {
        let decoder = match decoder {
            Some(decoder) => decoder,
            none => none.insert(Decoder::new().map_err(|error| format!("cannot start zstd: {error}"))?),
        };
        decoder.decode(encoded)
    })
}

/// Reads values back, one after the other.
pub struct Decoder(Decompressor<'static>);

impl Decoder {
    /// A decoder, which is worth keeping for further values.
    ///
    /// # Errors
    /// When zstd gets no memory.
    pub fn new() -> std::io::Result<Decoder> {
        Decompressor::new().map(Decoder)
    }

    /// The value again.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub fn decode(&mut self, encoded: &[u8]) -> Result<Bytes, String> {
        let (&kind, rest) = encoded.split_first().ok_or("its value is missing")?;
        match kind {
            PLAIN => Ok(Bytes::copy_from_slice(rest)),
            ZSTD => {
                let (length, frame) = rest.split_first_chunk::<4>().ok_or("its value is too short")?;
                let length = u32::from_be_bytes(*length) as usize;
                if length > VALUE_BYTES {
                    return Err(format!("its value claims {length} bytes"));
                }
                let value = self.0.decompress(frame, length).map_err(|error| format!("its value: {error}"))?;
                if value.len() != length {
                    return Err(format!("its value has {} bytes instead of {length}", value.len()));
                }
                Ok(value.into())
            }
            other => Err(format!("its value has the unknown encoding {other}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_objects_shrink() {
        let mut decoder = Decoder::new().unwrap();
        let object = br#"{"metadata":{"name":"a","labels":{"app":"a"}},"spec":{"app":"a"}}"#.repeat(20);
        let noise: Vec<u8> = (0..5000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for value in [b"".as_slice(), b"short", &object, &noise, &noise[..LEAST_BYTES]] {
            assert_eq!(decoder.decode(&encode(value)).unwrap(), value);
            assert_eq!(decode(&encode(value)).unwrap(), value);
        }
        assert!(encode(&object).len() < object.len() / 5);
    }

    #[test]
    fn damaged_values_are_told_and_do_not_panic() {
        let mut decoder = Decoder::new().unwrap();
        let good = encode(&[7; 1000]);
        for length in 0..good.len() {
            assert!(decoder.decode(&good[..length]).is_err(), "cut to {length}");
        }
        let longer = [&[ZSTD, 0, 0, 0xff, 0], &good[PREFIX_BYTES..]].concat();
        assert_eq!(decoder.decode(&longer).unwrap_err(), "its value has 1000 bytes instead of 65280");
        let huge = [&[ZSTD, 0xff, 0, 0, 0], &good[PREFIX_BYTES..]].concat();
        assert_eq!(decoder.decode(&huge).unwrap_err(), "its value claims 4278190080 bytes");
        assert_eq!(decoder.decode(&[9, 1]).unwrap_err(), "its value has the unknown encoding 9");
    }
}
