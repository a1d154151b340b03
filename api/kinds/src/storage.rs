//! storage.k8s.io: StorageClass, VolumeAttributesClass, VolumeAttachment, CSIDriver, CSINode, CSIStorageCapacity.

use crate::show::{AGE, NAME, NONE, UNSET, age, column, name, or, text};
use crate::{Column, Kind, Reference, Subresource};
use holdfast_core::json::{at, bool_at, items_at};
use holdfast_core::{Gvr, Json, Timestamp};

const GROUP: &str = "storage.k8s.io";

/// storage.k8s.io/v1 StorageClass.
pub(crate) const STORAGE_CLASS: Kind = Kind {
    group: GROUP,
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    namespaced: false,
    schema: "io.k8s.api.storage.v1.StorageClass",
    columns: &[
        NAME,
        column("Provisioner", "string", "Who makes its volumes."),
        column("ReclaimPolicy", "string", "What becomes of a volume without a claim."),
        column("VolumeBindingMode", "string", "When claims get their volumes."),
        column("AllowVolumeExpansion", "string", "Whether its volumes may grow."),
        AGE,
    ],
    row: storage_class_row,
    returns_deleted: true,
    ..Kind::BASE
};

/// storage.k8s.io/v1 VolumeAttributesClass.
pub(crate) const VOLUME_ATTRIBUTES_CLASS: Kind = Kind {
    group: GROUP,
    kind: "VolumeAttributesClass",
    plural: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    namespaced: false,
    schema: "io.k8s.api.storage.v1.VolumeAttributesClass",
    columns: &[NAME, column("DriverName", "string", "The driver that knows its parameters."), AGE],
    row: |doc, now| vec![name(doc), text(doc, &["driverName"]).into(), age(doc, now)],
    returns_deleted: true,
    ..Kind::BASE
};

/// storage.k8s.io/v1 VolumeAttachment.
pub(crate) const VOLUME_ATTACHMENT: Kind = Kind {
    group: GROUP,
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    namespaced: false,
    subresources: &[Subresource::status(GROUP, "VolumeAttachment")],
    schema: "io.k8s.api.storage.v1.VolumeAttachment",
    columns: &[
        NAME,
        Column { format: "name", ..column("Attacher", "string", "The driver that attaches.") },
        column("PV", "string", "The volume."),
        column("Node", "string", "The node."),
        column("Attached", "boolean", "Whether the volume is attached."),
        AGE,
    ],
    row: |doc, now| {
        vec![
            name(doc),
            text(doc, &["spec", "attacher"]).into(),
            text(doc, &["spec", "source", "persistentVolumeName"]).into(),
            text(doc, &["spec", "nodeName"]).into(),
            bool_at(doc, &["status", "attached"]).unwrap_or(false).into(),
            age(doc, now),
        ]
    },
    references: |doc| {
        let volume = text(doc, &["spec", "source", "persistentVolumeName"]);
        let volume = Some(volume).filter(|name| !name.is_empty());
        let gvr = || Gvr::new("", "v1", "persistentvolumes");
        volume.map(|name| Reference { gvr: gvr(), namespace: String::new(), name: name.into() }).into_iter().collect()
    },
    returns_deleted: true,
    ..Kind::BASE
};

/// storage.k8s.io/v1 CSIDriver.
pub(crate) const CSI_DRIVER: Kind = Kind {
    group: GROUP,
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    namespaced: false,
    schema: "io.k8s.api.storage.v1.CSIDriver",
    columns: &[
        NAME,
        column("AttachRequired", "boolean", "Whether its volumes are attached before they are mounted."),
        column("PodInfoOnMount", "boolean", "Whether it is told of the pod."),
        column("StorageCapacity", "boolean", "Whether it tells how much it can still provision."),
        column("TokenRequests", "string", "Audiences of the tokens that it is given."),
        column("RequiresRepublish", "boolean", "Whether mounting is repeated."),
        column("Modes", "string", "Which volumes it makes."),
        AGE,
    ],
    row: csi_driver_row,
    returns_deleted: true,
    ..Kind::BASE
};

/// storage.k8s.io/v1 CSINode.
pub(crate) const CSI_NODE: Kind = Kind {
    group: GROUP,
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    namespaced: false,
    schema: "io.k8s.api.storage.v1.CSINode",
    columns: &[NAME, column("Drivers", "integer", "How many drivers the node has."), AGE],
    row: |doc, now| vec![name(doc), items_at(doc, &["spec", "drivers"]).len().into(), age(doc, now)],
    returns_deleted: true,
    ..Kind::BASE
};

/// storage.k8s.io/v1 CSIStorageCapacity.
pub(crate) const CSI_STORAGE_CAPACITY: Kind = Kind {
    group: GROUP,
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    schema: "io.k8s.api.storage.v1.CSIStorageCapacity",
    columns: &[
        NAME,
        column("StorageClassName", "string", "The class of the volumes."),
        column("Capacity", "string", "How much can still be provisioned."),
    ],
    row: |doc, _| vec![name(doc), text(doc, &["storageClassName"]).into(), or(text(doc, &["capacity"]), UNSET).into()],
    ..Kind::BASE
};

/// Annotations that make a class the default one.
const DEFAULT_MARKS: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

fn storage_class_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let annotations = at(doc, &["metadata", "annotations"]);
    let is_default = DEFAULT_MARKS.iter().any(|mark| annotations.is_some_and(|all| text(all, &[mark]) == "true"));
    let mark = if is_default { " (default)" } else { "" };
    vec![
        format!("{}{mark}", text(doc, &["metadata", "name"])).into(),
        text(doc, &["provisioner"]).into(),
        or(text(doc, &["reclaimPolicy"]), "Delete").into(),
        or(text(doc, &["volumeBindingMode"]), "Immediate").into(),
        bool_at(doc, &["allowVolumeExpansion"]).unwrap_or(false).into(),
        age(doc, now),
    ]
}

fn csi_driver_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let flag = |field: &str, default: bool| Json::from(bool_at(doc, &["spec", field]).unwrap_or(default));
    let joined = |items: Vec<&str>| items.join(",");
    let audiences = at(doc, &["spec", "tokenRequests"]).map_or_else(
        || UNSET.to_string(),
        |_| joined(items_at(doc, &["spec", "tokenRequests"]).iter().map(|one| text(one, &["audience"])).collect()),
    );
    let modes = joined(items_at(doc, &["spec", "volumeLifecycleModes"]).iter().filter_map(Json::as_str).collect());
    vec![
        name(doc),
        flag("attachRequired", true),
        flag("podInfoOnMount", false),
        flag("storageCapacity", false),
        audiences.into(),
        flag("requiresRepublish", false),
        or(&modes, NONE).into(),
        age(doc, now),
    ]
}
