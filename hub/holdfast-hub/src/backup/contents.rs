//! What a backup or a store holds, read whole and checked.

use anyhow::{Context, ensure};
use bytes::Bytes;
use holdfast_core::{Object, Timestamp};
use holdfast_store::LogBackend;
use holdfast_store::backup::{BackupRecord, FORMAT, Header, Part, read};
use holdfast_store_fjall::FjallBackend;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Without them a restored hub would be another cluster.
const NEEDED: &[&str] = &["pki/ca.crt", "pki/ca.key", "pki/sa.key"];

/// All of a backup.
pub(crate) struct Contents {
    pub(crate) header: Header,
    /// Names below the data folder, and bytes.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// In the order of revision and key.
    pub(crate) records: Vec<BackupRecord>,
}

impl Contents {
    /// Reads a backup; it is whole, and everything in it decodes.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Contents> {
        let shown = path.display();
        let file = File::open(path).with_context(|| format!("open the backup {shown}"))?;
        let (mut files, mut records) = (Vec::new(), Vec::new());
        let mut take = |part| match part {
            Part::Header(_) => Ok(()),
            Part::File(name, bytes) => {
                let place = name.strip_prefix("pki/").unwrap_or_default();
                let is_plain = !place.is_empty() && !place.contains('/') && place != "." && place != "..";
                files.push((name.clone(), bytes));
                if is_plain { Ok(()) } else { Err(format!("the backup holds a file for an unknown place: {name:?}")) }
            }
            Part::Record(record) => {
                decodes(&record.key, &record.value)?;
                records.push(record);
                Ok(())
            }
        };
        let header =
            read(BufReader::new(file), &mut take).with_context(|| format!("the backup {shown} is of no use"))?;
        for needed in NEEDED {
            ensure!(files.iter().any(|(name, _)| name == needed), "the backup {shown} lacks {needed}");
        }
        Ok(Contents { header, files, records })
    }

    /// Reads the newest state of a store; everything in it decodes.
    pub(crate) fn of_store(backend: &FjallBackend) -> anyhow::Result<Contents> {
        let mut records = Vec::new();
        let mut problem = None;
        let revision = backend.load(&mut |entry| {
            let value = entry.value.unwrap_or_default();
            if let Err(what) = decodes(&entry.key, &value) {
                problem.get_or_insert(what);
            }
            let (key, created, modified) = (entry.key.to_string(), entry.created, entry.revision);
            records.push(BackupRecord { key, value, created, modified });
        })?;
        if let Some(problem) = problem {
            anyhow::bail!(problem);
        }
        for record in &records {
            let in_order = record.created <= record.modified && record.modified <= revision;
            ensure!(in_order, "{} has impossible revisions", record.key);
        }
        let lineage = records.iter().find(|record| record.key == holdfast_links::lineage::KEY);
        let lineage = lineage.map(|record| String::from_utf8_lossy(&record.value).into_owned()).unwrap_or_default();
        let made_by = env!("CARGO_PKG_VERSION").to_string();
        let header = Header { format: FORMAT, revision, lineage, made_at_secs: 0, made_by };
        Ok(Contents { header, files: Vec::new(), records })
    }

    /// One line.
    pub(crate) fn summary(&self) -> String {
        let Header { revision, lineage, made_at_secs, made_by, .. } = &self.header;
        let made = match *made_at_secs {
            0 => String::new(),
            secs => format!(", made at {} by {made_by}", Timestamp::from_secs(secs)),
        };
        format!("revision {revision}, lineage {lineage}, {} records{made}", self.records.len())
    }

    /// How many of what, a line each.
    pub(crate) fn print_counts(&self) {
        for (name, count) in self.counts() {
            println!("{count:>8} {name}");
        }
    }

    /// How many of each kind, by its name as `kubectl` knows it; what is no object by the beginning of its keys.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        let kinds: Vec<(String, String)> = holdfast_kinds::all()
            .iter()
            .filter(|kind| kind.is_stored())
            .map(|kind| (holdfast_kinds::storage_prefix(kind), kind.gvr()))
            .map(|(prefix, gvr)| match gvr.group.as_str() {
                "" => (prefix, gvr.resource),
                group => (prefix, format!("{}.{group}", gvr.resource)),
            })
            .collect();
        let mut counts = BTreeMap::new();
        for BackupRecord { key, .. } in &self.records {
            let kind = kinds.iter().find(|(prefix, _)| key.starts_with(prefix));
            let other = || key.split_inclusive('/').take(2).collect::<String>();
            *counts.entry(kind.map_or_else(other, |(_, name)| name.clone())).or_insert(0) += 1;
        }
        counts
    }
}

/// Whether an object is one.
fn decodes(key: &str, value: &Bytes) -> Result<(), String> {
    if key.starts_with("/registry/") {
        let object = Object::from_stored(value.clone(), Default::default());
        object.map_err(|status| format!("{key} does not decode: {}", status.message()))?;
    }
    Ok(())
}
