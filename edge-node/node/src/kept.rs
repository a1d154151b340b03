//! Pods that the hub does not know any more and may not delete, as after a restore of an older backup: they are kept,
//! and so is what they name, whatever the hub says of it. It cannot be fetched again.
//!
//! A note `kept/<key>` of the journal says which pods these are, and in which session the hub said so last; it goes when
//! the hub has the pod again, or when the pod goes. Facts about such a pod carry the whole object ([`object`]), so that
//! the hub can take it back; they are told anew in each session. What the pod names goes not with them: a node writes no
//! Secrets.

use crate::objects::PODS;
use holdfast_core::{Session, json};
use holdfast_edge_store::{Record, State};
use holdfast_link_engine::sync::node::ItemBatch;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const PREFIX: &str = "kept/";

/// Which pods are kept, with the session in which the hub last did not know them.
fn noted(state: &State) -> BTreeMap<&str, Session> {
    let notes = state.notes().range(PREFIX.to_string()..);
    let kept = notes.map_while(|(key, value)| Some((key.strip_prefix(PREFIX)?, value)));
    kept.map(|(key, value)| (key, Session(value.as_slice().try_into().map_or(0, u64::from_be_bytes)))).collect()
}

fn forget(key: &str) -> Record {
    Record::DropNote { key: format!("{PREFIX}{key}") }
}

/// The notes of a batch of this session, and the drops that must not happen.
pub(crate) fn judge(state: &State, session: Session, batch: &ItemBatch) -> (Vec<Record>, BTreeSet<String>) {
    let mut notes = Vec::new();
    let mut kept = noted(state);
    let returned = batch.puts.iter().map(|(key, ..)| key).chain(&batch.drops);
    for key in returned {
        if kept.remove(key.as_str()).is_some() {
            notes.push(forget(key));
        }
    }
    for key in batch.kept.iter().filter(|key| key.starts_with(PODS)) {
        if kept.insert(key, session) != Some(session) {
            notes.push(Record::PutNote { key: format!("{PREFIX}{key}"), value: session.0.to_be_bytes().to_vec() });
        }
    }
    let mut needed = BTreeSet::new();
    for key in kept.keys() {
        needed.extend(batch.drops.iter().filter(|drop| names(state, key, drop)).cloned());
    }
    (notes, needed)
}

/// The hub has compared all in this session: a pod that it did not miss it has, as the node has it. The notes that go.
pub(crate) fn in_sync(state: &State, session: Session) -> Vec<Record> {
    noted(state).into_iter().filter(|(_, at)| *at < session).map(|(key, _)| forget(key)).collect()
}

/// What a fact about a kept pod says beside its status: the object as the hub once sent it, and when that was. `None`
/// when the pod is not kept.
pub(crate) fn object(state: &State, key: &str, uid: &str) -> Option<(Value, Value)> {
    state.notes().get(&format!("{PREFIX}{key}"))?;
    let item = state.items().get(key)?;
    let object: Value = serde_json::from_slice(&item.body).ok()?;
    let assigned = serde_json::json!({"lineage": item.lineage.to_string(), "revision": item.revision});
    (json::str_at(&object, &["metadata", "uid"]) == Some(uid)).then_some((object, assigned))
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

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use holdfast_core::{Lineage, Revision, content_hash};
    use holdfast_edge_store::{Durability, EdgeStore, Item};
    use holdfast_env::Env;
    use holdfast_env::host::HostEnv;
    use serde_json::json;

    fn put(key: &str, body: &Value) -> Record {
        let body = Bytes::from(body.to_string());
        let item = Item { hash: content_hash(&body), lineage: Lineage(1), revision: Revision(1), body };
        Record::PutItem { key: key.into(), item }
    }

    fn batch(drops: &[&str], kept: &[&str]) -> ItemBatch {
        let text = |keys: &[&str]| keys.iter().map(ToString::to_string).collect();
        let (drops, kept) = (text(drops), text(kept));
        ItemBatch { lineage: Lineage(2), revision: Revision(9), puts: Vec::new(), drops, kept, complete: true }
    }

    #[test]
    fn what_a_kept_pod_names_is_not_dropped_whatever_the_hub_says() {
        const POD: &str = "/v1/pods/demo/web";
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = EdgeStore::open(HostEnv::new(dir.path()).disk()).unwrap();
        let pod = json!({
            "metadata": {"name": "web", "namespace": "demo", "uid": "u"},
            "spec": {"volumes": [{"name": "s", "secret": {"secretName": "own"}}]},
        });
        let items =
            vec![put(POD, &pod), put("/v1/secrets/demo/own", &json!({})), put("/v1/secrets/demo/other", &json!({}))];
        store.commit(items, Durability::Synced).unwrap();
        let drops = ["/v1/secrets/demo/own", "/v1/secrets/demo/other"];
        assert!(judge(store.state(), Session(1), &batch(&drops, &[])).1.is_empty(), "the hub knows the pod");
        let (notes, needed) = judge(store.state(), Session(2), &batch(&drops, &[POD]));
        assert_eq!(needed, BTreeSet::from(["/v1/secrets/demo/own".to_string()]));
        // Also later, when the hub says no more of the pod.
        store.commit(notes, Durability::Synced).unwrap();
        assert_eq!(judge(store.state(), Session(2), &batch(&drops, &[])).1, needed);
        assert!(judge(store.state(), Session(2), &batch(&[POD, drops[0]], &[])).1.is_empty(), "the pod goes as well");
    }
}
