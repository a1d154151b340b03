//! The garbage collector: what loses its last owner goes; foreground and orphan deletion are seen through.
//!
//! It watches every kind, keeping only metadata that matters, and asks the API before it believes that an owner is
//! gone: a cache that lags behind must cost nobody an object.

use crate::ControllersConfig;
use crate::limits::{UNSYNCED_RETRY, WORKERS};
use crate::shared::{start_after, synced};
use async_trait::async_trait;
use holdfast_controller::{
    Change, Client, Informer, Item, Key, Outcome, Project, ReconcileError, Reconciler, ResourceKind, WorkQueue,
    run_controller,
};
use holdfast_core::gvk::parse_api_version;
use holdfast_core::verbs::{Preconditions, Propagation};
use holdfast_core::{DeleteOptions, Gvr, Object, ObjectMeta, OwnerReference, Patch, PatchType, Reason, Status};
use holdfast_env::{Task, World};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Nothing of the body, and of the metadata only what makes the graph.
struct Node;

impl Project for Node {
    fn project(_: &Arc<Object>) -> Node {
        Node
    }
    fn slim(meta: &mut ObjectMeta) {
        *meta = ObjectMeta {
            name: std::mem::take(&mut meta.name),
            namespace: std::mem::take(&mut meta.namespace),
            uid: std::mem::take(&mut meta.uid),
            deletion_timestamp: meta.deletion_timestamp,
            owner_references: std::mem::take(&mut meta.owner_references),
            finalizers: std::mem::take(&mut meta.finalizers),
            ..ObjectMeta::default()
        };
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    gvr: Gvr,
    key: Key,
}

/// A kind and its informer.
#[derive(Clone)]
struct Watched {
    kind: ResourceKind,
    informer: Informer<Node>,
    _task: Arc<Mutex<Option<Task>>>,
}

type Nodes = BTreeMap<Gvr, Watched>;

/// The kinds that are watched at the moment.
#[derive(Default)]
struct Graph(RwLock<Arc<Nodes>>);

impl Graph {
    fn now(&self) -> Arc<Nodes> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Collector {
    client: Arc<dyn Client>,
    graph: Arc<Graph>,
    places: Arc<Mutex<BTreeMap<String, Place>>>,
}

/// A reference with what became of its owner.
#[derive(Default)]
struct Owners<'a> {
    solid: Vec<&'a OwnerReference>,
    dangling: Vec<&'a OwnerReference>,
    /// Being deleted in the foreground: its dependents go first.
    waiting: Vec<&'a OwnerReference>,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, config: &Arc<ControllersConfig>) -> Task {
    let watcher = Watcher {
        world: world.clone(),
        client: client.clone(),
        queue: WorkQueue::new(world.clone()),
        graph: Arc::default(),
        places: Arc::default(),
    };
    let mut kinds = config.kinds.clone();
    watcher.follow(&kinds.borrow_and_update().clone());
    let caches = watcher.graph.now().values().map(|watched| synced(&watched.informer)).collect();
    let collector = Arc::new(Collector { client, graph: watcher.graph.clone(), places: watcher.places.clone() });
    let (env, queue) = (world.clone(), watcher.queue.clone());
    let name = "generic-garbage-collector";
    let task = start_after(world, name, caches, move || run_controller(&env, name, collector, queue, WORKERS));
    world.spawn(
        name,
        Box::pin(async move {
            let _owned = task;
            while kinds.changed().await.is_ok() {
                let now = kinds.borrow_and_update().clone();
                watcher.follow(&now);
            }
            // Nobody is left who could change what is served.
            std::future::pending::<()>().await;
        }),
    )
}

/// Watches the kinds that are served.
struct Watcher {
    world: World,
    client: Arc<dyn Client>,
    queue: WorkQueue<Place>,
    graph: Arc<Graph>,
    places: Arc<Mutex<BTreeMap<String, Place>>>,
}

impl Watcher {
    /// Watches these kinds from here on, and no others.
    fn follow(&self, kinds: &[ResourceKind]) {
        let before = self.graph.now();
        let (mut nodes, mut fresh) = (Nodes::new(), Vec::new());
        for kind in kinds.iter().filter(|kind| kind.deletable && kind.kind != "Event") {
            let known = before.get(&kind.gvr).filter(|watched| watched.kind == *kind).cloned();
            let watched = known.unwrap_or_else(|| {
                let watched = self.informer(kind);
                fresh.push(watched.clone());
                watched
            });
            nodes.insert(kind.gvr.clone(), watched);
        }
        *self.graph.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(nodes);
        // Only now: what they find is looked up in the graph.
        for watched in fresh {
            *watched._task.lock().unwrap_or_else(PoisonError::into_inner) = Some(watched.informer.start());
        }
    }

    fn informer(&self, kind: &ResourceKind) -> Watched {
        let informer = Informer::new(&self.world, self.client.clone(), kind.gvr.clone());
        // Weak: the graph owns the informers, and they this closure.
        let (gvr, places, graph) = (kind.gvr.clone(), self.places.clone(), Arc::downgrade(&self.graph));
        informer.enqueue(&self.queue, move |change| match graph.upgrade() {
            Some(graph) => affected(&gvr, change, &places, &graph.now()),
            None => Vec::new(),
        });
        Watched { kind: kind.clone(), informer, _task: Arc::default() }
    }
}

/// Whom a change concerns: the object itself; its dependents, when it went; its owners, when they wait for it.
fn affected(gvr: &Gvr, change: &Change<Node>, places: &Mutex<BTreeMap<String, Place>>, nodes: &Nodes) -> Vec<Place> {
    let here = Place { gvr: gvr.clone(), key: change.key.clone() };
    let mut found = Vec::new();
    let replaced = |new: &Arc<Item<Node>>| change.old.as_ref().is_some_and(|old| old.meta.uid != new.meta.uid);
    let mut index = places.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(old) = &change.old
        && change.new.as_ref().is_none_or(replaced)
    {
        index.remove(&old.meta.uid);
        for (gvr, watched) in nodes {
            let dependents = watched.informer.cache().owned_by(&old.meta.uid);
            found.extend(dependents.iter().map(|item| Place { gvr: gvr.clone(), key: item.key() }));
        }
        found.extend(old.meta.owner_references.iter().filter_map(|owner| index.get(&owner.uid).cloned()));
    }
    if let Some(new) = &change.new {
        index.insert(new.meta.uid.clone(), here.clone());
        let held = new.meta.finalizers.iter().any(|name| name == FOREGROUND || name == ORPHAN);
        if !new.meta.owner_references.is_empty() || (new.meta.is_deleting() && held) {
            found.push(here);
        }
        if new.meta.is_deleting() && held {
            for (gvr, watched) in nodes {
                let dependents = watched.informer.cache().owned_by(&new.meta.uid);
                found.extend(dependents.iter().map(|item| Place { gvr: gvr.clone(), key: item.key() }));
            }
        }
        // An owner in foreground deletion may wait no longer, or has one more to wait for.
        found.extend(new.meta.owner_references.iter().filter_map(|owner| index.get(&owner.uid).cloned()));
    }
    found.sort();
    found.dedup();
    found
}

#[async_trait]
impl Reconciler for Collector {
    type Key = Place;

    async fn reconcile(&self, place: &Place) -> Result<Outcome, ReconcileError> {
        let Some(item) = self.item(place) else { return Ok(Outcome::Done) };
        if self.graph.now().values().any(|watched| !watched.informer.has_synced()) {
            // A kind that came to be served a moment ago may have dependents that are not known yet.
            return Ok(Outcome::RequeueAfter(UNSYNCED_RETRY));
        }
        let has = |name: &str| item.meta.finalizers.iter().any(|finalizer| finalizer == name);
        if item.meta.is_deleting() && has(ORPHAN) {
            self.orphan(place, &item).await?;
        } else if item.meta.is_deleting() && has(FOREGROUND) {
            self.foreground(place, &item).await?;
        }
        if !item.meta.owner_references.is_empty() && (has(FOREGROUND) || !item.meta.is_deleting()) {
            self.judge(place, &item).await?;
        }
        Ok(Outcome::Done)
    }
}

impl Collector {
    fn item(&self, place: &Place) -> Option<Arc<Item<Node>>> {
        self.graph.now().get(&place.gvr)?.informer.cache().get(&place.key)
    }

    fn dependents(&self, uid: &str) -> Vec<(Place, Arc<Item<Node>>)> {
        let nodes = self.graph.now();
        let all = nodes.iter().flat_map(|(gvr, watched)| {
            let owned = watched.informer.cache().owned_by(uid);
            owned.into_iter().map(|item| (Place { gvr: gvr.clone(), key: item.key() }, item))
        });
        all.collect()
    }

    /// Deletes an object whose owners are all gone or wait for it; drops references to gone owners else.
    async fn judge(&self, place: &Place, item: &Item<Node>) -> Result<(), ReconcileError> {
        let owners = self.classify(place, item).await?;
        if !owners.solid.is_empty() {
            if owners.dangling.is_empty() && owners.waiting.is_empty() {
                return Ok(());
            }
            let kept: Vec<OwnerReference> = owners.solid.into_iter().cloned().collect();
            return Ok(self.write_owners(place, item, kept).await?);
        }
        if item.meta.is_deleting() {
            return Ok(());
        }
        let dependents = self.dependents(&item.meta.uid);
        let in_foreground = |(_, one): &(Place, Arc<Item<Node>>)| {
            one.meta.is_deleting() && one.meta.finalizers.iter().any(|name| name == FOREGROUND)
        };
        let blocks = item.meta.owner_references.iter().any(|owner| owner.block_owner_deletion == Some(true));
        if !owners.waiting.is_empty() && blocks && dependents.iter().any(in_foreground) {
            // Perhaps a circle, in which each would wait for the next for ever. Nobody waits for this one from here on; it is
            // judged again with the change.
            let mut freed = item.meta.owner_references.clone();
            freed.iter_mut().for_each(|owner| owner.block_owner_deletion = Some(false));
            return Ok(self.write_owners(place, item, freed).await?);
        }
        let has = |name: &str| item.meta.finalizers.iter().any(|finalizer| finalizer == name);
        let policy = if !owners.waiting.is_empty() && !dependents.is_empty() || has(FOREGROUND) {
            Propagation::Foreground
        } else if has(ORPHAN) {
            Propagation::Orphan
        } else {
            Propagation::Background
        };
        let options = DeleteOptions {
            // The revision too: an owner that was added meanwhile must save it.
            preconditions: Some(Preconditions {
                uid: Some(item.meta.uid.clone()),
                resource_version: Some(item.revision.to_string()),
            }),
            propagation_policy: Some(policy),
            ..DeleteOptions::default()
        };
        tracing::info!(object = %place.key, resource = %place.gvr, "Deleting an object whose owners are gone");
        match self.client.delete(&place.key.target(place.gvr.clone()), &options).await {
            Err(status) if status.is(Reason::NotFound) => Ok(()),
            other => Ok(other?),
        }
    }

    async fn classify<'a>(&self, place: &Place, item: &'a Item<Node>) -> Result<Owners<'a>, Status> {
        let mut owners = Owners::default();
        for owner in &item.meta.owner_references {
            let known = {
                let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
                places.get(&owner.uid).cloned()
            };
            let cached = known.and_then(|place| self.item(&place)).filter(|item| item.meta.uid == owner.uid);
            let meta = match cached {
                Some(cached) => Some(cached.meta.clone()),
                None => match self.live(place, owner).await? {
                    // A kind that we do not serve: not ours to judge.
                    None => {
                        owners.solid.push(owner);
                        continue;
                    }
                    Some(live) => live.filter(|meta| meta.uid == owner.uid),
                },
            };
            let waits = |meta: &ObjectMeta| meta.is_deleting() && meta.finalizers.iter().any(|name| name == FOREGROUND);
            match meta {
                None => owners.dangling.push(owner),
                Some(meta) if waits(&meta) => owners.waiting.push(owner),
                Some(_) => owners.solid.push(owner),
            }
        }
        Ok(owners)
    }

    /// The owner as the API has it; outer `None` for a kind that is not served.
    async fn live(&self, place: &Place, owner: &OwnerReference) -> Result<Option<Option<ObjectMeta>>, Status> {
        let (group, _) = parse_api_version(&owner.api_version);
        let nodes = self.graph.now();
        let mut kinds = nodes.values().map(|watched| &watched.kind);
        let Some(kind) = kinds.find(|kind| kind.kind == owner.kind && kind.gvr.group == group) else {
            return Ok(None);
        };
        let namespace = if kind.namespaced { place.key.namespace.as_str() } else { "" };
        if kind.namespaced && namespace.is_empty() {
            // A cluster-scoped object cannot have a namespaced owner; upstream says so and leaves it alone.
            return Ok(None);
        }
        match self.client.get(&Key::new(namespace, &owner.name).target(kind.gvr.clone())).await {
            Ok(object) => Ok(Some(Some(object.meta.clone()))),
            Err(status) if status.is(Reason::NotFound) => Ok(Some(None)),
            Err(status) => Err(status),
        }
    }

    /// Dependents stay and lose the owner; then it may go.
    async fn orphan(&self, place: &Place, item: &Item<Node>) -> Result<(), Status> {
        for (at, dependent) in self.dependents(&item.meta.uid) {
            let mut kept = dependent.meta.owner_references.clone();
            kept.retain(|owner| owner.uid != item.meta.uid);
            self.write_owners(&at, &dependent, kept).await?;
        }
        self.drop_finalizer(place, item, ORPHAN).await
    }

    /// Once no dependent blocks it, it may go. The dependents are judged by themselves.
    async fn foreground(&self, place: &Place, item: &Item<Node>) -> Result<(), Status> {
        let blocks = |dependent: &Item<Node>| {
            let mut owners = dependent.meta.owner_references.iter();
            owners.any(|owner| owner.uid == item.meta.uid && owner.block_owner_deletion == Some(true))
        };
        if self.dependents(&item.meta.uid).iter().any(|(_, dependent)| blocks(dependent)) {
            return Ok(());
        }
        self.drop_finalizer(place, item, FOREGROUND).await
    }

    async fn drop_finalizer(&self, place: &Place, item: &Item<Node>, name: &str) -> Result<(), Status> {
        let mut kept = item.meta.finalizers.clone();
        kept.retain(|finalizer| finalizer != name);
        self.write(place, item, json!({"finalizers": kept})).await
    }

    async fn write_owners(&self, place: &Place, item: &Item<Node>, owners: Vec<OwnerReference>) -> Result<(), Status> {
        self.write(place, item, json!({"ownerReferences": owners})).await
    }

    async fn write(&self, place: &Place, item: &Item<Node>, mut meta: holdfast_core::Json) -> Result<(), Status> {
        holdfast_core::json::set(&mut meta, &["uid"], item.meta.uid.clone());
        holdfast_core::json::set(&mut meta, &["resourceVersion"], item.revision.to_string());
        let patch = Patch { patch_type: PatchType::Merge, body: json!({"metadata": meta}) };
        match self.client.patch(&place.key.target(place.gvr.clone()), patch).await {
            Err(status) if status.is(Reason::NotFound) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
