//! core/v1 PersistentVolume.

use super::persistent_volume_claim::OLD_CLASS;
use super::pod::{affinity, volumes};
use super::resource_names::{capacity, positive};
use super::rules::{access_modes, default_text, driver_name, text};
use crate::strategy::{Strategy, keep_all_but_status};
use holdfast_core::json::{at, default, i64_at, items_at, remove, set, str_at};
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

/// Secrets of a CSI volume that upstream judges.
const CSI_SECRETS: &[&str] =
    &["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"];

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
        for (source, fields) in [
            ("hostPath", &[("type", "")][..]),
            ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
            ("iscsi", &[("iscsiInterface", "default")]),
            ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
            ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
        ] {
            if at(doc, &["spec", source]).is_some() {
                for (field, value) in fields {
                    default(doc, &["spec", source, field], *value);
                }
            }
        }
        if at(doc, &["spec", "azureDisk"]).is_some() {
            default(doc, &["spec", "azureDisk", "readOnly"], false);
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
        source(field, spec, name, path, errors);
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

fn source(field: &str, spec: &Json, volume: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let doc = spec.get(field).unwrap_or(&Json::Null);
    let path = &path.child(if field == "gcePersistentDisk" { "persistentDisk" } else { field });
    let required = |fields: &[&str], errors: &mut FieldErrors| {
        for name in fields.iter().filter(|name| text(doc, name).is_empty()) {
            errors.required(&path.child(name), "");
        }
    };
    let listed = |fields: &[&str], errors: &mut FieldErrors| {
        for name in fields.iter().filter(|name| items_at(doc, &[name]).is_empty()) {
            errors.required(&path.child(name), "");
        }
    };
    match field {
        "hostPath" => volumes::host_path(doc, path, errors),
        "local" => {
            required(&["path"], errors);
            volumes::path_without_backsteps(text(doc, "path"), &path.child("path"), errors);
            if at(spec, &["nodeAffinity"]).is_none() {
                let path = FieldPath::new("spec.nodeAffinity");
                errors.required(&path, "Local volume requires node affinity");
            }
        }
        "nfs" => {
            required(&["server", "path"], errors);
            if !text(doc, "path").starts_with('/') {
                errors.invalid(&path.child("path"), text(doc, "path"), "must be an absolute path");
            }
        }
        "csi" => {
            driver_name(text(doc, "driver"), &path.child("driver"), errors);
            required(&["volumeHandle"], errors);
            for secret in CSI_SECRETS {
                let Some(reference) = doc.get(secret) else { continue };
                let path = path.child(secret);
                for (field, check) in
                    [("name", names::dns_subdomain as fn(&str) -> Vec<String>), ("namespace", names::dns_label)]
                {
                    match text(reference, field) {
                        "" => errors.required(&path.child(field), ""),
                        value => errors.all_invalid(&path.child(field), value, check(value)),
                    }
                }
            }
        }
        "iscsi" => iscsi(doc, volume, path, errors),
        "fc" => fibre_channel(doc, path, errors),
        "rbd" => {
            listed(&["monitors"], errors);
            required(&["image"], errors);
        }
        "cephfs" => listed(&["monitors"], errors),
        "flexVolume" => {
            required(&["driver"], errors);
            for key in doc.get("options").and_then(Json::as_object).into_iter().flat_map(|map| map.keys()) {
                let domain = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
                if key.contains('/') && (domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io")) {
                    let text = "kubernetes.io and k8s.io namespaces are reserved";
                    errors.invalid(&path.child("options").key(key), key.as_str(), text);
                }
            }
        }
        "azureFile" => {
            required(&["secretName", "shareName"], errors);
            if doc.get("secretNamespace").and_then(Json::as_str) == Some("") {
                errors.required(&path.child("secretNamespace"), "");
            }
        }
        "glusterfs" => required(&["endpoints", "path"], errors),
        "cinder" | "portworxVolume" | "awsElasticBlockStore" => required(&["volumeID"], errors),
        "gcePersistentDisk" => required(&["pdName"], errors),
        "quobyte" => required(&["registry", "volume"], errors),
        "vsphereVolume" => required(&["volumePath"], errors),
        "photonPersistentDisk" => required(&["pdID"], errors),
        "azureDisk" => required(&["diskName", "diskURI"], errors),
        "scaleIO" => required(&["gateway", "system", "volumeName"], errors),
        "storageos" => required(&["volumeName"], errors),
        _ => {}
    }
}

fn iscsi(doc: &Json, volume: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let portal = text(doc, "targetPortal");
    if portal.is_empty() {
        errors.required(&path.child("targetPortal"), "");
    }
    let initiator = doc.get("initiatorName").and_then(Json::as_str);
    if initiator.is_some() && volume.len() + 1 + portal.len() > 64 {
        errors.invalid(
            &path.child("targetportal"),
            portal,
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is \
             specified.",
        );
    }
    match text(doc, "iqn") {
        "" => errors.required(&path.child("iqn"), ""),
        name if !is_iscsi_name(name) => errors.invalid(&path.child("iqn"), name, "must be valid format"),
        _ => {}
    }
    let lun = i64_at(doc, &["lun"]).unwrap_or(0);
    if !(0..=255).contains(&lun) {
        errors.invalid(&path.child("lun"), lun, "must be between 0 and 255, inclusive");
    }
    let secret = doc.get("secretRef");
    let authenticates =
        ["chapAuthDiscovery", "chapAuthSession"].iter().any(|field| doc.get(*field) == Some(&Json::Bool(true)));
    match secret {
        None if authenticates => errors.required(&path.child("secretRef"), ""),
        Some(secret) if text(secret, "name").is_empty() => {
            errors.required(&path.child("secretRef").child("name"), "");
        }
        _ => {}
    }
    if let Some(name) = initiator.filter(|name| !is_iscsi_name(name)) {
        errors.invalid(&path.child("initiatorname"), name, "must be valid format");
    }
}

/// A name of RFC 3720 section 3.2.6: `iqn.2001-04.com.example:disk`, `eui.` and `naa.` with 16 or 32 hex digits.
fn is_iscsi_name(name: &str) -> bool {
    let hex = |rest: &str, lengths: &[usize]| {
        lengths.contains(&rest.len()) && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match name.split_once('.') {
        Some(("eui", rest)) => hex(rest, &[16]),
        Some(("naa", rest)) => hex(rest, &[16, 32]),
        Some(("iqn", rest)) => {
            let Some((date, authority)) = rest.split_once('.') else { return false };
            let dated = date.len() == 7
                && date
                    .bytes()
                    .enumerate()
                    .all(|(at, byte)| if at == 4 { byte == b'-' } else { byte.is_ascii_digit() });
            let parts = authority.split_once(':').map_or(authority, |(authority, _)| authority);
            dated
                && authority.split_once(':').is_none_or(|(_, rest)| !rest.is_empty() && !rest.contains([' ', '\t']))
                && parts.split('.').all(|part| {
                    part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                        && part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
                })
        }
        _ => false,
    }
}

fn fibre_channel(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let (wwns, wwids) = (items_at(doc, &["targetWWNs"]), items_at(doc, &["wwids"]));
    if wwns.is_empty() && wwids.is_empty() {
        errors.required(&path.child("targetWWNs"), "must specify either targetWWNs or wwids, but not both");
    }
    if wwns.is_empty() {
        return;
    }
    if !wwids.is_empty() {
        let text = "targetWWNs and wwids can not be specified simultaneously";
        errors.invalid(&path.child("targetWWNs"), wwns.to_vec(), text);
    }
    match i64_at(doc, &["lun"]) {
        None => errors.required(&path.child("lun"), "lun is required if targetWWNs is specified"),
        Some(lun) if !(0..=255).contains(&lun) => {
            errors.invalid(&path.child("lun"), lun, "must be between 0 and 255, inclusive");
        }
        Some(_) => {}
    }
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
    fn names_of_iscsi_follow_the_rfc() {
        for name in ["iqn.2001-04.com.example:storage.kube.sys1.xyz", "iqn.2001-04.com.example", "eui.0123456789abcdef"]
        {
            assert!(is_iscsi_name(name), "{name}");
        }
        for name in ["iqn.2001.com.example:a", "iqn.2001-04.com.example:", "eui.012", "nqn.a", "iqn"] {
            assert!(!is_iscsi_name(name), "{name}");
        }
        assert!(is_root("/") && is_root("//.") && !is_root("/a"));
    }
}
