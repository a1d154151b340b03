//! What views are made from, kept up to date by the store's events: which pods are bound to which node, and the items that
//! every node gets. So a node's view costs what the node has, not what the cluster has.

use crate::view::{item_key, object, project, project_node};
use bytes::Bytes;
use holdfast_core::{ContentHash, Json, Object, Revision, SetDigest, content_hash, json};
use holdfast_kinds::Kind;
use holdfast_link_engine::HubItem;
use holdfast_mutation::broken;
use holdfast_store::{Event, RangeRequest, Record, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds that every node gets whole.
const SHARED: &[(&str, &str, &str)] =
    &[("", "v1", "services"), ("discovery.k8s.io", "v1", "endpointslices"), ("", "v1", "nodes")];

/// Items by key, with their digest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Items {
    by_key: BTreeMap<String, (ContentHash, HubItem)>,
    digest: SetDigest,
}

impl Items {
    pub(crate) fn digest(&self) -> &SetDigest {
        &self.digest
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, ContentHash, &HubItem)> {
        self.by_key.iter().map(|(key, (hash, item))| (key.as_str(), *hash, item))
    }

    pub(crate) fn get(&self, key: &str) -> Option<(ContentHash, &HubItem)> {
        self.by_key.get(key).map(|(hash, item)| (*hash, item))
    }

    /// Puts an item; false when it is there with this content.
    pub(crate) fn put(&mut self, key: String, revision: Revision, body: Bytes) -> bool {
        let hash = content_hash(&body);
        if self.by_key.get(&key).is_some_and(|(old, _)| *old == hash) {
            return false;
        }
        self.remove(&key);
        self.digest.add(&key, hash);
        self.by_key.insert(key, (hash, HubItem { revision, body }));
        true
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some((hash, _)) = self.by_key.remove(key) else { return false };
        self.digest.remove(key, hash);
        true
    }

    /// Takes the bodies of older items where they are the same, so that they are in memory once.
    pub(crate) fn share_with(&mut self, older: &Items) {
        for (key, (hash, item)) in &mut self.by_key {
            if let Some((_, same)) = older.by_key.get(key).filter(|(old, _)| old == hash) {
                item.body = same.body.clone();
            }
        }
    }
}

/// What a batch of events has changed.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    /// Items that every node gets.
    pub(crate) shared: bool,
    /// Nodes whose pods changed.
    pub(crate) nodes: BTreeSet<String>,
}

/// The sources, at one revision of the store.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// All events up to here are in; 0 before the first reading.
    pub(crate) revision: Revision,
    /// Items that every node gets.
    pub(crate) shared: Arc<Items>,
    /// Store keys of the pods that are bound, by node.
    pods: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// What the keys of pods begin with.
    pods_prefix: String,
    /// What the keys of each kind begin with that every node gets.
    shared_prefixes: Vec<(String, &'static Kind)>,
}

/// The kind Pod.
///
/// # Errors
/// When it is not registered.
pub(crate) fn pods() -> Result<&'static Kind, StoreError> {
    holdfast_kinds::by_gvr("", "v1", "pods").ok_or_else(|| StoreError::Failed("the kind pods is not registered".into()))
}

/// The kinds that every node gets whole.
fn shared_kinds() -> impl Iterator<Item = &'static Kind> {
    let secrets = broken("secrets-of-all").then_some(&("", "v1", "secrets"));
    SHARED.iter().chain(secrets).filter_map(|(group, version, plural)| holdfast_kinds::by_gvr(group, version, plural))
}

/// Whether every node gets all objects of this kind.
pub(crate) fn is_shared(kind: &Kind) -> bool {
    shared_kinds().any(|shared| std::ptr::eq(shared, kind))
}

fn node_of(record: &Record) -> Option<String> {
    let doc = object(record)?.to_json();
    json::str_at(&doc, &["spec", "nodeName"]).filter(|node| !node.is_empty()).map(str::to_string)
}

fn body(doc: &Json) -> Bytes {
    Bytes::from(serde_json::to_vec(doc).unwrap_or_default())
}

fn projected(kind: &Kind, object: &Object) -> Json {
    if kind.plural == "nodes" { project_node(object.to_json()) } else { project(object.to_json()) }
}

impl Sources {
    /// Reads all of them as they were at `at`.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn read(store: &dyn Store, at: Revision) -> Result<Sources, StoreError> {
        let mut sources = Sources {
            revision: at,
            pods_prefix: holdfast_kinds::storage_prefix(pods()?),
            shared_prefixes: shared_kinds().map(|kind| (holdfast_kinds::storage_prefix(kind), kind)).collect(),
            ..Sources::default()
        };
        if sources.shared_prefixes.len() < SHARED.len() {
            return Err(StoreError::Failed("a kind that every node gets is not registered".into()));
        }
        let shared = sources.shared_prefixes.iter().map(|(prefix, _)| prefix.clone());
        let prefixes: Vec<String> = std::iter::once(sources.pods_prefix.clone()).chain(shared).collect();
        let mut touched = Touched::default();
        for prefix in prefixes {
            let request = RangeRequest { prefix, at: Some(at), ..RangeRequest::default() };
            for record in store.range(request).await?.records {
                sources.change(&record.key, Some(&record), None, &mut touched);
            }
        }
        Ok(sources)
    }

    /// Takes a batch of events in.
    pub(crate) fn apply(&mut self, events: &[Event]) -> Touched {
        let mut touched = Touched::default();
        for event in events {
            self.change(&event.key, event.record.as_deref(), event.previous.as_deref(), &mut touched);
            self.revision = self.revision.max(event.revision);
        }
        touched
    }

    fn change(&mut self, key: &Arc<str>, new: Option<&Record>, old: Option<&Record>, touched: &mut Touched) {
        let shared = self.shared_prefixes.iter().find(|(prefix, _)| key.starts_with(prefix));
        if let Some((_, kind)) = shared {
            let at = |object: &Object| item_key(&kind.gvr(), &object.meta.namespace, &object.meta.name);
            // Views may hold the items as they were: they are copied for a change, and most events make none.
            touched.shared |= match (new.and_then(object), old.and_then(object)) {
                (Some(object), _) => {
                    let (key, body) = (at(&object), body(&projected(kind, &object)));
                    let is_new = self.shared.get(&key).is_none_or(|(hash, _)| hash != content_hash(&body));
                    is_new && Arc::make_mut(&mut self.shared).put(key, object.revision, body)
                }
                (None, Some(object)) => Arc::make_mut(&mut self.shared).remove(&at(&object)),
                (None, None) => false,
            };
        }
        if !key.starts_with(&self.pods_prefix) {
            return;
        }
        let (now, before) = (new.and_then(node_of), old.and_then(node_of));
        if let Some(before) = &before
            && now.as_ref() != Some(before)
            && let Some(of_node) = self.pods.get_mut(before)
        {
            of_node.remove(key);
            if of_node.is_empty() {
                self.pods.remove(before);
            }
        }
        if let Some(now) = &now {
            self.pods.entry(now.clone()).or_default().insert(key.clone());
        }
        touched.nodes.extend(now.into_iter().chain(before));
    }

    /// Store keys of the pods that are bound to `node`.
    pub(crate) fn pods_of(&self, node: &str) -> Vec<Arc<str>> {
        if broken("pods-of-all") {
            return self.pods.values().flatten().cloned().collect();
        }
        self.pods.get(node).into_iter().flatten().cloned().collect()
    }
}
