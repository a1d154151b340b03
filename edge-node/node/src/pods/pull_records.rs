//! Whether a pod may use an image that is here (KEP-2535): with whose credentials it was fetched is written down, and who shows
//! none of them has to show the registry that it may have it.
//!
//! Records are notes of the journal, so they survive power cuts with the pods that they are about: `image/<id>` says who may
//! have an image, by repository; `pulling/<name>` stands from before a pull until its record does, so that an image whose pull
//! a power cut ended is not taken for one that was here before. An image without either was imported, or pulled before there
//! were records: by the default policy everybody may use it. A journal that was lost takes its records along, and then the same
//! holds: a node must come back without a network.

use super::work::Common;
use holdfast_edge_store::{Record, State};
use holdfast_runtime::image_name::repository;
use holdfast_runtime::{Keyring, PullAuth, normalise_image_name};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

const IMAGES: &str = "image/";
const PULLING: &str = "pulling/";
/// Secrets that are written down for an image in a repository.
const MAX_SECRETS: usize = 100;

/// Which images that are here are used without asking (`imagePullCredentialsVerificationPolicy`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PullVerification {
    /// All.
    NeverVerify,
    /// Those that this node did not pull.
    #[default]
    NeverVerifyPreloadedImages,
    /// Those of these repositories: full names, or beginnings that end with `/*`.
    NeverVerifyAllowlistedImages(Vec<String>),
    /// None.
    AlwaysVerify,
}

impl PullVerification {
    /// Reads the policy's name and the list that belongs to one of them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(policy: &str, allowed: &[String]) -> Result<PullVerification, String> {
        let known = match policy {
            "NeverVerify" => PullVerification::NeverVerify,
            "NeverVerifyPreloadedImages" => PullVerification::NeverVerifyPreloadedImages,
            "AlwaysVerify" => PullVerification::AlwaysVerify,
            "NeverVerifyAllowlistedImages" => {
                let patterns = allowed.iter().map(|pattern| read_pattern(pattern));
                return Ok(PullVerification::NeverVerifyAllowlistedImages(patterns.collect::<Result<_, _>>()?));
            }
            other => {
                return Err(format!(
                    "{other:?} is none of NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages, AlwaysVerify"
                ));
            }
        };
        if allowed.is_empty() { Ok(known) } else { Err(format!("a list of images does not go with {policy}")) }
    }

    /// Whether credentials are asked for.
    fn asks(&self, repository: &str, pulled_here: bool) -> bool {
        match self {
            PullVerification::NeverVerify => false,
            PullVerification::NeverVerifyPreloadedImages => pulled_here,
            PullVerification::NeverVerifyAllowlistedImages(patterns) => {
                !patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => repository.starts_with(prefix),
                    None => repository == pattern,
                })
            }
            PullVerification::AlwaysVerify => true,
        }
    }
}

fn read_pattern(pattern: &str) -> Result<String, String> {
    let wrong = |why: &str| Err(format!("{pattern:?} is no pattern of images: {why}"));
    let name = pattern.strip_suffix("/*").unwrap_or(pattern);
    if name.is_empty() || name.contains('*') || name.trim() != name {
        return wrong("it must be a repository, or the beginning of one and /*");
    }
    if name.len() < pattern.len() {
        return Ok(pattern.to_string());
    }
    match normalise_image_name(name) {
        Ok(full) if full == format!("{name}:latest") => Ok(pattern.to_string()),
        Ok(_) => wrong("it must be a full name, without tag and digest"),
        Err(err) => wrong(&err.to_string()),
    }
}

/// Where credentials come from. Without a UID it does not tell one Secret from its successor of the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SecretName {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Credentials that a pod names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) secret: SecretName,
    pub(super) auth: PullAuth,
}

/// All that a pod's Secret holds.
pub(super) fn named(secret: &SecretName, keyring: &Keyring) -> Vec<Named> {
    keyring.all().map(|auth| Named { secret: secret.clone(), auth: auth.clone() }).collect()
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
struct Seen {
    #[serde(flatten)]
    secret: SecretName,
    /// Of the credentials.
    hash: String,
}

/// Who may have an image under the names of one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Access {
    /// The registry gave it to whoever asked, or to this node.
    everybody: bool,
    secrets: Vec<Seen>,
}

/// The note about an image. It is JSON: fields may be added, and none changes its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Pulled {
    /// In the Wasm runtime.
    wasm: bool,
    repositories: BTreeMap<String, Access>,
}

/// What the records say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The pod may use the image; this is learned from it, if anything.
    Allowed(Option<Record>),
    /// It has to show the registry that it may.
    Unknown,
}

fn hash(auth: &PullAuth) -> String {
    let mut hasher = Sha256::new();
    for part in [&auth.username, &auth.password] {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    format!("{:x}", hasher.finalize())
}

fn read(state: &State, id: &str) -> Option<Pulled> {
    let note = state.notes().get(&format!("{IMAGES}{id}"))?;
    // What does not read says that it was pulled here, and nothing of who may have it.
    Some(serde_json::from_slice(note).unwrap_or_default())
}

fn write(id: &str, pulled: &Pulled) -> Record {
    Record::PutNote { key: format!("{IMAGES}{id}"), value: serde_json::to_vec(pulled).unwrap_or_default() }
}

/// Whether a pod with these credentials may use the image that is here under this (normalised) name.
pub(super) fn judge(state: &State, policy: &PullVerification, name: &str, id: &str, pod: &[Named]) -> Verdict {
    let (repository, record) = (repository(name), read(state, id));
    let pulled_here = record.is_some() || state.notes().contains_key(&format!("{PULLING}{name}"));
    if !policy.asks(repository, pulled_here) {
        return Verdict::Allowed(None);
    }
    let Some(mut pulled) = record else { return Verdict::Unknown };
    let Some(access) = pulled.repositories.get_mut(repository) else { return Verdict::Unknown };
    if access.everybody {
        return Verdict::Allowed(None);
    }
    for Named { secret, auth } in pod {
        let hash = hash(auth);
        let same_content = access.secrets.iter().any(|seen| seen.hash == hash);
        // A Secret that was let in once is let in with its next password too, as upstream has it.
        let same_secret = !secret.uid.is_empty() && access.secrets.iter().any(|seen| seen.secret == *secret);
        if same_content || same_secret {
            let learned = note(access, Seen { secret: secret.clone(), hash }).then(|| write(id, &pulled));
            return Verdict::Allowed(learned);
        }
    }
    Verdict::Unknown
}

/// Notes who was let in; whether that is new.
fn note(access: &mut Access, seen: Seen) -> bool {
    if let Some(known) = access.secrets.iter_mut().find(|known| known.secret == seen.secret) {
        let is_new = known.hash != seen.hash;
        known.hash = seen.hash;
        return is_new;
    }
    if access.secrets.len() >= MAX_SECRETS {
        return false;
    }
    access.secrets.push(seen);
    access.secrets.sort();
    true
}

/// What is written before a pull.
pub(super) fn intend(state: &State, name: &str) -> Vec<Record> {
    let key = format!("{PULLING}{name}");
    if state.notes().contains_key(&key) { Vec::new() } else { vec![Record::PutNote { key, value: Vec::new() }] }
}

/// What is written when the last pull of this name has failed.
pub(super) fn give_up(name: &str) -> Record {
    Record::DropNote { key: format!("{PULLING}{name}") }
}

/// What is written when a registry has given the image, to whom it was `shown`.
pub(super) fn came(
    state: &State,
    name: &str,
    id: &str,
    wasm: bool,
    shown: Option<&PullAuth>,
    pod: &[Named],
) -> Vec<Record> {
    let mut pulled = read(state, id).unwrap_or_default();
    let before = pulled.clone();
    pulled.wasm = wasm;
    let access = pulled.repositories.entry(repository(name).to_string()).or_default();
    match shown.and_then(|auth| pod.iter().find(|named| named.auth == *auth)) {
        _ if access.everybody => {}
        Some(Named { secret, auth }) => {
            note(access, Seen { secret: secret.clone(), hash: hash(auth) });
        }
        // Nobody had to show anything, or it was what the node itself has.
        None => *access = Access { everybody: true, secrets: Vec::new() },
    }
    let mut records = Vec::new();
    if pulled != before || !state.notes().contains_key(&format!("{IMAGES}{id}")) {
        records.push(write(id, &pulled));
    }
    let key = format!("{PULLING}{name}");
    if state.notes().contains_key(&key) {
        records.push(Record::DropNote { key });
    }
    records
}

fn notes<'a>(state: &'a State, prefix: &'static str) -> impl Iterator<Item = (&'a String, &'a str, &'a [u8])> {
    let all = state.notes().range(prefix.to_string()..);
    all.map_while(move |(key, value)| Some((key, key.strip_prefix(prefix)?, value.as_slice())))
}

/// Forgets images that are gone. A runtime that does not answer keeps its own, and pulls that are under way are left alone.
pub(super) async fn prune(common: &Common) {
    if common.store.read(|state| notes(state, IMAGES).next().is_none() && notes(state, PULLING).next().is_none()) {
        return;
    }
    let (mut here, mut names, mut all) = ([None, None], BTreeSet::new(), true);
    for (runtime, here) in [&common.parts.oci, &common.parts.wasm].into_iter().zip(&mut here) {
        match runtime.list_images().await {
            Ok(images) => {
                names.extend(images.iter().flat_map(|image| image.names.iter().cloned()));
                *here = Some(images.into_iter().map(|image| image.id).collect::<BTreeSet<String>>());
            }
            Err(_) => all = false,
        }
    }
    let [oci, wasm] = &here;
    let gone = common.store.read(|state| {
        let images = notes(state, IMAGES).filter(|(_, id, note)| {
            let pulled: Pulled = serde_json::from_slice(note).unwrap_or_default();
            let home = if pulled.wasm { wasm } else { oci };
            home.as_ref().is_some_and(|home| !home.contains(*id))
        });
        let pulling = notes(state, PULLING);
        let pulling = pulling.filter(|(_, name, _)| all && !names.contains(*name) && common.pulls.of_name(name) == 0);
        images.chain(pulling).map(|(key, ..)| Record::DropNote { key: key.clone() }).collect::<Vec<_>>()
    });
    if !gone.is_empty() {
        common.store.lazily(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_edge_store::{Durability, EdgeStore};
    use holdfast_env::Env;
    use holdfast_env::host::HostEnv;
    use std::slice::from_ref;

    const NAME: &str = "r.example/team/app:1";

    fn secret(name: &str, password: &str) -> Named {
        let secret = SecretName { uid: format!("uid-{name}"), namespace: "a".into(), name: name.into() };
        Named { secret, auth: PullAuth { username: "ann".into(), password: password.into() } }
    }

    fn store(dir: &std::path::Path) -> EdgeStore {
        EdgeStore::open(HostEnv::new(dir).disk()).unwrap().0
    }

    fn put(store: &mut EdgeStore, records: Vec<Record>) {
        store.commit(records, Durability::Synced).unwrap();
    }

    #[test]
    fn who_fetched_an_image_may_use_it_also_after_a_power_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(dir.path());
        let policy = PullVerification::default();
        let (one, other) = (secret("one", "x"), secret("other", "y"));
        let asked = |store: &EdgeStore, name: &str, pod: &[Named]| judge(store.state(), &policy, name, "sha256:1", pod);
        assert_eq!(asked(&store, NAME, &[]), Verdict::Allowed(None), "it was not pulled here");
        let records = intend(store.state(), NAME);
        put(&mut store, records);
        assert_eq!(asked(&store, NAME, from_ref(&one)), Verdict::Unknown, "the pull did not come to its end");
        let records = came(store.state(), NAME, "sha256:1", false, Some(&one.auth), &[other.clone(), one.clone()]);
        put(&mut store, records);
        drop(store);
        let mut store = self::store(dir.path());
        assert_eq!(asked(&store, NAME, from_ref(&one)), Verdict::Allowed(None));
        assert_eq!(asked(&store, NAME, from_ref(&other)), Verdict::Unknown);
        assert_eq!(asked(&store, NAME, &[]), Verdict::Unknown);
        assert_eq!(asked(&store, "r.example/team/app:2", from_ref(&one)), Verdict::Allowed(None), "another tag");
        assert_eq!(asked(&store, "mirror.example/app:1", from_ref(&one)), Verdict::Unknown, "another repository");
        // The same password in another Secret, and the same Secret with another password, are learned.
        for like in [Named { auth: one.auth.clone(), ..other.clone() }, secret("one", "new")] {
            let Verdict::Allowed(Some(learned)) = asked(&store, NAME, from_ref(&like)) else { panic!("{like:?}") };
            put(&mut store, vec![learned]);
            assert_eq!(asked(&store, NAME, from_ref(&like)), Verdict::Allowed(None));
        }
        assert!(matches!(asked(&store, NAME, &[secret("third", "new")]), Verdict::Allowed(Some(_))));
        // Once the registry gave it to somebody who showed nothing, everybody may have it.
        let records = came(store.state(), NAME, "sha256:1", false, None, &[]);
        put(&mut store, records);
        assert_eq!(asked(&store, NAME, &[]), Verdict::Allowed(None));
        assert_eq!(came(store.state(), NAME, "sha256:1", false, Some(&one.auth), from_ref(&one)), []);
    }

    #[test]
    fn what_the_node_itself_may_have_everybody_may_and_a_secret_without_uid_only_by_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(dir.path());
        let policy = PullVerification::default();
        let nodes = PullAuth { username: "node".into(), password: "z".into() };
        let records = came(store.state(), NAME, "sha256:1", false, Some(&nodes), &[secret("one", "x")]);
        put(&mut store, records);
        assert_eq!(judge(store.state(), &policy, NAME, "sha256:1", &[]), Verdict::Allowed(None));
        let bare = |password: &str| {
            let named = secret("one", password);
            Named { secret: SecretName { uid: String::new(), ..named.secret }, auth: named.auth }
        };
        let records = came(store.state(), NAME, "sha256:2", false, Some(&bare("x").auth), &[bare("x")]);
        put(&mut store, records);
        assert_eq!(judge(store.state(), &policy, NAME, "sha256:2", &[bare("x")]), Verdict::Allowed(None));
        assert_eq!(judge(store.state(), &policy, NAME, "sha256:2", &[bare("y")]), Verdict::Unknown);
    }

    #[test]
    fn policies_are_read_and_differ() {
        let list = ["r.example/team/*".to_string(), "r.example/app".into()];
        let allow = PullVerification::parse("NeverVerifyAllowlistedImages", &list).unwrap();
        for (policy, repository, pulled_here, asks) in [
            (&PullVerification::NeverVerify, "r.example/x", true, false),
            (&PullVerification::default(), "r.example/x", false, false),
            (&PullVerification::default(), "r.example/x", true, true),
            (&PullVerification::AlwaysVerify, "r.example/x", false, true),
            (&allow, "r.example/team/app", true, false),
            (&allow, "r.example/app", true, false),
            (&allow, "r.example/app2", false, true),
        ] {
            assert_eq!(policy.asks(repository, pulled_here), asks, "{policy:?} {repository}");
        }
        assert!(PullVerification::parse("Sometimes", &[]).unwrap_err().contains("none of NeverVerify"));
        assert!(PullVerification::parse("NeverVerify", &list).unwrap_err().contains("does not go with"));
        for wrong in ["*", "/*", "a*b/*", " a", "r.example/app:1", "nginx"] {
            assert!(PullVerification::parse("NeverVerifyAllowlistedImages", &[wrong.into()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn old_notes_read() {
        let note = br#"{"wasm":false,"repositories":{"r.example/team/app":{"everybody":false,"secrets":[{"uid":"u","namespace":"a","name":"s","hash":"12"}]}}}"#;
        let pulled: Pulled = serde_json::from_slice(note).unwrap();
        let secret = SecretName { uid: "u".into(), namespace: "a".into(), name: "s".into() };
        assert_eq!(pulled.repositories["r.example/team/app"].secrets, [Seen { secret, hash: "12".into() }]);
        assert_eq!(serde_json::to_vec(&pulled).unwrap(), note);
    }
}
