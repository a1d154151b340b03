//! Pods that the hub does not know any more and may not delete, as after a restore of an older backup: they are kept,
//! and so is what they name, whatever the hub says of it. It cannot be fetched again.
//!
//! A note `kept/<key>` of the journal says which pods these are; it goes when the hub sends the pod again, or when the
//! pod goes.

use crate::objects::PODS;
use holdfast_core::json;
use holdfast_edge_store::{Record, State};
use holdfast_link_engine::sync::node::ItemBatch;
use holdfast_mutation::broken;
use std::collections::BTreeSet;

const PREFIX: &str = "kept/";

/// The notes of a batch, and the drops that must not happen.
pub(crate) fn judge(state: &State, batch: &ItemBatch) -> (Vec<Record>, BTreeSet<String>) {
    let mut notes = Vec::new();
    let mut kept: BTreeSet<&str> =
        state.notes().range(PREFIX.to_string()..).map_while(|(key, _)| key.strip_prefix(PREFIX)).collect();
    let returned = batch.puts.iter().map(|(key, ..)| key).chain(&batch.drops);
    for key in returned {
        if kept.remove(key.as_str()) {
            notes.push(Record::DropNote { key: format!("{PREFIX}{key}") });
        }
    }
    for key in batch.kept.iter().filter(|key| key.starts_with(PODS)) {
        if kept.insert(key) {
            notes.push(Record::PutNote { key: format!("{PREFIX}{key}"), value: Vec::new() });
        }
    }
    let mut needed = BTreeSet::new();
    if !broken("kept-pod-loses-closure") {
        for key in kept {
            needed.extend(batch.drops.iter().filter(|drop| names(state, key, drop)).cloned());
        }
    }
    (notes, needed)
}

/// Whether the pod under `pod` names the object under `key`.
fn names(state: &State, pod: &str, key: &str) -> bool {
    let Some(item) = state.items().get(pod) else { return false };
    let Ok(doc) = serde_json::from_slice(&item.body) else { return false };
    let uid = json::str_at(&doc, &["metadata", "uid"]).unwrap_or_default();
    let namespace = json::str_at(&doc, &["metadata", "namespace"]).unwrap_or_default();
    if key.starts_with(&format!("edge.holdfast.io/v1/tokens/{namespace}/{uid}.")) {
        return true;
    }
    let Some(kind) = holdfast_kinds::by_gvr("", "v1", "pods") else { return false };
    (kind.references)(&doc).iter().any(|reference| {
        let gvr = &reference.gvr;
        key == format!("{}/{}/{}/{}/{}", gvr.group, gvr.version, gvr.resource, reference.namespace, reference.name)
    })
}
