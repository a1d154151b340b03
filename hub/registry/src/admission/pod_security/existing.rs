//! What a namespace's new level finds in the pods that are there already: nothing happens to them, and whoever sets it is told.

use super::{Level, PREFIX, Policy, checks};
use crate::admission::Admission;
use crate::limits::{LEVEL_CHECK, PODS_HELD_AGAINST_LEVEL};
use holdfast_core::json::at;
use holdfast_core::{Gvr, Json, Status};
use std::collections::BTreeMap;

/// Pods that are wrong in the same way: the first by name, and how many there are.
struct Alike {
    first: String,
    count: usize,
}

/// Warns of pods that a new or stricter `enforce` would not let in.
pub(super) async fn warn(cx: &Admission<'_>, doc: &Json, old: &Json) -> Result<(), Status> {
    let (new, before) = (enforced(doc), enforced(old));
    let relaxed = new.version == before.version && new.level <= before.level;
    if new == before || new.level == Level::Privileged || relaxed {
        return Ok(());
    }
    let name = at(doc, &["metadata", "name"]).and_then(Json::as_str).unwrap_or_default();
    let pods = cx.engine.find_all(&Gvr::new("", "v1", "pods"), name).await?;
    let end = cx.engine.env.monotonic().after(LEVEL_CHECK);
    let mut found: BTreeMap<String, Alike> = BTreeMap::new();
    let mut checked = 0;
    for pod in pods.iter().take(PODS_HELD_AGAINST_LEVEL) {
        checked += 1;
        let pod_doc = pod.to_json();
        let spec = pod_doc.get("spec").unwrap_or(&Json::Null);
        let problems = checks::run(new.level, new.minor, pod_doc.get("metadata"), spec);
        if !problems.is_empty() {
            let reasons: Vec<String> = problems.into_iter().map(|(reason, _)| reason).collect();
            let alike = found.entry(reasons.join(", ")).or_insert(Alike { first: pod.meta.name.clone(), count: 0 });
            alike.count += 1;
        }
        if cx.engine.env.monotonic() >= end {
            break;
        }
    }
    if checked < pods.len() {
        let all = pods.len();
        cx.cx.warn(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {all} existing pods"
        ));
    }
    if !found.is_empty() {
        let level = new.shown();
        cx.cx.warn(format!("existing pods in namespace {name:?} violate the new PodSecurity enforce level {level:?}"));
    }
    let line = |(reasons, alike): (String, Alike)| match alike.count {
        1 => format!("{}: {reasons}", alike.first),
        2 => format!("{} (and 1 other pod): {reasons}", alike.first),
        count => format!("{} (and {} other pods): {reasons}", alike.first, count - 1),
    };
    let mut lines: Vec<String> = found.into_iter().map(line).collect();
    lines.sort_unstable();
    lines.into_iter().for_each(|line| cx.cx.warn(line));
    Ok(())
}

fn enforced(namespace: &Json) -> Policy {
    let labels = at(namespace, &["metadata", "labels"]).and_then(Json::as_object).into_iter().flatten();
    let ours = labels.filter(|(name, _)| name.starts_with(PREFIX));
    let ours = ours.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_string())));
    Policy::of(&ours.collect(), "enforce")
}
