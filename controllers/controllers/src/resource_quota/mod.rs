//! Resource quotas: `status.hard` follows `spec.hard`, and `status.used` is what there is.
//!
//! Admission charges what comes, in the transaction that stores it, and never gives back. This counts everything again when
//! something goes or ends, when a quota changes, and from time to time. What it writes holds only for the version of the quota
//! that it began from: a charge that comes between makes it count again, so nothing is lost. After each write it looks once
//! more, as a name is charged only from the moment that `status.hard` has it.
//!
//! Tasks: the controller's, an informer of quotas, and one a kind that a quota counts and that no other controller watches.

mod watched;

use crate::ControllersConfig;
use crate::limits::{QUOTA_RESYNC, QUOTA_ROUNDS, QUOTA_WATCH_WAIT, WORKERS};
use crate::shared::{Shared, core, start_after, synced};
use crate::views::PodView;
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Change, Client, Informer, Key, Outcome, Project, ReconcileError, Reconciler, ResourceKind, WorkQueue,
    run_controller,
};
use holdfast_core::json::{at, set};
use holdfast_core::{Json, ListOptions, Object, Quantity, Reason, Status, Target, Timestamp};
use holdfast_env::{Task, World};
use holdfast_kinds::quota::{self, Amounts, Quota};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use watched::Watched;

/// What of a quota decides how it is counted.
#[derive(PartialEq)]
struct QuotaView {
    spec: Json,
    /// The bounds that are in force.
    hard: Json,
}

impl Project for QuotaView {
    fn project(object: &Arc<Object>) -> QuotaView {
        let doc = object.to_json();
        let part = |path: &[&str]| at(&doc, path).cloned().unwrap_or_default();
        QuotaView { spec: part(&["spec"]), hard: part(&["status", "hard"]) }
    }
}

struct Controller {
    world: World,
    client: Arc<dyn Client>,
    quotas: Arc<Cache<QuotaView>>,
    kinds: watch::Receiver<Arc<[ResourceKind]>>,
    watched: Watched,
}

pub(crate) fn start(world: &World, client: Arc<dyn Client>, shared: &Shared, config: &Arc<ControllersConfig>) -> Task {
    let name = "resourcequota-controller";
    let queue = WorkQueue::new(world.clone());
    let quotas: Informer<QuotaView> = Informer::new(world, client.clone(), core("resourcequotas"));
    quotas.enqueue(&queue, |change| {
        // What admission charges is no reason to count.
        let same = change.old.as_ref().zip(change.new.as_ref()).is_some_and(|(old, new)| old.value == new.value);
        if same { Vec::new() } else { vec![change.key.clone()] }
    });
    let of = |cache: &Arc<Cache<QuotaView>>, namespace: &str| -> Vec<Key> {
        cache.in_namespace(namespace).iter().map(|quota| quota.key()).collect()
    };
    let cache = quotas.cache().clone();
    let known = cache.clone();
    shared
        .pods
        .enqueue(&queue, move |change| if frees(change) { of(&known, &change.key.namespace) } else { Vec::new() });
    let known = cache.clone();
    shared.services.enqueue(&queue, move |change| {
        let ports = |object: &Arc<Object>| quota::usage("", "services", &object.to_json(), Timestamp::default());
        let same = change
            .old
            .as_ref()
            .zip(change.new.as_ref())
            .is_some_and(|(old, new)| Arc::ptr_eq(old, new) || quota::same(&ports(&old.value), &ports(&new.value)));
        if change.old.is_none() || same { Vec::new() } else { of(&known, &change.key.namespace) }
    });
    let known = cache.clone();
    // Claims are few: any change of one is a reason.
    shared.claims.enqueue(
        &queue,
        move |change| {
            if change.old.is_some() { of(&known, &change.key.namespace) } else { Vec::new() }
        },
    );
    let known = cache.clone();
    let watched = Watched::new(world, client.clone(), {
        let queue = queue.clone();
        move |namespace: &str| of(&known, namespace).into_iter().for_each(|key| queue.add(key))
    });
    let mut kinds = config.kinds.clone();
    let controller =
        Arc::new(Controller { world: world.clone(), client, quotas: cache.clone(), kinds: kinds.clone(), watched });
    let caches = vec![synced(&quotas), synced(&shared.pods), synced(&shared.services), synced(&shared.claims)];
    let (env, all) = (world.clone(), queue.clone());
    let task = start_after(world, name, caches, move || run_controller(&env, name, controller, queue, WORKERS));
    let informer = quotas.start();
    world.spawn(
        name,
        Box::pin(async move {
            let _owned = (task, informer);
            // A kind that comes may be one that a quota has been counting all along.
            while kinds.changed().await.is_ok() {
                cache.all().iter().for_each(|quota| all.add(quota.key()));
            }
            std::future::pending::<()>().await;
        }),
    )
}

/// Whether a pod may use less than it did.
fn frees(change: &Change<PodView>) -> bool {
    let Some(old) = &change.old else { return false };
    let Some(new) = &change.new else { return true };
    old.meta.uid != new.meta.uid
        || old.value.ended() != new.value.ended()
        || old.meta.deletion_timestamp != new.meta.deletion_timestamp
        || old.meta.generation != new.meta.generation
}

#[async_trait]
impl Reconciler for Controller {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        self.watch_what_is_counted().await;
        let place = key.target(core("resourcequotas"));
        for _ in 0..QUOTA_ROUNDS {
            let live = match self.client.get(&place).await {
                Err(status) if status.is(Reason::NotFound) => return Ok(Outcome::Done),
                other => other?,
            };
            let mut doc = live.to_json();
            let counted = self.count(&key.namespace, &doc).await?;
            let hard = at(&doc, &["spec", "hard"]).cloned().unwrap_or_else(|| Json::Object(Default::default()));
            let status = |field: &str| at(&doc, &["status", field]).map(|map| quota::amounts(Some(map)));
            let bounds = quota::amounts(Some(&hard));
            if status("hard").is_some_and(|now| quota::same(&now, &bounds))
                && status("used").is_some_and(|now| quota::same(&now, &counted.used))
            {
                return Ok(Outcome::RequeueAfter(
                    counted.holds_for.map_or(QUOTA_RESYNC, |wait| wait.min(QUOTA_RESYNC)),
                ));
            }
            set(&mut doc, &["status", "hard"], hard);
            set(&mut doc, &["status", "used"], quota::to_json(&counted.used));
            match self.client.update(&place.clone().with_subresource("status"), doc).await {
                Err(status) if status.is(Reason::NotFound) => return Ok(Outcome::Done),
                // Charged meanwhile.
                Err(status) if status.is(Reason::Conflict) => {}
                other => drop(other?),
            }
        }
        Err(ReconcileError::retry("it was charged each time while it was counted"))
    }
}

/// What was counted.
struct Counted {
    used: Amounts,
    /// How long that holds if nothing happens: until a pod that should be gone counts no more.
    holds_for: Option<Duration>,
}

impl Controller {
    /// The kinds that quotas count, and that are served, by the names that count them.
    fn counted<'n>(&self, names: impl Iterator<Item = &'n String>) -> BTreeMap<ResourceKind, BTreeSet<&'n str>> {
        let kinds = self.kinds.borrow().clone();
        let mut counted: BTreeMap<ResourceKind, BTreeSet<&str>> = BTreeMap::new();
        for name in names {
            let Some((group, plural)) =
                quota::counted_by(name).filter(|(group, plural)| !quota::is_ignored(group, plural))
            else {
                continue;
            };
            let served = |kind: &&ResourceKind| {
                kind.namespaced && kind.deletable && kind.gvr.group == group && kind.gvr.resource == plural
            };
            if let Some(kind) = kinds.iter().find(served) {
                counted.entry(kind.clone()).or_default().insert(name);
            }
        }
        counted
    }

    /// Watches every kind that any quota counts, and waits until it does: what goes from then on is noticed. One that cannot be
    /// watched holds nobody up for long.
    async fn watch_what_is_counted(&self) {
        let hard: Vec<Amounts> =
            self.quotas.all().iter().map(|quota| quota::amounts(quota.value.spec.get("hard"))).collect();
        let kinds = self.counted(hard.iter().flat_map(Amounts::keys)).into_keys();
        for informer in self.watched.follow(kinds.map(|kind| kind.gvr).collect()) {
            self.world.timeout(QUOTA_WATCH_WAIT, informer.synced()).await;
        }
    }

    async fn count(&self, namespace: &str, doc: &Json) -> Result<Counted, Status> {
        let quota = Quota::of(doc);
        let now = Timestamp::from_wall(self.world.wall().0);
        let hard = quota::amounts(at(doc, &["spec", "hard"]));
        let mut counted = Counted { used: Amounts::new(), holds_for: None };
        for (kind, names) in self.counted(hard.keys()) {
            let (group, plural) = (kind.gvr.group.as_str(), kind.gvr.resource.as_str());
            let objects =
                self.client.list(&Target::collection(kind.gvr.clone(), namespace), &ListOptions::default()).await?;
            let mut sum: Amounts = names.iter().map(|name| (name.to_string(), Quantity::ZERO)).collect();
            for object in &objects.items {
                let object = object.to_json();
                if !quota.selects(group, plural, &object) {
                    continue;
                }
                let mut used = quota::usage(group, plural, &object, now);
                used.retain(|name, _| names.contains(name.as_str()));
                quota::add(&mut sum, &used);
                let ends = quota::expires(&object).filter(|end| *end >= now);
                let ends = ends.map(|end| end.since(now) + Duration::from_secs(1));
                counted.holds_for = counted.holds_for.into_iter().chain(ends).min();
            }
            counted.used.extend(sum);
        }
        Ok(counted)
    }
}
