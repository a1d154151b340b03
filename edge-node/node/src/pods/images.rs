//! Pulling a pod's images: when a registry is asked, with which credentials, and who waits for whom.
//!
//! What keeps a pod running must not depend on a network: an image that is here is used without asking while the hub is not
//! connected, and when no registry answers although `imagePullPolicy: Always` wants it asked. Only what a registry says, that
//! the image is gone or not for this pod, stands in a pod's way, and that an image which somebody else's credentials fetched is
//! here ([`pull_records`](super::pull_records)). An image that is named by its digest is never asked for twice. Pulls come one
//! after the other, as the kubelet's do, unless the settings say otherwise.

use super::pull_records::{self, Named, SecretName, Verdict};
use super::work::{Common, digest_reference, handler, is_dense};
use holdfast_edge_store::{Record, State};
use holdfast_env::Mono;
use holdfast_pods::{ImageCame, ImageFailure, pull_policy};
use holdfast_runtime::{Answer, Found, ImageInfo, Keyring, Progress, RuntimeError, WantedImage, normalise_image_name};
use holdfast_volumes::VolumeObjects;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a registry may take to say whether an image that is here is still the right one, before it is used as it is.
const CHECK: Duration = Duration::from_secs(20);
/// How long a registry that did not answer is not asked about images that are here: the pods of a node would wait for it one
/// after the other.
const SILENCE: Duration = Duration::from_secs(60);

/// What became of a container's image.
pub(super) struct Fetched {
    /// Digest reference, for `imageID`.
    pub(super) image_id: String,
    pub(super) came: ImageCame,
}

/// Why there is none, and what is said of it.
pub(super) type NoImage = (ImageFailure, String);

/// A pull, as `holdfast-edge status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullSummary {
    /// The image.
    pub image: String,
    /// Bytes of its layers that are here.
    pub here_bytes: u64,
    /// Bytes of its layers; 0 before that is known.
    pub total_bytes: u64,
    /// Seconds since it began.
    pub seconds: u64,
}

/// The pulls of the node.
pub(crate) struct Pulls {
    turns: Semaphore,
    under_way: Mutex<BTreeMap<u64, (String, Progress, Mono)>>,
    /// The registry that did not answer last, and when that was.
    silent: Mutex<Option<(String, Mono)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pulls {
    /// So many at one time.
    pub(crate) fn new(at_once: usize) -> Pulls {
        Pulls { turns: Semaphore::new(at_once.max(1)), under_way: Mutex::default(), silent: Mutex::default() }
    }

    /// Whether a registry did not answer a moment ago.
    fn is_silent(&self, registry: &str, now: Mono) -> bool {
        lock(&self.silent).as_ref().is_some_and(|(known, at)| known == registry && now.since(*at) < SILENCE)
    }

    /// Pulls of an image of this name that are under way.
    pub(super) fn of_name(&self, name: &str) -> usize {
        lock(&self.under_way).values().filter(|(image, ..)| image == name).count()
    }

    /// Those that are under way, the oldest first.
    pub(crate) fn list(&self, now: Mono) -> Vec<PullSummary> {
        let show = |(image, progress, since): &(String, Progress, Mono)| {
            let (here_bytes, total_bytes) = progress.read();
            PullSummary { image: image.clone(), here_bytes, total_bytes, seconds: now.since(*since).as_secs() }
        };
        lock(&self.under_way).values().map(show).collect()
    }
}

/// A line in the list of pulls, for as long as it lives.
struct Line<'a> {
    pulls: &'a Pulls,
    key: u64,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        lock(&self.pulls.under_way).remove(&self.key);
    }
}

/// Sees that an image is here, and that the pod may have it. `pulling` is awaited once, before a registry is asked.
pub(super) async fn fetch_image(
    common: &Common,
    pod: &Pod,
    image: &str,
    always: bool,
    never: bool,
    pulling: impl Future<Output = ()>,
) -> Result<Fetched, NoImage> {
    let dense = is_dense(&handler(common, pod).unwrap_or_default());
    fetch(common, pod, image, dense, (always, never), pulling).await
}

/// Sees that the images are here of the volumes that a container mounts; of one that is not, its name and why. What is told of
/// them is told of the pod.
pub(super) async fn fetch_volume_images(
    common: &Common,
    pod: &Pod,
    container: &Container,
) -> Result<(), (String, NoImage)> {
    for volume in common.parts.volumes.image_volumes(pod, container) {
        let image = volume.source.reference.unwrap_or_default();
        let policy = pull_policy(volume.source.pull_policy.as_deref(), &image);
        let env = &common.parts.env;
        let began = env.monotonic();
        let pulling = async {
            common.events.pod(pod, None, false, "Pulling", &format!("Pulling image {image:?}")).await;
        };
        match fetch(common, pod, &image, false, policy, pulling).await {
            Ok(fetched) => {
                let text = fetched.came.told(&image, Some(env.monotonic().since(began)));
                common.events.pod(pod, None, false, "Pulled", &text).await;
            }
            Err(none) => return Err((image, none)),
        }
    }
    Ok(())
}

/// Sees that an image is here; `dense` says in which runtime it is expected.
async fn fetch(
    common: &Common,
    pod: &Pod,
    image: &str,
    dense: bool,
    (always, never): (bool, bool),
    pulling: impl Future<Output = ()>,
) -> Result<Fetched, NoImage> {
    let name = normalise_image_name(image).map_err(no_image)?;
    let unseen = |err: RuntimeError| (ImageFailure::Inspect, format!("Failed to inspect image {image:?}: {err}"));
    let present = |info: ImageInfo| Fetched { image_id: digest_reference(info), came: ImageCame::Present };
    let credentials = credentials(pod, &common.objects);
    let always = always && !name.contains('@');
    let here = look(common, image, dense).await.map_err(unseen)?;
    let allowed = is_allowed(common, &name, here.as_ref(), &credentials.named).await;
    match (plan(here.is_some(), allowed, always, never, common.linked()), here) {
        (Plan::Use, Some(info)) => return Ok(present(info)),
        (Plan::Refuse, _) => return Err(no_image(RuntimeError::ImageNeverPull(image.to_string()))),
        _ => {}
    }
    pulling.await;
    if !credentials.missing.is_empty() {
        let text = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            credentials.missing.join(", ")
        );
        common.events.pod(pod, None, true, "FailedToRetrieveImagePullSecret", &text).await;
    }
    let _turn = common.pulls.turns.acquire().await;
    // Another pod may have brought it meanwhile.
    let here = look(common, image, dense).await.map_err(unseen)?;
    let allowed = is_allowed(common, &name, here.as_ref(), &credentials.named).await;
    if let Some(info) = here.clone().filter(|_| allowed && !always) {
        return Ok(present(info));
    }
    let registry = name.split('/').next().unwrap_or_default().to_string();
    let unchecked = |info: ImageInfo, reason: String| {
        tracing::warn!(image, reason, "An image is used unchecked");
        Fetched { image_id: digest_reference(info), came: ImageCame::Unchecked { reason } }
    };
    let now = || common.parts.env.monotonic();
    if let Some(info) = here.clone().filter(|_| allowed && common.pulls.is_silent(&registry, now())) {
        return Ok(unchecked(info, format!("{registry} did not answer a moment ago")));
    }
    let keyring = credentials.keyring;
    let wanted = WantedImage { name, keyring, wasm_first: dense, here: here.as_ref().map(|info| info.id.clone()) };
    match (pull(common, &wanted, here.clone(), &credentials.named).await, here) {
        (Err(RuntimeError::RegistryUnreachable { reason, .. }), Some(info)) if allowed => {
            *lock(&common.pulls.silent) = Some((registry, now()));
            Ok(unchecked(info, reason))
        }
        (outcome, _) => outcome.map_err(no_image),
    }
}

fn no_image(err: RuntimeError) -> NoImage {
    match err {
        RuntimeError::ImageNeverPull(_) => (ImageFailure::NeverPull, err.to_string()),
        RuntimeError::InvalidImageName { .. } => (ImageFailure::InvalidName, err.to_string()),
        // The machine says of which image.
        RuntimeError::ImagePull { reason, .. } | RuntimeError::RegistryUnreachable { reason, .. } => {
            (ImageFailure::Pull, reason)
        }
        err => (ImageFailure::Pull, err.to_string()),
    }
}

/// Whether a pod with these credentials may use an image that is here, by what is written down about it.
async fn is_allowed(common: &Common, name: &str, here: Option<&ImageInfo>, pod: &[Named]) -> bool {
    let Some(info) = here else { return true };
    let policy = &common.parts.config.pull_verification;
    match common.store.read(|state| pull_records::judge(state, policy, name, &info.id, pod)) {
        Verdict::Unknown => false,
        Verdict::Allowed(learned) => {
            if let Some(record) = learned {
                // It can be found out again.
                common.store.lazily(vec![record]);
            }
            true
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Use what is here.
    Use,
    /// It is not here, and may not be fetched.
    Refuse,
    /// Ask a registry.
    Ask,
}

/// What `imagePullPolicy` comes to. An image that the pod is not known to be `allowed` is not used without asking.
fn plan(here: bool, allowed: bool, always: bool, never: bool, linked: bool) -> Plan {
    match (here && allowed, never) {
        (true, _) if never || !always || !linked => Plan::Use,
        (false, true) => Plan::Refuse,
        _ => Plan::Ask,
    }
}

/// What is here under a name, in the runtime that has it.
async fn look(common: &Common, image: &str, dense: bool) -> Result<Option<ImageInfo>, RuntimeError> {
    common.runtime_of(image, dense).await?.image(image).await
}

async fn pull(
    common: &Common,
    wanted: &WantedImage,
    here: Option<ImageInfo>,
    pod: &[Named],
) -> Result<Fetched, RuntimeError> {
    let env = &common.parts.env;
    let began = env.monotonic();
    let find = common.parts.registries.find(wanted);
    let Answer { found, shown } = match here {
        None => find.await?,
        Some(_) => env.timeout(CHECK, find).await.unwrap_or_else(|| {
            let reason = format!("no registry answered within {} s", CHECK.as_secs());
            Err(RuntimeError::RegistryUnreachable { image: wanted.name.clone(), reason })
        })?,
    };
    let info = match (found, here) {
        (Found::Same, Some(info)) => info,
        (Found::Same, None) => return Err(RuntimeError::NotFound(format!("image {:?}", wanted.name))),
        (Found::Image(image), _) => {
            let line = Line { pulls: &common.pulls, key: env.random_u64() };
            let shown = (wanted.name.clone(), image.progress().clone(), began);
            lock(&common.pulls.under_way).insert(line.key, shown);
            let wasm = image.manifest().is_wasm;
            let runtime = if wasm { &common.parts.wasm } else { &common.parts.oci };
            write_down(common, |state| pull_records::intend(state, &wanted.name)).await.map_err(|reason| {
                let reason = format!("the pull could not be written down: {reason}");
                RuntimeError::ImagePull { image: wanted.name.clone(), reason }
            })?;
            let pulled = runtime.pull_image(&*image).await;
            if pulled.is_err() && common.pulls.of_name(&wanted.name) == 1 {
                common.store.lazily(vec![pull_records::give_up(&wanted.name)]);
            }
            common.readiness.images.notify_one();
            pulled?
        }
    };
    let records = |state: &State| pull_records::came(state, &wanted.name, &info.id, info.is_wasm, shown.as_ref(), pod);
    if let Err(reason) = write_down(common, records).await {
        // The next pod has to ask again.
        tracing::warn!(image = wanted.name, reason, "Who may have an image could not be written down");
    }
    let took = env.monotonic().since(began);
    let size_bytes = info.size_bytes;
    Ok(Fetched { image_id: digest_reference(info), came: ImageCame::Pulled { took, size_bytes } })
}

/// Makes records durable, if there are any.
async fn write_down(common: &Common, records: impl FnOnce(&State) -> Vec<Record>) -> Result<(), String> {
    match common.store.read(records) {
        records if records.is_empty() => Ok(()),
        records => common.store.commit(records).await,
    }
}

/// What a pod may show registries.
#[derive(Default)]
struct Credentials {
    keyring: Keyring,
    /// The same, each with the Secret that it is from.
    named: Vec<Named>,
    /// Secrets that are not here or do not read.
    missing: Vec<String>,
}

fn credentials(pod: &Pod, objects: &dyn VolumeObjects) -> Credentials {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let mut found = Credentials::default();
    let secrets = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    for name in secrets.map(|reference| reference.name.clone()).filter(|name| !name.is_empty()) {
        let Some(secret) = objects.secret(&namespace, &name) else {
            found.missing.push(name);
            continue;
        };
        let mut keyring = Keyring::default();
        match add(&mut keyring, &secret) {
            Ok(()) => {
                let uid = secret.metadata.uid.unwrap_or_default();
                let secret = SecretName { uid, namespace: namespace.clone(), name };
                found.named.extend(pull_records::named(&secret, &keyring));
                found.keyring.extend(keyring);
            }
            Err(why) => {
                tracing::warn!(secret = format!("{namespace}/{name}"), why, "A pull secret does not read");
                found.missing.push(name);
            }
        }
    }
    found
}

fn add(keyring: &mut Keyring, secret: &Secret) -> Result<(), String> {
    let data = |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => match data(".dockerconfigjson") {
            Some(bytes) => keyring.add_config_json(bytes),
            None => Err("it has no .dockerconfigjson".into()),
        },
        Some("kubernetes.io/dockercfg") => match data(".dockercfg") {
            Some(bytes) => keyring.add_dockercfg(bytes),
            None => Err("it has no .dockercfg".into()),
        },
        other => Err(format!("its type is {:?}", other.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    #[test]
    fn only_a_connected_node_asks_for_what_it_has() {
        // (here, allowed, always, never, linked)
        for (case, expected) in [
            ((true, true, false, false, true), Plan::Use),
            ((true, true, false, false, false), Plan::Use),
            ((true, true, true, false, true), Plan::Ask),
            ((true, true, true, false, false), Plan::Use),
            ((true, true, false, true, true), Plan::Use),
            ((false, true, false, true, true), Plan::Refuse),
            ((false, true, false, false, false), Plan::Ask),
            ((false, true, true, false, false), Plan::Ask),
            // Somebody else's credentials fetched it.
            ((true, false, false, false, true), Plan::Ask),
            ((true, false, true, false, false), Plan::Ask),
            ((true, false, false, true, true), Plan::Refuse),
        ] {
            let (here, allowed, always, never, linked) = case;
            assert_eq!(plan(here, allowed, always, never, linked), expected, "{case:?}");
        }
    }

    #[test]
    fn a_silent_registry_is_left_alone_for_a_while() {
        let (pulls, at) = (Pulls::new(0), |secs| Mono(Duration::from_secs(secs)));
        assert!(!pulls.is_silent("r.example", at(5)));
        *lock(&pulls.silent) = Some(("r.example".into(), at(5)));
        assert!(pulls.is_silent("r.example", at(64)) && !pulls.is_silent("other.example", at(64)));
        assert!(!pulls.is_silent("r.example", at(65)));
    }

    struct Secrets;

    impl VolumeObjects for Secrets {
        fn config_map(&self, _namespace: &str, _name: &str) -> Option<ConfigMap> {
            None
        }

        fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
            let (kind, key, text) = match (namespace, name) {
                ("a", "new") => (
                    "kubernetes.io/dockerconfigjson",
                    ".dockerconfigjson",
                    json!({"auths": {"r.example": {"username": "ann", "password": "x"}}}),
                ),
                ("a", "old") => (
                    "kubernetes.io/dockercfg",
                    ".dockercfg",
                    json!({"r.example": {"username": "bob", "password": "x"}}),
                ),
                ("a", "other") => ("Opaque", ".dockercfg", json!({})),
                _ => return None,
            };
            let data = Some([(key.to_string(), ByteString(text.to_string().into_bytes()))].into());
            Some(Secret { type_: Some(kind.into()), data, ..Secret::default() })
        }

        fn token(&self, _namespace: &str, _pod_uid: &str, _audience: &str, _seconds: i64) -> Option<String> {
            None
        }
    }

    #[test]
    fn pull_secrets_of_the_pod_are_read_in_their_order() {
        let named: Vec<_> = ["old", "gone", "other", "new"].iter().map(|name| json!({ "name": name })).collect();
        let document = json!({"metadata": {"namespace": "a"}, "spec": {"containers": [], "imagePullSecrets": named}});
        let pod = holdfast_pods::typed::pod(document).unwrap();
        let found = credentials(&pod, &Secrets);
        assert_eq!(found.missing, ["gone", "other"]);
        let users: Vec<String> = found.keyring.lookup("r.example/app").into_iter().map(|auth| auth.username).collect();
        assert_eq!(users, ["bob", "ann"]);
        let named = found.named.iter().map(|named| (named.secret.name.as_str(), named.auth.username.as_str()));
        assert_eq!(named.collect::<Vec<_>>(), [("old", "bob"), ("new", "ann")]);
    }
}
