//! resource.k8s.io: devices that pods ask for.

use crate::show::{AGE, AGED_COLUMNS, NAME, age, aged_row, column, name, text};
use crate::{Kind, Subresource, Support};
use holdfast_core::Json;
use holdfast_core::json::{at, items_at};

const GROUP: &str = "resource.k8s.io";

/// resource.k8s.io/v1 DeviceClass.
pub(crate) const DEVICE_CLASS: Kind = Kind {
    group: GROUP,
    kind: "DeviceClass",
    plural: "deviceclasses",
    singular: "deviceclass",
    namespaced: false,
    schema: "io.k8s.api.resource.v1.DeviceClass",
    columns: AGED_COLUMNS,
    row: aged_row,
    returns_deleted: true,
    support: Support::StoredOnly,
    ..Kind::BASE
};

/// resource.k8s.io/v1 ResourceClaim.
pub(crate) const RESOURCE_CLAIM: Kind = Kind {
    group: GROUP,
    kind: "ResourceClaim",
    plural: "resourceclaims",
    singular: "resourceclaim",
    subresources: &[Subresource::status(GROUP, "ResourceClaim")],
    schema: "io.k8s.api.resource.v1.ResourceClaim",
    columns: &[NAME, column("State", "string", "Whether it has its devices, and whether a pod uses it."), AGE],
    row: |doc, now| vec![name(doc), state(doc).into(), age(doc, now)],
    returns_deleted: true,
    support: Support::StoredOnly,
    ..Kind::BASE
};

/// resource.k8s.io/v1 ResourceClaimTemplate.
pub(crate) const RESOURCE_CLAIM_TEMPLATE: Kind = Kind {
    group: GROUP,
    kind: "ResourceClaimTemplate",
    plural: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    schema: "io.k8s.api.resource.v1.ResourceClaimTemplate",
    columns: AGED_COLUMNS,
    row: aged_row,
    returns_deleted: true,
    support: Support::StoredOnly,
    ..Kind::BASE
};

/// resource.k8s.io/v1 ResourceSlice.
pub(crate) const RESOURCE_SLICE: Kind = Kind {
    group: GROUP,
    kind: "ResourceSlice",
    plural: "resourceslices",
    singular: "resourceslice",
    namespaced: false,
    schema: "io.k8s.api.resource.v1.ResourceSlice",
    columns: &[
        NAME,
        column("Node", "string", "The node that has the devices."),
        column("Driver", "string", "The driver of the devices."),
        column("Pool", "string", "The pool that the devices belong to."),
        AGE,
    ],
    row: |doc, now| {
        vec![
            name(doc),
            text(doc, &["spec", "nodeName"]).into(),
            text(doc, &["spec", "driver"]).into(),
            text(doc, &["spec", "pool", "name"]).into(),
            age(doc, now),
        ]
    },
    field_selectors: &["spec.driver", "spec.nodeName"],
    field: |doc, field| match field {
        "spec.driver" => text(doc, &["spec", "driver"]).to_string(),
        "spec.nodeName" => text(doc, &["spec", "nodeName"]).to_string(),
        _ => String::new(),
    },
    returns_deleted: true,
    support: Support::StoredOnly,
    ..Kind::BASE
};

fn state(doc: &Json) -> String {
    let mut states = Vec::new();
    let deleted = at(doc, &["metadata", "deletionTimestamp"]).is_some();
    if deleted {
        states.push("deleted");
    }
    if at(doc, &["status", "allocation"]).is_none() {
        if !deleted {
            states.push("pending");
        }
    } else {
        states.push("allocated");
        if !items_at(doc, &["status", "reservedFor"]).is_empty() {
            states.push("reserved");
        }
    }
    states.join(",")
}
