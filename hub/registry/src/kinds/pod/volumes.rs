//! Volumes of a pod and their mounts.

use super::env::{VOLUME_FIELDS, field_ref, resource_ref};
use super::projected;
use super::resources::quantity;
use crate::kinds::persistent_volume_claim;
use crate::kinds::rules::{is_unset, one_of, text};
use crate::kinds::volume_sources::{self, Volume};
use holdfast_core::json::{bool_at, items_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use std::collections::{BTreeMap, BTreeSet};

/// Kinds of sources in the order in which upstream looks for them, and what it calls one that is too many where that differs.
const SOURCES: &[(&str, &str)] = &[
    ("emptyDir", ""),
    ("hostPath", ""),
    ("gitRepo", ""),
    ("gcePersistentDisk", ""),
    ("awsElasticBlockStore", ""),
    ("secret", ""),
    ("nfs", ""),
    ("iscsi", ""),
    ("glusterfs", ""),
    ("flocker", ""),
    ("persistentVolumeClaim", ""),
    ("rbd", ""),
    ("cinder", ""),
    ("cephfs", "cephFS"),
    ("quobyte", ""),
    ("downwardAPI", "downwarAPI"),
    ("fc", ""),
    ("flexVolume", ""),
    ("configMap", ""),
    ("azureFile", ""),
    ("vsphereVolume", ""),
    ("photonPersistentDisk", ""),
    ("portworxVolume", ""),
    ("azureDisk", ""),
    ("storageos", ""),
    ("projected", ""),
    ("scaleIO", ""),
    ("csi", ""),
    ("ephemeral", ""),
    ("image", ""),
];

/// Volumes of a spec by name.
pub(crate) type Volumes<'a> = BTreeMap<&'a str, &'a Json>;

/// Problems of `volumes`; those that have none. `pod` is the name of the pod, if it is one's spec.
pub(crate) fn validate<'a>(
    spec: &'a Json,
    pod: Option<&str>,
    path: &FieldPath,
    errors: &mut FieldErrors,
) -> Volumes<'a> {
    let mut good = Volumes::new();
    let all = items_at(spec, &["volumes"]);
    let claim_of = |volume: &str| pod.map(|pod| format!("{pod}-{volume}"));
    let made: BTreeSet<String> = all
        .iter()
        .filter(|volume| volume.get("ephemeral").is_some())
        .filter_map(|volume| claim_of(text(volume, "name")))
        .collect();
    for (index, volume) in all.iter().enumerate() {
        let path = path.child("volumes").index(index);
        let name = text(volume, "name");
        let before = errors.0.len();
        let mut given = SOURCES.iter().filter(|(kind, _)| volume.get(*kind).is_some());
        match given.next() {
            None => errors.required(&path, "must specify a volume type"),
            Some((kind, _)) => source(kind, volume, pod, &path, errors),
        }
        for (kind, shown) in given {
            let extra = if shown.is_empty() { kind } else { shown };
            errors.forbidden(&path.child(extra), "may not specify more than 1 volume type");
        }
        if let Some(claim) = claim_of(name).filter(|claim| made.contains(claim) && volume.get("ephemeral").is_some()) {
            for problem in names::dns_subdomain(&claim) {
                errors.invalid(&path.child("name"), name, format!("PVC name {claim:?}: {problem}"));
            }
        }
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        } else {
            errors.all_invalid(&path.child("name"), name, names::dns_label(name));
        }
        if good.contains_key(name) {
            errors.duplicate(&path.child("name"), name);
        }
        if errors.0.len() == before {
            good.insert(name, volume);
        }
        if let Some(claim) = str_at(volume, &["persistentVolumeClaim", "claimName"])
            && made.contains(claim)
        {
            let text = "must not reference a PVC that gets created for an ephemeral volume";
            errors.invalid(&path.child("persistentVolumeClaim").child("claimName"), claim, text);
        }
    }
    good
}

fn source(kind: &str, volume: &Json, pod: Option<&str>, path: &FieldPath, errors: &mut FieldErrors) {
    let (doc, outer, path) = (&volume[kind], path, &path.child(kind));
    let required = |field: &str, errors: &mut FieldErrors| {
        if text(doc, field).is_empty() {
            errors.required(&path.child(field), "");
        }
    };
    match kind {
        "emptyDir" => {
            if doc.get("sizeLimit").and_then(quantity).is_some_and(holdfast_core::Quantity::is_negative) {
                errors.forbidden(&path.child("sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
        }
        "secret" => {
            required("secretName", errors);
            modes_and_items(doc, path, errors);
        }
        "configMap" => {
            required("name", errors);
            modes_and_items(doc, path, errors);
        }
        "downwardAPI" => {
            mode(doc, "defaultMode", path, errors);
            downward(doc, path, errors);
        }
        "projected" => projected::validate(doc, path, errors),
        "persistentVolumeClaim" => required("claimName", errors),
        "image" => {
            // The pods of a template may get theirs from somebody who knows which.
            if pod.is_some() {
                required("reference", errors);
            }
            one_of(doc, "pullPolicy", &["Always", "IfNotPresent", "Never"], true, path, errors);
        }
        "ephemeral" => match doc.get("volumeClaimTemplate") {
            None => errors.required(&path.child("volumeClaimTemplate"), ""),
            Some(template) => claim_template(template, &path.child("volumeClaimTemplate"), errors),
        },
        _ => volume_sources::validate(kind, doc, Volume::OfPod(text(volume, "name")), outer, errors),
    }
}

fn claim_template(template: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let at_meta = path.child("metadata");
    let metadata = template.get("metadata").unwrap_or(&Json::Null);
    crate::meta::annotations(metadata.get("annotations"), &at_meta.child("annotations"), errors);
    crate::meta::labels(metadata.get("labels"), &at_meta.child("labels"), errors);
    for (field, value) in metadata.as_object().into_iter().flatten() {
        if !matches!(field.as_str(), "annotations" | "labels") && !is_unset(value) {
            errors.forbidden(&at_meta.child(field), "cannot be set");
        }
    }
    let spec = template.get("spec").unwrap_or(&Json::Null);
    persistent_volume_claim::validate_spec(spec, &path.child("spec"), errors);
}

/// Problems of a path of the node.
pub(crate) fn host_path(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const KINDS: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    if text(doc, "path").is_empty() {
        errors.required(&path.child("path"), "");
    }
    path_without_backsteps(text(doc, "path"), &path.child("path"), errors);
    let kind = text(doc, "type");
    if !KINDS.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, KINDS);
    }
}

pub(super) fn mode(doc: &Json, field: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if let Some(mode) = doc.get(field).and_then(Json::as_i64).filter(|mode| !(0..=0o777).contains(mode)) {
        errors.invalid(&path.child(field), mode, "must be a number between 0 and 0777 (octal), both inclusive");
    }
}

pub(super) fn modes_and_items(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    mode(doc, "defaultMode", path, errors);
    for (index, item) in items_at(doc, &["items"]).iter().enumerate() {
        let path = path.child("items").index(index);
        if text(item, "key").is_empty() {
            errors.required(&path.child("key"), "");
        }
        relative_path(text(item, "path"), &path.child("path"), errors);
        mode(item, "mode", &path, errors);
    }
}

pub(super) fn downward(doc: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for (index, item) in items_at(doc, &["items"]).iter().enumerate() {
        let path = path.child("items").index(index);
        relative_path(text(item, "path"), &path.child("path"), errors);
        match (item.get("fieldRef"), item.get("resourceFieldRef")) {
            (Some(_), Some(_)) => {
                errors.invalid(&path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously");
            }
            (Some(field), None) => field_ref(field, VOLUME_FIELDS, &path.child("fieldRef"), errors),
            (None, Some(resource)) => resource_ref(resource, true, &path.child("resourceFieldRef"), errors),
            (None, None) => errors.required(&path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", &path, errors);
    }
}

/// Tells of a path that leads upwards.
pub(crate) fn path_without_backsteps(target: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if target.split('/').any(|part| part == "..") {
        errors.invalid(path, target, "must not contain '..'");
    }
}

/// Tells of a path that does not lead downwards.
pub(crate) fn descending_path(target: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if target.starts_with('/') {
        errors.invalid(path, target, "must be a relative path");
    }
    path_without_backsteps(target, path, errors);
}

pub(super) fn relative_path(target: &str, path: &FieldPath, errors: &mut FieldErrors) {
    if target.is_empty() {
        errors.required(path, "");
        return;
    }
    descending_path(target, path, errors);
    if target.starts_with("..") && !target.starts_with("../") && target != ".." {
        errors.invalid(path, target, "must not start with '..'");
    }
}

/// Problems of a container's mounts and block devices.
pub(crate) fn mounts(container: &Json, volumes: &Volumes<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    let devices = items_at(container, &["volumeDevices"]);
    let mut points = BTreeSet::new();
    for (index, mount) in items_at(container, &["volumeMounts"]).iter().enumerate() {
        let path = path.child("volumeMounts").index(index);
        let (name, point) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            errors.required(&path.child("name"), "");
        }
        if !volumes.contains_key(name) {
            errors.not_found(&path.child("name"), name);
        }
        if point.is_empty() {
            errors.required(&path.child("mountPath"), "");
        }
        if !points.insert(point) {
            errors.invalid(&path.child("mountPath"), point, "must be unique");
        }
        if devices.iter().any(|device| text(device, "name") == name) {
            errors.invalid(&path.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| text(device, "devicePath") == point) {
            errors.invalid(&path.child("mountPath"), point, "must not already exist as a path in volumeDevices");
        }
        let (sub, expression) = (text(mount, "subPath"), text(mount, "subPathExpr"));
        descending_path(sub, &path.child("subPath"), errors);
        if !sub.is_empty() && !expression.is_empty() {
            errors.invalid(&path.child("subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        descending_path(expression, &path.child("subPathExpr"), errors);
        propagation(mount, container, &path, errors);
        recursively(mount, &path.child("recursiveReadOnly"), errors);
    }
    block_devices(container, volumes, path, errors);
}

fn propagation(mount: &Json, container: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const KINDS: &[&str] = &["Bidirectional", "HostToContainer", "None"];
    let Some(kind) = mount.get("mountPropagation").and_then(Json::as_str) else { return };
    let path = path.child("mountPropagation");
    if !KINDS.contains(&kind) {
        errors.not_supported(&path, kind, KINDS);
    }
    if kind == "Bidirectional" && bool_at(container, &["securityContext", "privileged"]) != Some(true) {
        errors.forbidden(&path, "Bidirectional mount propagation is available only to privileged containers");
    }
}

fn recursively(mount: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    const KINDS: &[&str] = &["Disabled", "Enabled", "IfPossible"];
    match mount.get("recursiveReadOnly").and_then(Json::as_str) {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if bool_at(mount, &["readOnly"]) != Some(true) {
                errors.forbidden(path, "may only be specified when readOnly is true");
            }
            if mount.get("mountPropagation").is_some_and(|kind| kind != "None") {
                errors.forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        Some(other) => errors.not_supported(path, other, KINDS),
    }
}

fn block_devices(container: &Json, volumes: &Volumes<'_>, path: &FieldPath, errors: &mut FieldErrors) {
    let mounts = items_at(container, &["volumeMounts"]);
    let (mut names, mut points) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in items_at(container, &["volumeDevices"]).iter().enumerate() {
        let path = path.child("volumeDevices").index(index);
        let (name, point) = (text(device, "name"), text(device, "devicePath"));
        let (at_name, at_point) = (path.child("name"), path.child("devicePath"));
        if name.is_empty() {
            errors.required(&at_name, "");
        }
        if !name.is_empty() && !names.insert(name) {
            errors.invalid(&at_name, name, "must be unique");
        }
        match volumes.get(name) {
            None => errors.not_found(&at_name, name),
            Some(volume) if ["persistentVolumeClaim", "ephemeral"].iter().all(|kind| volume.get(kind).is_none()) => {
                let text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&at_name, name, text);
            }
            Some(_) => {}
        }
        if point.is_empty() {
            errors.required(&at_point, "");
        }
        if points.contains(point) {
            errors.invalid(&at_point, point, "must be unique");
        }
        if point.split('/').any(|part| part == "..") {
            errors.invalid(&at_point, point, "can not contain backsteps ('..')");
        } else {
            points.insert(point);
        }
        if mounts.iter().any(|mount| text(mount, "name") == name) {
            errors.invalid(&at_name, name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| text(mount, "mountPath") == point) {
            errors.invalid(&at_point, point, "must not already exist as a path in volumeMounts");
        }
    }
}
