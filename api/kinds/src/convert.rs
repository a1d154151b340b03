//! One stored form for kinds with several versions.
//!
//! Objects are stored in the storage version and converted on the way in and out.

pub(crate) mod hpa;

use crate::Kind;
use holdfast_core::gvk::{api_version, parse_api_version};
use holdfast_core::{Json, Object, Status};
use std::borrow::Cow;
use std::sync::Arc;

/// Field of core/v1 Event, field of events.k8s.io/v1 Event.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// The version in which objects of this kind are stored.
pub fn storage_version(kind: &Kind) -> &Kind {
    let stored = match (kind.group, kind.kind) {
        ("events.k8s.io", "Event") => crate::by_gvk("", "v1", "Event"),
        ("autoscaling", "HorizontalPodAutoscaler") => crate::by_gvk("autoscaling", "v2", kind.kind),
        _ => None,
    };
    stored.unwrap_or(kind)
}

/// Whether a kind is another view of objects that a different one shows as well, which is served too and stands for all.
pub fn is_view(kind: &Kind) -> bool {
    match kind.custom {
        Some(custom) => custom.main_version != kind.version,
        None => {
            let stored = storage_version(kind);
            (stored.group, stored.version) != (kind.group, kind.version)
        }
    }
}

/// Whether a stored object is in another version. Custom kinds change their storage version, and old objects stay as they are.
pub fn is_converted(kind: &Kind, object: &Object) -> bool {
    object.gvk.version != kind.version || object.gvk.group != kind.group
}

/// The form in which a document of a built-in kind is stored. One of a custom kind stays in its version: how that is stored is
/// for its definition to say.
pub fn to_storage(kind: &Kind, doc: &mut Json) {
    if kind.custom.is_none() && is_view(kind) {
        convert(doc, storage_version(kind));
    }
}

/// The document of a stored object in the version that was asked for.
pub fn shown_document(kind: &Kind, object: &Object) -> Json {
    let mut doc = object.to_json();
    if is_converted(kind, object) {
        convert(&mut doc, kind);
    }
    doc
}

/// A document in stored form in the version that was asked for.
pub fn requested<'d>(kind: &Kind, doc: &'d Json) -> Cow<'d, Json> {
    let asked = doc.get("apiVersion").and_then(Json::as_str).map(parse_api_version);
    if asked == Some((kind.group, kind.version)) {
        return Cow::Borrowed(doc);
    }
    let mut doc = doc.clone();
    convert(&mut doc, kind);
    Cow::Owned(doc)
}

/// A stored object in the version that was asked for.
///
/// # Errors
/// 400 when its metadata does not decode.
pub fn shown(kind: &Kind, object: Arc<Object>) -> Result<Arc<Object>, Status> {
    if !is_converted(kind, &object) {
        return Ok(object);
    }
    let doc = shown_document(kind, &object);
    Ok(Arc::new(Object::with_managed_fields(doc, object.managed_fields())?.at_revision(object.revision)))
}

/// Rewrites a document into the version `to` of its kind. A document that is already in it, or of a kind with
/// one version, changes only its `apiVersion` and `kind`.
pub fn convert(doc: &mut Json, to: &Kind) {
    let Some(map) = doc.as_object_mut() else { return };
    let version = api_version(to.group, to.version);
    if to.group == "autoscaling" && map.get("apiVersion").and_then(Json::as_str) != Some(&version) {
        if to.version == "v1" { hpa::to_v1(doc) } else { hpa::to_v2(doc) }
    }
    let Some(map) = doc.as_object_mut() else { return };
    if to.kind == "Event" && map.get("apiVersion").and_then(Json::as_str) != Some(&version) {
        let from_old = to.group == "events.k8s.io";
        *map = std::mem::take(map)
            .into_iter()
            .map(|(key, value)| (rename(&key, from_old).map_or(key, str::to_string), value))
            .collect();
    }
    map.insert("apiVersion".into(), version.into());
    map.insert("kind".into(), to.kind.into());
}

fn rename(field: &str, from_old: bool) -> Option<&'static str> {
    EVENT_FIELDS.iter().find_map(|&(old, new)| match from_old {
        true => (field == old).then_some(new),
        false => (field == new).then_some(old),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_survives_both_conversions() {
        let old = crate::by_gvk("", "v1", "Event").unwrap();
        let new = crate::by_gvk("events.k8s.io", "v1", "Event").unwrap();
        let doc = json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}, "reason": "Started",
            "message": "hello", "involvedObject": {"kind": "Pod"}, "count": 2, "reportingComponent": "x"});
        let mut there = doc.clone();
        convert(&mut there, new);
        assert_eq!(
            there,
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"}, "reason": "Started",
            "note": "hello", "regarding": {"kind": "Pod"}, "deprecatedCount": 2, "reportingController": "x"})
        );
        let mut back = there.clone();
        convert(&mut back, old);
        assert_eq!(back, doc);
        convert(&mut there, new);
        assert_eq!(there["note"], "hello");
        assert_eq!(crate::storage_prefix(new), crate::storage_prefix(old));
        assert_eq!(crate::storage_prefix(new), "/registry/core/events/");
    }
}
