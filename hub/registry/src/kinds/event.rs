//! core/v1 and events.k8s.io/v1 Event: one kind that is stored as core/v1 and judged by the version that it comes in.

use super::rules::text;
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{at, i64_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;

/// An Event by the version of a request.
pub(crate) struct Event {
    /// events.k8s.io/v1 wants what core/v1 leaves open, and lets the series change alone.
    strict: bool,
}

pub(crate) static CORE: Event = Event { strict: false };
pub(crate) static EVENTS: Event = Event { strict: true };

/// Longest values of an Event of the new sort, by their name.
const LIMITS: &[(&str, usize)] = &[("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)];

/// Fields as they are stored, and as upstream's errors name them.
const FIXED: &[(&str, &str)] = &[
    ("involvedObject", "involvedObject"),
    ("reason", "reason"),
    ("message", "message"),
    ("source", "source"),
    ("firstTimestamp", "firstTimestamp"),
    ("lastTimestamp", "lastTimestamp"),
    ("count", "count"),
    ("reason", "reason"),
    ("type", "type"),
    ("eventTime", "eventTime"),
    ("action", "action"),
    ("related", "related"),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
];

impl Strategy for Event {
    fn default(&self, doc: &mut Json) {
        // Structs of the Go type are always served.
        for field in ["source", "involvedObject"] {
            holdfast_core::json::default(doc, &[field], json!({}));
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        if text(doc, "eventTime").is_empty() {
            namespace(doc, false, errors);
            return;
        }
        namespace(doc, true, errors);
        let (path, controller) = (FieldPath::new("reportingController"), text(doc, "reportingComponent"));
        if controller.is_empty() {
            errors.required(&path, "");
        }
        errors.all_invalid(&path, controller, names::qualified_name(controller));
        for (field, limit) in LIMITS {
            let (path, value) = (FieldPath::new(field), text(doc, field));
            if value.is_empty() && *field != "message" {
                errors.required(&path, "");
            }
            if value.len() > *limit {
                errors.invalid(&path, "", format!("can have at most {limit} characters"));
            }
        }
    }

    fn validate_new(&self, doc: &Json, errors: &mut FieldErrors) {
        if !self.strict {
            return;
        }
        series(doc, errors);
        if text(doc, "eventTime").is_empty() {
            errors.required(&FieldPath::new("eventTime"), "");
        }
        let kind = text(doc, "type");
        if !["Normal", "Warning"].contains(&kind) {
            errors.invalid(&FieldPath::new("type"), "", format!("has invalid value: {kind}"));
        }
        let source =
            ["component", "host"].iter().any(|field| str_at(doc, &["source", field]).is_some_and(|s| !s.is_empty()));
        for (field, is_set) in [
            ("firstTimestamp", !text(doc, "firstTimestamp").is_empty()),
            ("lastTimestamp", !text(doc, "lastTimestamp").is_empty()),
            ("count", i64_at(doc, &["count"]).unwrap_or_default() != 0),
            ("source", source),
        ] {
            if is_set {
                errors.invalid(&FieldPath::new(field), "", "needs to be unset");
            }
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        if !self.strict {
            return;
        }
        if doc.get("series") != old.get("series") {
            series(doc, errors);
        }
        for (field, name) in FIXED {
            immutable(doc, old, &[field], &FieldPath::new(name), errors);
        }
    }
}

/// An Event lives beside what it is about. Those about cluster-scoped objects live in `default`, or, with the time that Events
/// of the new sort have, in `kube-system`; what else such a one is about is not looked at.
fn namespace(doc: &Json, timed: bool, errors: &mut FieldErrors) {
    let about = str_at(doc, &["involvedObject", "namespace"]).unwrap_or_default();
    let own = str_at(doc, &["metadata", "namespace"]).unwrap_or_default();
    let fits = match (about.is_empty(), timed) {
        (true, true) => own == "default" || own == "kube-system",
        (true, false) => own.is_empty() || own == "default",
        (false, true) => true,
        (false, false) => about == own,
    };
    if !fits {
        errors.invalid(&FieldPath::new("involvedObject").child("namespace"), about, "does not match event.namespace");
    }
}

fn series(doc: &Json, errors: &mut FieldErrors) {
    let Some(series) = at(doc, &["series"]) else { return };
    if i64_at(series, &["count"]).unwrap_or_default() < 2 {
        errors.invalid(&FieldPath::new("series.count"), "", "should be at least 2");
    }
    if text(series, "lastObservedTime").is_empty() {
        errors.required(&FieldPath::new("series.lastObservedTime"), "");
    }
}
