//! A transaction as etcd has it, and etcd's answer as the store has it. No I/O.

use crate::keys::Keys;
use crate::wire::{
    Compare, Compared, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest, Request, RequestOp, Response, Target,
    TxnRequest, TxnResponse,
};
use bytes::Bytes;
use holdfast_core::Revision;
use holdfast_store::{Check, Condition, Op, Record, Txn, TxnOutcome, values};
use std::sync::Arc;

/// The checks as compares, the writes where they hold, and where they do not a read of every key that was checked.
pub(crate) fn request(keys: &Keys, txn: &Txn) -> TxnRequest {
    let compare = txn.checks.iter().map(|check| compare(keys.of(&check.key), check.condition)).collect();
    let write = |op: &Op| match op {
        Op::Put { key, value } => Request::Put(PutRequest { key: keys.of(key), value: values::encode(value) }),
        Op::Delete { key } => Request::DeleteRange(DeleteRangeRequest { key: keys.of(key) }),
    };
    let read = |check: &Check| Request::Range(RangeRequest { key: keys.of(&check.key), ..RangeRequest::default() });
    let op = |request| RequestOp { request: Some(request) };
    TxnRequest {
        compare,
        success: txn.ops.iter().map(write).map(op).collect(),
        failure: txn.checks.iter().map(read).map(op).collect(),
    }
}

/// etcd takes a key that does not exist for one at revision 0.
pub(crate) fn compare(key: Bytes, condition: Condition) -> Compare {
    let (result, revision) = match condition {
        Condition::Absent => (Compared::Equal, 0),
        Condition::Exists => (Compared::Greater, 0),
        Condition::ModifiedAt(revision) => match i64::try_from(revision.0) {
            Ok(revision @ 1..) => (Compared::Equal, revision),
            // No version has it: no revision is less than 0.
            _ => (Compared::Less, 0),
        },
    };
    Compare { result: result.into(), target: Target::Mod.into(), key, mod_revision: Some(revision) }
}

/// Whether the writes changed anything: a deletion of what is not there does not.
pub(crate) fn wrote(answer: &TxnResponse) -> bool {
    answer.responses.iter().any(|op| match &op.response {
        Some(Response::Put(_)) => true,
        Some(Response::DeleteRange(deletion)) => deletion.deleted > 0,
        _ => false,
    })
}

/// Which check did not hold, and what its key holds.
///
/// # Errors
/// What is wrong with the answer.
pub(crate) fn lost(txn: &Txn, answer: &TxnResponse) -> Result<TxnOutcome, String> {
    for (index, (check, op)) in txn.checks.iter().zip(&answer.responses).enumerate() {
        let Some(Response::Range(found)) = &op.response else { return Err(format!("it lacks the key {}", check.key)) };
        let found = found.kvs.first();
        let holds = match check.condition {
            Condition::Absent => found.is_none(),
            Condition::Exists => found.is_some(),
            Condition::ModifiedAt(revision) => found.is_some_and(|kv| revision_of(kv.mod_revision) == revision),
        };
        if !holds {
            let current = found.map(|kv| record(&check.key, kv)).transpose()?;
            return Ok(TxnOutcome::CheckFailed { index, current });
        }
    }
    Err("it says that a check did not hold, and all hold".to_owned())
}

/// The version of a key that etcd holds.
///
/// # Errors
/// What is wrong with its value.
pub(crate) fn record(key: &str, kv: &KeyValue) -> Result<Arc<Record>, String> {
    let value = values::decode(&kv.value).map_err(|err| format!("{key} is damaged: {err}"))?;
    let (created, modified) = (revision_of(kv.create_revision), revision_of(kv.mod_revision));
    Ok(Arc::new(Record::new(key.into(), value, created, modified)))
}

pub(crate) fn revision_of(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

pub(crate) fn number_of(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{RangeResponse, ResponseOp};
    use holdfast_store::suite::{delete, put};

    fn check(key: &str, condition: Condition) -> Check {
        Check { key: key.to_owned(), condition }
    }

    fn found(kvs: Vec<KeyValue>) -> ResponseOp {
        ResponseOp { response: Some(Response::Range(RangeResponse { kvs, ..RangeResponse::default() })) }
    }

    #[test]
    fn revisions_that_nothing_can_have_never_hold() {
        let compared = |condition| {
            let compare = compare(Bytes::new(), condition);
            (compare.result(), compare.mod_revision.unwrap())
        };
        assert_eq!(compared(Condition::Absent), (Compared::Equal, 0));
        assert_eq!(compared(Condition::Exists), (Compared::Greater, 0));
        assert_eq!(compared(Condition::ModifiedAt(Revision(5))), (Compared::Equal, 5));
        // A key that does not exist must not pass for one that was modified at 0.
        assert_eq!(compared(Condition::ModifiedAt(Revision(0))), (Compared::Less, 0));
        assert_eq!(compared(Condition::ModifiedAt(Revision(u64::MAX))), (Compared::Less, 0));
    }

    #[test]
    fn the_first_check_that_does_not_hold_is_told() {
        let keys = Keys::new("/p").unwrap();
        let checks = vec![check("a", Condition::Exists), check("b", Condition::Absent), check("c", Condition::Exists)];
        let txn = Txn { checks, ops: vec![put("x", "1"), delete("y")] };
        let asked = request(&keys, &txn);
        assert_eq!((asked.compare.len(), asked.success.len(), asked.failure.len()), (3, 2, 3));
        let kv = |value| KeyValue { create_revision: 3, mod_revision: 7, value, ..KeyValue::default() };
        let stored = values::encode(b"held");
        let answer = |b| TxnResponse {
            responses: vec![found(vec![kv(stored.clone())]), b, found(vec![])],
            ..Default::default()
        };
        let outcome = lost(&txn, &answer(found(vec![kv(stored.clone())]))).unwrap();
        let TxnOutcome::CheckFailed { index: 1, current: Some(current) } = outcome else { panic!("{outcome:?}") };
        assert_eq!((&*current.key, &*current.value, current.created.0, current.modified.0), ("b", &b"held"[..], 3, 7));
        let outcome = lost(&txn, &answer(found(vec![]))).unwrap();
        assert!(matches!(outcome, TxnOutcome::CheckFailed { index: 2, current: None }), "{outcome:?}");
        let damaged = lost(&txn, &answer(found(vec![kv(Bytes::from_static(b"\x09x"))]))).unwrap_err();
        assert!(damaged.starts_with("b is damaged: "), "{damaged}");
    }
}
