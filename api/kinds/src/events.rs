//! events.k8s.io: the new form of Event. Objects are stored as core/v1.

use crate::Kind;
use crate::core::event::{COLUMNS, Names, row};
use crate::show::text;
use holdfast_core::Json;

/// events.k8s.io/v1 Event.
pub(crate) const EVENT: Kind = Kind {
    group: "events.k8s.io",
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    schema: "io.k8s.api.events.v1.Event",
    columns: COLUMNS,
    row: |doc, now| row(doc, now, &NEW),
    field_selectors: &[
        "reason",
        "regarding.apiVersion",
        "regarding.fieldPath",
        "regarding.kind",
        "regarding.name",
        "regarding.namespace",
        "regarding.resourceVersion",
        "regarding.uid",
        "reportingController",
        "type",
    ],
    field,
    ..Kind::BASE
};

const NEW: Names = Names {
    object: "regarding",
    message: "note",
    first: "deprecatedFirstTimestamp",
    last: "deprecatedLastTimestamp",
    count: "deprecatedCount",
    source: "deprecatedSource",
    controller: "reportingController",
};

fn field(doc: &Json, field: &str) -> String {
    let value = match field.split_once('.') {
        Some(("regarding", of)) => text(doc, &["regarding", of]),
        None if matches!(field, "reason" | "reportingController" | "type") => text(doc, &[field]),
        _ => "",
    };
    value.to_string()
}
