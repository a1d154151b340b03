//! core/v1 PersistentVolume.

use super::persistent_volume_claim::OLD_CLASS;
use super::pod::affinity;
use super::resource_names::{capacity, positive};
use super::rules::{access_modes, default_text, text};
use super::volume_sources::{self, Volume};
use crate::strategy::{Strategy, keep_all_but_status};
use holdfast_core::json::{at, at_mut, default, remove, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;

/// core/v1 PersistentVolume.
pub(crate) struct PersistentVolume;

/// Fields of the spec that say where the data is, and what upstream calls them where that differs.
const SOURCES: &[(&str, &str)] = &[
    ("hostPath", ""),
    ("gcePersistentDisk", ""),
    ("awsElasticBlockStore", ""),
    ("glusterfs", ""),
    ("flocker", ""),
    ("nfs", ""),
    ("rbd", ""),
    ("quobyte", ""),
    ("cephfs", "cephFS"),
    ("iscsi", ""),
    ("cinder", ""),
    ("fc", ""),
    ("flexVolume", ""),
    ("azureFile", ""),
    ("vsphereVolume", ""),
    ("photonPersistentDisk", ""),
    ("portworxVolume", ""),
    ("azureDisk", ""),
    ("scaleIO", ""),
    ("local", ""),
    ("storageos", ""),
    ("csi", ""),
];

fn sources(spec: &Json) -> impl Iterator<Item = (&'static str, &'static str)> {
    let has = |field: &str| spec.get(field).is_some();
    let found: Vec<_> = SOURCES.iter().filter(|(field, _)| has(field)).collect();
    found.into_iter().map(|(field, shown)| (*field, if shown.is_empty() { *field } else { *shown }))
}

impl Strategy for PersistentVolume {
    fn default(&self, doc: &mut Json) {
        default_text(doc, &["status", "phase"], "Pending");
        if at(doc, &["spec"]).is_none() {
            return;
        }
        default_text(doc, &["spec", "persistentVolumeReclaimPolicy"], "Retain");
        default(doc, &["spec", "volumeMode"], "Filesystem");
        if let Some(spec) = at_mut(doc, &["spec"]) {
            volume_sources::default_fields(spec);
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        let now = str_at(doc, &["metadata", "creationTimestamp"]).unwrap_or_default().to_string();
        set(doc, &["status"], json!({ "phase": "Pending", "lastPhaseTransitionTime": now }));
    }

    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        Some(&[])
    }

    fn prepare_for_status_update(&self, doc: &mut Json, old: &Json) {
        keep_all_but_status(doc, old);
        let same = at(doc, &["status", "phase"]) == at(old, &["status", "phase"]);
        if same && at(doc, &["status", "lastPhaseTransitionTime"]).is_none() {
            holdfast_core::json::copy(old, doc, &["status", "lastPhaseTransitionTime"]);
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        access_modes(spec, "", &path, errors);
        sizes(spec, &path.child("capacity"), errors);
        let policy = text(spec, "persistentVolumeReclaimPolicy");
        if !policy.is_empty() && !matches!(policy, "Delete" | "Recycle" | "Retain") {
            let path = path.child("persistentVolumeReclaimPolicy");
            errors.not_supported(&path, policy, &["Delete", "Recycle", "Retain"]);
        }
        if let Some(wanted) = spec.get("nodeAffinity") {
            let path = path.child("nodeAffinity").child("required");
            match wanted.get("required") {
                Some(required) => affinity::node_selector(required, &path, errors),
                None => errors.required(&path, "must specify required node constraints"),
            }
        }
        let class = text(spec, "storageClassName");
        if !class.is_empty() {
            errors.all_invalid(&path.child("storageClassName"), class, names::dns_subdomain(class));
        }
        if let Some(mode) = spec.get("volumeMode").and_then(Json::as_str)
            && !matches!(mode, "Block" | "Filesystem")
        {
            errors.not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]);
        }
        let name = str_at(doc, &["metadata", "name"]).unwrap_or_default();
        validate_source(spec, name, &path, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let expand = ["spec", "csi", "controllerExpandSecretRef"];
        let mut doc = doc.clone();
        if at(old, &["spec", "csi"]).is_some() && at(old, &expand).is_none() {
            remove(&mut doc, &expand);
        }
        if SOURCES.iter().any(|(field, _)| at(&doc, &["spec", field]) != at(old, &["spec", field])) {
            errors.forbidden(
                &FieldPath::new("spec.persistentvolumesource"),
                "spec.persistentvolumesource is immutable after creation",
            );
        }
        let changed = |field: &str| at(&doc, &["spec", field]) != at(old, &["spec", field]);
        let shown = |field: &str| at(&doc, &["spec", field]).cloned().unwrap_or_default();
        if changed("volumeMode") {
            errors.invalid(&FieldPath::new("volumeMode"), shown("volumeMode"), "field is immutable");
        }
        let nodes = |doc: &Json| at(doc, &["spec", "nodeAffinity"]).map(with_today_labels);
        if nodes(old).is_some() && nodes(&doc) != nodes(old) {
            errors.invalid(
                &FieldPath::new("nodeAffinity"),
                shown("nodeAffinity"),
                "field is immutable, except for updating from beta label to GA",
            );
        }
        let class = |doc: &Json| at(doc, &["spec", "volumeAttributesClassName"]).is_some();
        if class(old) && !class(&doc) {
            errors.forbidden(
                &FieldPath::new("spec.volumeAttributesClassName"),
                "update from non-nil value to nil is forbidden",
            );
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = Vec::new();
        for (annotation, text) in [
            (OLD_CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
            (
                "volume.beta.kubernetes.io/mount-options",
                "deprecated since v1.31; use \"mountOptions\" attribute instead",
            ),
        ] {
            if at(doc, &["metadata", "annotations", annotation]).is_some() {
                warnings.push(format!("metadata.annotations[{annotation}]: {text}"));
            }
        }
        if str_at(doc, &["spec", "persistentVolumeReclaimPolicy"]) == Some("Recycle") {
            warnings.push(
                "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the \
                 recommended approach is to use dynamic provisioning."
                    .to_string(),
            );
        }
        for (field, shown, text) in [
            ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
            ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
            ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
            ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
            ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
            ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
        ] {
            if at(doc, &["spec", field]).is_some() {
                warnings.push(format!("spec.{shown}: {text}"));
            }
        }
        warnings
    }
}

/// Problems that a volume and one that is written out in a VolumeAttachment share.
fn validate_source(spec: &Json, name: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let mut first = None;
    for (field, shown) in sources(spec) {
        // A FlexVolume is judged beside another source, as upstream does.
        if first.is_some() && field != "flexVolume" {
            errors.forbidden(&path.child(shown), "may not specify more than 1 volume type");
            continue;
        }
        first = Some(field);
        let doc = spec.get(field).unwrap_or(&Json::Null);
        volume_sources::validate(field, doc, Volume::Persistent(name), path, errors);
        if field == "local" && at(spec, &["nodeAffinity"]).is_none() {
            errors.required(&FieldPath::new("spec.nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if first.is_none() {
        errors.required(path, "must specify a volume type");
    }
    let root = str_at(spec, &["hostPath", "path"]).is_some_and(is_root);
    if root && text(spec, "persistentVolumeReclaimPolicy") == "Recycle" {
        errors.forbidden(
            &path.child("persistentVolumeReclaimPolicy"),
            "may not be 'recycle' for a hostPath mount of '/'",
        );
    }
    if let Some(class) = spec.get("volumeAttributesClassName").and_then(Json::as_str) {
        let at = path.child("volumeAttributesClassName");
        if class.is_empty() {
            errors.required(&at, "an empty string is disallowed");
        } else {
            errors.all_invalid(&at, class, names::dns_subdomain(class));
        }
        if spec.get("csi").is_none() {
            errors.required(&path.child("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

/// Problems of a volume that is written out in a VolumeAttachment.
pub(crate) fn validate_inline(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let inline = "in the context of inline volumes";
    for field in ["claimRef", "capacity", "nodeAffinity", "storageClassName"] {
        let given = spec.get(field).is_some_and(|value| value != "" && value != &json!({}));
        if given {
            errors.forbidden(&path.child(field), format!("may not be specified {inline}"));
        }
    }
    if spec.get("csi").is_none() {
        errors.required(&path.child("csi"), format!("has to be specified {inline}"));
    }
    let only = |field: &str, value: &str| {
        let given = text(spec, field);
        !given.is_empty() && given != value
    };
    if only("persistentVolumeReclaimPolicy", "Retain") {
        errors.forbidden(&path.child("persistentVolumeReclaimPolicy"), format!("may only be Retain {inline}"));
    }
    if only("volumeMode", "Filesystem") {
        let text = format!("may not specify volumeMode other than Filesystem {inline}");
        errors.forbidden(&path.child("volumeMode"), text);
    }
    access_modes(spec, "", path, errors);
    validate_source(spec, "", path, errors);
}

fn sizes(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let sizes = spec.get("capacity").and_then(Json::as_object);
    if sizes.is_none_or(serde_json::Map::is_empty) {
        errors.required(path, "");
    }
    if sizes.is_none_or(|sizes| !sizes.contains_key("storage") || sizes.len() > 1) {
        errors.not_supported(path, spec.get("capacity").cloned().unwrap_or_default(), &["storage"]);
    }
    for (name, size) in sizes.into_iter().flatten() {
        capacity(size, &path.key(name), errors);
        positive(size, &path.key(name), errors);
    }
}

/// Whether a path means the root of a file system.
fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| part.is_empty() || part == ".")
}

/// Labels of nodes by their old names and by those of today are the same.
fn with_today_labels(affinity: &Json) -> Json {
    const RENAMED: &[(&str, &str)] = &[
        ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
        ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
        ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
        ("beta.kubernetes.io/os", "kubernetes.io/os"),
        ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
    ];
    match affinity {
        Json::String(text) => RENAMED.iter().find(|(old, _)| old == text).map_or(text.as_str(), |(_, new)| new).into(),
        Json::Array(items) => items.iter().map(with_today_labels).collect(),
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), with_today_labels(value))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_known_however_it_is_written() {
        assert!(is_root("/") && is_root("//.") && !is_root("/a"));
    }
}
