//! scheduling.k8s.io/v1 PriorityClass.

use super::rules::{default_text, one_of};
use crate::strategy::Strategy;
use holdfast_core::json::{i64_at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};

/// scheduling.k8s.io/v1 PriorityClass.
pub(crate) struct PriorityClass;

/// The highest priority that users may give.
const HIGHEST_USER: i64 = 1_000_000_000;

/// Classes that the system makes.
pub(crate) const SYSTEM: &[(&str, i64)] =
    &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

impl Strategy for PriorityClass {
    fn default(&self, doc: &mut Json) {
        default_text(doc, &["preemptionPolicy"], "PreemptLowerPriority");
        if i64_at(doc, &["value"]).is_none() {
            set(doc, &["value"], 0);
        }
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (name, value) =
            (str_at(doc, &["metadata", "name"]).unwrap_or_default(), i64_at(doc, &["value"]).unwrap_or(0));
        if name.starts_with("system-") {
            if !SYSTEM.contains(&(name, value)) {
                errors.forbidden(
                    &FieldPath::new("metadata.name"),
                    format!(
                        "priority class names with 'system-' prefix are reserved for system use only. error: {name} \
                         is not a known system priority class"
                    ),
                );
            }
        } else if value > HIGHEST_USER {
            errors.forbidden(
                &FieldPath::new("value"),
                format!("maximum allowed value of a user defined priority is {HIGHEST_USER}"),
            );
        }
        one_of(doc, "preemptionPolicy", &["Never", "PreemptLowerPriority"], false, &FieldPath::default(), errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        for (field, text) in [("value", "may not be changed in an update."), ("preemptionPolicy", "field is immutable")]
        {
            if doc.get(field) != old.get(field) {
                if field == "value" {
                    errors.forbidden(&FieldPath::new(field), text);
                } else {
                    errors.invalid(&FieldPath::new(field), doc.get(field).cloned().unwrap_or_default(), text);
                }
            }
        }
    }
}
