//! Reading the whole state at one revision, and where in which etcd's history we are.

use crate::client::{CallError, Client};
use crate::keys::{Keys, Place};
use crate::limits::LOAD_PAGE;
use crate::txn::{number_of, record, revision_of};
use crate::wire::{RangeRequest, RangeResponse};
use bytes::Bytes;
use holdfast_core::Revision;
use holdfast_store::{Record, StoreError};
use std::sync::Arc;

/// The oldest release whose word about a watch's progress holds (etcd's issue 15220, and 3.5.13 as Kubernetes has it).
const OLDEST: (u32, u32, u32) = (3, 5, 13);

/// A point in the history of one etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// etcd's number of its cluster.
    pub(crate) cluster: u64,
    pub(crate) revision: Revision,
}

impl Point {
    /// Whether `now` can follow this point.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when it is another etcd, or one that was set back.
    pub(crate) fn precedes(&self, now: Point) -> Result<(), StoreError> {
        if now.cluster != self.cluster {
            return Err(StoreError::Failed(format!(
                "this is another etcd than before: cluster {:x} instead of {:x}; restart the hub to take it",
                now.cluster, self.cluster
            )));
        }
        if now.revision < self.revision {
            return Err(StoreError::Failed(format!(
                "etcd was set back: it is at revision {} and was at {}; restart the hub to go on from there",
                now.revision, self.revision
            )));
        }
        Ok(())
    }
}

fn point(answer: &RangeResponse) -> Result<Point, StoreError> {
    let header = answer.header.as_ref().ok_or_else(|| StoreError::Failed("etcd's answer has no header".to_owned()))?;
    Ok(Point { cluster: header.cluster_id, revision: revision_of(header.revision) })
}

/// Where etcd is now: at least at whatever was committed before the call. A read of one small key that is agreed with the
/// other members.
///
/// # Errors
/// [`StoreError::Unavailable`], or what etcd refused.
pub(crate) async fn now(client: &Client, keys: &Keys) -> Result<Point, StoreError> {
    let request = RangeRequest { key: keys.compacted(), keys_only: true, ..RangeRequest::default() };
    point(&client.range(&request).await.map_err(CallError::of_read)?)
}

/// Reads everything.
///
/// # Errors
/// [`StoreError::Unavailable`] when etcd is out of reach; [`StoreError::Failed`] when it is too old.
pub(crate) async fn load(client: &Client, keys: &Keys) -> Result<(Vec<Arc<Record>>, Point), StoreError> {
    let version = client.version().await.map_err(CallError::of_read)?;
    if parse(&version).is_none_or(|version| version < OLDEST) {
        let (major, minor, patch) = OLDEST;
        return Err(StoreError::Failed(format!("etcd is {version}; it must be {major}.{minor}.{patch} or newer")));
    }
    let (mut key, range_end) = keys.data();
    let mut records = Vec::new();
    let mut at: Option<Point> = None;
    loop {
        let revision = at.map_or(0, |at| number_of(at.revision));
        let request = RangeRequest { key, range_end: range_end.clone(), limit: LOAD_PAGE, revision, keys_only: false };
        let page = client.range(&request).await.map_err(CallError::of_read)?;
        // Later pages are of the first one's revision; their headers are newer.
        let point = match at {
            Some(at) => at,
            None => point(&page)?,
        };
        at = Some(point);
        records.extend(page.kvs.iter().filter_map(|kv| match keys.place(&kv.key) {
            Place::Key(key) => record(key, kv).inspect_err(|err| foreign(&kv.key, err)).ok(),
            Place::Own | Place::Foreign => {
                foreign(&kv.key, "the key is none of a hub");
                None
            }
        }));
        let Some(last) = page.kvs.last().filter(|_| page.more) else { return Ok((records, point)) };
        key = Bytes::from([&last.key, &b"\0"[..]].concat());
    }
}

/// What somebody else wrote among the hubs' keys is left alone, and not served: it must not stop them.
pub(crate) fn foreign(key: &[u8], err: &str) {
    tracing::error!(key = %String::from_utf8_lossy(key), err, "Skipped a key of etcd that no hub wrote");
}

fn parse(version: &str) -> Option<(u32, u32, u32)> {
    let plain = version.split(['-', '+']).next()?;
    let mut numbers = plain.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(parse("3.5.30").is_some_and(|version| version > OLDEST));
        assert!(parse("3.10.0-rc.1+git").is_some_and(|version| version > OLDEST));
        assert!(parse("3.5.9").is_some_and(|version| version < OLDEST));
        assert_eq!((parse("3.5"), parse("new"), parse("")), (None, None, None));
    }

    #[test]
    fn an_etcd_that_was_set_back_or_replaced_is_told() {
        let at = |cluster, revision| Point { cluster, revision: Revision(revision) };
        assert_eq!(at(1, 5).precedes(at(1, 5)), Ok(()));
        let said = at(1, 5).precedes(at(1, 4)).unwrap_err().to_string();
        assert!(said.contains("set back: it is at revision 4 and was at 5"), "{said}");
        let said = at(1, 5).precedes(at(2, 9)).unwrap_err().to_string();
        assert!(said.contains("another etcd"), "{said}");
    }
}
