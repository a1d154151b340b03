//! The lineage of the hub's store: a random number, made once, changed by a restore; and where a lineage comes from.
//!
//! A restore takes the store back to a backup's revision and begins another history there. What it writes down beside the
//! backup's records is made here ([`begin_another`]), so that the nodes' words about the lost part of the old history can
//! be judged ([`crate::adoption`]).

use crate::adoption;
use bytes::Bytes;
use holdfast_core::{Lineage, Revision, Timestamp};
use holdfast_env::World;
use holdfast_store::{Check, Condition, Op, Store, StoreError, Txn, TxnOutcome};
use serde::{Deserialize, Serialize};

/// Where the lineage is kept, as text.
pub const KEY: &str = "/holdfast/lineage";
/// Where the histories before this one are kept.
const ORIGIN: &str = "/holdfast/origin";
/// A restored store begins at least so far above the revisions that clients may have seen.
const GAP: u64 = 1_000_000_000;
/// More revisions than a hub commits in a second: a backup that is restored again later begins above all that came of it
/// the first time.
const GAP_A_SECOND: u64 = 100_000;

/// The histories that this one continues, oldest first; none for a store that was never restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// One a restore.
    pub ancestors: Vec<Ancestor>,
}

/// A history up to where the next one went on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ancestor {
    /// Its lineage, as text.
    pub lineage: String,
    /// The backup's revision: what came after it is lost.
    pub until: Revision,
    /// When it was restored, in seconds since 1970.
    pub restored_at_secs: i64,
}

/// Reads the lineage, making one in an empty store.
///
/// # Errors
/// The store's.
pub async fn ensure(store: &dyn Store, env: &World) -> Result<Lineage, StoreError> {
    adoption::ensure_key(store, env).await?;
    loop {
        if let Some(record) = store.get(KEY).await? {
            let text = std::str::from_utf8(&record.value).unwrap_or_default();
            return u128::from_str_radix(text, 16)
                .map(Lineage)
                .map_err(|_| StoreError::Failed("the store's lineage is damaged".into()));
        }
        let lineage = Lineage(u128::from(env.random_u64()) << 64 | u128::from(env.random_u64()));
        let txn = Txn {
            checks: vec![Check { key: KEY.into(), condition: Condition::Absent }],
            ops: vec![Op::Put { key: KEY.into(), value: lineage.to_string().into() }],
        };
        if let TxnOutcome::Committed { .. } = store.txn(txn).await? {
            return Ok(lineage);
        }
    }
}

/// The histories before this one.
///
/// # Errors
/// The store's.
pub(crate) async fn origin(store: &dyn Store) -> Result<Origin, StoreError> {
    Ok(crate::sessions::read(store, ORIGIN).await?.0)
}

/// The revision at which a restored store begins: above whatever clients may have seen of the backup's history, of the
/// store that is `replaced`, and of an earlier restore of the same backup.
pub fn first_revision(backup: Revision, since_backup_secs: u64, replaced: Option<Revision>) -> Revision {
    let seen = backup.max(replaced.unwrap_or_default()).0;
    Revision(seen.saturating_add(GAP).saturating_add(since_backup_secs.saturating_mul(GAP_A_SECOND)))
}

/// What a restore sets on top of a backup's records, all at one new revision: the new `lineage`, where it comes from, and
/// which pods it knows. `records` are all of the backup, `until` is its revision.
///
/// # Errors
/// Which record does not decode.
pub fn begin_another<'a>(
    records: impl Iterator<Item = (&'a str, &'a Bytes)>,
    until: Revision,
    lineage: Lineage,
    now: Timestamp,
) -> Result<Vec<(String, Bytes)>, String> {
    let pods = holdfast_kinds::by_gvr("", "v1", "pods").map(holdfast_kinds::storage_prefix).unwrap_or_default();
    let (mut origin, mut old) = (Origin::default(), String::new());
    let mut writes = vec![(KEY.to_string(), Bytes::from(lineage.to_string()))];
    for (key, value) in records {
        let damaged = |err: &dyn std::fmt::Display| format!("{key} does not decode: {err}");
        if key == KEY {
            old = String::from_utf8_lossy(value).into_owned();
        } else if key == ORIGIN {
            origin = serde_json::from_slice(value).map_err(|err| damaged(&err))?;
        } else if key.starts_with(&pods) {
            let pod = holdfast_core::Object::from_stored(value.clone(), until).map_err(|err| damaged(&err))?;
            writes.push((adoption::known_key(&pod.meta.uid), Bytes::new()));
        }
    }
    origin.ancestors.push(Ancestor { lineage: old, until, restored_at_secs: now.secs() });
    let origin = serde_json::to_vec(&origin).map_err(|err| err.to_string())?;
    writes.push((ORIGIN.to_string(), origin.into()));
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_of_restores_only_rise() {
        let day = 24 * 3600;
        let first = first_revision(Revision(5000), day, None);
        assert_eq!(first, Revision(1_000_005_000 + 100_000 * day));
        // An hour later the same backup again, whether or not the hub of the first restore is there to be asked.
        let again = first_revision(Revision(5000), day + 3600, None);
        assert!(again.0 - first.0 > 3600 * 50_000);
        let newer = Revision(again.0 + 70);
        assert!(first_revision(Revision(5000), 0, Some(newer)) > newer);
        let far = first_revision(Revision(5000), 200 * 365 * day, None);
        assert!(far.0 < 1 << 53, "a client that reads numbers as doubles");
    }

    #[test]
    fn a_restore_remembers_where_it_comes_from_and_which_pods_it_knows() {
        let pod = |uid: &str| Bytes::from(format!(r#"{{"metadata":{{"name":"a","namespace":"b","uid":"{uid}"}}}}"#));
        let lineage = Bytes::from_static(b"1f");
        let (one, two) = (pod("u-1"), pod("u-2"));
        let records = [(KEY, &lineage), ("/registry/core/pods/b/a", &one), ("/registry/core/pods/b/c", &two)];
        let now = Timestamp::from_secs(99);
        let writes = begin_another(records.into_iter(), Revision(7), Lineage(0x2f), now).unwrap();
        let keys: Vec<&str> = writes.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, [KEY, "/known-pods/u-1", "/known-pods/u-2", ORIGIN]);
        assert_eq!(writes[0].1, Lineage(0x2f).to_string());
        let origin = writes[3].1.clone();
        let first = Ancestor { lineage: "1f".into(), until: Revision(7), restored_at_secs: 99 };
        assert_eq!(serde_json::from_slice::<Origin>(&origin).unwrap().ancestors, std::slice::from_ref(&first));
        let records = [(KEY, &writes[0].1), (ORIGIN, &origin)];
        let writes = begin_another(records.into_iter(), Revision(9), Lineage(3), now).unwrap();
        let origin: Origin = serde_json::from_slice(&writes[1].1).unwrap();
        assert_eq!((origin.ancestors.len(), &origin.ancestors[0]), (2, &first));
        let damaged = Bytes::from_static(b"{");
        let said = begin_another([(ORIGIN, &damaged)].into_iter(), Revision(9), Lineage(3), now).unwrap_err();
        assert!(said.starts_with("/holdfast/origin does not decode"), "{said}");
    }
}
