//! apps/v1 DaemonSet.

use super::rules::{default_text, not_negative, text};
use super::selectors;
use super::workload::{
    at_most_all, collision_count, count_or_percent, default_template, is_zero, name_warnings, status_counts,
    template_warnings, validate_always, validate_match, validate_template,
};
use crate::meta::immutable;
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, set, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json};
use serde_json::json;

/// apps/v1 DaemonSet.
pub(crate) struct DaemonSet;

/// Where apps/v1 keeps the number of the template, which older versions had as a field.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

impl Strategy for DaemonSet {
    fn default(&self, doc: &mut Json) {
        default_text(doc, &["spec", "updateStrategy", "type"], "RollingUpdate");
        if str_at(doc, &["spec", "updateStrategy", "type"]) == Some("RollingUpdate") {
            default(doc, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"], 1);
            default(doc, &["spec", "updateStrategy", "rollingUpdate", "maxSurge"], 0);
        }
        default(doc, &["spec", "revisionHistoryLimit"], 10);
        default_template(doc, &["spec", "template"]);
    }

    fn has_status(&self) -> bool {
        true
    }

    fn counts_generation(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        let counts = ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"];
        set(doc, &["status"], counts.iter().map(|field| (field.to_string(), json!(0))).collect::<Json>());
        let given = template_generation(doc).filter(|number| *number >= 1).unwrap_or(1);
        set(doc, &["metadata", "annotations", TEMPLATE_GENERATION], given.to_string());
    }

    fn prepare_for_update(&self, doc: &mut Json, old: &Json) {
        let before = template_generation(old).unwrap_or(1);
        let template = |doc: &Json| at(doc, &["spec", "template"]).cloned();
        let now = if template(doc) == template(old) { before } else { before + 1 };
        set(doc, &["metadata", "annotations", TEMPLATE_GENERATION], now.to_string());
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        let (selector, template) = (spec.get("selector"), spec.get("template").unwrap_or(&Json::Null));
        if let Some(selector) = selector {
            selectors::validate(selector, &path.child("selector"), errors);
        }
        match selector {
            // A selector that is missing selects nothing.
            None => {
                let labels = at(template, &["metadata", "labels"]).cloned().unwrap_or(Json::Null);
                let path = path.child("template").child("metadata").child("labels");
                errors.invalid(&path, labels, "`selector` does not match template `labels`");
            }
            Some(_) => validate_match(selector, template, &path.child("template"), errors),
        }
        if let Some(selector) = selector.filter(|selector| selectors::is_empty(selector)) {
            let text = "empty selector is invalid for daemonset";
            errors.invalid(&path.child("selector"), selector.clone(), text);
        }
        validate_template(template, &path.child("template"), errors);
        validate_always(template, "DaemonSet", &path.child("template"), errors);
        not_negative(spec, "minReadySeconds", &path, errors);
        update_strategy(spec, &path.child("updateStrategy"), errors);
        not_negative(spec, "revisionHistoryLimit", &path, errors);
    }

    fn validate_update(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        immutable(doc, old, &["spec", "selector"], &FieldPath::new("spec.selector"), errors);
    }

    fn validate_status(&self, doc: &Json, old: &Json, errors: &mut FieldErrors) {
        let counts = [
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ];
        status_counts(doc, &counts, errors);
        collision_count(doc, old, errors);
    }

    fn warnings(&self, doc: &Json) -> Vec<String> {
        let mut warnings = name_warnings(doc);
        warnings.extend(template_warnings(doc, &["spec", "template"]));
        warnings
    }
}

fn template_generation(doc: &Json) -> Option<i64> {
    str_at(doc, &["metadata", "annotations", TEMPLATE_GENERATION])?.parse().ok()
}

fn update_strategy(spec: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let strategy = spec.get("updateStrategy").unwrap_or(&Json::Null);
    match text(strategy, "type") {
        "OnDelete" => {}
        "RollingUpdate" => {
            let path = path.child("rollingUpdate");
            let Some(rolling) = strategy.get("rollingUpdate") else { return errors.required(&path, "") };
            let (down, up) = (rolling.get("maxUnavailable"), rolling.get("maxSurge"));
            count_or_percent(down, &path.child("maxUnavailable"), errors);
            count_or_percent(up, &path.child("maxSurge"), errors);
            at_most_all(down, &path.child("maxUnavailable"), errors);
            at_most_all(up, &path.child("maxSurge"), errors);
            match (is_zero(down), is_zero(up)) {
                (false, false) => errors.invalid(
                    &path.child("maxSurge"),
                    up.cloned().unwrap_or_default(),
                    "may not be set when maxUnavailable is non-zero",
                ),
                (true, true) => {
                    errors.required(&path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0");
                }
                _ => {}
            }
        }
        _ => errors.not_supported(path, strategy.clone(), &["RollingUpdate", "OnDelete"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_numbered() {
        let mut doc = json!({"metadata": {}, "spec": {"template": {"a": 1}}});
        DaemonSet.prepare_for_create(&mut doc);
        assert_eq!(template_generation(&doc), Some(1));
        let mut same = doc.clone();
        DaemonSet.prepare_for_update(&mut same, &doc);
        assert_eq!(template_generation(&same), Some(1));
        let mut changed = doc.clone();
        set(&mut changed, &["spec", "template", "a"], 2);
        DaemonSet.prepare_for_update(&mut changed, &doc);
        assert_eq!(template_generation(&changed), Some(2));
        assert_eq!(changed["status"]["numberReady"], 0);
    }
}
