//! core/v1 ReplicationController and PodTemplate.

use super::rules::not_negative;
use super::workload::{
    at_most, default_template, name_warnings, status_counts, template_warnings, validate_always, validate_match,
    validate_template,
};
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, set};
use holdfast_core::{FieldErrors, FieldPath, Json};
use serde_json::{Map, json};

/// core/v1 ReplicationController.
pub(crate) struct ReplicationController;

/// core/v1 PodTemplate.
pub(crate) struct PodTemplate;

fn is_empty(map: Option<&Json>) -> bool {
    map.and_then(Json::as_object).is_none_or(Map::is_empty)
}

impl Strategy for ReplicationController {
    fn default(&self, doc: &mut Json) {
        if at(doc, &["spec"]).is_some() {
            default(doc, &["spec", "replicas"], 1);
        }
        default_template(doc, &["spec", "template"]);
        // Labels that nobody gave are those of the pods.
        if let Some(labels) = at(doc, &["spec", "template", "metadata", "labels"]).cloned() {
            for path in [&["spec", "selector"], &["metadata", "labels"]] {
                if is_empty(at(doc, path)) {
                    set(doc, path, labels.clone());
                }
            }
        }
    }

    /// As in the versions in which there was no garbage collector.
    fn orphans_by_default(&self) -> bool {
        true
    }

    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({ "replicas": 0 }));
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        not_negative(spec, "minReadySeconds", &path, errors);
        let selector = spec.get("selector");
        if is_empty(selector) {
            errors.required(&path.child("selector"), "");
        }
        match spec.get("replicas") {
            None => errors.required(&path.child("replicas"), ""),
            Some(_) => not_negative(spec, "replicas", &path, errors),
        }
        let path = path.child("template");
        let Some(template) = spec.get("template") else { return errors.required(&path, "") };
        if !is_empty(selector) {
            let selector = json!({ "matchLabels": selector });
            validate_match(Some(&selector), template, &path, errors);
        }
        validate_template(template, &path, errors);
        validate_always(template, "ReplicationController", &path, errors);
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        status_counts(doc, &["replicas"], errors);
        status_counts(doc, &parts, errors);
        status_counts(doc, &["observedGeneration"], errors);
        at_most(doc, &parts, "replicas", "status.replicas", errors);
        at_most(doc, &["availableReplicas"], "readyReplicas", "readyReplicas", errors);
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = name_warnings(doc);
        warnings.extend(template_warnings(doc, &["spec", "template"]));
        warnings
    }
}

impl Strategy for PodTemplate {
    fn default(&self, doc: &mut Json) {
        default_template(doc, &["template"]);
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        validate_template(doc.get("template").unwrap_or(&Json::Null), &FieldPath::new("template"), errors);
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        template_warnings(doc, &["template"])
    }
}
