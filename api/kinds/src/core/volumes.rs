//! PersistentVolume and PersistentVolumeClaim.

use super::status_of;
use crate::show::{AGE, NAME, UNSET, age, column, name, or, text, wide};
use crate::{Kind, Reference};
use holdfast_core::json::{at, items_at};
use holdfast_core::{Gvr, Json, Timestamp};
use std::collections::BTreeSet;

/// core/v1 PersistentVolume.
pub(crate) const PERSISTENT_VOLUME: Kind = Kind {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    namespaced: false,
    subresources: &[status_of("PersistentVolume")],
    schema: "io.k8s.api.core.v1.PersistentVolume",
    columns: &[
        NAME,
        column("Capacity", "string", "How much it holds."),
        column("Access Modes", "string", "How it can be mounted."),
        column("Reclaim Policy", "string", "What becomes of it without its claim."),
        column("Status", "string", "Whether it is bound."),
        column("Claim", "string", "The claim that it is bound to."),
        column("StorageClass", "string", "Its class."),
        column("VolumeAttributesClass", "string", "The class of its attributes."),
        column("Reason", "string", "Why it is in this state."),
        AGE,
        wide("VolumeMode", "string", "Whether it is a file system or a block device."),
    ],
    row: volume_row,
    references: secrets_of_volume,
    returns_deleted: true,
    ..Kind::BASE
};

/// core/v1 PersistentVolumeClaim.
pub(crate) const PERSISTENT_VOLUME_CLAIM: Kind = Kind {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    subresources: &[status_of("PersistentVolumeClaim")],
    schema: "io.k8s.api.core.v1.PersistentVolumeClaim",
    columns: &[
        NAME,
        column("Status", "string", "Whether it is bound."),
        column("Volume", "string", "The volume that it is bound to."),
        column("Capacity", "string", "How much that holds."),
        column("Access Modes", "string", "How that can be mounted."),
        column("StorageClass", "string", "Its class."),
        column("VolumeAttributesClass", "string", "The class of its attributes."),
        AGE,
        wide("VolumeMode", "string", "Whether it is a file system or a block device."),
    ],
    row: claim_row,
    references: |doc| {
        let named = [("", "persistentvolumes", "volumeName"), ("storage.k8s.io", "storageclasses", "storageClassName")];
        let found = named.map(|(group, plural, field)| (Gvr::new(group, "v1", plural), text(doc, &["spec", field])));
        let found = found.into_iter().filter(|(_, name)| !name.is_empty());
        found.map(|(gvr, name)| Reference { gvr, namespace: String::new(), name: name.into() }).collect()
    },
    returns_deleted: true,
    ..Kind::BASE
};

/// Sources of a volume and their fields that hold a `SecretReference`.
const SECRETS: &[(&str, &str)] = &[
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("csi", "controllerExpandSecretRef"),
    ("csi", "controllerPublishSecretRef"),
    ("csi", "nodeExpandSecretRef"),
    ("csi", "nodePublishSecretRef"),
    ("csi", "nodeStageSecretRef"),
    ("flexVolume", "secretRef"),
    ("iscsi", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
];

/// The Secrets that mounting a volume needs. A reference without a namespace means that of the claim.
fn secrets_of_volume(doc: &Json) -> Vec<Reference> {
    let own = text(doc, &["spec", "claimRef", "namespace"]);
    let mut found = BTreeSet::new();
    for (source, field) in SECRETS {
        let secret = at(doc, &["spec", source, field]).unwrap_or(&Json::Null);
        found.insert((or(text(secret, &["namespace"]), own), text(secret, &["name"])));
    }
    let azure = at(doc, &["spec", "azureFile"]).unwrap_or(&Json::Null);
    found.insert((or(text(azure, &["secretNamespace"]), own), text(azure, &["secretName"])));
    let found = found.into_iter().filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
    let reference = |(namespace, name): (&str, &str)| Reference {
        gvr: Gvr::new("", "v1", "secrets"),
        namespace: namespace.into(),
        name: name.into(),
    };
    found.map(reference).collect()
}

/// The access modes in upstream's short form and order.
fn access_modes(doc: &Json, path: &[&str]) -> String {
    const SHORT: &[(&str, &str)] =
        &[("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let modes = items_at(doc, path);
    let shown = SHORT.iter().filter(|(mode, _)| modes.iter().any(|given| given.as_str() == Some(mode)));
    shown.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// The class, which an annotation named before there was a field.
fn class(doc: &Json) -> &str {
    let annotations = at(doc, &["metadata", "annotations"]);
    let old = annotations.and_then(|all| all.get("volume.beta.kubernetes.io/storage-class")).and_then(Json::as_str);
    old.unwrap_or_else(|| text(doc, &["spec", "storageClassName"]))
}

fn phase(doc: &Json) -> &str {
    let deleted = at(doc, &["metadata", "deletionTimestamp"]).is_some();
    if deleted { "Terminating" } else { text(doc, &["status", "phase"]) }
}

fn volume_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let claim = at(doc, &["spec", "claimRef"])
        .map(|claim| format!("{}/{}", text(claim, &["namespace"]), text(claim, &["name"])));
    vec![
        name(doc),
        or(text(doc, &["spec", "capacity", "storage"]), "0").into(),
        access_modes(doc, &["spec", "accessModes"]).into(),
        text(doc, &["spec", "persistentVolumeReclaimPolicy"]).into(),
        phase(doc).into(),
        claim.unwrap_or_default().into(),
        class(doc).into(),
        or(text(doc, &["spec", "volumeAttributesClassName"]), UNSET).into(),
        text(doc, &["status", "reason"]).into(),
        age(doc, now),
        or(text(doc, &["spec", "volumeMode"]), UNSET).into(),
    ]
}

fn claim_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let volume = text(doc, &["spec", "volumeName"]);
    let (capacity, modes) = match volume {
        "" => ("", String::new()),
        _ => {
            let capacity = text(doc, &["status", "capacity", "storage"]);
            (or(capacity, "0"), access_modes(doc, &["status", "accessModes"]))
        }
    };
    vec![
        name(doc),
        phase(doc).into(),
        volume.into(),
        capacity.into(),
        modes.into(),
        class(doc).into(),
        or(text(doc, &["spec", "volumeAttributesClassName"]), UNSET).into(),
        age(doc, now),
        or(text(doc, &["spec", "volumeMode"]), UNSET).into(),
    ]
}
