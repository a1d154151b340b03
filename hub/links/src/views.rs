//! Keeps the views of connected nodes up to date.
//!
//! One task follows the store and marks the views that a change can touch; each connected node rebuilds its
//! own view when marked. What is marked while it rebuilds is rebuilt again.

use crate::view::{NodeView, is_shared, object};
use holdfast_core::json;
use holdfast_mutation::broken;
use holdfast_store::{Event, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A connection's place among the views.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Rung when the view must be rebuilt. Keeps one ring.
    pub(crate) dirty: Notify,
    references: Mutex<BTreeSet<String>>,
}

impl Slot {
    /// Notes what the rebuilt view depends on.
    pub(crate) fn depends_on(&self, view: &NodeView) {
        *lock(&self.references) = view.references.clone();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The slots of all connections, by node. A node may have two for a while: the hub finds out late that an old
/// connection is dead, and a cloned card dials beside the real one.
#[derive(Debug, Default)]
pub(crate) struct Views {
    slots: Mutex<BTreeMap<String, Vec<Arc<Slot>>>>,
}

impl Views {
    /// A slot for a connection of its own.
    pub(crate) fn open(&self, node: &str) -> Arc<Slot> {
        let mut slots = lock(&self.slots);
        let of_node = slots.entry(node.to_string()).or_default();
        if broken("view-shared-by-connections")
            && let Some(slot) = of_node.first()
        {
            return slot.clone();
        }
        let slot: Arc<Slot> = Arc::default();
        of_node.push(slot.clone());
        slot
    }

    /// Forgets the slot of a connection that has ended.
    pub(crate) fn forget(&self, node: &str, slot: &Arc<Slot>) {
        let mut slots = lock(&self.slots);
        if let Some(of_node) = slots.get_mut(node) {
            of_node.retain(|other| !Arc::ptr_eq(other, slot));
            if of_node.is_empty() {
                slots.remove(node);
            }
        }
    }

    fn mark(&self, events: &[Event], pods_prefix: &str) {
        let slots = lock(&self.slots);
        let (mut all, mut nodes) = (false, BTreeSet::new());
        for event in events {
            if event.key.starts_with(pods_prefix) {
                for record in [&event.record, &event.previous].into_iter().flatten() {
                    let node = object(record).map(|pod| pod.to_json());
                    let node = node.as_ref().and_then(|doc| json::str_at(doc, &["spec", "nodeName"]));
                    nodes.extend(node.map(str::to_string));
                }
            } else if is_shared(&event.key) {
                all = true;
            }
        }
        for (name, slot) in slots.iter().flat_map(|(name, of_node)| of_node.iter().map(move |slot| (name, slot))) {
            let touched = all || nodes.contains(name) || {
                let references = lock(&slot.references);
                events.iter().any(|event| references.contains(&*event.key))
            };
            if touched {
                slot.dirty.notify_one();
            }
        }
    }

    fn mark_all(&self) {
        for slot in lock(&self.slots).values().flatten() {
            slot.dirty.notify_one();
        }
    }

    /// Follows the store until it closes.
    pub(crate) async fn follow(self: Arc<Self>, store: Arc<dyn Store>, env: holdfast_env::World) {
        let pods_prefix = holdfast_kinds::by_gvr("", "v1", "pods").map(holdfast_kinds::storage_prefix);
        let pods_prefix = pods_prefix.unwrap_or_default();
        loop {
            let watcher = store.watch("/registry/", store.revision());
            // Whatever happened before this watch began is in the next build.
            self.mark_all();
            match watcher {
                Ok(mut watcher) => loop {
                    match watcher.next().await {
                        Ok(events) => self.mark(&events, &pods_prefix),
                        Err(StoreError::Closed) => return,
                        Err(err) => {
                            tracing::warn!(%err, "The watch behind the nodes' views ended and begins anew");
                            break;
                        }
                    }
                },
                Err(StoreError::Closed) => return,
                Err(err) => tracing::warn!(%err, "The nodes' views cannot follow the store"),
            }
            env.sleep(std::time::Duration::from_millis(100)).await;
        }
    }
}
