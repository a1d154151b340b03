//! The little of DER (ITU-T X.690) that a certificate is written with.

/// Tags.
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
/// Context-specific and constructed, of number 0.
pub(super) const EXPLICIT: u8 = 0xa0;
/// Context-specific and primitive, of number 0.
pub(super) const IMPLICIT: u8 = 0x80;

/// Tag, length and content.
pub(super) fn value(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    out.extend_from_slice(content);
    out
}

/// A value made of others.
pub(super) fn all(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    value(tag, &parts.concat())
}

/// A positive integer, big-endian.
pub(super) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|first| *first >= 0x80) {
        content.insert(0, 0);
    }
    value(INTEGER, &content)
}

/// A string of bits, of which the last `unused` are none.
pub(super) fn bits(bytes: &[u8], unused: u8) -> Vec<u8> {
    all(BIT_STRING, &[&[unused], bytes])
}

/// Whether this is the content of an object identifier: numbers in base 128, each as short as it can be.
pub(super) fn is_object_identifier(content: &[u8]) -> bool {
    let is_last = |byte: &u8| *byte < 0x80;
    let mut begins = true;
    let short = content.iter().all(|byte| {
        let short = !(begins && *byte == 0x80);
        begins = is_last(byte);
        short
    });
    short && content.last().is_some_and(is_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_integers_are_as_short_as_they_can_be() {
        assert_eq!(value(OCTET_STRING, b"ab"), [4, 2, b'a', b'b']);
        assert_eq!(value(OCTET_STRING, &[0; 0x7f])[..2], [4, 0x7f]);
        assert_eq!(value(OCTET_STRING, &[0; 0x80])[..3], [4, 0x81, 0x80]);
        assert_eq!(value(OCTET_STRING, &[0; 0x1234])[..4], [4, 0x82, 0x12, 0x34]);
        assert_eq!(unsigned(&[0, 0, 1]), [2, 1, 1]);
        assert_eq!(unsigned(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(unsigned(&[]), [2, 1, 0]);
        assert_eq!(bits(&[0xa0], 5), [3, 2, 5, 0xa0]);
        assert_eq!(value(OCTET_STRING, &vec![0; 0x01_0000])[..5], [4, 0x83, 1, 0, 0]);
        assert_eq!(unsigned(&[0, 0x80, 0]), [2, 3, 0, 0x80, 0]);
    }

    #[test]
    fn object_identifiers_are_as_short_as_they_can_be() {
        for right in [&[0x55, 4, 3][..], &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], &[0x81, 0x80, 1]] {
            assert!(is_object_identifier(right), "{right:?}");
        }
        for wrong in [&[][..], &[0x80, 1], &[0x55, 0x80, 4], &[0x55, 0x84], &[0x80]] {
            assert!(!is_object_identifier(wrong), "{wrong:?}");
        }
    }
}
