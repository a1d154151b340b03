//! apps/v1 ReplicaSet.

use super::pod::spec;
use super::rules::not_negative;
use super::workload::{default_template, name_warnings, validate_pods};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, i64_at, set};
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
        let (path, status) = (FieldPath::new("status"), doc.get("status").unwrap_or(&Json::Null));
        for field in ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"] {
            not_negative(status, field, &path, errors);
        }
        let total = i64_at(status, &["replicas"]).unwrap_or(0);
        for field in ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"] {
            if let Some(count) = i64_at(status, &[field]).filter(|count| *count > total) {
                errors.invalid(&path.child(field), count, "cannot be greater than status.replicas");
            }
        }
        let (ready, available) =
            (i64_at(status, &["readyReplicas"]).unwrap_or(0), i64_at(status, &["availableReplicas"]).unwrap_or(0));
        if available > ready {
            errors.invalid(&path.child("availableReplicas"), available, "cannot be greater than readyReplicas");
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = name_warnings(doc);
        if let Some(template) = at(doc, &["spec", "template", "spec"]) {
            warnings.extend(spec::warnings(template, "spec.template.spec"));
        }
        warnings
    }
}
