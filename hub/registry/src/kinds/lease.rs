//! coordination.k8s.io/v1 Lease.

use super::rules::{not_negative, positive};
use crate::strategy::Strategy;
use holdfast_core::{FieldErrors, FieldPath, Json};

/// coordination.k8s.io/v1 Lease.
pub(crate) struct Lease;

impl Strategy for Lease {
    fn creates_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (spec, path) = (doc.get("spec").unwrap_or(&Json::Null), FieldPath::new("spec"));
        positive(spec, "leaseDurationSeconds", &path, errors);
        not_negative(spec, "leaseTransitions", &path, errors);
        if spec.get("holderIdentity").and_then(Json::as_str) == Some("") {
            errors.invalid(&path.child("holderIdentity"), "", "must not be empty");
        }
    }
}
