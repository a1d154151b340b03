//! Which certificate a node was issued last, in the store: `/certs/<node uid>`.
//!
//! A certificate replaces its forerunner only once it has connected: the answer that carried it may have been
//! lost, and a node must not be locked out by that. Only an expired certificate is held against this record; a
//! valid one speaks for itself. The record goes with the Node, and is not made anew without it: no certificate of a node
//! that is gone is any node's last.

use crate::sessions::{holds, put, read};
use holdfast_core::{NodeUid, Revision};
use holdfast_link::identity::validity;
use holdfast_registry::node_records;
use holdfast_store::{Check, Condition, Store, StoreError, Txn, TxnOutcome};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A certificate, as the store remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Hex of the SHA-256 of its DER.
    pub fingerprint: String,
    /// `notBefore` in seconds since 1970; 0 when it cannot be read, which counts as the oldest.
    pub not_before_secs: u64,
}

/// What was issued to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateRecord {
    /// The last one signed; the node may never have received it.
    pub issued: Option<Known>,
    /// The newest that a connection came with.
    pub confirmed: Option<Known>,
}

impl Known {
    fn of(certificate: &[u8]) -> Known {
        Known {
            fingerprint: Sha256::digest(certificate).iter().map(|byte| format!("{byte:02x}")).collect(),
            not_before_secs: validity(certificate).map_or(0, |validity| validity.not_before.as_secs()),
        }
    }
}

impl CertificateRecord {
    fn confirm(&mut self, known: &Known) {
        // The old one may come once more after the new one has connected.
        if self.confirmed.as_ref().is_none_or(|old| old.not_before_secs <= known.not_before_secs) {
            self.confirmed = Some(known.clone());
        }
    }

    /// Whether `certificate` (DER, issued by the cluster's CA) is the node's last, as far as a renewal counts.
    ///
    /// One that is newer than all that is known here was issued by a history that this store was restored from.
    pub fn is_last(&self, certificate: &[u8]) -> bool {
        self.is_last_known(&Known::of(certificate))
    }

    fn is_last_known(&self, shown: &Known) -> bool {
        let mut known = [&self.issued, &self.confirmed].into_iter().flatten().peekable();
        known.peek().is_some()
            && (known.clone().any(|known| known == shown)
                || known.all(|known| known.not_before_secs < shown.not_before_secs))
    }

    fn renew(&mut self, shown: &Known, issued: &Known) {
        self.confirm(shown);
        self.issued = Some(issued.clone());
    }
}

fn key(node: &NodeUid) -> String {
    node_records::certificates(&node.0)
}

/// What was issued to a node.
///
/// # Errors
/// The store's.
pub async fn of(store: &dyn Store, node: &NodeUid) -> Result<CertificateRecord, StoreError> {
    Ok(read(store, &key(node)).await?.0)
}

/// Notes that `certificate` was signed for the node; durable before the node gets it. False when `alive`, which says that the
/// node's Node exists, no longer holds.
///
/// # Errors
/// The store's.
pub async fn issued(store: &dyn Store, node: &NodeUid, alive: &Check, certificate: &[u8]) -> Result<bool, StoreError> {
    let known = Known::of(certificate);
    change(store, node, Some(alive), |record| record.issued = Some(known.clone())).await
}

/// Notes that the node has connected with `certificate`, if the session that it came for, whose record has the revision
/// `session_at`, is still the last.
///
/// # Errors
/// The store's.
pub async fn confirmed(
    store: &dyn Store,
    node: &NodeUid,
    session_at: Revision,
    certificate: &[u8],
) -> Result<(), StoreError> {
    let known = Known::of(certificate);
    change(store, node, Some(&holds(node, session_at)), |record| record.confirm(&known)).await.map(drop)
}

/// Notes that the node, which has proven the key of `shown`, was signed `certificate`; durable before the node gets it. If
/// it never does, `shown` stays good: a store that was restored may not have known it. False when nothing is known of the
/// node: its Node is gone.
///
/// # Errors
/// The store's.
pub async fn renewed(store: &dyn Store, node: &NodeUid, shown: &[u8], certificate: &[u8]) -> Result<bool, StoreError> {
    let (shown, known) = (Known::of(shown), Known::of(certificate));
    change(store, node, None, |record| record.renew(&shown, &known)).await
}

/// Changes the record, and makes it where there is none if `only_if` says that it may be. False when that no longer holds.
async fn change(
    store: &dyn Store,
    node: &NodeUid,
    only_if: Option<&Check>,
    change: impl Fn(&mut CertificateRecord) + Send,
) -> Result<bool, StoreError> {
    loop {
        let (old, condition) = read::<CertificateRecord>(store, &key(node)).await?;
        if condition == Condition::Absent && only_if.is_none() {
            return Ok(false);
        }
        let mut new = old.clone();
        change(&mut new);
        if new == old {
            return Ok(true);
        }
        let mut checks = vec![Check { key: key(node), condition }];
        checks.extend(only_if.cloned());
        match store.txn(Txn { checks, ops: vec![put(key(node), &new)?] }).await? {
            TxnOutcome::Committed { .. } => return Ok(true),
            TxnOutcome::CheckFailed { index: 0, .. } => {}
            TxnOutcome::CheckFailed { .. } => return Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(fingerprint: &str, not_before_secs: u64) -> Known {
        Known { fingerprint: fingerprint.into(), not_before_secs }
    }

    #[test]
    fn a_lost_answer_leaves_a_certificate_good_that_a_restored_store_did_not_know() {
        // Restored: it knows the first of three. The node has the second; the third was signed and never arrived.
        let [first, second, third] = [known("a", 10), known("b", 20), known("c", 30)];
        let mut record = CertificateRecord { issued: Some(first.clone()), confirmed: Some(first.clone()) };
        assert!(record.is_last_known(&second));
        record.renew(&second, &third);
        assert!(record.is_last_known(&second) && record.is_last_known(&third));
        assert!(!record.is_last_known(&first));
        record.confirm(&third);
        assert!(!record.is_last_known(&second));
    }
}
