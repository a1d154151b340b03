//! Compression over a base: something that both ends have, a dictionary or another body (as `zstd --patch-from` does).

use crate::dictionary::{NEWEST, dictionary};
use crate::limits::MAX_FRAME_BYTES;
use bytes::Bytes;
use std::cell::RefCell;
use std::sync::LazyLock;
use zstd::zstd_safe::{CCtx, CDict, CParameter, DCtx, compress_bound, get_frame_content_size};

/// Up to this size of base and body together zstd works harder: it then takes about a millisecond.
const SMALL_BYTES: usize = 128 << 10;
/// zstd's level for small bodies.
const LEVEL_SMALL: i32 = 9;
/// zstd's level for all others.
const LEVEL: i32 = 3;
/// Of a base zstd looks at eight bytes for each place of its table, from the end: all of the largest with this many (a
/// logarithm). The window must hold base and body.
const LARGE_HASH_LOG: u32 = 19;
const LARGE_WINDOW_LOG: u32 = 23;

const _: () = assert!(MAX_FRAME_BYTES <= 8 << LARGE_HASH_LOG && 2 * MAX_FRAME_BYTES <= 1 << LARGE_WINDOW_LOG);

/// What a dictionary begins with that zstd has trained (RFC 8878, section 5).
const TRAINED: [u8; 4] = [0x37, 0xA4, 0x30, 0xEC];

thread_local! {
    // To make one costs more than a small body does. zstd gives back by itself what a large one has needed.
    static PACKER: RefCell<Option<CCtx<'static>>> = const { RefCell::new(None) };
    static UNPACKER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// `body` compressed over `base`.
pub(crate) fn pack(base: &[u8], body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(compress_bound(body.len()));
    let mut context = CCtx::create();
    let set: &[CParameter] = if base.len() + body.len() <= SMALL_BYTES {
        &[CParameter::CompressionLevel(LEVEL_SMALL)]
    } else {
        &[
            CParameter::CompressionLevel(LEVEL),
            CParameter::HashLog(LARGE_HASH_LOG),
            CParameter::WindowLog(LARGE_WINDOW_LOG),
        ]
    };
    // None of it can fail but for lack of memory; an empty result would fail the peer's checks loudly.
    let done = set
        .iter()
        .try_for_each(|parameter| context.set_parameter(*parameter).map(|_| ()))
        .and_then(|()| context.ref_prefix(base))
        .and_then(|_| context.compress2(&mut out, body));
    debug_assert!(done.is_ok());
    // Not as roomy as for the worst case: what is sent may wait.
    out.shrink_to_fit();
    Bytes::from(out)
}

/// `body` compressed over the newest dictionary, of which zstd keeps what it has learnt: to read it anew costs several
/// times what a small body does. [`unpack`] reads it like any other.
pub(crate) fn pack_over_newest(body: &[u8]) -> Bytes {
    static LEARNT: LazyLock<CDict<'static>> = LazyLock::new(|| CDict::create(newest(), LEVEL_SMALL));
    if newest().len() + body.len() > SMALL_BYTES {
        return pack(newest(), body);
    }
    let mut out = Vec::with_capacity(compress_bound(body.len()));
    // As above.
    let done = PACKER.with_borrow_mut(|context| {
        context.get_or_insert_with(CCtx::create).compress_using_cdict(&mut out, body, &LEARNT)
    });
    debug_assert!(done.is_ok());
    out.shrink_to_fit();
    Bytes::from(out)
}

fn newest() -> &'static [u8] {
    dictionary(NEWEST).unwrap_or_default()
}

/// What was packed over `base`, if it is that and no larger than `most`.
pub(crate) fn unpack(base: &[u8], data: &[u8], most: usize) -> Option<Bytes> {
    // Ours always say it: room is made for what is announced, and zstd writes no more.
    let size = get_frame_content_size(data).ok().flatten()?;
    let size = usize::try_from(size).ok().filter(|size| *size <= most)?;
    let mut out = Vec::with_capacity(size);
    if base.starts_with(&TRAINED) {
        // Text all the same, and only so it is taken for that.
        let mut context = DCtx::create();
        context.ref_prefix(base).ok()?;
        context.decompress(&mut out, data).ok()?;
    } else {
        let unpacked = UNPACKER.with_borrow_mut(|context| {
            context.get_or_insert_with(DCtx::create).decompress_using_dict(&mut out, data, base)
        });
        unpacked.ok()?;
    }
    (out.len() == size).then(|| Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bodies with parts in common, as versions of one object have.
    fn bodies() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let part = proptest::collection::vec(any::<u8>(), 0..300);
        let parts = proptest::collection::vec(part, 1..8);
        (parts, any::<u64>(), any::<u64>()).prop_map(|(parts, one, other)| {
            let chosen = |mask: u64| {
                let picked = parts.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1);
                picked.flat_map(|(_, part)| part.clone()).collect::<Vec<u8>>()
            };
            (chosen(one), chosen(other))
        })
    }

    proptest! {
        #[test]
        fn a_delta_restores_exactly((base, body) in bodies()) {
            let delta = pack(&base, &body);
            prop_assert_eq!(unpack(&base, &delta, MAX_FRAME_BYTES).unwrap(), body);
        }

        #[test]
        fn what_stands_over_the_dictionary_is_restored(body in proptest::collection::vec(any::<u8>(), 0..3000)) {
            let text = [&newest()[100..600], &body[..], &newest()[9000..9900]].concat();
            let data = pack_over_newest(&text);
            prop_assert!(data.len() < body.len() + 100, "{} of {}", data.len(), text.len());
            prop_assert_eq!(unpack(newest(), &data, MAX_FRAME_BYTES).unwrap(), text);
        }

        #[test]
        fn no_bytes_make_it_panic(base in proptest::collection::vec(any::<u8>(), 0..64), data in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = unpack(&base, &data, 1 << 10);
            let magic = [&[0x28, 0xB5, 0x2F, 0xFD][..], &data].concat();
            let _ = unpack(&base, &magic, 1 << 10);
        }
    }

    #[test]
    fn a_base_that_looks_like_a_trained_dictionary_is_text_all_the_same() {
        let base = [&TRAINED[..], b"some text that is in both"].concat();
        let delta = pack(&base, b"some text that is in both, and more");
        assert_eq!(&unpack(&base, &delta, 100).unwrap()[..], b"some text that is in both, and more");
    }

    #[test]
    fn large_bodies_have_large_bases() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as u8
        };
        let base: Vec<u8> = (0..MAX_FRAME_BYTES).map(|_| next()).collect();
        let mut body = base[..(3 << 20) / 2].to_vec();
        body[1000] ^= 1;
        body[1_400_000] ^= 1;
        let delta = pack(&base[..(3 << 20) / 2], &body);
        assert!(delta.len() < 2000, "{}", delta.len());
        assert_eq!(unpack(&base[..(3 << 20) / 2], &delta, MAX_FRAME_BYTES).unwrap(), body);
        let delta = pack(&base, &body);
        assert_eq!(unpack(&base, &delta, MAX_FRAME_BYTES).unwrap(), body, "the largest base there can be");
    }

    #[test]
    fn what_is_too_large_or_says_no_size_is_not_made() {
        let bomb = pack(&[], &vec![0; MAX_FRAME_BYTES + 1]);
        assert!(bomb.len() < 1000);
        assert_eq!(unpack(&[], &bomb, MAX_FRAME_BYTES), None);
        // A frame without a size, with one block of one byte repeated 128 KiB times.
        let unsized_frame = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x58, 0x03, 0x00, 0x10, b'x'];
        assert_eq!(unpack(&[], &unsized_frame, MAX_FRAME_BYTES), None);
        let whole = pack(&[], b"content");
        assert_eq!(unpack(&[], &whole[..whole.len() - 1], 100), None);
        assert_eq!(unpack(b"x", &pack(b"the base that was meant", b"the base that was meant!"), 100), None);
    }
}
