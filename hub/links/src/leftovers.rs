//! Records of nodes that are gone. They go with their Node, but earlier releases left them behind: these are looked for
//! once, at the start of a hub.
//!
//! A record is made after its Node, and a UID never comes back. So a record whose Node is not there when the nodes are read
//! later is of no use any more, to nobody, whatever other hubs do meanwhile.

use holdfast_core::Object;
use holdfast_registry::node_records;
use holdfast_store::{Check, Condition, Op, RangeRequest, Store, StoreError, Txn, TxnOutcome};
use std::collections::BTreeMap;

/// Removes them; of how many nodes.
///
/// # Errors
/// The store's, and [`StoreError::Failed`] when a Node does not decode: what it is, is not known then.
pub(crate) async fn sweep(store: &dyn Store) -> Result<usize, StoreError> {
    let mut left: BTreeMap<String, Vec<Check>> = BTreeMap::new();
    for prefix in node_records::PREFIXES {
        for record in under(store, prefix.to_string()).await?.records {
            let uid = record.key.strip_prefix(prefix).unwrap_or_default().to_string();
            let condition = Condition::ModifiedAt(record.modified);
            left.entry(uid).or_default().push(Check { key: record.key.to_string(), condition });
        }
    }
    let nodes = holdfast_kinds::by_gvr("", "v1", "nodes").map(holdfast_kinds::storage_prefix).unwrap_or_default();
    for record in under(store, nodes).await?.records {
        let node = Object::from_stored(record.value.clone(), record.modified)
            .map_err(|err| StoreError::Failed(format!("{} does not decode: {err}", record.key)))?;
        left.remove(&node.meta.uid);
    }
    let mut removed = 0;
    for checks in left.into_values() {
        let ops = checks.iter().map(|check| Op::Delete { key: check.key.clone() }).collect();
        // What changed meanwhile is an earlier release's doing, and waits for the next start.
        if let TxnOutcome::Committed { .. } = store.txn(Txn { checks, ops }).await? {
            removed += 1;
        }
    }
    Ok(removed)
}

async fn under(store: &dyn Store, prefix: String) -> Result<holdfast_store::Range, StoreError> {
    store.range(RangeRequest { prefix, ..RangeRequest::default() }).await
}
