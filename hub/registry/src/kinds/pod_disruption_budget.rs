//! policy/v1 PodDisruptionBudget.

use super::conditions;
use super::selectors;
use super::workload::{at_most_all, count_or_percent, status_counts};
use crate::strategy::Strategy;
use holdfast_core::json::set;
use holdfast_core::{FieldErrors, FieldPath, Json};
use serde_json::json;

/// policy/v1 PodDisruptionBudget.
pub(crate) struct PodDisruptionBudget;

const COUNTS: &[&str] = &["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"];
const UNHEALTHY: &[&str] = &["AlwaysAllow", "IfHealthyBudget"];

impl Strategy for PodDisruptionBudget {
    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], COUNTS.iter().map(|field| (field.to_string(), json!(0))).collect::<Json>());
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        let fields = ["minAvailable", "maxUnavailable"];
        if fields.iter().all(|field| spec.get(field).is_some()) {
            errors.invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
        }
        for field in fields {
            count_or_percent(spec.get(field), &path.child(field), errors);
            at_most_all(spec.get(field), &path.child(field), errors);
        }
        if let Some(selector) = spec.get("selector") {
            selectors::validate(selector, &path.child("selector"), errors);
        }
        if let Some(policy) = spec.get("unhealthyPodEvictionPolicy").and_then(Json::as_str)
            && !UNHEALTHY.contains(&policy)
        {
            errors.not_supported(&path.child("unhealthyPodEvictionPolicy"), policy, UNHEALTHY);
        }
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        conditions::validate(doc, errors);
        status_counts(doc, COUNTS, errors);
    }
}
