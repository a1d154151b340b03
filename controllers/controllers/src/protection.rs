//! Protection of storage in use: a claim that a pod uses, and a volume that a claim is bound to, stay when they are deleted,
//! until nobody uses them. Admission gives them a finalizer; here it is taken away.

use crate::limits::WORKERS;
use crate::shared::{Shared, core, start_after, synced};
use crate::views::VolumeView;
use async_trait::async_trait;
use holdfast_controller::{
    Cache, Client, Item, Key, Outcome, Project, ReconcileError, Reconciler, WorkQueue, run_controller,
};
use holdfast_core::json::{items_at, str_at};
use holdfast_core::{Json, ListOptions, Object, ObjectMeta, Patch, PatchType, Reason, Status, Target};
use holdfast_env::{Task, World};
use serde_json::json;
use std::sync::Arc;

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";

struct Claims {
    client: Arc<dyn Client>,
    claims: Arc<Cache<()>>,
}

struct Volumes {
    client: Arc<dyn Client>,
    volumes: Arc<Cache<VolumeView>>,
}

pub(crate) fn start_claims(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = WorkQueue::new(world.clone());
    shared.claims.enqueue_self(&queue);
    let claims = shared.claims.cache().clone();
    shared.pods.enqueue(&queue, move |change| {
        // A pod that goes, or whose node has let it go, may have been the last user.
        if change.new.as_ref().is_some_and(|pod| !is_let_go(&pod.meta)) {
            return Vec::new();
        }
        let all = claims.in_namespace(&change.key.namespace).into_iter();
        all.filter(|claim| claim.meta.is_deleting()).map(|claim| claim.key()).collect()
    });
    let controller = Arc::new(Claims { client, claims: shared.claims.cache().clone() });
    let (env, caches) = (world.clone(), vec![synced(&shared.claims), synced(&shared.pods)]);
    let name = "pvc-protection-controller";
    start_after(world, name, caches, move || run_controller(&env, name, controller, queue, WORKERS))
}

pub(crate) fn start_volumes(world: &World, client: Arc<dyn Client>, shared: &Shared) -> Task {
    let queue = WorkQueue::new(world.clone());
    shared.volumes.enqueue_self(&queue);
    let controller = Arc::new(Volumes { client, volumes: shared.volumes.cache().clone() });
    let (env, caches) = (world.clone(), vec![synced(&shared.volumes)]);
    let name = "pv-protection-controller";
    start_after(world, name, caches, move || run_controller(&env, name, controller, queue, WORKERS))
}

/// What of an item is to be done.
enum Wanted {
    Nothing,
    /// It is from a time before there was the finalizer.
    Protect,
    /// It is being deleted.
    Release,
}

fn wanted<P>(item: &Item<P>, finalizer: &str) -> Wanted {
    let protected = item.meta.finalizers.iter().any(|one| one == finalizer);
    match (item.meta.is_deleting(), protected) {
        (true, true) => Wanted::Release,
        (false, false) => Wanted::Protect,
        _ => Wanted::Nothing,
    }
}

/// Writes the finalizers of an item with one more or one less.
async fn write<P: Project>(
    client: &Arc<dyn Client>,
    at: &Target,
    item: &Item<P>,
    finalizer: &str,
) -> Result<(), Status> {
    let mut finalizers = item.meta.finalizers.clone();
    match finalizers.iter().position(|one| one == finalizer) {
        Some(place) => drop(finalizers.remove(place)),
        None => finalizers.push(finalizer.into()),
    }
    let version = item.revision.to_string();
    let body = json!({"metadata": {"uid": item.meta.uid, "resourceVersion": version, "finalizers": finalizers}});
    match client.patch(at, Patch { patch_type: PatchType::Merge, body }).await {
        Err(status) if status.is(Reason::NotFound) => Ok(()),
        other => other.map(|_| ()),
    }
}

#[async_trait]
impl Reconciler for Claims {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(claim) = self.claims.get(key) else { return Ok(Outcome::Done) };
        match wanted(&claim, CLAIM) {
            Wanted::Nothing => return Ok(Outcome::Done),
            Wanted::Protect => {}
            // Asked of the API: a cache that lags behind must cost no pod its data.
            Wanted::Release => {
                let pods = Target::collection(core("pods"), &key.namespace);
                let pods = self.client.list(&pods, &ListOptions::default()).await?.items;
                if pods.iter().any(|pod| uses(pod, &key.name)) {
                    return Ok(Outcome::Done);
                }
            }
        }
        write(&self.client, &key.target(core("persistentvolumeclaims")), &claim, CLAIM).await?;
        Ok(Outcome::Done)
    }
}

#[async_trait]
impl Reconciler for Volumes {
    type Key = Key;

    async fn reconcile(&self, key: &Key) -> Result<Outcome, ReconcileError> {
        let Some(volume) = self.volumes.get(key) else { return Ok(Outcome::Done) };
        match wanted(&volume, VOLUME) {
            Wanted::Protect => {}
            Wanted::Release if !volume.value.bound => {}
            _ => return Ok(Outcome::Done),
        }
        write(&self.client, &key.target(core("persistentvolumes")), &volume, VOLUME).await?;
        Ok(Outcome::Done)
    }
}

/// Whether the node of a pod has let it go, or it was removed by force.
fn is_let_go(meta: &ObjectMeta) -> bool {
    meta.is_deleting() && meta.deletion_grace_period_seconds == Some(0)
}

/// Whether a pod uses a claim. One without a node does not: no node starts a pod whose claim is going.
fn uses(pod: &Object, claim: &str) -> bool {
    if is_let_go(&pod.meta) {
        return false;
    }
    let doc = pod.to_json();
    let names = |volume: &Json| {
        let ephemeral = || format!("{}-{}", pod.meta.name, str_at(volume, &["name"]).unwrap_or_default());
        str_at(volume, &["persistentVolumeClaim", "claimName"]) == Some(claim)
            || (volume.get("ephemeral").is_some_and(Json::is_object) && ephemeral() == claim)
    };
    str_at(&doc, &["spec", "nodeName"]).is_some_and(|node| !node.is_empty())
        && items_at(&doc, &["spec", "volumes"]).iter().any(names)
}
