//! The rules of a custom kind: those of its schema.

use super::CustomKind;
use crate::strategy::Strategy;
use holdfast_core::json::{at, remove, set};
use holdfast_core::{FieldErrors, Json};
use std::sync::Arc;

/// The rules of one version.
#[derive(Clone)]
pub(crate) struct CustomStrategy(pub(crate) Arc<CustomKind>);

impl Strategy for CustomStrategy {
    fn default(&self, doc: &mut Json) {
        self.0.schema.default(doc);
    }

    fn has_status(&self) -> bool {
        self.0.kind.subresource("status").is_some()
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn status_is_desired(&self) -> bool {
        !self.has_status()
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        None
    }

    fn prepare_for_status_update(&self, doc: &mut Json, old: &Json) {
        let status = at(doc, &["status"]).cloned();
        *doc = old.clone();
        match status {
            Some(status) => set(doc, &["status"], status),
            None => {
                remove(doc, &["status"]);
            }
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        self.0.schema.validate(doc, None, errors);
    }

    fn judges_changes_whole(&self) -> bool {
        true
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        self.0.schema.validate(doc, Some(old), errors);
    }

    fn validate_status(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        self.0.schema.validate(doc, Some(old), errors);
    }
}
