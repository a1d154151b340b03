//! What views are made from, kept up to date by the store's events: which pods are bound to which node, the items that
//! every node gets, and what the nodes of a site get of each other. So a node's view costs what the node has, not what the
//! cluster has.
//!
//! Nodes know each other for the routes to their pods: name, pod networks and addresses, which seldom change. What a node
//! reports of itself, its taints and labels are nobody else's business: in a fleet, each would travel to all. Nodes that
//! carry the label [`SITE`] know those of their own site, the others each other.

use crate::view::{item_key, object, project, project_node, project_peer};
use bytes::Bytes;
use holdfast_core::{ContentHash, Gvr, Json, Object, Revision, SetDigest, content_hash};
use holdfast_kinds::Kind;
use holdfast_link_engine::HubItem;
use holdfast_mutation::broken;
use holdfast_store::{Event, RangeRequest, Record, Store, StoreError};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Kinds that every node gets whole.
const SHARED: &[(&str, &str, &str)] = &[("", "v1", "services"), ("discovery.k8s.io", "v1", "endpointslices")];
/// Label of a Node: the site that it stands at, whose nodes reach each other's pods.
pub(crate) const SITE: &str = "edge.holdfast.io/site";

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

    fn is_empty(&self) -> bool {
        self.by_key.is_empty()
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
        self.put_as(key, hash, HubItem { revision, body });
        true
    }

    /// Puts an item whose hash is known.
    pub(crate) fn put_as(&mut self, key: String, hash: ContentHash, item: HubItem) {
        self.remove(&key);
        self.digest.add(&key, hash);
        self.by_key.insert(key, (hash, item));
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
    /// Nodes whose pods changed, or what they are told of themselves or of their site.
    pub(crate) nodes: BTreeSet<String>,
    sites: BTreeSet<String>,
}

/// The sources of one node's view.
#[derive(Debug)]
pub(crate) struct NodeSources {
    /// Their revision.
    pub(crate) revision: Revision,
    /// What every node gets.
    pub(crate) shared: Arc<Items>,
    /// The nodes of the node's site, itself included.
    pub(crate) site: Arc<Items>,
    /// Store keys of the node's pods.
    pub(crate) pods: Vec<Arc<str>>,
}

/// The sources, at one revision of the store.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// All events up to here are in; 0 before the first reading.
    pub(crate) revision: Revision,
    /// Items that every node gets.
    shared: Arc<Items>,
    /// Nodes as others get them, by their site; nodes without one are a site too, without a name.
    sites: BTreeMap<String, Arc<Items>>,
    /// The site of each node that has one.
    site_of: BTreeMap<String, String>,
    /// Store keys of the pods that are bound, by node.
    pods: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// What the keys of pods begin with.
    pods_prefix: String,
    /// What the keys of nodes begin with.
    nodes_prefix: String,
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

/// The kind Node.
///
/// # Errors
/// When it is not registered.
pub(crate) fn nodes() -> Result<&'static Kind, StoreError> {
    let kind = holdfast_kinds::by_gvr("", "v1", "nodes");
    kind.ok_or_else(|| StoreError::Failed("the kind nodes is not registered".into()))
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

/// The node of a pod. Every change of every pod asks for it twice: nothing else of the pod is read.
fn node_of(record: &Record) -> Option<String> {
    #[derive(Deserialize)]
    struct Pod<'a> {
        #[serde(borrow)]
        spec: Spec<'a>,
    }
    #[derive(Deserialize)]
    struct Spec<'a> {
        #[serde(borrow, rename = "nodeName", default)]
        node_name: Cow<'a, str>,
    }
    let object = object(record)?;
    let pod: Pod<'_> = serde_json::from_slice(object.body()).ok()?;
    Some(pod.spec.node_name.into_owned()).filter(|node| !node.is_empty())
}

fn body(doc: &Json) -> Bytes {
    Bytes::from(serde_json::to_vec(doc).unwrap_or_default())
}

fn site(node: &Object) -> &str {
    node.meta.labels.get(SITE).map(String::as_str).unwrap_or_default()
}

/// Puts an item where views may hold the items as they were: they are copied for a change, and most events make none.
fn put(items: &mut Arc<Items>, key: String, revision: Revision, body: Bytes) -> bool {
    let is_new = items.get(&key).is_none_or(|(hash, _)| hash != content_hash(&body));
    is_new && Arc::make_mut(items).put(key, revision, body)
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
            nodes_prefix: holdfast_kinds::storage_prefix(nodes()?),
            shared_prefixes: shared_kinds().map(|kind| (holdfast_kinds::storage_prefix(kind), kind)).collect(),
            ..Sources::default()
        };
        if sources.shared_prefixes.len() < SHARED.len() {
            return Err(StoreError::Failed("a kind that every node gets is not registered".into()));
        }
        let shared = sources.shared_prefixes.iter().map(|(prefix, _)| prefix.clone());
        let own = [sources.pods_prefix.clone(), sources.nodes_prefix.clone()];
        let prefixes: Vec<String> = own.into_iter().chain(shared).collect();
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
        for site in &touched.sites {
            let items = self.sites.get(site).into_iter().flat_map(|items| items.iter());
            touched.nodes.extend(items.filter_map(|(key, ..)| key.rsplit('/').next()).map(str::to_string));
        }
        touched
    }

    fn change(&mut self, key: &Arc<str>, new: Option<&Record>, old: Option<&Record>, touched: &mut Touched) {
        let shared = self.shared_prefixes.iter().find(|(prefix, _)| key.starts_with(prefix));
        if let Some((_, kind)) = shared {
            let at = |object: &Object| item_key(&kind.gvr(), &object.meta.namespace, &object.meta.name);
            touched.shared |= match (new.and_then(object), old.and_then(object)) {
                (Some(object), _) => {
                    let (key, body) = (at(&object), body(&project(object.to_json())));
                    put(&mut self.shared, key, object.revision, body)
                }
                (None, Some(object)) => Arc::make_mut(&mut self.shared).remove(&at(&object)),
                (None, None) => false,
            };
        }
        if key.starts_with(&self.nodes_prefix) {
            self.change_node(new.and_then(object), old.and_then(object), touched);
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

    fn change_node(&mut self, new: Option<Arc<Object>>, old: Option<Arc<Object>>, touched: &mut Touched) {
        let Some(object) = new.as_ref().or(old.as_ref()) else { return };
        let name = object.meta.name.clone();
        let key = item_key(&Gvr::new("", "v1", "nodes"), "", &name);
        let now = new.as_ref().map(|node| site(node).to_string());
        let before = self.site_of.get(&name).cloned().unwrap_or_default();
        if now.as_ref() != Some(&before)
            && let Some(items) = self.sites.get_mut(&before)
            && Arc::make_mut(items).remove(&key)
        {
            touched.sites.insert(before);
        }
        self.sites.retain(|_, items| !items.is_empty());
        let told = |node: &Object| body(&project_node(node.to_json()));
        if new.as_deref().map(told) != old.as_deref().map(told) {
            touched.nodes.insert(name.clone());
        }
        let (Some(node), Some(now)) = (new, now) else {
            self.site_of.remove(&name);
            return;
        };
        if put(self.sites.entry(now.clone()).or_default(), key, node.revision, body(&project_peer(&node.to_json()))) {
            touched.sites.insert(now.clone());
        }
        if now.is_empty() {
            self.site_of.remove(&name)
        } else {
            self.site_of.insert(name, now)
        };
    }

    /// The sources of the view of `node`.
    pub(crate) fn of(&self, node: &str) -> NodeSources {
        let site = self.site_of.get(node).map(String::as_str).unwrap_or_default();
        NodeSources {
            revision: self.revision,
            shared: self.shared.clone(),
            site: self.sites.get(site).cloned().unwrap_or_default(),
            pods: self.pods_of(node),
        }
    }

    /// Store keys of the pods that are bound to `node`.
    fn pods_of(&self, node: &str) -> Vec<Arc<str>> {
        if broken("pods-of-all") {
            return self.pods.values().flatten().cloned().collect();
        }
        self.pods.get(node).into_iter().flatten().cloned().collect()
    }
}
