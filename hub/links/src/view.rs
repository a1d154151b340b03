//! What one node is to have: its pods with all that they reference, and what Services need.
//!
//! Built from [`crate::sources`] and the store. Objects are projected: a node needs neither managed fields nor what
//! it reported itself, and a projection that does not change costs no bytes.

use crate::adoption::Sealer;
use crate::sources::{Items, NodeSources, is_shared, nodes, pods};
use crate::tokens::{TokenKey, WantedToken, wanted_tokens};
use crate::views::Views;
use bytes::Bytes;
use holdfast_core::{ContentHash, Gvr, Json, Object, Revision, SetDigest, json};
use holdfast_kinds::Kind;
use holdfast_link_engine::{HubItem, HubView};
use holdfast_mutation::broken;
use holdfast_store::{Record, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a pod brings into a view beside itself. Stands as long as neither the pod nor the key of the seals changes: most
/// rebuilds are for one pod of many, and the others need not be read again.
#[derive(Debug)]
struct PodPart {
    revision: Revision,
    sealed_by: Revision,
    /// Store keys of what it references that not every node gets.
    references: Vec<(&'static Kind, Arc<str>)>,
    tokens: BTreeMap<TokenKey, WantedToken>,
}

/// The key of an item: `<group>/<version>/<plural>/<namespace>/<name>`.
pub fn item_key(gvr: &Gvr, namespace: &str, name: &str) -> String {
    format!("{}/{}/{}/{namespace}/{name}", gvr.group, gvr.version, gvr.resource)
}

/// One node's view: what every node gets, what the nodes of its site get of each other, and what is its own. An item of its
/// own takes the place of what the others get under that key.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    revision: Revision,
    shared: Arc<Items>,
    site: Arc<Items>,
    own: Items,
    /// Of all.
    digest: SetDigest,
    /// Store keys of what the node's pods reference, present or not: a change of one makes the view dirty.
    pub references: BTreeSet<Arc<str>>,
    /// By the pods' store keys.
    parts: BTreeMap<Arc<str>, Arc<PodPart>>,
    /// Keys of pods that the node kept on its own account and that have to go.
    pub ended: BTreeSet<String>,
}

impl NodeView {
    pub(crate) fn put(&mut self, key: String, revision: Revision, body: Bytes) {
        self.own.put(key, revision, body);
    }

    /// Tokens that the pods need.
    pub(crate) fn tokens(&self) -> BTreeMap<TokenKey, WantedToken> {
        self.parts.values().flat_map(|part| part.tokens.clone()).collect()
    }

    /// Takes an object's item from an older view of the same node, if it has this version; whether it has.
    fn keep(&mut self, older: &NodeView, kind: &Kind, object: &Object) -> bool {
        let key = item_key(&kind.gvr(), &object.meta.namespace, &object.meta.name);
        let same = older.own.get(&key).filter(|(_, item)| item.revision == object.revision);
        same.map(|(hash, item)| self.own.put_as(key, hash, item.clone())).is_some()
    }

    fn add(&mut self, kind: &Kind, object: &Object, doc: &Json) {
        let key = item_key(&kind.gvr(), &object.meta.namespace, &object.meta.name);
        self.put(key, object.revision, Bytes::from(serde_json::to_vec(doc).unwrap_or_default()));
    }

    /// Nothing is put any more. Bodies that an older view of the same node has as well are taken from there: what the link
    /// remembers of it as the node's then costs nothing beside this view.
    pub(crate) fn finish(&mut self, older: &NodeView) {
        self.own.share_with(&older.own);
        self.digest = self.shared.digest().merged(self.site.digest());
        for (key, hash, _) in self.site.iter().filter(|(key, ..)| self.own.get(key).is_some()) {
            self.digest.remove(key, hash);
        }
        self.digest = self.digest.merged(self.own.digest());
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
        let site = self.site.iter().filter(|(key, ..)| self.own.get(key).is_none());
        Box::new(self.shared.iter().chain(site).chain(self.own.iter()).map(|(key, hash, _)| (key, hash)))
    }
    fn get(&self, key: &str) -> Option<HubItem> {
        let found = self.own.get(key).or_else(|| self.site.get(key)).or_else(|| self.shared.get(key));
        found.map(|(_, item)| item.clone())
    }
    fn needs(&self, pod: &str) -> Vec<String> {
        let (Some((_, item)), Some(kind)) = (self.own.get(pod), holdfast_kinds::by_gvr("", "v1", "pods")) else {
            return Vec::new();
        };
        let Ok(doc) = serde_json::from_slice(&item.body) else { return Vec::new() };
        let references = (kind.references)(&doc);
        references.iter().map(|named| item_key(&named.gvr, &named.namespace, &named.name)).collect()
    }
    fn ended(&self) -> Box<dyn Iterator<Item = &str> + '_> {
        Box::new(self.ended.iter().map(String::as_str))
    }
}

/// An object of a record, parsed once a version.
pub(crate) fn object(record: &Record) -> Option<Arc<Object>> {
    record.decoded(|record| Object::from_stored(record.value.clone(), record.modified)).ok()
}

/// Builds the view of the node called `node` from the sources. `older` is the view before it, or an empty one.
///
/// # Errors
/// The store's.
pub(crate) async fn build(
    store: &dyn Store,
    views: &Views,
    node: &str,
    older: &NodeView,
) -> Result<NodeView, StoreError> {
    let kind = pods()?;
    // What changes while the objects are read is seen by the next build.
    let NodeSources { revision, shared, site, pods } = views.sources(store.revision(), node).await;
    let mut view = NodeView { revision, shared, site, ..NodeView::default() };
    let own = store.get(&format!("{}{node}", holdfast_kinds::storage_prefix(nodes()?))).await?;
    if let Some(own) = own.as_deref().and_then(object)
        && !view.keep(older, nodes()?, &own)
    {
        view.add(nodes()?, &own, &project_node(own.to_json()));
    }
    let sealer = Sealer::of(store).await?;
    for key in pods {
        let Some(record) = store.get(&key).await? else { continue };
        let Some(pod) = object(&record) else { continue };
        let same = |part: &&Arc<PodPart>| part.revision == pod.revision && part.sealed_by == sealer.version;
        let part = match older.parts.get(&key).filter(same) {
            Some(part) if view.keep(older, kind, &pod) => part.clone(),
            _ => {
                let doc = pod.to_json();
                // Another one of its name may have come, and be bound elsewhere.
                if json::str_at(&doc, &["spec", "nodeName"]) != Some(node) && !broken("pods-of-all") {
                    continue;
                }
                let references = (kind.references)(&doc);
                let references = references.iter().filter_map(|reference| store_key(&view, reference)).collect();
                let tokens = wanted_tokens(&pod, &doc);
                let mut doc = project_pod(doc);
                sealer.seal(node, &mut doc);
                view.add(kind, &pod, &doc);
                Arc::new(PodPart { revision: pod.revision, sealed_by: sealer.version, references, tokens })
            }
        };
        for (kind, key) in &part.references {
            if view.references.insert(key.clone())
                && let Some(object) = store.get(key).await?.as_deref().and_then(object)
                && !view.keep(older, kind, &object)
            {
                view.add(kind, &object, &project(object.to_json()));
            }
        }
        view.parts.insert(key, part);
    }
    Ok(view)
}

/// Where the store has what a pod references; `None` for what every node gets anyway.
fn store_key(view: &NodeView, reference: &holdfast_kinds::Reference) -> Option<(&'static Kind, Arc<str>)> {
    let gvr = &reference.gvr;
    if broken("closure-without-secrets") && gvr.resource == "secrets" {
        return None;
    }
    let kind = holdfast_kinds::by_gvr(&gvr.group, &gvr.version, &gvr.resource).filter(|kind| !is_shared(kind))?;
    let scope = if reference.namespace.is_empty() { String::new() } else { format!("{}/", reference.namespace) };
    let key = format!("{}{scope}{}", holdfast_kinds::storage_prefix(kind), reference.name);
    // Pods have much in common.
    let known = view.references.get(key.as_str()).cloned();
    Some((kind, known.unwrap_or_else(|| key.into())))
}

/// What no node needs of any object.
pub(crate) fn project(mut doc: Json) -> Json {
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

/// What a node is told of another one: what a route to its pods needs.
pub(crate) fn project_peer(doc: &Json) -> Json {
    let mut peer = Json::Null;
    let told: &[&[&str]] = &[
        &["apiVersion"],
        &["kind"],
        &["metadata", "name"],
        &["metadata", "uid"],
        &["metadata", "creationTimestamp"],
        &["spec", "podCIDR"],
        &["spec", "podCIDRs"],
        &["status", "addresses"],
    ];
    for path in told {
        if let Some(value) = json::at(doc, path) {
            json::set(&mut peer, path, value.clone());
        }
    }
    peer
}

/// What a node is told of itself. What it has reported, it knows better.
pub(crate) fn project_node(doc: Json) -> Json {
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
