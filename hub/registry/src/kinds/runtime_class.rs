//! node.k8s.io/v1 RuntimeClass.

use super::pod::resources;
use super::rules::text;
use super::tolerations;
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{at, items_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// node.k8s.io/v1 RuntimeClass.
pub(crate) struct RuntimeClass;

impl Strategy for RuntimeClass {
    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let handler = text(doc, "handler");
        errors.all_invalid(&FieldPath::new("handler"), handler, names::dns_label(handler));
        if let Some(overhead) = at(doc, &["overhead", "podFixed"]) {
            resources::overhead(overhead, &FieldPath::new("overhead"), errors);
        }
        if let Some(scheduling) = doc.get("scheduling") {
            let path = FieldPath::new("scheduling");
            crate::meta::labels(scheduling.get("nodeSelector"), &path.child("nodeSelector"), errors);
            tolerations::validate(items_at(scheduling, &["tolerations"]), &path.child("tolerations"), errors);
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["handler"], &FieldPath::new("handler"), errors);
    }
}
