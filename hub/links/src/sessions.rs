//! Sessions of nodes in the store.
//!
//! `/links/<node uid>` holds the last session issued, the last that the node made durable, and with which hub where there are
//! several; `/marks/<node uid>` the mark of its outbox. A transaction for a node checks its session record, so that a
//! replaced connection can write nothing. Both go with the Node ([`node_records`]), so a session is issued only together
//! with a check that the Node is there: else a node that was deleted at this very moment would begin again at mark 0.

use holdfast_core::{Lineage, NodeUid, OutboxGen, Revision, Seq, Session};
use holdfast_link_engine::control::{SessionVerdict, judge};
use holdfast_link_engine::wire::Hello;
use holdfast_registry::node_records;
use holdfast_store::{Check, Condition, Op, Store, StoreError, Txn, TxnOutcome};
use serde::{Deserialize, Serialize};

/// The session record of a node. Fields are added, and may be missing; none changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The last session issued.
    pub issued: Session,
    /// The last session that the node reported durable.
    pub ready: Session,
    /// The hub that it reported that to; `None` where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
}

/// How far an outbox is in the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The outbox.
    pub outbox: OutboxGen,
    /// All facts up to here.
    pub seq: Seq,
}

fn session_key(node: &NodeUid) -> String {
    node_records::session(&node.0)
}

fn mark_key(node: &NodeUid) -> String {
    node_records::mark(&node.0)
}

/// The check that `at`, the revision of a session record, is still the last: nobody took over, and the Node exists.
pub(crate) fn holds(node: &NodeUid, at: Revision) -> Check {
    Check { key: session_key(node), condition: Condition::ModifiedAt(at) }
}

fn damaged(key: &str) -> StoreError {
    StoreError::Failed(format!("the record {key} is damaged"))
}

pub(crate) async fn read<T: serde::de::DeserializeOwned + Default>(
    store: &dyn Store,
    key: &str,
) -> Result<(T, Condition), StoreError> {
    match store.get(key).await? {
        None => Ok((T::default(), Condition::Absent)),
        Some(record) => {
            let value = serde_json::from_slice(&record.value).map_err(|_| damaged(key))?;
            Ok((value, Condition::ModifiedAt(record.modified)))
        }
    }
}

pub(crate) fn put<T: Serialize>(key: String, value: &T) -> Result<Op, StoreError> {
    let value = serde_json::to_vec(value).map_err(|_| damaged(&key))?;
    Ok(Op::Put { key, value: value.into() })
}

/// What came of asking for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issued {
    /// The session, in the store, and the mark of the node's outbox.
    Session(Session, Seq),
    /// Another machine uses this identity, or this one was set back.
    Duplicate,
    /// The Node changed since it was looked at: it may be gone.
    NodeChanged,
}

/// Issues the next session to a node, if `alive` holds, which says that its Node exists.
///
/// # Errors
/// The store's.
pub async fn issue(
    store: &dyn Store,
    lineage: Lineage,
    node: &NodeUid,
    alive: &Check,
    hello: &Hello,
) -> Result<Issued, StoreError> {
    loop {
        let (record, condition) = read::<SessionRecord>(store, &session_key(node)).await?;
        let session = match judge(lineage, record.issued, record.ready, hello) {
            SessionVerdict::Duplicate => return Ok(Issued::Duplicate),
            SessionVerdict::Next(session) => session,
        };
        let next = SessionRecord { issued: session, ..record };
        let txn = Txn {
            checks: vec![Check { key: session_key(node), condition }, alive.clone()],
            ops: vec![put(session_key(node), &next)?],
        };
        match store.txn(txn).await? {
            TxnOutcome::Committed { .. } => {}
            TxnOutcome::CheckFailed { index: 0, .. } => continue,
            TxnOutcome::CheckFailed { .. } => return Ok(Issued::NodeChanged),
        }
        let (mark, _) = read::<Mark>(store, &mark_key(node)).await?;
        let seq = if mark.outbox == hello.outbox { mark.seq } else { Seq(0) };
        return Ok(Issued::Session(session, seq));
    }
}

/// Notes that the node has made `session` durable, and which of several hubs it is linked to; the revision of the record,
/// which its transactions check. `None` when the session was replaced meanwhile.
///
/// # Errors
/// The store's.
pub async fn ready(
    store: &dyn Store,
    node: &NodeUid,
    session: Session,
    hub: Option<&str>,
) -> Result<Option<Revision>, StoreError> {
    let (record, condition) = read::<SessionRecord>(store, &session_key(node)).await?;
    if record.issued != session {
        return Ok(None);
    }
    let next = SessionRecord { ready: session, hub: hub.map(String::from), ..record };
    let txn =
        Txn { checks: vec![Check { key: session_key(node), condition }], ops: vec![put(session_key(node), &next)?] };
    match store.txn(txn).await? {
        TxnOutcome::Committed { revision, .. } => Ok(Some(revision)),
        TxnOutcome::CheckFailed { .. } => Ok(None),
    }
}

/// The session record of a node, and the check that it is as it is now.
///
/// # Errors
/// The store's.
pub(crate) async fn of(store: &dyn Store, node: &NodeUid) -> Result<(SessionRecord, Check), StoreError> {
    let (record, condition) = read::<SessionRecord>(store, &session_key(node)).await?;
    Ok((record, Check { key: session_key(node), condition }))
}

/// Whether a node that made `session` of `lineage` durable is behind what the hub knows: a cloned card, or a disk
/// that was set back.
///
/// # Errors
/// The store's.
pub async fn is_behind(
    store: &dyn Store,
    ours: Lineage,
    node: &NodeUid,
    lineage: Lineage,
    session: Session,
) -> Result<bool, StoreError> {
    let (record, _) = read::<SessionRecord>(store, &session_key(node)).await?;
    Ok(lineage == ours && session < record.ready)
}

/// Whether this identity has ever had a session.
///
/// # Errors
/// The store's.
pub async fn was_ready(store: &dyn Store, node: &NodeUid) -> Result<bool, StoreError> {
    Ok(read::<SessionRecord>(store, &session_key(node)).await?.0.ready > Session(0))
}

/// The check and the write that advance a node's mark together with an effect.
///
/// # Errors
/// Never for a well-formed mark.
pub fn mark(node: &NodeUid, session_at: Revision, mark: &Mark) -> Result<(Check, Op), StoreError> {
    Ok((holds(node, session_at), put(mark_key(node), mark)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_record_reads_and_is_written_as_ever() {
        let old = r#"{"issued":3,"ready":2}"#;
        let record: SessionRecord = serde_json::from_str(old).unwrap();
        assert_eq!(record, SessionRecord { issued: Session(3), ready: Session(2), hub: None });
        assert_eq!(serde_json::to_string(&record).unwrap(), old);
        let linked = SessionRecord { hub: Some("a".into()), ..record };
        assert_eq!(serde_json::to_string(&linked).unwrap(), r#"{"issued":3,"ready":2,"hub":"a"}"#);
    }
}
