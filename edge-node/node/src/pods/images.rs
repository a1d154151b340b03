//! Pulling a pod's images: when a registry is asked, with which credentials, and who waits for whom.
//!
//! What keeps a pod running must not depend on a network: an image that is here is used without asking while the hub is not
//! connected, and when no registry answers although `imagePullPolicy: Always` wants it asked. Only what a registry says, that
//! the image is gone or not for this pod, stands in a pod's way. An image that is named by its digest is never asked for
//! twice. Pulls come one after the other, as the kubelet's do, unless the settings say otherwise.

use super::work::{Common, digest_reference, handler, is_dense};
use holdfast_env::Mono;
use holdfast_pods::{ImageCame, pull_policy};
use holdfast_runtime::{Found, ImageInfo, Keyring, Progress, RuntimeError, WantedImage, normalise_image_name};
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

/// Sees that an image is here. `pulling` is awaited once, before a registry is asked.
pub(super) async fn fetch_image(
    common: &Common,
    pod: &Pod,
    image: &str,
    always: bool,
    never: bool,
    pulling: impl Future<Output = ()>,
) -> Result<Fetched, RuntimeError> {
    let dense = is_dense(&handler(common, pod).unwrap_or_default());
    fetch(common, pod, image, dense, (always, never), pulling).await
}

/// Sees that the images are here of the volumes that a container mounts; of one that is not, its name and why. What is told of
/// them is told of the pod.
pub(super) async fn fetch_volume_images(
    common: &Common,
    pod: &Pod,
    container: &Container,
) -> Result<(), (String, RuntimeError)> {
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
            Err(err) => return Err((image, err)),
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
) -> Result<Fetched, RuntimeError> {
    let name = normalise_image_name(image)?;
    let present = |info: ImageInfo| Fetched { image_id: digest_reference(info), came: ImageCame::Present };
    let here = look(common, image, dense).await?;
    let by_digest = name.contains('@');
    match (plan(here.is_some(), always && !by_digest, never, common.linked()), here) {
        (Plan::Use, Some(info)) => return Ok(present(info)),
        (Plan::Refuse, _) => return Err(RuntimeError::ImageNeverPull(image.to_string())),
        _ => {}
    }
    pulling.await;
    let (keyring, missing) = keyring(pod, &common.objects);
    if !missing.is_empty() {
        let text = format!(
            "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
            missing.join(", ")
        );
        common.events.pod(pod, None, true, "FailedToRetrieveImagePullSecret", &text).await;
    }
    let _turn = common.pulls.turns.acquire().await;
    // Another pod may have brought it meanwhile.
    let here = look(common, image, dense).await?;
    if let Some(info) = here.clone().filter(|_| !always) {
        return Ok(present(info));
    }
    let registry = name.split('/').next().unwrap_or_default().to_string();
    let unchecked = |info: ImageInfo, reason: String| {
        tracing::warn!(image, reason, "An image is used unchecked");
        Fetched { image_id: digest_reference(info), came: ImageCame::Unchecked { reason } }
    };
    let now = || common.parts.env.monotonic();
    if let Some(info) = here.clone().filter(|_| common.pulls.is_silent(&registry, now())) {
        return Ok(unchecked(info, format!("{registry} did not answer a moment ago")));
    }
    let wanted = WantedImage { name, keyring, wasm_first: dense, here: here.as_ref().map(|info| info.id.clone()) };
    match (pull(common, &wanted, here.clone()).await, here) {
        (Err(RuntimeError::RegistryUnreachable { reason, .. }), Some(info)) => {
            *lock(&common.pulls.silent) = Some((registry, now()));
            Ok(unchecked(info, reason))
        }
        (outcome, _) => outcome,
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

/// What `imagePullPolicy` comes to.
fn plan(here: bool, always: bool, never: bool, linked: bool) -> Plan {
    match (here, never) {
        (true, _) if never || !always || !linked => Plan::Use,
        (false, true) => Plan::Refuse,
        _ => Plan::Ask,
    }
}

/// What is here under a name, in the runtime that has it.
async fn look(common: &Common, image: &str, dense: bool) -> Result<Option<ImageInfo>, RuntimeError> {
    common.runtime_of(image, dense).await?.image(image).await
}

async fn pull(common: &Common, wanted: &WantedImage, here: Option<ImageInfo>) -> Result<Fetched, RuntimeError> {
    let env = &common.parts.env;
    let began = env.monotonic();
    let find = common.parts.registries.find(wanted);
    let found = match here {
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
            let info = runtime.pull_image(&*image).await?;
            common.readiness.images.notify_one();
            info
        }
    };
    let took = env.monotonic().since(began);
    let size_bytes = info.size_bytes;
    Ok(Fetched { image_id: digest_reference(info), came: ImageCame::Pulled { took, size_bytes } })
}

/// The credentials that a pod names, and the secrets among them that are not here or do not read.
fn keyring(pod: &Pod, objects: &dyn VolumeObjects) -> (Keyring, Vec<String>) {
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let (mut keyring, mut missing) = (Keyring::default(), Vec::new());
    let named = pod.spec.iter().flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    for name in named.map(|reference| reference.name.clone()).filter(|name| !name.is_empty()) {
        match objects.secret(&namespace, &name).map(|secret| add(&mut keyring, &secret)) {
            Some(Ok(())) => {}
            None => missing.push(name),
            Some(Err(why)) => {
                tracing::warn!(secret = format!("{namespace}/{name}"), why, "A pull secret does not read");
                missing.push(name);
            }
        }
    }
    (keyring, missing)
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
        // (here, always, never, linked)
        for (case, expected) in [
            ((true, false, false, true), Plan::Use),
            ((true, false, false, false), Plan::Use),
            ((true, true, false, true), Plan::Ask),
            ((true, true, false, false), Plan::Use),
            ((true, false, true, true), Plan::Use),
            ((false, false, true, true), Plan::Refuse),
            ((false, false, false, false), Plan::Ask),
            ((false, true, false, false), Plan::Ask),
        ] {
            let (here, always, never, linked) = case;
            assert_eq!(plan(here, always, never, linked), expected, "{case:?}");
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
        let (ring, missing) = keyring(&pod, &Secrets);
        assert_eq!(missing, ["gone", "other"]);
        let users: Vec<String> = ring.lookup("r.example/app").into_iter().map(|auth| auth.username).collect();
        assert_eq!(users, ["bob", "ann"]);
    }
}
