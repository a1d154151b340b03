//! Static pods: manifests in a folder of this machine, which run without the hub and whether the node has ever joined.
//!
//! A manifest that reads becomes a note `static/<file>` of the journal, and the notes are what runs: [`crate::objects`] gives
//! them out among the pods. So a file that becomes broken changes nothing of what runs, also over a restart, and a power cut
//! needs neither hub nor luck. The pod's UID is a hash of node, path and content: another content is another pod.
//!
//! At the hub a static pod is shown by a mirror pod (`pods/mirrors.rs`), which runs nothing.
//!
//! Task: [`Keeper::run`], only where the setting is given.

mod folder;
mod manifest;

use crate::events::Events;
use crate::objects::PODS;
use crate::readiness::Readiness;
use crate::store::SharedStore;
use bytes::Bytes;
use folder::{Folder, Look};
use holdfast_core::{Json, Timestamp, json};
use holdfast_edge_store::{Record, State};
use holdfast_env::World;
use k8s_openapi::api::core::v1::Pod;
pub(crate) use manifest::mirror_of;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What the keys of static pods' notes begin with.
pub(crate) const NOTES: &str = "static/";
/// Where a pod comes from; `file` for a static one.
const SOURCE: &str = "kubernetes.io/config.source";
const FILE: &str = "file";
/// The hash of a static pod, which is its UID.
const HASH: &str = "kubernetes.io/config.hash";
/// When its content was first seen.
const SEEN: &str = "kubernetes.io/config.seen";
/// The hash of the static pod that a mirror pod shows.
pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
/// How often the folder is looked at: six wake-ups a minute, and sooner than the kubelet's twenty seconds.
const PERIOD: Duration = Duration::from_secs(10);

fn annotation<'p>(pod: &'p Pod, key: &str) -> Option<&'p str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether a pod is a static one of this node.
pub(crate) fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE) == Some(FILE)
}

/// The hash of the static pod that a mirror pod shows; `None` for other pods.
pub(crate) fn mirrored(pod: &Pod) -> Option<&str> {
    annotation(pod, MIRROR)
}

/// The static pods' notes: file, and the pod as JSON.
pub(crate) fn notes(state: &State) -> impl Iterator<Item = (&str, Bytes)> {
    let notes = state.notes().range(NOTES.to_string()..);
    notes.map_while(|(key, value)| Some((key.strip_prefix(NOTES)?, Bytes::from(value.clone()))))
}

/// What the hub has under a static pod's key.
pub(crate) enum AtHub {
    /// Nothing that this node knows of.
    Nothing,
    /// A mirror pod.
    Mirror {
        /// The hub's UID of it.
        uid: String,
        /// It shows this very static pod, and is not being deleted.
        is_current: bool,
    },
    /// An ordinary pod.
    Other,
}

/// What the hub has under `key`, seen by the static pod with this UID.
pub(crate) fn at_hub(state: &State, key: &str, static_uid: &str) -> AtHub {
    let Some(item) = state.items().get(key) else { return AtHub::Nothing };
    let doc: Json = serde_json::from_slice(&item.body).unwrap_or_default();
    match json::str_at(&doc, &["metadata", "annotations", MIRROR]) {
        Some(hash) => AtHub::Mirror {
            uid: json::str_at(&doc, &["metadata", "uid"]).unwrap_or_default().to_string(),
            is_current: hash == static_uid && json::at(&doc, &["metadata", "deletionTimestamp"]).is_none(),
        },
        None => AtHub::Other,
    }
}

/// Whether an item is a mirror pod.
pub(crate) fn is_mirror(state: &State, key: &str) -> bool {
    key.starts_with(PODS) && matches!(at_hub(state, key, ""), AtHub::Mirror { .. })
}

/// Keeps the notes in step with the folder.
pub(crate) struct Keeper {
    env: World,
    store: Arc<SharedStore>,
    events: Events,
    readiness: Arc<Readiness>,
    node_name: String,
    node_uid: String,
    /// Not there while it is being read.
    folder: Option<Folder>,
    /// What is wrong, by file; under the empty name, with the folder.
    problems: BTreeMap<String, String>,
}

impl Keeper {
    /// A keeper for the manifests at `path`, a folder or one file, that has not looked yet.
    pub(crate) fn new(
        env: World,
        store: Arc<SharedStore>,
        events: Events,
        readiness: Arc<Readiness>,
        (node_name, node_uid): (&str, &str),
        path: PathBuf,
    ) -> Keeper {
        Keeper {
            env,
            store,
            events,
            readiness,
            node_name: node_name.into(),
            node_uid: node_uid.into(),
            folder: Some(Folder::new(path)),
            problems: BTreeMap::new(),
        }
    }

    /// Looks until dropped.
    pub(crate) async fn run(mut self) {
        loop {
            self.env.sleep(PERIOD).await;
            self.look().await;
        }
    }

    /// Looks once, and makes the journal fit.
    pub(crate) async fn look(&mut self) {
        let Some(mut folder) = self.folder.take() else { return };
        let looked = self.env.blocking(move || {
            let look = folder.look();
            (folder, look)
        });
        // The node is ending.
        let Some((folder, look)) = looked.await else { return };
        let mut problems = self.problems.clone();
        match look {
            Ok(look) => {
                problems.remove("");
                problems.retain(|file, _| file.is_empty() || look.present.contains(file));
                let seen = Timestamp::from_wall(self.env.wall().0);
                let known: BTreeMap<String, Bytes> =
                    self.store.read(|state| notes(state).map(|(file, pod)| (file.to_string(), pod)).collect());
                let batch = changes(&known, &look, |file, text| {
                    let path = folder.path_of(file);
                    manifest::read(text, &self.node_name, &path.to_string_lossy(), seen)
                });
                problems.extend(batch.problems);
                for file in batch.sound {
                    problems.remove(&file);
                }
                if !batch.records.is_empty()
                    && let Err(err) = self.store.commit(batch.records).await
                {
                    tracing::error!(%err, "Static pods could not be noted");
                    // Read again next time.
                    self.folder = Some(folder.forgetful());
                    return;
                }
            }
            Err(why) => {
                problems.insert(String::new(), why);
            }
        }
        self.folder = Some(folder);
        self.tell(problems).await;
    }

    /// Says what is newly wrong.
    async fn tell(&mut self, problems: BTreeMap<String, String>) {
        if problems == self.problems {
            return;
        }
        for (file, why) in problems.iter().filter(|(file, why)| self.problems.get(*file) != Some(*why)) {
            tracing::error!(file, why, "A static pod cannot be read; what ran of it before goes on");
            let what = if file.is_empty() { "Static pods".to_string() } else { format!("Static pod of file {file:?}") };
            let message = format!("{what} cannot be read: {why}. What ran before goes on.");
            self.events.node(&self.node_uid, true, "InvalidStaticPod", &message).await;
        }
        self.readiness.set_broken_manifests(problems.clone());
        self.problems = problems;
    }
}

/// Lets go of the static pods of a node that has no manifests any more.
pub(crate) async fn let_go(store: &SharedStore) {
    let drops: Vec<Record> =
        store.read(|state| notes(state).map(|(file, _)| Record::DropNote { key: format!("{NOTES}{file}") }).collect());
    if !drops.is_empty()
        && let Err(err) = store.commit(drops).await
    {
        tracing::error!(%err, "Static pods could not be let go");
    }
}

/// What a look at the folder changes.
#[derive(Debug, Default)]
struct Changes {
    records: Vec<Record>,
    /// By file.
    problems: BTreeMap<String, String>,
    /// Files that read.
    sound: Vec<String>,
}

fn names(pod: &Json) -> (String, String) {
    let part = |field: &str| json::str_at(pod, &["metadata", field]).unwrap_or_default().to_string();
    (part("namespace"), part("name"))
}

/// From the notes that are known and a look at the folder to the notes that are to be.
fn changes(
    known: &BTreeMap<String, Bytes>,
    look: &Look,
    read: impl Fn(&str, &[u8]) -> Result<Json, String>,
) -> Changes {
    let mut changes = Changes::default();
    let mut pods: BTreeMap<&str, Json> = BTreeMap::new();
    for (file, body) in known {
        if look.present.contains(file) {
            pods.insert(file, serde_json::from_slice(body).unwrap_or_default());
        } else {
            changes.records.push(Record::DropNote { key: format!("{NOTES}{file}") });
        }
    }
    for (file, text) in &look.changed {
        let pod = text.as_ref().map_err(Clone::clone).and_then(|text| read(file, text)).and_then(|pod| {
            let other = pods.iter().find(|(other, known)| **other != file && names(known) == names(&pod));
            match other {
                Some((other, _)) => Err(format!("the pod {:?} is in file {other:?} already", names(&pod).1)),
                None => Ok(pod),
            }
        });
        match pod {
            Ok(pod) => {
                let uid = |pod: &Json| json::str_at(pod, &["metadata", "uid"]).map(str::to_string);
                // The same pod keeps when it was seen first.
                if pods.get(file.as_str()).and_then(uid) != uid(&pod) {
                    let value = pod.to_string().into_bytes();
                    changes.records.push(Record::PutNote { key: format!("{NOTES}{file}"), value });
                    pods.insert(file, pod);
                }
                changes.sound.push(file.clone());
            }
            Err(why) => {
                changes.problems.insert(file.clone(), why);
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests;
