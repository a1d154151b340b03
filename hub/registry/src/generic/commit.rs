//! A write as one transaction, and what a lost check means.

use crate::engine::{Engine, decode, store_error};
use crate::extension::{CommitWith, stale_session};
use bytes::Bytes;
use holdfast_core::{Gvr, Object, Revision, Status};
use holdfast_server::RequestContext;
use holdfast_store::{Check, Condition, Op, Txn, TxnOutcome};
use std::sync::Arc;

/// Why a check is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The object itself changed, or came to be.
    Subject,
    /// The namespace changed since admission looked at it.
    Namespace,
    /// An address or port was taken meanwhile.
    Allocation,
    /// A quota changed, or came to be, since the write was charged to it.
    Quota,
}

/// What became of a write.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Durable at this revision; the object of the first put, when there was one.
    Committed(Revision, Option<Arc<Object>>),
    /// This check did not hold; nothing was written.
    Lost(Meaning),
}

/// A transaction being put together.
#[derive(Default)]
pub(crate) struct Write {
    txn: Txn,
    meanings: Vec<Meaning>,
}

impl Write {
    pub(crate) fn check(&mut self, key: String, condition: Condition, meaning: Meaning) {
        self.txn.checks.push(Check { key, condition });
        self.meanings.push(meaning);
    }

    pub(crate) fn put(&mut self, key: String, value: Bytes) {
        self.txn.ops.push(Op::Put { key, value });
    }

    pub(crate) fn delete(&mut self, key: String) {
        self.txn.ops.push(Op::Delete { key });
    }

    /// Commits, together with what travels in the request's extension.
    ///
    /// # Errors
    /// 409 [`crate::STALE_SESSION`] when a check of the extension did not hold; the store's errors.
    pub(crate) async fn commit(
        mut self,
        engine: &Engine,
        cx: &RequestContext,
        gvr: &Gvr,
        name: &str,
    ) -> Result<Outcome, Status> {
        // Only our own first put is an object of ours.
        let has_put = self.txn.ops.first().is_some_and(|op| matches!(op, Op::Put { .. }));
        if let Some(extension) = extension(cx) {
            self.txn.checks.extend(extension.checks.iter().cloned());
            self.txn.ops.extend(extension.ops.iter().cloned());
        }
        match engine.store.txn(self.txn).await.map_err(store_error)? {
            TxnOutcome::Committed { revision, records } => {
                let object = if has_put { records.first().map(|record| decode(record)).transpose()? } else { None };
                Ok(Outcome::Committed(revision, object))
            }
            TxnOutcome::CheckFailed { index, .. } => match self.meanings.get(index) {
                Some(meaning) => Ok(Outcome::Lost(*meaning)),
                None => Err(stale_session(gvr, name)),
            },
        }
    }
}

/// Whether the request takes a pod back that a restore made the hub forget.
pub(crate) fn adopts(cx: &RequestContext) -> bool {
    extension(cx).is_some_and(|with| with.adopts)
}

/// What the layer above wants committed along.
pub(crate) fn extension(cx: &RequestContext) -> Option<&CommitWith> {
    cx.extension.as_deref()?.downcast_ref::<CommitWith>()
}
