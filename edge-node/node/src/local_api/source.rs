//! From the journal to objects: items as the hub sent them, with the node's own word merged in.

use crate::store::SharedStore;
use bytes::Bytes;
use holdfast_core::json::{remove, set, str_at};
use holdfast_core::meta::SEAL;
use holdfast_core::{ContentHash, Json, Object, Seq, Status, content_hash};
use holdfast_edge_store::State;
use holdfast_kinds::Kind;
use serde_json::Value;
use std::collections::BTreeMap;

/// What an object was made from: the same marks give the same object.
pub(super) type Marks = (ContentHash, Seq);

/// An object that is not made yet.
pub(super) struct Raw {
    pub(super) marks: Marks,
    body: RawBody,
}

enum RawBody {
    /// An item, and the node's own word on it.
    Item(Bytes, Option<Bytes>),
    Event(Value),
}

/// What the journal holds of a kind, by `namespace/name`.
pub(super) fn items(store: &SharedStore, kind: &Kind) -> BTreeMap<String, Raw> {
    let prefix = format!("{}/{}/{}/", kind.group, kind.version, kind.plural);
    store.read(|state| {
        let raw = |(key, item): (&String, &holdfast_edge_store::Item)| {
            let fact = state.outbox().state_fact(key);
            let marks = (item.hash, fact.map(|(seq, _)| seq).unwrap_or_default());
            let body = RawBody::Item(item.body.clone(), fact.map(|(_, body)| body.clone()));
            (key[prefix.len()..].to_string(), Raw { marks, body })
        };
        let mut all: BTreeMap<String, Raw> = state.items_with_prefix(&prefix).map(raw).collect();
        if prefix == crate::objects::PODS {
            for (key, raw) in static_pods(state) {
                all.entry(key).or_insert(raw);
            }
        }
        all
    })
}

/// The static pods, by `namespace/name`: shown by themselves where the hub has no mirror of them.
fn static_pods(state: &State) -> Vec<(String, Raw)> {
    let raw = |(_, body): (&str, Bytes)| {
        let doc: Json = serde_json::from_slice(&body).ok()?;
        let part = |field: &str| str_at(&doc, &["metadata", field]).unwrap_or_default();
        let key = format!("{}/{}", part("namespace"), part("name"));
        let fact = state.outbox().state_fact(&format!("{}{key}", crate::objects::PODS));
        let marks = (content_hash(&body), fact.map(|(seq, _)| seq).unwrap_or_default());
        let body = RawBody::Item(body, fact.map(|(_, body)| body.clone()));
        Some((key, Raw { marks, body }))
    };
    crate::static_pods::notes(state).filter_map(raw).collect()
}

/// The Events of the index, by `namespace/name`. One that is known does not change.
pub(super) fn events(found: Vec<Value>) -> BTreeMap<String, Raw> {
    let key = |event: &Value| {
        let part = |field: &str| str_at(event, &["metadata", field]).unwrap_or_default().to_string();
        format!("{}/{}", part("namespace"), part("name"))
    };
    found.into_iter().map(|event| (key(&event), Raw { marks: Marks::default(), body: RawBody::Event(event) })).collect()
}

impl Raw {
    /// Makes the object.
    ///
    /// # Errors
    /// When the bytes are no object.
    pub(super) fn object(self) -> Result<Object, Status> {
        match self.body {
            RawBody::Item(body, None) => {
                let mut doc = decode(&body)?;
                remove(&mut doc, &[SEAL]);
                Object::from_json(doc)
            }
            RawBody::Item(body, Some(fact)) => Object::from_json(merged(&body, &fact)?),
            RawBody::Event(mut event) => {
                // What the hub would have set.
                let first = str_at(&event, &["firstTimestamp"]).map(str::to_string);
                if let (Some(first), None) = (first, str_at(&event, &["metadata", "creationTimestamp"])) {
                    set(&mut event, &["metadata", "creationTimestamp"], first);
                }
                Object::from_json(event)
            }
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Json, Status> {
    serde_json::from_slice(bytes)
        .map_err(|err| Status::internal(format!("an object of the journal does not decode: {err}")))
}

/// An item with the status and labels of the node's own fact about it, when that speaks of the same object.
fn merged(body: &[u8], fact: &[u8]) -> Result<Json, Status> {
    let (mut doc, mut fact) = (decode(body)?, decode(fact)?);
    remove(&mut doc, &[SEAL]);
    if str_at(&doc, &["metadata", "uid"]) != str_at(&fact, &["uid"]) {
        return Ok(doc);
    }
    if let Some(status) = remove(&mut fact, &["status"]) {
        set(&mut doc, &["status"], status);
    }
    let labels = fact.get("metadata").and_then(|metadata| metadata.get("labels")).and_then(Json::as_object);
    for (label, value) in labels.into_iter().flatten() {
        set(&mut doc, &["metadata", "labels", label], value.clone());
    }
    Ok(doc)
}
