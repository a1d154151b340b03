//! Pods that a restore made the hub forget, and that their nodes kept.
//!
//! A node reports such a pod with the whole object as the hub once sent it. The hub takes it back under its UID
//! ([`judge`] says whether), through the same chain as any write of that node, or says that it has to go.
//!
//! **A node must not get objects by making up pods** (invariant 7): so whatever the hub sends is sealed with a key of the
//! hub's store, which backups hold, and only what carries the seal, for this very node, is taken back. **What was deleted
//! stays deleted:** a restore notes which pods it knows ([`known_key`]), and so does every adoption; and what an ancestor
//! had assigned before the backup was made, and the backup lacks, was deleted by then.

use crate::lineage::{self, Origin};
use holdfast_core::gvk::parse_api_version;
use holdfast_core::json::{at, items_at, remove, set, str_at};
use holdfast_core::meta::SEAL;
use holdfast_core::{Json, Object, Revision, Target, Timestamp};
use holdfast_env::World;
use holdfast_mutation::broken;
use holdfast_store::{Check, Condition, Op, Store, StoreError, Txn};
use ring::hmac;

pub(crate) const KEY: &str = "/holdfast/adoption-key";
const KEY_BYTES: usize = 32;

/// The record that says that this history has, or had, a pod with this UID that it did not make itself.
pub(crate) fn known_key(uid: &str) -> String {
    format!("/known-pods/{uid}")
}

/// Makes the key of the seals where there is none.
///
/// # Errors
/// The store's.
pub(crate) async fn ensure_key(store: &dyn Store, env: &World) -> Result<(), StoreError> {
    if store.get(KEY).await?.is_none() {
        let mut key = vec![0; KEY_BYTES];
        env.fill_random(&mut key);
        let absent = Check { key: KEY.into(), condition: Condition::Absent };
        // Another may have been first; then it is that one.
        store.txn(Txn { checks: vec![absent], ops: vec![Op::Put { key: KEY.into(), value: key.into() }] }).await?;
    }
    Ok(())
}

/// Seals what nodes get.
pub(crate) struct Sealer {
    key: Option<hmac::Key>,
    /// The revision of the key; 0 without one.
    pub(crate) version: Revision,
}

impl Sealer {
    /// With the store's key; without one nothing is sealed.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn of(store: &dyn Store) -> Result<Sealer, StoreError> {
        let record = store.get(KEY).await?;
        Ok(Sealer {
            key: record.as_ref().map(|record| hmac::Key::new(hmac::HMAC_SHA256, &record.value)),
            version: record.map_or(Revision(0), |record| record.modified),
        })
    }

    /// Adds the seal.
    pub(crate) fn seal(&self, node: &str, pod: &mut Json) {
        if let Some(key) = &self.key {
            let tag = hmac::sign(key, &sealed_bytes(node, pod));
            let text: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            set(pod, &[SEAL], text);
        }
    }

    fn has_sealed(&self, node: &str, pod: &Json) -> bool {
        let seal = str_at(pod, &[SEAL]).unwrap_or_default();
        let digit = |at: usize| seal.get(at..at + 2).and_then(|text| u8::from_str_radix(text, 16).ok());
        let tag: Option<Vec<u8>> = (0..seal.len()).step_by(2).map(digit).collect();
        let tag = tag.unwrap_or_default();
        self.key.as_ref().is_some_and(|key| hmac::verify(key, &sealed_bytes(node, pod), &tag).is_ok())
    }
}

/// What a seal covers: for whom, and what makes the pod.
fn sealed_bytes(node: &str, pod: &Json) -> Vec<u8> {
    let mut bytes = format!("pod of {node}\n").into_bytes();
    for part in ["metadata", "spec"] {
        bytes.extend(serde_json::to_vec(&pod.get(part)).unwrap_or_default());
        bytes.push(b'\n');
    }
    bytes
}

/// What became of a kept pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the hub's again, without these owners, which do not exist any more.
    Adopted(Vec<String>),
    /// It has to go.
    Ended(String),
    /// It stays as it is; the node asks again in its next session.
    Kept(String),
}

/// A kept pod as its node reports it.
pub(crate) struct KeptPod {
    /// Its UID.
    pub(crate) uid: String,
    /// The object as the hub once sent it.
    object: Json,
    /// The history that sent it, as text.
    lineage: String,
    /// The revision at which it was sent.
    revision: Revision,
    /// The node has torn it down.
    gone: bool,
}

impl KeptPod {
    /// Reads it from a state fact; `None` for a fact about a pod that the node has from this hub.
    pub(crate) fn of(fact: &Json) -> Option<KeptPod> {
        Some(KeptPod {
            uid: str_at(fact, &["uid"])?.to_string(),
            object: fact.get("object")?.clone(),
            lineage: str_at(fact, &["assigned", "lineage"]).unwrap_or_default().to_string(),
            revision: Revision(at(fact, &["assigned", "revision"]).and_then(Json::as_u64).unwrap_or(0)),
            gone: fact.get("gone").and_then(Json::as_bool) == Some(true),
        })
    }

    /// The object to create, and the owners that it had and that do not exist any more.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn renewed(
        &self,
        store: &dyn Store,
        status: Option<&Json>,
    ) -> Result<(Json, Vec<String>), StoreError> {
        let mut pod = self.object.clone();
        remove(&mut pod, &[SEAL]);
        if let Some(status) = status {
            set(&mut pod, &["status"], status.clone());
        }
        let namespace = str_at(&pod, &["metadata", "namespace"]).unwrap_or_default().to_string();
        let (mut owners, mut lost) = (Vec::new(), Vec::new());
        for owner in items_at(&pod, &["metadata", "ownerReferences"]) {
            // A reference to what does not exist would hand the pod to the garbage collector.
            if lives(store, &namespace, owner).await? {
                owners.push(owner.clone());
            } else {
                let part = |field| str_at(owner, &[field]).unwrap_or_default();
                lost.push(format!("{} {}", part("kind"), part("name")));
            }
        }
        if owners.is_empty() {
            remove(&mut pod, &["metadata", "ownerReferences"]);
        } else {
            set(&mut pod, &["metadata", "ownerReferences"], owners);
        }
        Ok((pod, lost))
    }
}

/// Whether the owner exists under its UID. Of kinds that are not served nothing is known.
async fn lives(store: &dyn Store, namespace: &str, owner: &Json) -> Result<bool, StoreError> {
    let part = |field| str_at(owner, &[field]).unwrap_or_default();
    let (group, version) = parse_api_version(part("apiVersion"));
    let Some(kind) = holdfast_kinds::by_gvk(group, version, part("kind")) else { return Ok(false) };
    let scope = if kind.namespaced { format!("{namespace}/") } else { String::new() };
    let found = store.get(&format!("{}{scope}{}", holdfast_kinds::storage_prefix(kind), part("name"))).await?;
    let found = found.and_then(|record| Object::from_stored(record.value.clone(), record.modified).ok());
    Ok(found.is_some_and(|object| object.meta.uid == part("uid")))
}

/// Why a kept pod is not to be adopted; `None` when it is. `other` is the pod that has its name now.
///
/// # Errors
/// The store's.
pub(crate) async fn judge(
    store: &dyn Store,
    node: &str,
    kept: &KeptPod,
    place: &Target,
    other: Option<&Json>,
) -> Result<Option<Verdict>, StoreError> {
    let Origin { ancestors } = lineage::origin(store).await?;
    let ended = |why: String| Ok(Some(Verdict::Ended(why)));
    let keep = |why: &str| Ok(Some(Verdict::Kept(why.to_string())));
    if let Some(other) = other {
        let its_node = str_at(other, &["spec", "nodeName"]).unwrap_or_default();
        let its_uid = str_at(other, &["metadata", "uid"]).unwrap_or_default();
        return ended(format!("another pod has its name: {its_uid} on {its_node:?}"));
    }
    if kept.gone || at(&kept.object, &["metadata", "deletionTimestamp"]).is_some() {
        return ended("it was being deleted".to_string());
    }
    let Some(restored) = ancestors.last() else {
        return keep("the hub's store was not restored from a backup, and does not know it");
    };
    let is = |field: &[&str], text: &str| str_at(&kept.object, field) == Some(text);
    let fits = is(&["spec", "nodeName"], node)
        && is(&["metadata", "uid"], &kept.uid)
        && is(&["metadata", "namespace"], place.namespace())
        && is(&["metadata", "name"], place.name());
    if !fits || !Sealer::of(store).await?.has_sealed(node, &kept.object) {
        return keep("it does not carry the seal of this cluster's hub");
    }
    if !broken("adopt-deleted") {
        if store.get(&known_key(&kept.uid)).await?.is_some() {
            return ended("it was deleted since the hub was restored".to_string());
        }
        let before = |ancestor: &lineage::Ancestor| ancestor.lineage == kept.lineage && kept.revision <= ancestor.until;
        if ancestors.iter().any(before) {
            return ended("it had been deleted when the hub's backup was made".to_string());
        }
    }
    let created = str_at(&kept.object, &["metadata", "creationTimestamp"]).and_then(Timestamp::parse);
    if created.is_none_or(|created| created.secs() > restored.restored_at_secs) {
        return keep("it is younger than the restore of the hub");
    }
    Ok(None)
}

/// The write that goes with an adoption, beside the mark: from now on the pod's end is a deletion.
pub(crate) fn note(uid: &str) -> Op {
    Op::Put { key: known_key(uid), value: bytes::Bytes::new() }
}
