//! Bytes of a log entry. Version 1; it never changes, a further one gets its own number.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | 1 for a put, 0 for a deletion |
//! | 8 | created, big-endian |
//! | 8 | revision of the version it replaces, big-endian; 0 for none |
//! | rest | of a put: the value as `values` encodes it |

use holdfast_core::Revision;
use holdfast_store::LogEntry;

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 18;
const PUT: u8 = 1;
const DELETE: u8 = 0;

/// What a log entry says beside its value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) deletes: bool,
    pub(crate) created: Revision,
    pub(crate) previous: Option<Revision>,
}

/// The key of a log entry: ordered by revision.
pub(crate) fn log_key(revision: Revision, key: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + key.len());
    bytes.extend_from_slice(&revision.0.to_be_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// Takes the key of a log entry apart.
pub(crate) fn parse_log_key(bytes: &[u8]) -> Result<(Revision, &str), String> {
    let (revision, key) = bytes.split_first_chunk::<8>().ok_or("a log key is too short")?;
    let revision = Revision(u64::from_be_bytes(*revision));
    let key = std::str::from_utf8(key).map_err(|_| format!("the key at revision {revision} is no UTF-8"))?;
    Ok((revision, key))
}

/// The bytes of a log entry, whose value is encoded already.
pub(crate) fn entry(entry: &LogEntry) -> Vec<u8> {
    let value = entry.value.as_deref().unwrap_or_default();
    let mut bytes = Vec::with_capacity(HEADER_BYTES + value.len());
    bytes.push(VERSION);
    bytes.push(if entry.value.is_some() { PUT } else { DELETE });
    bytes.extend_from_slice(&entry.created.0.to_be_bytes());
    bytes.extend_from_slice(&entry.previous.unwrap_or_default().0.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes
}

/// Takes a log entry apart; the second part is the encoded value.
pub(crate) fn parse_entry(bytes: &[u8]) -> Result<(Header, &[u8]), String> {
    let short = || "it is too short".to_owned();
    let (&[version, op], rest) = bytes.split_first_chunk::<2>().ok_or_else(short)?;
    if version != VERSION {
        return Err(format!("it has the unknown version {version}"));
    }
    if op != PUT && op != DELETE {
        return Err(format!("it has the unknown operation {op}"));
    }
    let (created, rest) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let (previous, value) = rest.split_first_chunk::<8>().ok_or_else(short)?;
    let previous = Revision(u64::from_be_bytes(*previous));
    let header = Header {
        deletes: op == DELETE,
        created: Revision(u64::from_be_bytes(*created)),
        previous: (previous != Revision(0)).then_some(previous),
    };
    Ok((header, value))
}

/// A revision as a value (`idx`, `meta`).
pub(crate) fn parse_revision(bytes: &[u8]) -> Result<Revision, String> {
    let bytes = bytes.try_into().map_err(|_| format!("a revision has {} bytes", bytes.len()))?;
    Ok(Revision(u64::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const GOLDEN: &[u8] = b"\x01\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x07value";

    fn sample(value: Option<&'static [u8]>) -> LogEntry {
        LogEntry {
            revision: Revision(9),
            key: "pods/a".into(),
            value: value.map(Bytes::from_static),
            created: Revision(5),
            previous: Some(Revision(7)),
        }
    }

    #[test]
    fn version_1_stays_readable() {
        assert_eq!(entry(&sample(Some(b"value"))), GOLDEN);
        let (header, value) = parse_entry(GOLDEN).unwrap();
        let expected = Header { deletes: false, created: Revision(5), previous: Some(Revision(7)) };
        assert_eq!((header, value), (expected, b"value".as_slice()));
        assert_eq!(log_key(Revision(9), "pods/a"), b"\0\0\0\0\0\0\0\x09pods/a");
        assert_eq!(parse_log_key(b"\0\0\0\0\0\0\0\x09pods/a"), Ok((Revision(9), "pods/a")));
    }

    #[test]
    fn deletion_has_no_value() {
        let bytes = entry(&LogEntry { previous: None, ..sample(None) });
        let (header, value) = parse_entry(&bytes).unwrap();
        assert!(header.deletes && header.previous.is_none() && value.is_empty());
    }

    #[test]
    fn damaged_bytes_are_told_and_do_not_panic() {
        for length in 0..HEADER_BYTES {
            assert_eq!(parse_entry(&GOLDEN[..length]).unwrap_err(), "it is too short", "{length}");
        }
        assert_eq!(parse_entry(&[&[2], &GOLDEN[1..]].concat()).unwrap_err(), "it has the unknown version 2");
        assert_eq!(parse_entry(&[&[1, 9], &GOLDEN[2..]].concat()).unwrap_err(), "it has the unknown operation 9");
        assert!(parse_log_key(b"1234567").is_err() && parse_log_key(b"12345678\xff").is_err());
        assert!(parse_revision(b"1234567").is_err());
    }
}
