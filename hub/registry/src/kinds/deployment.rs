//! apps/v1 Deployment.

use super::rules::{default_text, not_negative, one_of};
use super::workload::{
    at_most, count_or_percent, default_template, is_zero, name_warnings, status_counts, template_warnings,
    validate_pods,
};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{default, i64_at, remove, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

/// apps/v1 Deployment.
pub(crate) struct Deployment;

impl Strategy for Deployment {
    fn default(&self, doc: &mut Json) {
        default(doc, &["spec", "replicas"], 1);
        default(doc, &["spec", "revisionHistoryLimit"], 10);
        default(doc, &["spec", "progressDeadlineSeconds"], 600);
        default_text(doc, &["spec", "strategy", "type"], "RollingUpdate");
        if str_at(doc, &["spec", "strategy", "type"]) == Some("RollingUpdate") {
            default(doc, &["spec", "strategy", "rollingUpdate", "maxUnavailable"], "25%");
            default(doc, &["spec", "strategy", "rollingUpdate", "maxSurge"], "25%");
        }
        default_template(doc, &["spec", "template"]);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        // Go serves the struct even when it is empty, and clients read into it.
        default(doc, &["status"], serde_json::json!({}));
        remove(doc, &["spec", "rollbackTo"]);
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        not_negative(spec, "replicas", &path, errors);
        validate_pods(doc, errors);
        validate_strategy(spec.get("strategy").unwrap_or(&Json::Null), &path.child("strategy"), errors);
        not_negative(spec, "minReadySeconds", &path, errors);
        not_negative(spec, "revisionHistoryLimit", &path, errors);
        not_negative(spec, "progressDeadlineSeconds", &path, errors);
        let (deadline, ready) =
            (i64_at(spec, &["progressDeadlineSeconds"]), i64_at(spec, &["minReadySeconds"]).unwrap_or(0));
        if let Some(deadline) = deadline.filter(|deadline| *deadline <= ready) {
            errors.invalid(&path.child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
        }
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["spec", "selector"], &FieldPath::new("spec.selector"), errors);
    }

    fn validate_status(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let parts = ["updatedReplicas", "readyReplicas", "availableReplicas"];
        status_counts(doc, &["observedGeneration", "replicas"], errors);
        status_counts(doc, &parts, errors);
        status_counts(doc, &["unavailableReplicas"], errors);
        at_most(doc, &parts, "replicas", "status.replicas", errors);
        let count = |doc: &Json| i64_at(doc, &["status", "collisionCount"]).unwrap_or(0);
        if count(doc) < count(old) {
            errors.invalid(&FieldPath::new("status.collisionCount"), count(doc), "cannot be decremented");
        }
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = name_warnings(doc);
        warnings.extend(template_warnings(doc, &["spec", "template"]));
        warnings
    }
}

fn validate_strategy(strategy: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    one_of(strategy, "type", &["Recreate", "RollingUpdate"], true, path, errors);
    let rolling = strategy.get("rollingUpdate");
    match str_at(strategy, &["type"]) {
        Some("Recreate") if rolling.is_some() => {
            errors.forbidden(&path.child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'");
        }
        Some("RollingUpdate") => {
            let path = path.child("rollingUpdate");
            let (down, up) = (
                rolling.and_then(|rolling| rolling.get("maxUnavailable")),
                rolling.and_then(|rolling| rolling.get("maxSurge")),
            );
            count_or_percent(down, &path.child("maxUnavailable"), errors);
            count_or_percent(up, &path.child("maxSurge"), errors);
            if is_zero(down) && is_zero(up) {
                errors.invalid(
                    &path.child("maxUnavailable"),
                    down.cloned().unwrap_or_default(),
                    "may not be 0 when `maxSurge` is 0",
                );
            }
            let percent = down.and_then(Json::as_str).and_then(|text| text.trim_end_matches('%').parse::<u64>().ok());
            if percent.is_some_and(|percent| percent > 100) {
                errors.invalid(
                    &path.child("maxUnavailable"),
                    down.cloned().unwrap_or_default(),
                    "must not be greater than 100%",
                );
            }
        }
        _ => {}
    }
}
