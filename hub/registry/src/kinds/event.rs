//! Event. Stored as core/v1; events.k8s.io/v1 is converted at the edge.

use super::rules::text;
use crate::strategy::Strategy;
use holdfast_core::json::{at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;

/// core/v1 and events.k8s.io/v1 Event.
pub(crate) struct Event;

impl Strategy for Event {
    fn default(&self, doc: &mut Json) {
        // Structs of the Go type are always served.
        for field in ["source", "involvedObject"] {
            holdfast_core::json::default(doc, &[field], json!({}));
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("involvedObject").child("namespace");
        let about = str_at(doc, &["involvedObject", "namespace"]).unwrap_or_default();
        let own = str_at(doc, &["metadata", "namespace"]).unwrap_or_default();
        // Events about cluster-scoped objects live in `default`.
        let fits = if about.is_empty() { own == "default" || own == "kube-system" } else { about == own };
        if !fits {
            errors.invalid(&path, about, "does not match event.namespace");
        }
        let path = FieldPath::new("");
        if !text(doc, "eventTime").is_empty() {
            // The new kind of event says who reports.
            if text(doc, "reportingComponent").is_empty() {
                errors.required(&path.child("reportingController"), "");
            } else {
                let name = text(doc, "reportingComponent");
                errors.all_invalid(&path.child("reportingController"), name, names::qualified_name(name));
            }
            if text(doc, "reportingInstance").is_empty() {
                errors.required(&path.child("reportingInstance"), "");
            }
            if text(doc, "action").is_empty() {
                errors.required(&path.child("action"), "");
            }
            if text(doc, "reason").is_empty() {
                errors.required(&path.child("reason"), "");
            }
            if !["Normal", "Warning"].contains(&text(doc, "type")) {
                errors.invalid(&path.child("type"), text(doc, "type"), "");
            }
        }
        for (field, limit) in [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)] {
            if text(doc, field).len() > limit && !text(doc, "eventTime").is_empty() {
                errors.invalid(&path.child(field), "", format!("can have at most {limit} characters"));
            }
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        if text(old, "eventTime").is_empty() {
            return;
        }
        let path = FieldPath::new("");
        for field in ["involvedObject", "reason", "reportingInstance", "action", "type"] {
            if at(doc, &[field]) != at(old, &[field]) {
                errors.invalid(
                    &path.child(field),
                    at(doc, &[field]).cloned().unwrap_or_default(),
                    "field is immutable",
                );
            }
        }
    }
}
