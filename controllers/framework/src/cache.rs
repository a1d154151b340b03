//! What an informer knows of one resource: projections by key, with indexes by namespace, owner and node.
//!
//! Only the informer writes. Readers take `Arc`s and hold no lock.

use crate::{Key, Project};
use holdfast_core::{Object, ObjectMeta, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

/// One object as the cache holds it.
#[derive(Clone, Debug)]
pub struct Item<P> {
    /// Metadata.
    pub meta: ObjectMeta,
    /// The revision of its last change.
    pub revision: Revision,
    /// The projection.
    pub value: P,
}

impl<P> Item<P> {
    /// Namespace and name.
    pub fn key(&self) -> Key {
        Key::new(&self.meta.namespace, &self.meta.name)
    }
}

/// A change of the cache: what was, what is. A resync has both, equal.
#[derive(Clone, Debug)]
pub struct Change<P> {
    /// Which object.
    pub key: Key,
    /// Before; `None` when it is new.
    pub old: Option<Arc<Item<P>>>,
    /// After; `None` when it is gone.
    pub new: Option<Arc<Item<P>>>,
}

impl<P> Change<P> {
    /// What is, or else what was.
    pub fn latest(&self) -> Option<&Arc<Item<P>>> {
        self.new.as_ref().or(self.old.as_ref())
    }

    /// Both states, oldest first.
    pub fn states(&self) -> impl Iterator<Item = &Arc<Item<P>>> {
        self.old.iter().chain(self.new.iter())
    }
}

struct State<P> {
    items: BTreeMap<Key, Arc<Item<P>>>,
    by_owner: BTreeMap<String, BTreeSet<Key>>,
    by_node: BTreeMap<String, BTreeSet<Key>>,
}

/// The projections of one resource.
pub struct Cache<P>(RwLock<State<P>>);

impl<P: Project> Default for Cache<P> {
    fn default() -> Self {
        Cache::new()
    }
}

impl<P: Project> Cache<P> {
    /// An empty cache.
    pub fn new() -> Cache<P> {
        Cache(RwLock::new(State { items: BTreeMap::new(), by_owner: BTreeMap::new(), by_node: BTreeMap::new() }))
    }

    fn read(&self) -> RwLockReadGuard<'_, State<P>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Item<P>>> {
        self.read().items.get(key).cloned()
    }

    /// All objects, by key.
    pub fn all(&self) -> Vec<Arc<Item<P>>> {
        self.read().items.values().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read().items.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The objects of a namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<Item<P>>> {
        let state = self.read();
        let from = Key::new(namespace, "");
        state.items.range(from..).take_while(|(key, _)| key.namespace == namespace).map(|(_, i)| i.clone()).collect()
    }

    /// The objects that name `uid` as an owner.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<Item<P>>> {
        let state = self.read();
        state.by_owner.get(uid).into_iter().flatten().filter_map(|key| state.items.get(key).cloned()).collect()
    }

    /// The objects bound to a node.
    pub fn on_node(&self, node: &str) -> Vec<Arc<Item<P>>> {
        let state = self.read();
        state.by_node.get(node).into_iter().flatten().filter_map(|key| state.items.get(key).cloned()).collect()
    }

    /// Puts an object, unless a newer one is there.
    pub(crate) fn put(&self, object: &Arc<Object>) -> Option<Change<P>> {
        let item = Arc::new(Item { meta: object.meta.clone(), revision: object.revision, value: P::project(object) });
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = item.key();
        if state.items.get(&key).is_some_and(|old| old.meta.uid == item.meta.uid && old.revision > item.revision) {
            return None;
        }
        let old = state.set(&key, Some(item.clone()));
        Some(Change { key, old, new: Some(item) })
    }

    /// Takes an object out.
    pub(crate) fn remove(&self, key: &Key) -> Option<Change<P>> {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = state.set(key, None)?;
        Some(Change { key: key.clone(), old: Some(old), new: None })
    }

    /// Makes the cache hold exactly `objects`.
    pub(crate) fn replace(&self, objects: &BTreeMap<Key, Arc<Object>>) -> Vec<Change<P>> {
        let gone: Vec<Key> = self.read().items.keys().filter(|key| !objects.contains_key(key)).cloned().collect();
        let mut changes: Vec<Change<P>> = gone.iter().filter_map(|key| self.remove(key)).collect();
        for (key, object) in objects {
            let same = self.get(key).is_some_and(|i| i.meta.uid == object.meta.uid && i.revision == object.revision);
            if !same {
                changes.extend(self.put(object));
            }
        }
        changes
    }
}

impl<P: Project> State<P> {
    fn set(&mut self, key: &Key, item: Option<Arc<Item<P>>>) -> Option<Arc<Item<P>>> {
        let old = match &item {
            Some(item) => self.items.insert(key.clone(), item.clone()),
            None => self.items.remove(key),
        };
        if let Some(old) = &old {
            for owner in &old.meta.owner_references {
                unlink(&mut self.by_owner, &owner.uid, key);
            }
            if let Some(node) = old.value.node() {
                unlink(&mut self.by_node, node, key);
            }
        }
        if let Some(item) = &item {
            for owner in &item.meta.owner_references {
                self.by_owner.entry(owner.uid.clone()).or_default().insert(key.clone());
            }
            if let Some(node) = item.value.node() {
                self.by_node.entry(node.to_string()).or_default().insert(key.clone());
            }
        }
        old
    }
}

fn unlink(index: &mut BTreeMap<String, BTreeSet<Key>>, entry: &str, key: &Key) {
    if let Some(keys) = index.get_mut(entry) {
        keys.remove(key);
        if keys.is_empty() {
            index.remove(entry);
        }
    }
}
