//! Offline readiness: whether all that a pod needs to come back would be here without the hub.
//!
//! [`readiness`] is the rule, a pure function over what is known; [`Readiness`] keeps the verdicts and puts them into
//! statuses as the condition `edge.holdfast.io/OfflineReady`. It is told on pods and on the node. What it looks at:
//! images in the runtimes, the closure and the tokens in the journal, volumes, and on the node the certificate.
//! Not looked at, because no runtime tells: whether a Wasm module is compiled already.
//!
//! Task: one that judges anew when the journal, a pod or the list of images has changed.

use crate::main_loop::Running;
use crate::objects::Objects;
use crate::pods::PodManager;
use holdfast_core::{Json, Timestamp, json};
use holdfast_runtime::RuntimeError;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, PodStatus, Volume};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The condition's type.
pub const OFFLINE_READY: &str = "edge.holdfast.io/OfflineReady";
/// How long an ended node certificate may still be exchanged for a new one.
const CERTIFICATE_GRACE: Duration = Duration::from_secs(90 * 24 * 3600);
/// A node whose certificate, grace included, ends sooner than this is not ready to be away.
const CERTIFICATE_MARGIN: Duration = Duration::from_secs(30 * 24 * 3600);
/// Changes within this time are judged together.
const SETTLE: Duration = Duration::from_millis(500);
/// The wait before a runtime that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(10);
/// A runtime that has not answered for so long after the start is not there.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the certificate's end is looked at.
const CERTIFICATE_LOOK: Duration = Duration::from_secs(6 * 3600);
/// How many reasons a condition's message lists.
const MAX_LISTED: usize = 10;

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// An image is in no runtime.
    ImageMissing {
        /// The first container that needs it.
        container: String,
        /// As the pod names it.
        image: String,
    },
    /// A runtime that may have an image does not answer.
    ImageUnknown {
        /// As the pod names it.
        image: String,
    },
    /// An object that the pod names is not in the journal.
    ObjectMissing {
        /// `<plural> <namespace>/<name>`.
        object: String,
    },
    /// A volume lives elsewhere.
    VolumeNotLocal {
        /// Its name in the pod.
        volume: String,
    },
    /// A ServiceAccount token is not in the journal, and only the hub can sign one.
    TokenMissing {
        /// The volume that holds it.
        volume: String,
    },
    /// The node's certificate, its grace included, ends soon.
    CertificateEnds {
        /// The end of the grace.
        at: Timestamp,
    },
    /// The manifest of a static pod cannot be read.
    StaticPodBroken {
        /// Its file; empty for the folder.
        file: String,
        /// Why.
        why: String,
    },
    /// A pod of the node is not ready to be without the hub.
    Pod {
        /// `namespace/name`.
        pod: String,
    },
}

impl Reason {
    /// One word, as conditions have it.
    pub fn word(&self) -> &'static str {
        match self {
            Reason::ImageMissing { .. } => "ImageMissing",
            Reason::ImageUnknown { .. } => "ImageUnknown",
            Reason::ObjectMissing { .. } => "ObjectMissing",
            Reason::VolumeNotLocal { .. } => "VolumeNotLocal",
            Reason::TokenMissing { .. } => "TokenMissing",
            Reason::CertificateEnds { .. } => "CertificateEnds",
            Reason::StaticPodBroken { .. } => "StaticPodBroken",
            Reason::Pod { .. } => "PodNotReady",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::ImageMissing { container, image } => {
                write!(f, "image {image:?} of container {container:?} is not on this node")
            }
            Reason::ImageUnknown { image } => write!(f, "the runtime that may have image {image:?} does not answer"),
            Reason::ObjectMissing { object } => write!(f, "{object} is not on this node"),
            Reason::VolumeNotLocal { volume } => write!(f, "volume {volume:?} is not on this node"),
            Reason::TokenMissing { volume } => {
                write!(f, "a token of volume {volume:?} is not on this node, and only the hub can sign one")
            }
            Reason::CertificateEnds { at } => {
                write!(f, "the node could not come back to its hub after {at}: its certificate and the grace end")
            }
            Reason::StaticPodBroken { file, why } if file.is_empty() => write!(f, "static pods cannot be read: {why}"),
            Reason::StaticPodBroken { file, why } => write!(f, "static pod of file {file:?} cannot be read: {why}"),
            Reason::Pod { pod } => write!(f, "pod {pod} is not ready"),
        }
    }
}

/// Where an image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// In a runtime.
    Present,
    /// In none.
    Missing,
    /// A runtime does not answer, and the others do not have it.
    Unknown,
}

/// What a pod's readiness is judged by.
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its images, as the pod names them.
    pub images: &'a BTreeMap<String, ImageState>,
    /// Whether the journal holds an item.
    pub holds: &'a dyn Fn(&str) -> bool,
}

/// What is missing for the pod to come back without the hub; nothing when it is ready.
pub fn readiness(inputs: &Inputs<'_>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut seen = BTreeSet::new();
    for (container, image) in images(inputs.pod) {
        if !seen.insert(image) {
            continue;
        }
        match inputs.images.get(image) {
            Some(ImageState::Present) => {}
            Some(ImageState::Missing) | None => {
                reasons.push(Reason::ImageMissing { container: container.into(), image: image.into() });
            }
            Some(ImageState::Unknown) => reasons.push(Reason::ImageUnknown { image: image.into() }),
        }
    }
    for (key, object) in needed(inputs.pod) {
        if !(inputs.holds)(&key) {
            reasons.push(Reason::ObjectMissing { object });
        }
    }
    for volume in inputs.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        if !is_local(volume) {
            reasons.push(Reason::VolumeNotLocal { volume: volume.name.clone() });
        }
        if tokens(inputs.pod, volume).iter().any(|key| !(inputs.holds)(key)) {
            reasons.push(Reason::TokenMissing { volume: volume.name.clone() });
        }
    }
    reasons
}

/// What keeps a node from being away: its pods, and a certificate that ends too soon to come back with.
pub fn node_readiness<'a>(
    pods: impl Iterator<Item = (&'a str, &'a [Reason])>,
    certificate_ends: Option<Timestamp>,
    now: Timestamp,
) -> Vec<Reason> {
    let ends = certificate_ends.map(|end| end.after(CERTIFICATE_GRACE));
    let ends = ends.filter(|end| *end < now.after(CERTIFICATE_MARGIN)).map(|at| Reason::CertificateEnds { at });
    let pods = pods.filter(|(_, reasons)| !reasons.is_empty()).map(|(pod, _)| Reason::Pod { pod: pod.to_string() });
    ends.into_iter().chain(pods).collect()
}

/// Containers that start again after a reboot, with their images and those of the volumes that they mount.
fn images(pod: &Pod) -> impl Iterator<Item = (&str, &str)> {
    let spec = pod.spec.iter();
    let containers = spec.flat_map(|spec| spec.init_containers.iter().flatten().chain(&spec.containers));
    containers.flat_map(|container| images_of(pod, container))
}

fn images_of<'a>(pod: &'a Pod, container: &'a Container) -> impl Iterator<Item = (&'a str, &'a str)> {
    let is_mounted = |name: &str| container.volume_mounts.iter().flatten().any(|mount| mount.name == name);
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mounted = volumes.filter(move |volume| is_mounted(&volume.name));
    let mounted = mounted.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    container.image.as_deref().into_iter().chain(mounted).map(|image| (container.name.as_str(), image))
}

/// The objects without which the pod does not start: key in the journal, and how it is told. What the pod calls
/// optional is not among them, nor what only a pull or the hub needs.
fn needed(pod: &Pod) -> Vec<(String, String)> {
    const NEEDED: [&str; 4] = ["configmaps", "secrets", "persistentvolumeclaims", "runtimeclasses"];
    let mut doc = holdfast_pods::typed::document(pod);
    without_optional(&mut doc);
    json::remove(&mut doc, &["spec", "imagePullSecrets"]);
    json::remove(&mut doc, &["spec", "ephemeralContainers"]);
    let Some(kind) = holdfast_kinds::by_gvr("", "v1", "pods") else { return Vec::new() };
    let references = (kind.references)(&doc).into_iter();
    references
        .filter(|reference| NEEDED.contains(&reference.gvr.resource.as_str()))
        .map(|reference| {
            let (gvr, namespace, name) = (&reference.gvr, &reference.namespace, &reference.name);
            let key = format!("{}/{}/{}/{namespace}/{name}", gvr.group, gvr.version, gvr.resource);
            let place = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
            (key, format!("{} {place}{name}", gvr.resource))
        })
        .collect()
}

/// Takes out every source that says `optional: true`.
fn without_optional(doc: &mut Json) {
    let optional = |value: &Json| json::bool_at(value, &["optional"]) == Some(true);
    match doc {
        Json::Object(map) => {
            map.retain(|_, value| !optional(value));
            map.values_mut().for_each(without_optional);
        }
        Json::Array(items) => items.iter_mut().for_each(without_optional),
        _ => {}
    }
}

/// Whether a volume needs nothing beyond this machine and the journal.
fn is_local(volume: &Volume) -> bool {
    volume.empty_dir.is_some()
        || volume.host_path.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
        // Its image is looked for with those of containers.
        || volume.image.is_some()
}

/// The keys of the tokens that a volume holds.
fn tokens(pod: &Pod, volume: &Volume) -> Vec<String> {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, uid) = (part(&pod.metadata.namespace), part(&pod.metadata.uid));
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    sources
        .filter_map(|source| source.service_account_token.as_ref())
        .map(|token| {
            let seconds = token.expiration_seconds.unwrap_or(3600);
            crate::objects::token_key(&namespace, &uid, token.audience.as_deref().unwrap_or_default(), seconds)
        })
        .collect()
}

/// Reason and message of a condition.
pub(crate) fn told(reasons: &[Reason]) -> (&'static str, String) {
    let Some(first) = reasons.first() else {
        return ("Ready", "all that is needed to come back is on this node".into());
    };
    let mut message: Vec<String> = reasons.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    if reasons.len() > MAX_LISTED {
        message.push(format!("and {} more", reasons.len() - MAX_LISTED));
    }
    (first.word(), message.join("; "))
}

/// A pod's verdict.
#[derive(Clone, Debug)]
struct Verdict {
    pod: String,
    reasons: Vec<Reason>,
    since: Timestamp,
}

/// The verdicts on all pods, by UID, and on the node.
pub struct Readiness {
    pods: Mutex<BTreeMap<String, Verdict>>,
    /// What is wrong with manifests of static pods.
    broken_manifests: Mutex<Vec<Reason>>,
    node: watch::Sender<Option<Vec<Reason>>>,
    /// Rung when images may have come or gone.
    pub(crate) images: tokio::sync::Notify,
}

impl Default for Readiness {
    fn default() -> Readiness {
        let node = watch::channel(None).0;
        Readiness {
            pods: Mutex::default(),
            broken_manifests: Mutex::default(),
            node,
            images: tokio::sync::Notify::new(),
        }
    }
}

impl Readiness {
    fn pods(&self) -> MutexGuard<'_, BTreeMap<String, Verdict>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the verdict on a pod into its status. A finished pod has none: it does not come back.
    pub(crate) fn mark(&self, uid: &str, status: &mut PodStatus) {
        let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let Some(verdict) = self.pods().get(uid).filter(|_| !finished).cloned() else { return };
        let (reason, message) = told(&verdict.reasons);
        let condition = PodCondition {
            type_: OFFLINE_READY.into(),
            status: if verdict.reasons.is_empty() { "True" } else { "False" }.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: crate::objects::api_time(verdict.since),
            ..PodCondition::default()
        };
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|known| known.type_ != OFFLINE_READY);
        conditions.push(condition);
    }

    /// Takes what is wrong with manifests of static pods, by file.
    pub(crate) fn set_broken_manifests(&self, problems: BTreeMap<String, String>) {
        let reasons = problems.into_iter().map(|(file, why)| Reason::StaticPodBroken { file, why }).collect();
        *self.broken_manifests.lock().unwrap_or_else(PoisonError::into_inner) = reasons;
        // Whatever rings for images has all judged anew.
        self.images.notify_one();
    }

    /// The pods that would not come back: `namespace/name` and why.
    pub fn unready(&self) -> Vec<(String, Vec<Reason>)> {
        let pods = self.pods();
        let mut unready: Vec<_> = pods
            .values()
            .filter(|verdict| !verdict.reasons.is_empty())
            .map(|verdict| (verdict.pod.clone(), verdict.reasons.clone()))
            .collect();
        unready.sort();
        unready
    }

    /// Follows the verdict on the node; `None` before the first.
    pub fn node(&self) -> watch::Receiver<Option<Vec<Reason>>> {
        self.node.subscribe()
    }

    /// Takes new verdicts; the UIDs whose condition changes by them.
    fn take(
        &self,
        judged: BTreeMap<String, (String, Vec<Reason>)>,
        now: Timestamp,
        told_before: impl Fn(&str) -> Option<(bool, Timestamp)>,
    ) -> Vec<String> {
        let mut pods = self.pods();
        let mut changed = Vec::new();
        pods.retain(|uid, _| judged.contains_key(uid));
        for (uid, (pod, reasons)) in judged {
            let before = pods.get(&uid).map(|verdict| (verdict.reasons.is_empty(), verdict.since));
            if pods.get(&uid).is_some_and(|verdict| verdict.reasons == reasons) {
                continue;
            }
            // After a restart of the agent the transition is still the one that was told.
            let before = before.or_else(|| told_before(&pod));
            let since = before.filter(|(ready, _)| *ready == reasons.is_empty()).map_or(now, |(_, since)| since);
            pods.insert(uid.clone(), Verdict { pod, reasons, since });
            changed.push(uid);
        }
        changed
    }
}

/// Judges anew when something has changed, until dropped.
pub(crate) async fn run(node: Arc<Running>, objects: Objects, pods: Arc<PodManager>) {
    let env = node.parts.env.clone();
    let mut items = node.store.items();
    let mut ready = pods.watch_ready();
    let started = env.monotonic();
    loop {
        items.mark_unchanged();
        ready.mark_unchanged();
        let patient = env.monotonic().since(started) < PATIENCE;
        let silent = judge(&node, &objects, &pods, patient).await;
        let wait = if silent { RETRY } else { CERTIFICATE_LOOK };
        tokio::select! {
            biased;
            changed = items.changed() => if changed.is_err() { return },
            changed = ready.changed() => if changed.is_err() { return },
            () = node.readiness.images.notified() => {}
            () = env.sleep(wait) => {}
        }
        env.sleep(SETTLE).await;
    }
}

/// One round; whether a runtime did not answer.
async fn judge(node: &Running, objects: &Objects, pods: &PodManager, patient: bool) -> bool {
    let now = Timestamp::from_wall(node.parts.env.wall().0);
    let all: Vec<Arc<Pod>> = objects.pods().into_iter().filter(|pod| comes_back(pod)).collect();
    let wanted: BTreeSet<String> = all.iter().flat_map(|pod| images(pod).map(|(_, image)| image.to_string())).collect();
    let mut states = BTreeMap::new();
    for image in wanted {
        let state = image_state(node, &image).await;
        states.insert(image, state);
    }
    let silent = states.values().any(|state| *state == ImageState::Unknown);
    if silent && patient {
        // At boot the runtimes need a moment: what was told before stands until then.
        return true;
    }
    let holds = |key: &str| node.store.read(|state| state.items().contains_key(key));
    let judged: BTreeMap<String, (String, Vec<Reason>)> = all
        .iter()
        .map(|pod| {
            let part = |text: &Option<String>| text.clone().unwrap_or_default();
            let name = format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name));
            let reasons = readiness(&Inputs { pod, images: &states, holds: &holds });
            (part(&pod.metadata.uid), (name, reasons))
        })
        .collect();
    let ends = node.parts.identity.certificate_ends();
    let mut of_node = node.readiness.broken_manifests.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let pods_and_certificate =
        node_readiness(judged.values().map(|(name, reasons)| (name.as_str(), reasons.as_slice())), ends, now);
    of_node.extend(pods_and_certificate);
    let changed = node.readiness.take(judged, now, |pod| told_before(node, pod));
    node.readiness.node.send_if_modified(|known| {
        let news = known.as_ref() != Some(&of_node);
        *known = Some(of_node);
        news
    });
    for uid in changed {
        pods.refresh(&uid).await;
    }
    silent
}

/// Whether a pod would be started again.
fn comes_back(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && !matches!(phase, Some("Succeeded" | "Failed"))
}

async fn image_state(node: &Running, image: &str) -> ImageState {
    let mut state = ImageState::Missing;
    for runtime in [&node.parts.oci, &node.parts.wasm] {
        match runtime.image(image).await {
            Ok(Some(_)) => return ImageState::Present,
            Ok(None) => {}
            Err(RuntimeError::Unavailable { .. }) => state = ImageState::Unknown,
            // A name that a runtime cannot read, or an image that it cannot use, is as good as none.
            Err(_) => {}
        }
    }
    state
}

/// What the pod's last status said of this condition, and since when.
fn told_before(node: &Running, pod: &str) -> Option<(bool, Timestamp)> {
    let body = node.store.read(|state| {
        state.outbox().state_fact(&format!("{}{pod}", crate::objects::PODS)).map(|(_, body)| body.clone())
    })?;
    let body: Json = serde_json::from_slice(&body).ok()?;
    let conditions = json::items_at(&body, &["status", "conditions"]);
    let told = conditions.iter().find(|condition| json::str_at(condition, &["type"]) == Some(OFFLINE_READY))?;
    let since = json::str_at(told, &["lastTransitionTime"]).and_then(Timestamp::parse)?;
    Some((json::str_at(told, &["status"]) == Some("True"), since))
}

#[cfg(test)]
mod tests;
