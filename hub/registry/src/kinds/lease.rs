//! coordination.k8s.io/v1 Lease.

use super::rules::{not_negative, positive, text};
use crate::strategy::Strategy;
use holdfast_core::{FieldErrors, FieldPath, Json, names};

/// coordination.k8s.io/v1 Lease.
pub(crate) struct Lease;

/// How a leader may be chosen among candidates, beside ways that others define with a domain of theirs.
const STRATEGIES: &[&str] = &["OldestEmulationVersion"];

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
        // Whoever gives a lease up, as clients do when they end, leaves an empty `holderIdentity`.
        let strategy = spec.get("strategy").and_then(Json::as_str);
        if let Some(strategy) = strategy {
            // Upstream says the name twice.
            let path = path.child("strategy").child("strategy");
            if strategy.contains('/') {
                errors.all_invalid(&path, strategy, names::qualified_name(strategy));
            } else if !STRATEGIES.contains(&strategy) {
                errors.not_supported(&path, strategy, STRATEGIES);
            }
        }
        if !text(spec, "preferredHolder").is_empty() && strategy.unwrap_or_default().is_empty() {
            errors.forbidden(&path.child("preferredHolder"), "may only be specified if `strategy` is defined");
        }
    }
}
