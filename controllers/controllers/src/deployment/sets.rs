//! The ReplicaSets of a Deployment: the new one and the old ones.

use super::{Deployment, pod_template_hash};
use holdfast_controller::{Item, Key, decode};
use holdfast_core::{Json, Object, Timestamp, json as path};
use serde::Deserialize;
use std::sync::Arc;

pub(super) const REVISION: &str = "deployment.kubernetes.io/revision";
pub(super) const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub(super) const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub(super) const MAX: &str = "deployment.kubernetes.io/max-replicas";
pub(super) const HASH: &str = "pod-template-hash";

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    spec: RawSpec,
    status: RawStatus,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    replicas: Option<i64>,
    template: Json,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    replicas: i64,
    ready_replicas: i64,
    available_replicas: i64,
    observed_generation: i64,
    conditions: Vec<Json>,
}

/// A ReplicaSet in one reconcile. The document changes as it is written.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub(super) doc: Json,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) replicas: i64,
    pub(super) status_replicas: i64,
    pub(super) ready: i64,
    pub(super) available: i64,
    /// Whether its controller saw the last change.
    pub(super) observed: bool,
    pub(super) deleting: bool,
    pub(super) created: Option<Timestamp>,
    pub(super) conditions: Vec<Json>,
    template: Json,
}

impl Set {
    pub(super) fn of(object: &Arc<Object>) -> Set {
        let Raw { spec, status } = decode(object);
        let mut template = spec.template;
        path::remove(&mut template, &["metadata", "labels", HASH]);
        Set {
            doc: object.to_json(),
            name: object.meta.name.clone(),
            uid: object.meta.uid.clone(),
            replicas: spec.replicas.unwrap_or(1),
            status_replicas: status.replicas,
            ready: status.ready_replicas,
            available: status.available_replicas,
            observed: status.observed_generation >= object.meta.generation,
            deleting: object.meta.is_deleting(),
            created: object.meta.creation_timestamp,
            conditions: status.conditions,
            template,
        }
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        path::str_at(&self.doc, &["metadata", "annotations", name])
    }

    pub(super) fn revision(&self) -> i64 {
        self.annotation(REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub(super) fn number(&self, annotation: &str) -> Option<i64> {
        self.annotation(annotation).and_then(|text| text.parse().ok())
    }

    pub(super) fn key(&self, namespace: &str) -> Key {
        Key::new(namespace, &self.name)
    }
}

/// The new set, if it is there, and the old ones, oldest first.
pub(super) struct Sets {
    pub(super) new: Option<Set>,
    pub(super) old: Vec<Set>,
}

impl Sets {
    pub(super) fn new(deployment: &Deployment, claimed: &[Arc<Item<Arc<Object>>>]) -> Sets {
        let mut all: Vec<Set> = claimed.iter().map(|item| Set::of(&item.value)).collect();
        all.sort_by(|a, b| (a.created, &a.name).cmp(&(b.created, &b.name)));
        let wanted = plain(&deployment.spec.template);
        let hash = pod_template_hash(&plain(&deployment.spec.template), deployment.collisions);
        let named = format!("{}-{hash}", deployment.key.name);
        // The oldest with the same template, as upstream; else the one that this very template named, in case a
        // default was added to one of the two since.
        let same = all.iter().position(|set| plain(&set.template) == wanted);
        let at = same.or_else(|| all.iter().position(|set| set.name == named));
        let new = at.map(|at| all.remove(at));
        Sets { new, old: all }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(self.new.iter())
    }

    /// Pods that are wanted of all sets.
    pub(super) fn replicas(&self) -> i64 {
        self.all().map(|set| set.replicas).sum()
    }

    pub(super) fn old_replicas(&self) -> i64 {
        self.old.iter().map(|set| set.replicas).sum()
    }

    pub(super) fn available(&self) -> i64 {
        self.all().map(|set| set.available).sum()
    }

    /// Whether the wanted number changed since the sets were scaled last.
    pub(super) fn must_scale(&self, replicas: i64) -> bool {
        let active = self.all().filter(|set| set.replicas > 0);
        active.into_iter().any(|set| set.number(DESIRED).is_some_and(|desired| desired != replicas))
    }
}

/// A template without nulls and without our own label.
pub(super) fn plain(template: &Json) -> Json {
    fn strip(value: &Json) -> Json {
        match value {
            Json::Object(map) => {
                let kept = map.iter().filter(|(_, value)| !value.is_null());
                Json::Object(kept.map(|(key, value)| (key.clone(), strip(value))).collect())
            }
            Json::Array(items) => Json::Array(items.iter().map(strip).collect()),
            scalar => scalar.clone(),
        }
    }
    let mut plain = strip(template);
    path::remove(&mut plain, &["metadata", "labels", HASH]);
    plain
}
