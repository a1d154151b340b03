//! Namespace.

use super::status_of;
use crate::show::{AGE, NAME, age, column, name, text};
use crate::{Kind, Subresource};

/// core/v1 Namespace.
pub(crate) const NAMESPACE: Kind = Kind {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    namespaced: false,
    // Upstream has no deletecollection here: nobody wants to empty a cluster by mistake.
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[
        Subresource { name: "finalize", group: "", version: "v1", kind: "Namespace", verbs: &["update"] },
        status_of("Namespace"),
    ],
    schema: "io.k8s.api.core.v1.Namespace",
    columns: &[NAME, column("Status", "string", "Whether it is in use or going."), AGE],
    row: |doc, now| vec![name(doc), text(doc, &["status", "phase"]).into(), age(doc, now)],
    field_selectors: &["status.phase"],
    field: |doc, field| match field {
        "status.phase" => text(doc, &["status", "phase"]).to_string(),
        _ => String::new(),
    },
    ..Kind::BASE
};
