//! How pods ended, for longer than the hub has them.
//!
//! A hub that is restored from a backup hands out again what had run its course and been deleted since. The node answers
//! with the result that it remembers and runs nothing twice. It knows no hub's backups, so it keeps as many results as it
//! has room for.
//!
//! A note `ended/<uid>` of the journal is a counter, by which the oldest is known (clocks are set back), and the pod's
//! memory as it was at its end. The power may go while a pod that was deleted is stopped: what it was then is noted in its
//! stead, and counts if the pod may run only once.

use holdfast_edge_store::{Record, State};
use holdfast_pods::PodMemory;
use k8s_openapi::api::core::v1::Pod;

const PREFIX: &str = "ended/";
/// Results that are kept; one is 200 to 400 bytes.
const KEPT: usize = 256;

/// The results by their counters, and the notes' keys.
fn noted(state: &State) -> impl Iterator<Item = (u64, &String)> {
    let notes = state.notes().range(PREFIX.to_string()..).take_while(|(key, _)| key.starts_with(PREFIX));
    notes.map(|(key, value)| (value.first_chunk().map_or(0, |count| u64::from_be_bytes(*count)), key))
}

/// What notes a result and lets the oldest go.
pub(super) fn note(state: &State, uid: &str, memory: &[u8]) -> Vec<Record> {
    let key = format!("{PREFIX}{uid}");
    let mut others: Vec<(u64, &String)> = noted(state).filter(|(_, other)| **other != key).collect();
    others.sort_unstable();
    let next = others.last().map_or(1, |(count, _)| count.saturating_add(1));
    let mut value = next.to_be_bytes().to_vec();
    value.extend_from_slice(memory);
    let excess = (others.len() + 1).saturating_sub(KEPT);
    let drops = others.iter().take(excess).map(|(_, oldest)| Record::DropNote { key: (*oldest).clone() });
    drops.chain([Record::PutNote { key: key.clone(), value }]).collect()
}

/// How the pod with this UID ended, or how far it had come, if that is remembered and counts.
pub(super) fn of(state: &State, uid: &str, pod: &Pod) -> Option<PodMemory> {
    let (_, memory) = state.notes().get(&format!("{PREFIX}{uid}"))?.split_first_chunk::<8>()?;
    let once = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("Never");
    PodMemory::decode(memory).filter(|memory| memory.finished || once)
}

/// Whether there is a result of this pod.
pub(super) fn is_known(state: &State, uid: &str) -> bool {
    state.notes().contains_key(&format!("{PREFIX}{uid}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_edge_store::{Durability, EdgeStore};
    use holdfast_env::Env;
    use holdfast_env::host::HostEnv;
    use k8s_openapi::api::core::v1::PodSpec;

    #[test]
    fn the_newest_results_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = EdgeStore::open(HostEnv::new(dir.path()).disk()).unwrap();
        let memory = PodMemory { finished: true, ..PodMemory::default() };
        for number in 0..KEPT + 3 {
            let records = note(store.state(), &format!("uid-{number}"), &memory.encode());
            store.commit(records, Durability::Lazy).unwrap();
        }
        // One that ends again after a restore is the newest again.
        let records = note(store.state(), "uid-3", &memory.encode());
        store.commit(records, Durability::Lazy).unwrap();
        let records = note(store.state(), "another", &memory.encode());
        store.commit(records, Durability::Lazy).unwrap();
        assert_eq!(noted(store.state()).count(), KEPT);
        let known = |uid: &str| of(store.state(), uid, &Pod::default()) == Some(memory.clone());
        assert!(known("uid-3") && known("another") && known("uid-5") && !known("uid-2") && !known("uid-4"));
        // One that was stopped by the power counts for what may run only once.
        let records = note(store.state(), "half", &PodMemory::default().encode());
        store.commit(records, Durability::Lazy).unwrap();
        let spec = PodSpec { restart_policy: Some("Never".into()), ..PodSpec::default() };
        let once = Pod { spec: Some(spec), ..Pod::default() };
        assert_eq!(of(store.state(), "half", &Pod::default()), None);
        assert_eq!(of(store.state(), "half", &once), Some(PodMemory::default()));
    }
}
