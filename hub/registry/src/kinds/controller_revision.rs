//! apps/v1 ControllerRevision.

use super::rules::not_negative;
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::{FieldErrors, FieldPath, Json};

/// apps/v1 ControllerRevision.
pub(crate) struct ControllerRevision;

impl Strategy for ControllerRevision {
    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        not_negative(doc, "revision", &FieldPath::default(), errors);
    }

    fn validate_new(&self, doc: &Json, errors: &mut FieldErrors) {
        match doc.get("data") {
            None | Some(Json::Null) => errors.required(&FieldPath::new("data"), "data is mandatory"),
            Some(Json::Object(_)) => {}
            Some(_) => errors.required(&FieldPath::new("data"), "data must be a valid JSON object"),
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["data"], &FieldPath::new("data"), errors);
    }
}
