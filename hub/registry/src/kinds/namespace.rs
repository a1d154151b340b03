//! core/v1 Namespace.

use crate::strategy::{Strategy, keep_all_but_status};
use holdfast_core::json::{copy, items_at, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;

/// core/v1 Namespace.
pub(crate) struct Namespace;

/// The label that names a namespace, so that selectors can.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

fn label(doc: &mut Json) {
    if let Some(name) = str_at(doc, &["metadata", "name"]).map(str::to_string) {
        set(doc, &["metadata", "labels", NAME_LABEL], name);
    }
}

impl Strategy for Namespace {
    fn has_status(&self) -> bool {
        true
    }

    fn name_problems(&self, name: &str) -> Vec<String> {
        names::dns_label(name)
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        label(doc);
        set(doc, &["status"], json!({ "phase": "Active" }));
        let mut finalizers = items_at(doc, &["spec", "finalizers"]).to_vec();
        if !finalizers.iter().any(|finalizer| finalizer == "kubernetes") {
            finalizers.push(json!("kubernetes"));
        }
        set(doc, &["spec", "finalizers"], finalizers);
    }

    fn prepare_for_update(&self, doc: &mut Json, old: &Json) {
        label(doc);
        // Finalizers of the spec go by the subresource `finalize` only.
        copy(old, doc, &["spec"]);
    }

    fn kept_by_status(&self) -> Option<&'static [&'static str]> {
        Some(&["labels"])
    }

    fn prepare_for_status_update(&self, doc: &mut Json, old: &Json) {
        keep_all_but_status(doc, old);
        copy(old, doc, &["metadata", "labels"]);
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        let phase = str_at(doc, &["status", "phase"]).unwrap_or_default();
        let (wanted, mark) = match str_at(doc, &["metadata", "deletionTimestamp"]) {
            None => ("Active", "empty"),
            Some(_) => ("Terminating", "not empty"),
        };
        if phase != wanted {
            let text = format!("may only be '{wanted}' if `deletionTimestamp` is {mark}");
            errors.invalid(&FieldPath::new("status.Phase"), phase, text);
        }
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        crate::admission::pod_security::validate_labels(doc, errors);
        for (index, finalizer) in items_at(doc, &["spec", "finalizers"]).iter().filter_map(Json::as_str).enumerate() {
            let path = FieldPath::new("spec.finalizers").index(index);
            errors.all_invalid(&path, finalizer, names::qualified_name(finalizer));
            if !finalizer.contains('/') && finalizer != "kubernetes" {
                errors.invalid(&path, finalizer, "name is neither a standard finalizer name nor is it fully qualified");
            }
        }
    }
}
