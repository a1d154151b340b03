//! PodTopologyLabels: pods carry the zone and the region of their node, so that what runs in them can read both.

use super::Admission;
use crate::engine::Engine;
use holdfast_core::json::{at, set, str_at};
use holdfast_core::{Gvr, Json, Status};

const LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// Labels a pod that comes with its node.
pub(crate) async fn mutate(cx: &Admission<'_>, doc: &mut Json) -> Result<(), Status> {
    let node = str_at(doc, &["spec", "nodeName"]).unwrap_or_default().to_string();
    if node.is_empty() { Ok(()) } else { label(cx.engine, &node, doc).await }
}

/// Gives a pod the labels of a node; its own stay. A node that is not there has none.
pub(crate) async fn label(engine: &Engine, node: &str, pod: &mut Json) -> Result<(), Status> {
    let Some(node) = engine.find(&Gvr::new("", "v1", "nodes"), "", node).await? else { return Ok(()) };
    for name in LABELS {
        if let Some(value) = node.meta.labels.get(name) {
            add(pod, name, value);
        }
    }
    Ok(())
}

/// Sets a label that is not there yet.
pub(crate) fn add(pod: &mut Json, name: &str, value: &str) {
    let path = ["metadata", "labels", name];
    if at(pod, &path).is_none() {
        set(pod, &path, value);
    }
}
