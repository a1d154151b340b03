//! What one node is to have: its pods with all that they reference, and what Services need.
//!
//! Built from the store at one revision. Objects are projected: a node needs neither managed fields nor what
//! it reported itself, and a projection that does not change costs no bytes.

use crate::adoption::Sealer;
use crate::tokens::{TokenKey, WantedToken, wanted_tokens};
use bytes::Bytes;
use holdfast_core::{ContentHash, Gvr, Json, Object, Revision, SetDigest, content_hash, json};
use holdfast_kinds::Kind;
use holdfast_link_engine::{HubItem, HubView};
use holdfast_mutation::broken;
use holdfast_store::{RangeRequest, Record, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The key of an item: `<group>/<version>/<plural>/<namespace>/<name>`.
pub fn item_key(gvr: &Gvr, namespace: &str, name: &str) -> String {
    format!("{}/{}/{}/{namespace}/{name}", gvr.group, gvr.version, gvr.resource)
}

/// One node's view.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    revision: Revision,
    items: BTreeMap<String, (ContentHash, HubItem)>,
    digest: SetDigest,
    /// Store keys of what the node's pods reference, present or not: a change of one makes the view dirty.
    pub references: BTreeSet<String>,
    /// Tokens that the pods need.
    pub tokens: BTreeMap<TokenKey, WantedToken>,
    /// Keys of pods that the node kept on its own account and that have to go.
    pub ended: BTreeSet<String>,
}

impl NodeView {
    pub(crate) fn put(&mut self, key: String, revision: Revision, body: Bytes) {
        let hash = content_hash(&body);
        if let Some((old, item)) = self.items.get(&key) {
            if *old == hash {
                return;
            }
            debug_assert!(item.revision <= revision);
            self.digest.remove(&key, *old);
        }
        self.digest.add(&key, hash);
        self.items.insert(key, (hash, HubItem { revision, body }));
    }
}

impl HubView for NodeView {
    fn revision(&self) -> Revision {
        self.revision
    }
    fn digest(&self) -> &SetDigest {
        &self.digest
    }
    fn entries(&self) -> Box<dyn Iterator<Item = (&str, ContentHash)> + '_> {
        Box::new(self.items.iter().map(|(key, (hash, _))| (key.as_str(), *hash)))
    }
    fn get(&self, key: &str) -> Option<HubItem> {
        self.items.get(key).map(|(_, item)| item.clone())
    }
    fn ended(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.ended.iter().map(String::as_str))
    }
}

/// An object of a record, parsed once a version.
pub(crate) fn object(record: &Record) -> Option<Arc<Object>> {
    record.decoded(|record| Object::from_stored(record.value.clone(), record.modified)).ok()
}

fn kind(group: &str, version: &str, plural: &str) -> Result<&'static Kind, StoreError> {
    holdfast_kinds::by_gvr(group, version, plural)
        .ok_or_else(|| StoreError::Failed(format!("the kind {plural} is not registered")))
}

/// Kinds that every node gets whole.
const SHARED: &[(&str, &str, &str)] =
    &[("", "v1", "services"), ("discovery.k8s.io", "v1", "endpointslices"), ("", "v1", "nodes")];

/// Whether a change of this store key may change the view of every node.
pub(crate) fn is_shared(key: &str) -> bool {
    SHARED.iter().any(|(group, version, plural)| {
        holdfast_kinds::by_gvr(group, version, plural)
            .is_some_and(|kind| key.starts_with(&holdfast_kinds::storage_prefix(kind)))
    })
}

/// Builds the view of the node called `node`.
///
/// # Errors
/// The store's.
pub async fn build(store: &dyn Store, node: &str) -> Result<NodeView, StoreError> {
    let pods = kind("", "v1", "pods")?;
    // Read before the ranges: what changes in between is seen by the next build.
    let mut view = NodeView { revision: store.revision(), ..NodeView::default() };
    let sealer = Sealer::of(store).await?;
    let records = store.range(RangeRequest { prefix: holdfast_kinds::storage_prefix(pods), ..RangeRequest::default() });
    for record in records.await?.records {
        let Some(pod) = object(&record) else { continue };
        let doc = pod.to_json();
        let bound_to = json::str_at(&doc, &["spec", "nodeName"]);
        if bound_to != Some(node) && !(broken("pods-of-all") && bound_to.is_some()) {
            continue;
        }
        for reference in (pods.references)(&doc) {
            if broken("closure-without-secrets") && reference.gvr.resource == "secrets" {
                continue;
            }
            add_reference(store, &mut view, &reference).await?;
        }
        view.tokens.extend(wanted_tokens(&pod, &doc));
        let mut doc = project_pod(doc);
        sealer.seal(node, &mut doc);
        add(&mut view, pods, &pod, doc);
    }
    let secrets = broken("secrets-of-all").then_some(&("", "v1", "secrets"));
    for (group, version, plural) in SHARED.iter().chain(secrets) {
        let kind = kind(group, version, plural)?;
        let request = RangeRequest { prefix: holdfast_kinds::storage_prefix(kind), ..RangeRequest::default() };
        for record in store.range(request).await?.records {
            let Some(object) = object(&record) else { continue };
            let doc = object.to_json();
            let doc = if *plural == "nodes" { project_node(doc) } else { project(doc) };
            add(&mut view, kind, &object, doc);
        }
    }
    Ok(view)
}

async fn add_reference(
    store: &dyn Store,
    view: &mut NodeView,
    reference: &holdfast_kinds::Reference,
) -> Result<(), StoreError> {
    let gvr = &reference.gvr;
    let Some(kind) = holdfast_kinds::by_gvr(&gvr.group, &gvr.version, &gvr.resource) else { return Ok(()) };
    let scope = if reference.namespace.is_empty() { String::new() } else { format!("{}/", reference.namespace) };
    let key = format!("{}{scope}{}", holdfast_kinds::storage_prefix(kind), reference.name);
    if view.references.contains(&key) {
        return Ok(());
    }
    if let Some(object) = store.get(&key).await?.as_deref().and_then(object) {
        add(view, kind, &object, project(object.to_json()));
    }
    view.references.insert(key);
    Ok(())
}

fn add(view: &mut NodeView, kind: &Kind, object: &Object, doc: Json) {
    let key = item_key(&kind.gvr(), &object.meta.namespace, &object.meta.name);
    let body = serde_json::to_vec(&doc).unwrap_or_default();
    view.put(key, object.revision, Bytes::from(body));
}

/// What no node needs of any object.
fn project(mut doc: Json) -> Json {
    for field in ["resourceVersion", "managedFields", "generateName"] {
        json::remove(&mut doc, &["metadata", field]);
    }
    json::remove(&mut doc, &["metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration"]);
    doc
}

/// A pod travels with its status only when that is terminal: everything else the node knows better.
fn project_pod(doc: Json) -> Json {
    let mut doc = project(doc);
    let phase = json::str_at(&doc, &["status", "phase"]).unwrap_or_default();
    if phase != "Succeeded" && phase != "Failed" {
        json::remove(&mut doc, &["status"]);
    }
    doc
}

/// Of other nodes a node needs the addresses and pod networks; of itself the labels and annotations too.
fn project_node(doc: Json) -> Json {
    let mut doc = project(doc);
    // Only the hub asks for it.
    json::remove(&mut doc, &["metadata", "annotations", holdfast_core::meta::TOKEN_KEY]);
    let addresses = json::at(&doc, &["status", "addresses"]).cloned();
    json::remove(&mut doc, &["status"]);
    if let Some(addresses) = addresses {
        json::set(&mut doc, &["status", "addresses"], addresses);
    }
    doc
}
