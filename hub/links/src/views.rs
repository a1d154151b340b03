//! Keeps the views of connected nodes up to date.
//!
//! One task follows the store, keeps the sources and marks the views that a change can touch; each connected node rebuilds
//! its own view when marked. What is marked while it rebuilds is rebuilt again.

use crate::sources::{NodeSources, Sources};
use crate::view::NodeView;
use holdfast_core::Revision;
use holdfast_mutation::broken;
use holdfast_store::{Event, Store, StoreError};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Between the end of the store's events and a new beginning.
const AGAIN: Duration = Duration::from_millis(100);

/// A connection's place among the views.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Rung when the view must be rebuilt. Keeps one ring.
    pub(crate) dirty: Notify,
    references: Mutex<BTreeSet<Arc<str>>>,
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

/// The slots of all connections, and what their views are made from.
#[derive(Debug)]
pub(crate) struct Views {
    /// By node. A node may have two for a while: the hub finds out late that an old connection is dead, and a cloned
    /// card dials beside the real one.
    slots: Mutex<BTreeMap<String, Vec<Arc<Slot>>>>,
    sources: Mutex<Sources>,
    /// The sources' revision.
    at: watch::Sender<Revision>,
    /// Rung to have `at` raised to what the store has gone on to without events: other hubs may use its revisions.
    ask: Notify,
}

impl Default for Views {
    fn default() -> Views {
        Views {
            slots: Mutex::default(),
            sources: Mutex::default(),
            at: watch::channel(Revision(0)).0,
            ask: Notify::new(),
        }
    }
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

    /// The sources of one node's view, once they have all that the store had at `reached`. Cancel safe.
    pub(crate) async fn sources(&self, reached: Revision, node: &str) -> NodeSources {
        let mut at = self.at.subscribe();
        if *at.borrow() < reached {
            self.ask.notify_one();
        }
        // Its sender lives as long as self.
        let _ = at.wait_for(|at| *at >= reached && *at > Revision(0)).await;
        lock(&self.sources).of(node)
    }

    fn take(&self, events: &[Event]) {
        let touched = {
            let mut sources = lock(&self.sources);
            let touched = sources.apply(events);
            self.at.send_replace(sources.revision);
            touched
        };
        for (name, of_node) in &*lock(&self.slots) {
            let all = touched.shared || touched.nodes.contains(name);
            for slot in of_node {
                let references = lock(&slot.references);
                if all || events.iter().any(|event| references.contains(&event.key)) {
                    slot.dirty.notify_one();
                }
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
        loop {
            match self.follow_once(&*store).await {
                StoreError::Closed => return,
                err => tracing::warn!(%err, "The nodes' views lost the store's events and begin anew"),
            }
            env.sleep(AGAIN).await;
        }
    }

    /// Reads the sources and follows the store until its events end; why they did.
    async fn follow_once(&self, store: &dyn Store) -> StoreError {
        // Everything, so that the sources' revision is the store's.
        let from = store.revision();
        let read = async { Ok::<_, StoreError>((store.watch("/", from)?, Sources::read(store, from).await?)) };
        let (mut watcher, sources) = match read.await {
            Ok(both) => both,
            Err(err) => return err,
        };
        *lock(&self.sources) = sources;
        self.at.send_replace(from);
        self.mark_all();
        loop {
            tokio::select! {
                biased;
                events = watcher.next() => match events {
                    Ok(events) => self.take(&events),
                    Err(err) => return err,
                },
                () = self.ask.notified() => {
                    let mut sources = lock(&self.sources);
                    sources.revision = sources.revision.max(watcher.progress());
                    self.at.send_replace(sources.revision);
                }
            }
        }
    }
}
