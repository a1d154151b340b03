//! apps/v1 ReplicaSet.

use super::rules::not_negative;
use super::workload::{at_most, default_template, name_warnings, status_counts, template_warnings, validate_pods};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{default, i64_at, set};
use holdfast_core::{FieldErrors, FieldPath, Json};

/// apps/v1 ReplicaSet.
pub(crate) struct ReplicaSet;

impl Strategy for ReplicaSet {
    fn default(&self, doc: &mut Json) {
        default(doc, &["spec", "replicas"], 1);
        default_template(doc, &["spec", "template"]);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], serde_json::json!({ "replicas": 0 }));
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        not_negative(spec, "replicas", &path, errors);
        not_negative(spec, "minReadySeconds", &path, errors);
        validate_pods(doc, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["spec", "selector"], &FieldPath::new("spec.selector"), errors);
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        status_counts(doc, &["replicas"], errors);
        status_counts(doc, &parts, errors);
        status_counts(doc, &["observedGeneration"], errors);
        at_most(doc, &parts, "replicas", "status.replicas", errors);
        let count = |field: &str| i64_at(doc, &["status", field]).unwrap_or(0);
        let (ready, available) = (count("readyReplicas"), count("availableReplicas"));
        if available > ready {
            let path = FieldPath::new("status.availableReplicas");
            errors.invalid(&path, available, "cannot be greater than readyReplicas");
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = name_warnings(doc);
        warnings.extend(template_warnings(doc, &["spec", "template"]));
        warnings
    }
}
