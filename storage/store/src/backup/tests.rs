use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Of the test below, from the first release.
const GOLDEN: &[u8] = include_bytes!("golden-1.backup");

fn header(revision: u64) -> Header {
    Header {
        format: FORMAT,
        revision: Revision(revision),
        lineage: "00ff".into(),
        made_at_secs: 1_767_225_600,
        made_by: "0.1.0".into(),
    }
}

/// A backup of these records, which are in order, and of one file.
fn written(header: &Header, records: &[BackupRecord]) -> Vec<u8> {
    let mut writer = BackupWriter::begin(Vec::new(), header).unwrap();
    writer.file("pki/ca.key", b"secret").unwrap();
    for record in records {
        writer.record(&record.key, &record.value, record.created, record.modified).unwrap();
    }
    writer.finish().unwrap()
}

fn parts(bytes: &[u8]) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    read(bytes, &mut |part| {
        parts.push(part);
        Ok(())
    })
    .map_err(|err| err.to_string())?;
    Ok(parts)
}

/// Where the blocks begin.
fn blocks(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = MAGIC.len();
    while at < bytes.len() {
        starts.push(at);
        let length = u32::from_be_bytes(bytes[at + 1..at + 5].try_into().unwrap());
        at += 5 + length as usize + HASH_BYTES;
    }
    starts
}

fn some() -> Vec<BackupRecord> {
    let record = |n: u64| BackupRecord {
        key: format!("/registry/core/pods/default/pod-{n}"),
        value: format!(r#"{{"metadata":{{"name":"pod-{n}"}}}}"#).repeat(1500).into(),
        created: Revision(n),
        modified: Revision(n * 2),
    };
    (1..30).map(record).collect()
}

#[test]
fn a_small_backup_keeps_its_form() {
    let record =
        BackupRecord { key: "/a".into(), value: Bytes::from_static(b"1"), created: Revision(1), modified: Revision(2) };
    let bytes = written(&header(2), std::slice::from_ref(&record));
    assert_eq!(&bytes[..17], b"HOLDFAST-BACKUP\n\x01");
    let expected =
        vec![Part::Header(header(2)), Part::File("pki/ca.key".into(), b"secret".to_vec()), Part::Record(record)];
    assert_eq!(parts(&bytes).unwrap(), expected);
    assert_eq!(parts(GOLDEN).unwrap(), expected, "what the first release wrote stays readable");
}

#[test]
fn every_flipped_bit_and_every_cut_is_refused() {
    let bytes = written(&header(100), &some());
    assert_eq!(parts(&bytes).unwrap().len(), 31);
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let said = parts(&damaged).expect_err(&format!("a flip at byte {at}"));
        assert!(said.contains("damaged") || said.contains("not whole") || said.contains("no backup"), "{at}: {said}");
    }
    for length in 0..bytes.len() {
        let said = parts(&bytes[..length]).expect_err(&format!("cut to {length}"));
        assert_eq!(said, format!("it is not whole: it ends at byte {length}"));
    }
    let longer = [&bytes[..], b"x"].concat();
    assert_eq!(
        parts(&longer).unwrap_err(),
        format!("it is damaged in the block at byte {}: something follows the end", bytes.len())
    );
}

#[test]
fn blocks_that_are_whole_and_not_in_their_place_are_refused() {
    let (one, two) = (written(&header(9), &[]), written(&header(8), &[]));
    // The end of one behind what comes before it in the other.
    let (one_ends, two_ends) = (blocks(&one).pop().unwrap(), blocks(&two).pop().unwrap());
    let mixed = [&two[..two_ends], &one[one_ends..]].concat();
    assert!(parts(&mixed).unwrap_err().contains("checksum"));
    let twice = [&some()[3..4], &some()[3..4]].concat();
    assert!(parts(&written(&header(100), &twice)).unwrap_err().contains("is out of order"));
    let ahead = parts(&written(&header(3), &some()[3..4])).unwrap_err();
    assert!(ahead.contains("/registry/core/pods/default/pod-4 has impossible revisions"), "{ahead}");
}

#[test]
fn other_files_and_later_formats_are_told() {
    assert_eq!(parts(b"apiVersion: v1\nkind: List\n").unwrap_err(), "it is no backup of a Holdfast hub");
    assert_eq!(parts(b"api").unwrap_err(), "it is no backup of a Holdfast hub");
    assert_eq!(parts(b"").unwrap_err(), "it is not whole: it ends at byte 0");
    let newer = Header { format: 2, ..header(1) };
    assert_eq!(parts(&written(&newer, &[])).unwrap_err(), "it has format 2, and this release reads up to format 1");
}

#[test]
fn a_length_of_nonsense_allocates_nothing() {
    let mut bytes = written(&header(1), &[]);
    bytes[17..21].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(parts(&bytes).unwrap_err().contains("its length is impossible"));
}

#[test]
fn whoever_is_given_the_parts_may_refuse_them() {
    let bytes = written(&header(100), &some());
    let refused = read(&bytes[..], &mut |part| match part {
        Part::Record(record) => Err(format!("{} is not wanted", record.key)),
        _ => Ok(()),
    });
    assert_eq!(refused.unwrap_err().to_string(), "/registry/core/pods/default/pod-1 is not wanted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_content_comes_back(
        content in proptest::collection::btree_map(
            "[a-z/é]{1,40}",
            (proptest::collection::vec(any::<u8>(), 0..2000), 1u64..50, 0u64..50),
            0..60,
        ),
    ) {
        let mut records: Vec<BackupRecord> = content
            .into_iter()
            .map(|(key, (value, created, later))| BackupRecord {
                key,
                value: value.into(),
                created: Revision(created),
                modified: Revision(created + later),
            })
            .collect();
        records.sort_by(|a, b| (a.modified, &a.key).cmp(&(b.modified, &b.key)));
        let read = parts(&written(&header(100), &records)).unwrap();
        let back: BTreeMap<String, BackupRecord> = read
            .into_iter()
            .filter_map(|part| match part {
                Part::Record(record) => Some((record.key.clone(), record)),
                _ => None,
            })
            .collect();
        let records: BTreeMap<String, BackupRecord> =
            records.into_iter().map(|record| (record.key.clone(), record)).collect();
        prop_assert_eq!(back, records);
    }
}
