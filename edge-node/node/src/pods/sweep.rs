//! Once at the start: what an earlier life left behind of pods that are no longer this node's.
//!
//! The agent may have ended between the hub's word that a pod is gone and the end of its teardown. Only what
//! belongs to no pod of the journal is touched; and while the journal is in doubt, nothing: a pod may be missing in it that
//! runs and that the hub has.

use super::results;
use super::work::Common;
use crate::parts::PodRef;
use holdfast_edge_store::{Doubt, Record, State};
use holdfast_mutation::broken;
use holdfast_pods::PodMemory;
use holdfast_runtime::{Runtime, RuntimeError};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a container of such a pod may take to stop.
const GRACE: Duration = Duration::from_secs(30);
/// How long one answer may take beyond that.
const ANSWER: Duration = Duration::from_secs(60);
/// The wait before a runtime that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(5);
/// How often a runtime is asked; one that this node does not have never answers.
const TRIES: u32 = 12;

fn refs(common: &Common) -> Vec<PodRef> {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let of =
        |meta: &ObjectMeta| PodRef { uid: part(&meta.uid), name: part(&meta.name), namespace: part(&meta.namespace) };
    common.objects.pods().iter().map(|pod| of(&pod.metadata)).collect()
}

fn uids(refs: &[PodRef]) -> BTreeSet<String> {
    refs.iter().map(|pod| pod.uid.clone()).collect()
}

/// Releases addresses and folders of unknown pods. Before the first worker starts: nothing can come meanwhile.
/// A journal in doubt leaves them to the next start.
pub(super) async fn places(common: &Common) {
    if *common.store.doubt().borrow() != Doubt::None && !broken("sweep-before-sync") {
        return;
    }
    let env = &common.parts.env;
    let refs = refs(common);
    match env.timeout(ANSWER, common.parts.network.gc(&refs)).await {
        Some(Ok(())) => {}
        Some(Err(err)) => tracing::debug!(err, "The network was not cleaned up"),
        None => tracing::warn!("The network was not cleaned up in time"),
    }
    let (volumes, live) = (common.parts.volumes.clone(), uids(&refs));
    match env.blocking(move || volumes.gc(&live)).await {
        Some(Ok(removed)) if !removed.is_empty() => tracing::info!(?removed, "Removed volumes of unknown pods"),
        Some(Err(err)) => tracing::warn!(%err, "Volumes of unknown pods could not be removed"),
        _ => {}
    }
    let (dir, live) = (common.parts.config.log_dir.clone(), uids(&refs));
    if let Some(Err(err)) = env.blocking(move || remove_logs(&dir, &live)).await {
        tracing::warn!(%err, "Logs of unknown pods could not be removed");
    }
}

/// Removes the logs of pods that are not among `live`: `<namespace>_<name>_<uid>` in the folder of logs. Blocks.
fn remove_logs(dir: &Path, live: &BTreeSet<String>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let uid = name.to_str().and_then(|name| name.rsplit_once('_')).map(|(_, uid)| uid);
        if uid.is_some_and(|uid| !live.contains(uid)) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Ends what still runs of unknown pods, and then forgets them. Beside the workers.
pub(super) async fn runtimes(common: Arc<Common>) {
    let mut doubt = common.store.doubt();
    if !broken("sweep-before-sync") && doubt.wait_for(|doubt| *doubt == Doubt::None).await.is_err() {
        return;
    }
    let mut known = uids(&refs(&common));
    let stale = stale_pods(&common, &known);
    let ended = leftovers(&common, &mut known).await;
    if ended {
        // One after the other: a result lets the oldest go, which is known only when those before it are written.
        for uid in stale {
            common.store.lazily(common.store.read(|state| forgotten(state, &uid)));
        }
    }
}

/// Pods that are no longer here, and of which there are notes.
fn stale_pods(common: &Common, live: &BTreeSet<String>) -> BTreeSet<String> {
    common.store.read(|state| {
        let of = |key: &String| key.strip_prefix("pod/").or_else(|| key.strip_prefix("allocated/")).map(str::to_string);
        state.notes().keys().filter_map(of).filter(|uid| !live.contains(uid)).collect()
    })
}

/// Drops the notes of a pod. What has run stays known: a hub that is restored from a backup may hand it out again.
fn forgotten(state: &State, uid: &str) -> Vec<Record> {
    let key = Common::memory_key(uid);
    let memory = state.notes().get(&key);
    let has_run = memory.and_then(|bytes| PodMemory::decode(bytes)).is_some_and(|memory| memory.has_run());
    let mut records = match memory.filter(|_| has_run && !results::is_known(state, uid)) {
        Some(memory) => results::note(state, uid, memory),
        None => Vec::new(),
    };
    records.extend([key, Common::allocation_key(uid)].map(|key| Record::DropNote { key }));
    records
}

/// Ends what runs of unknown pods; whether all of it is gone.
async fn leftovers(common: &Common, known: &mut BTreeSet<String>) -> bool {
    let mut clean = true;
    for runtime in [&common.parts.oci, &common.parts.wasm] {
        let mut done = false;
        for _ in 0..TRIES {
            match remove_unknown(common, &**runtime, known).await {
                Ok(()) => {
                    done = true;
                    break;
                }
                Err(err) => tracing::debug!(runtime = runtime.name(), %err, "Unknown pods could not be ended yet"),
            }
            common.parts.env.sleep(RETRY).await;
        }
        clean &= done;
    }
    clean
}

async fn remove_unknown(
    common: &Common,
    runtime: &dyn Runtime,
    known: &mut BTreeSet<String>,
) -> Result<(), RuntimeError> {
    let env = &common.parts.env;
    let late = || RuntimeError::Unavailable { runtime: runtime.name(), reason: "no answer in time".into() };
    let in_time = |answer: Option<Result<(), RuntimeError>>| answer.unwrap_or_else(|| Err(late()));
    let list = async { Ok::<_, RuntimeError>((runtime.list_sandboxes().await?, runtime.list_containers().await?)) };
    let (sandboxes, containers) = env.timeout(ANSWER, list).await.unwrap_or_else(|| Err(late()))?;
    // A sandbox is there only after its pod is in the journal, so what came meanwhile is known from here on.
    known.extend(uids(&refs(common)));
    for sandbox in sandboxes.iter().filter(|sandbox| !known.contains(&sandbox.pod_uid)) {
        tracing::info!(sandbox = sandbox.id, "Ending a pod that is no longer this node's");
        for container in containers.iter().filter(|container| container.sandbox_id == sandbox.id) {
            in_time(env.timeout(GRACE + ANSWER, runtime.stop_container(&container.id, None, GRACE)).await)?;
            in_time(env.timeout(ANSWER, runtime.remove_container(&container.id)).await)?;
        }
        in_time(env.timeout(ANSWER, runtime.stop_sandbox(&sandbox.id)).await)?;
        in_time(env.timeout(ANSWER, runtime.remove_sandbox(&sandbox.id)).await)?;
    }
    // Their volumes were unmounted before the first worker started.
    let kept = env.timeout(ANSWER, runtime.image_mounts()).await.unwrap_or_else(|| Err(late()))?;
    for uid in kept.iter().filter(|uid| !known.contains(*uid)) {
        in_time(env.timeout(ANSWER, runtime.release_images(uid)).await)?;
    }
    Ok(())
}
