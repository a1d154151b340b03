//! edge.holdfast.io/v1alpha1 OfflinePolicy.

use super::rules::text;
use super::selectors;
use crate::strategy::Strategy;
use holdfast_core::{FieldErrors, FieldPath, Json};
use holdfast_kinds::fencing;

/// edge.holdfast.io/v1alpha1 OfflinePolicy.
pub(crate) struct OfflinePolicy;

const FAIL_OVER: &str = "FailOverAfter";
const MODES: &[&str] = &[FAIL_OVER, "Kubernetes", "RunForever"];

impl Strategy for OfflinePolicy {
    fn counts_generation(&self) -> bool {
        true
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let path = FieldPath::new("spec");
        let spec = doc.get("spec").unwrap_or(&Json::Null);
        let selector = path.child("podSelector");
        match spec.get("podSelector").filter(|selector| selector.is_object()) {
            Some(pods) => selectors::validate(pods, &selector, errors),
            None => errors.required(&selector, "an empty selector selects all pods of the namespace"),
        }
        let (mode, after) = (text(spec, "mode"), text(spec, "failOverAfter"));
        let (mode_path, after_path) = (path.child("mode"), path.child("failOverAfter"));
        match mode {
            "" => errors.required(&mode_path, ""),
            _ if !MODES.contains(&mode) => errors.not_supported(&mode_path, mode, MODES),
            FAIL_OVER if after.is_empty() => {
                errors.required(&after_path, "must be specified when `mode` is 'FailOverAfter'");
            }
            FAIL_OVER => {
                if let Err(why) = fencing::fail_over_time(after) {
                    errors.invalid(&after_path, after, why);
                }
            }
            _ if !after.is_empty() => {
                errors.forbidden(&after_path, "may not be specified when `mode` is not 'FailOverAfter'");
            }
            _ => {}
        }
    }
}

/// What the annotation of a pod says by this policy.
pub(crate) fn annotation(policy: &Json) -> String {
    let spec = policy.get("spec").unwrap_or(&Json::Null);
    match text(spec, "mode") {
        FAIL_OVER => format!("{FAIL_OVER}={}", text(spec, "failOverAfter")),
        mode => mode.to_string(),
    }
}
