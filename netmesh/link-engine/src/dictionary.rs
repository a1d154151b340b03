//! Dictionaries: text that both ends have, against which bodies are compressed.
//!
//! A dictionary never changes, not by a byte: what was compressed with it could not be read any more. A better one gets
//! the next number, and a version of the protocol that says that both ends have it.

/// The newest dictionary of this build.
pub const NEWEST: u32 = 1;

/// Typical JSON of what goes over the link, by us: what is most frequent stands last, where zstd reaches it cheapest.
const FIRST: &[u8] = include_bytes!("dictionary/1.txt");

/// The dictionary of this number; 0 is the empty one.
pub fn dictionary(number: u32) -> Option<&'static [u8]> {
    match number {
        0 => Some(&[]),
        1 => Some(FIRST),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_core::content_hash;

    #[test]
    fn a_dictionary_never_changes() {
        // A failure here means: undo the change, and add a dictionary with the next number.
        let hashes: Vec<u64> = (0..=NEWEST).map(|number| content_hash(dictionary(number).unwrap()).0).collect();
        assert_eq!(hashes, [8_794_265_229_978_523_055, 6_409_895_225_679_540_540], "{hashes:?}");
        assert_eq!(dictionary(NEWEST + 1), None);
    }
}
