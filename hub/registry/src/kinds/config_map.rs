//! core/v1 ConfigMap.

use super::data;
use crate::strategy::Strategy;
use holdfast_core::{FieldErrors, Json};

/// core/v1 ConfigMap.
pub(crate) struct ConfigMap;

const FIELDS: &[&str] = &["data", "binaryData"];

impl Strategy for ConfigMap {
    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        data::validate(doc, FIELDS, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        data::validate_immutable(doc, old, FIELDS, errors);
    }
}
