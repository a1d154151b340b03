//! Making room: images that nothing here names are removed when their file system fills up, and all of them when a pod would
//! have to go for it otherwise.
//!
//! Thresholds and ages are the kubelet's. An image that a pod of the journal names stays, whether the pod runs or not: it
//! must start without a network. So does one that was imported, as no registry may have it; a runtime lists only what it
//! pulled. While the journal is in doubt nothing is removed.
//!
//! Task: one, which looks every five minutes.

use super::pull_records;
use super::work::Common;
use holdfast_edge_store::Doubt;
use holdfast_env::Mono;
use holdfast_runtime::{FsUsage, ImageInfo, Runtime, RuntimeError, normalise_image_name};
use k8s_openapi::api::core::v1::Pod;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the file system is looked at.
const PERIOD: Duration = Duration::from_secs(300);
/// Percent of use from which on room is made, and down to which.
const HIGH: u64 = 85;
const LOW: u64 = 80;
/// An image that came, or was used, more recently stays.
const MIN_AGE: Duration = Duration::from_secs(120);
/// How long one answer of a runtime may take.
const ANSWER: Duration = Duration::from_secs(150);

const _: () = assert!(LOW < HIGH && HIGH < 100);

/// When images were first seen and last used, by id. It is kept for the life of the agent.
#[derive(Debug, Default)]
pub(crate) struct Ages {
    known: BTreeMap<String, Age>,
    /// Somebody has looked before: what is seen for the first time after that has just come.
    looked: bool,
}

#[derive(Clone, Copy, Debug)]
struct Age {
    /// When it was first seen; `None` if it was here before anybody looked.
    first: Option<Mono>,
    used: Option<Mono>,
}

impl Ages {
    /// Notes what is here, and what of it is in use.
    fn see(&mut self, images: &[ImageInfo], names: &BTreeSet<String>, now: Mono) {
        self.known.retain(|id, _| images.iter().any(|image| image.id == *id));
        let came = std::mem::replace(&mut self.looked, true).then_some(now);
        for image in images {
            let age = self.known.entry(image.id.clone()).or_insert(Age { first: came, used: None });
            if is_named(image, names) {
                age.used = Some(now);
            }
        }
    }

    /// The image to remove next, if any: the one that was not used for the longest time.
    fn oldest<'a>(&self, images: &'a [ImageInfo], names: &BTreeSet<String>, now: Mono) -> Option<&'a ImageInfo> {
        let age = |image: &ImageInfo| self.known.get(&image.id).map(|age| (age.used, age.first));
        let old = |image: &&ImageInfo| {
            let last = age(image).map(|(used, first)| used.max(first));
            let is_old = |last: Option<Mono>| last.is_none_or(|last| now.since(last) >= MIN_AGE);
            !is_named(image, names) && last.is_some_and(is_old)
        };
        images.iter().filter(old).min_by_key(|image| age(image))
    }
}

fn is_named(image: &ImageInfo, names: &BTreeSet<String>) -> bool {
    names.contains(&image.id) || image.names.iter().any(|name| names.contains(name))
}

fn percent(usage: FsUsage) -> u64 {
    let used = usage.capacity_bytes.saturating_sub(usage.available_bytes);
    used.saturating_mul(100).checked_div(usage.capacity_bytes).unwrap_or(0)
}

/// Names of all images that pods want, in full.
fn wanted(pods: &[Arc<Pod>]) -> BTreeSet<String> {
    let specs = pods.iter().filter_map(|pod| pod.spec.as_ref());
    let names = specs.flat_map(|spec| {
        let containers = spec.init_containers.iter().flatten().chain(&spec.containers).map(|one| &one.image);
        let containers = containers.chain(spec.ephemeral_containers.iter().flatten().map(|one| &one.image)).flatten();
        let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref()?.reference.as_ref());
        containers.chain(volumes)
    });
    names.filter_map(|name| normalise_image_name(name).ok()).collect()
}

/// Looks and makes room until dropped.
pub(crate) async fn run(common: Arc<Common>) {
    let env = common.parts.env.clone();
    let mut doubt = common.store.doubt();
    let mut short = [false, false];
    loop {
        env.sleep(PERIOD).await;
        if doubt.wait_for(|doubt| *doubt == Doubt::None).await.is_err() {
            return;
        }
        for (which, short) in short.iter_mut().enumerate() {
            let runtime = runtime(&common, which);
            match env.timeout(ANSWER, make_room(&common, which, false)).await {
                Some(Ok(fits)) => {
                    if !fits && !*short {
                        let text = "Failed to garbage collect required amount of images. All that are left are in use, \
                                    too young, or were imported.";
                        let uid = &common.parts.config.node_uid;
                        common.events.node(uid, true, "FreeDiskSpaceFailed", text).await;
                    }
                    *short = !fits;
                }
                Some(Err(err)) => tracing::debug!(runtime = runtime.name(), %err, "Images were not looked through"),
                None => tracing::warn!(runtime = runtime.name(), "Images were not looked through in time"),
            }
        }
        if env.timeout(ANSWER, pull_records::prune(&common)).await.is_none() {
            tracing::warn!("Images that are gone were not forgotten in time");
        }
    }
}

/// Removes whatever may be removed. While the journal is in doubt that is nothing.
pub(crate) async fn remove_unused(common: &Common) {
    if *common.store.doubt().borrow() != Doubt::None {
        return;
    }
    for which in [0, 1] {
        let runtime = runtime(common, which);
        match common.parts.env.timeout(ANSWER, make_room(common, which, true)).await {
            Some(Ok(_)) => {}
            Some(Err(err)) => tracing::debug!(runtime = runtime.name(), %err, "Unused images were not removed"),
            None => tracing::warn!(runtime = runtime.name(), "Unused images were not removed in time"),
        }
    }
}

fn runtime(common: &Common, which: usize) -> &dyn Runtime {
    if which == 0 { &*common.parts.oci } else { &*common.parts.wasm }
}

fn ages(common: &Common) -> MutexGuard<'_, [Ages; 2]> {
    common.images.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes what has to go, or all that may go; whether there is room now.
async fn make_room(common: &Common, which: usize, all: bool) -> Result<bool, RuntimeError> {
    let (env, runtime) = (&common.parts.env, runtime(common, which));
    let Some(mut usage) = runtime.image_fs().await? else { return Ok(true) };
    let mut goal = if all { 0 } else { HIGH };
    loop {
        let images = runtime.pulled_images().await?;
        let mut names = wanted(&common.objects.pods());
        for container in runtime.list_containers().await? {
            names.extend([container.image, container.image_id]);
        }
        let now = env.monotonic();
        let oldest = {
            let mut both = ages(common);
            both[which].see(&images, &names, now);
            both[which].oldest(&images, &names, now).cloned()
        };
        if percent(usage) < goal {
            return Ok(true);
        }
        goal = goal.min(LOW);
        let Some(image) = oldest else { return Ok(false) };
        tracing::info!(image = ?image.names.first(), bytes = image.size_bytes, "Removing an image to make room");
        runtime.remove_image(&image.id).await?;
        common.readiness.images.notify_one();
        let Some(now) = runtime.image_fs().await? else { return Ok(true) };
        usage = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn image(id: &str) -> ImageInfo {
        ImageInfo {
            id: id.into(),
            names: vec![format!("r.example/{id}:1"), format!("r.example/{id}@{id}")],
            size_bytes: 1,
            is_wasm: false,
            user: String::new(),
        }
    }

    fn at(secs: u64) -> Mono {
        Mono(Duration::from_secs(secs))
    }

    #[test]
    fn the_image_that_was_unused_for_longest_goes_first() {
        let images = [image("a"), image("b"), image("c")];
        let mut ages = Ages::default();
        let using = |name: &str| BTreeSet::from([format!("r.example/{name}:1")]);
        ages.see(&[], &using("a"), at(0));
        ages.see(&images[..2], &using("a"), at(0));
        ages.see(&images, &using("b"), at(300));
        // c is named, a was used at 0, b at 300.
        let named = using("c");
        assert_eq!(ages.oldest(&images, &named, at(310)).map(|image| image.id.as_str()), Some("a"));
        assert_eq!(ages.oldest(&images[1..], &named, at(310)), None, "b was used too recently, c is named");
        assert_eq!(ages.oldest(&images[1..], &named, at(420)).map(|image| image.id.as_str()), Some("b"));
        assert_eq!(ages.oldest(&images[2..], &named, at(900)), None);
        // One that was never used goes before one that was.
        assert_eq!(ages.oldest(&images, &using("a"), at(900)).map(|image| image.id.as_str()), Some("c"));
        ages.see(&images[..1], &named, at(901));
        assert_eq!(ages.known.len(), 1);
    }

    #[test]
    fn what_was_here_at_the_first_look_may_be_old() {
        let (images, nothing) = ([image("a"), image("b")], BTreeSet::new());
        let mut ages = Ages::default();
        ages.see(&images[..1], &nothing, at(1));
        ages.see(&images, &nothing, at(10));
        assert_eq!(ages.oldest(&images, &nothing, at(10)).map(|image| image.id.as_str()), Some("a"));
        assert_eq!(ages.oldest(&images[1..], &nothing, at(10)), None, "b has just come");
    }

    #[test]
    fn pods_name_all_their_images_in_full() {
        let document = json!({"spec": {
            "initContainers": [{"name": "i", "image": "init"}],
            "containers": [{"name": "c", "image": "r.example/c:2"}, {"name": "none"}],
            "ephemeralContainers": [{"name": "e", "image": "me/debug"}],
            "volumes": [{"name": "v", "image": {"reference": "me/data:3"}}, {"name": "d", "emptyDir": {}}],
        }});
        let pod = Arc::new(holdfast_pods::typed::pod(document).unwrap());
        let names: Vec<String> = wanted(&[pod]).into_iter().collect();
        let expected =
            ["docker.io/library/init:latest", "docker.io/me/data:3", "docker.io/me/debug:latest", "r.example/c:2"];
        assert_eq!(names, expected);
        let usage = FsUsage { capacity_bytes: 1000, available_bytes: 151, ..FsUsage::default() };
        assert_eq!(percent(usage), 84);
        assert_eq!(percent(FsUsage::default()), 0);
    }
}
