//! Event in its old form. `events.k8s.io` shows the same stored objects in the new one.

use crate::show::{column, int, name, or, since, text, wide};
use crate::{Column, Kind};
use holdfast_core::json::str_at;
use holdfast_core::{Json, Timestamp};

/// core/v1 Event.
pub(crate) const EVENT: Kind = Kind {
    kind: "Event",
    plural: "events",
    singular: "event",
    short_names: &["ev"],
    schema: "io.k8s.api.core.v1.Event",
    columns: COLUMNS,
    row: |doc, now| row(doc, now, &OLD),
    field_selectors: &[
        "involvedObject.apiVersion",
        "involvedObject.fieldPath",
        "involvedObject.kind",
        "involvedObject.name",
        "involvedObject.namespace",
        "involvedObject.resourceVersion",
        "involvedObject.uid",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ],
    field,
    ..Kind::BASE
};

/// The columns of both forms.
pub(crate) const COLUMNS: &[Column] = &[
    column("Last Seen", "string", "Time since it happened last."),
    column("Type", "string", "Normal or Warning."),
    column("Reason", "string", "Why it was written, in one word."),
    column("Object", "string", "What it is about."),
    wide("Subobject", "string", "Which part of that."),
    wide("Source", "string", "Who wrote it."),
    column("Message", "string", "What happened."),
    wide("First Seen", "string", "Time since it happened first."),
    wide("Count", "string", "How often it happened."),
    Column { name: "Name", column_type: "string", format: "name", description: "Name of the object.", priority: 1 },
];

/// How one of the two forms names its fields.
pub(crate) struct Names {
    pub(crate) object: &'static str,
    pub(crate) message: &'static str,
    pub(crate) first: &'static str,
    pub(crate) last: &'static str,
    pub(crate) count: &'static str,
    pub(crate) source: &'static str,
    pub(crate) controller: &'static str,
}

const OLD: Names = Names {
    object: "involvedObject",
    message: "message",
    first: "firstTimestamp",
    last: "lastTimestamp",
    count: "count",
    source: "source",
    controller: "reportingComponent",
};

/// The row of an event in either form.
pub(crate) fn row(doc: &Json, now: Timestamp, names: &Names) -> Vec<Json> {
    let first = str_at(doc, &[names.first]).or_else(|| str_at(doc, &["eventTime"]));
    let mut last = str_at(doc, &[names.last]).or(first);
    // Events of one occurrence carry no count in the new form.
    let mut count = int(doc, &[names.count]).max(1);
    if let Some(series) = doc.get("series").filter(|series| series.is_object()) {
        last = str_at(series, &["lastObservedTime"]);
        count = int(series, &["count"]);
    }
    let kind = text(doc, &[names.object, "kind"]).to_lowercase();
    let object = match text(doc, &[names.object, "name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    };
    vec![
        since(last, now).into(),
        text(doc, &["type"]).into(),
        text(doc, &["reason"]).into(),
        object.into(),
        text(doc, &[names.object, "fieldPath"]).into(),
        source(doc, names).into(),
        text(doc, &[names.message]).trim().into(),
        since(first, now).into(),
        count.into(),
        name(doc),
    ]
}

fn source(doc: &Json, names: &Names) -> String {
    let component = or(text(doc, &[names.source, "component"]), text(doc, &[names.controller]));
    match or(text(doc, &[names.source, "host"]), text(doc, &["reportingInstance"])) {
        "" => component.to_string(),
        host => format!("{component}, {host}"),
    }
}

fn field(doc: &Json, field: &str) -> String {
    let value = match field.split_once('.') {
        Some(("involvedObject", of)) => text(doc, &["involvedObject", of]),
        None if field == "source" => or(text(doc, &["source", "component"]), text(doc, &["reportingComponent"])),
        None if matches!(field, "reason" | "reportingComponent" | "type") => text(doc, &[field]),
        _ => "",
    };
    value.to_string()
}
