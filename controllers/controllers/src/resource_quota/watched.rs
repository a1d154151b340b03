//! Watches of the kinds that quotas count by number alone. Of their objects nothing is kept but who they are.

use holdfast_controller::{Client, Informer, Project};
use holdfast_core::{Gvr, Object, ObjectMeta};
use holdfast_env::{Task, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// An object that is there.
pub(super) struct There;

impl Project for There {
    fn project(_: &Arc<Object>) -> There {
        There
    }

    fn slim(meta: &mut ObjectMeta) {
        *meta = ObjectMeta {
            name: std::mem::take(&mut meta.name),
            namespace: std::mem::take(&mut meta.namespace),
            uid: std::mem::take(&mut meta.uid),
            ..ObjectMeta::default()
        };
    }
}

/// Kinds that others watch already.
const SHARED: [&str; 3] = ["pods", "services", "persistentvolumeclaims"];

/// The watches; each ends when no quota counts its kind any more.
pub(super) struct Watched {
    world: World,
    client: Arc<dyn Client>,
    /// Called with the namespace in which something went.
    gone: Arc<dyn Fn(&str) + Send + Sync>,
    kinds: Mutex<BTreeMap<Gvr, (Informer<There>, Task)>>,
}

impl Watched {
    pub(super) fn new(world: &World, client: Arc<dyn Client>, gone: impl Fn(&str) + Send + Sync + 'static) -> Watched {
        Watched { world: world.clone(), client, gone: Arc::new(gone), kinds: Mutex::default() }
    }

    /// Watches these kinds from here on, and no others.
    pub(super) fn follow(&self, wanted: BTreeSet<Gvr>) -> Vec<Informer<There>> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.retain(|gvr, _| wanted.contains(gvr));
        for gvr in wanted.into_iter().filter(|gvr| !(gvr.group.is_empty() && SHARED.contains(&gvr.resource.as_str()))) {
            kinds.entry(gvr).or_insert_with_key(|gvr| {
                let informer = Informer::new(&self.world, self.client.clone(), gvr.clone());
                let gone = self.gone.clone();
                informer.on_change(move |change| {
                    if change.new.is_none() {
                        gone(&change.key.namespace);
                    }
                });
                let task = informer.start();
                (informer, task)
            });
        }
        kinds.values().map(|(informer, _)| informer.clone()).collect()
    }
}
