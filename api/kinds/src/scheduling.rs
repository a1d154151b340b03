//! scheduling.k8s.io: PriorityClass.

use crate::Kind;
use crate::show::{AGE, NAME, age, column, int, name, text};
use holdfast_core::json::bool_at;

/// scheduling.k8s.io/v1 PriorityClass.
pub(crate) const PRIORITY_CLASS: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    schema: "io.k8s.api.scheduling.v1.PriorityClass",
    columns: &[
        NAME,
        column("Value", "integer", "The priority."),
        column("Global-Default", "boolean", "Whether pods without a class get it."),
        AGE,
        column("PreemptionPolicy", "string", "Whether its pods may push others out."),
    ],
    row: |doc, now| {
        vec![
            name(doc),
            int(doc, &["value"]).into(),
            bool_at(doc, &["globalDefault"]).unwrap_or(false).into(),
            age(doc, now),
            text(doc, &["preemptionPolicy"]).into(),
        ]
    },
    ..Kind::BASE
};
