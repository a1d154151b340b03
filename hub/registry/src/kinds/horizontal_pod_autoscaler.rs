//! autoscaling HorizontalPodAutoscaler, as it is stored: in v2.

use super::pod::resources::quantity;
use super::resource_names::{amount, container_name};
use super::rules::text;
use super::workload::status_counts;
use crate::strategy::Strategy;
use holdfast_core::json::{at, default, i64_at, items_at, set};
use holdfast_core::{FieldErrors, FieldPath, Json, names};
use serde_json::json;

/// autoscaling HorizontalPodAutoscaler.
pub(crate) struct HorizontalPodAutoscaler;

const PERIOD_SECS: i64 = 1800;
const WINDOW_SECS: i64 = 3600;
const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];
/// Fields of the sources in the order in which upstream looks for them, with the type that each is for.
const SOURCES: &[(&str, &str)] = &[
    ("object", "Object"),
    ("external", "External"),
    ("pods", "Pods"),
    ("resource", "Resource"),
    ("containerResource", "ContainerResource"),
];

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, doc: &mut Json) {
        if at(doc, &["spec"]).is_none() {
            return;
        }
        default(doc, &["spec", "minReplicas"], 1);
        if items_at(doc, &["spec", "metrics"]).is_empty() {
            let target = json!({ "type": "Utilization", "averageUtilization": 80 });
            let cpu = json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } });
            set(doc, &["spec", "metrics"], vec![cpu]);
        }
        if at(doc, &["spec", "behavior"]).is_none() {
            return;
        }
        let percent = json!({ "type": "Percent", "value": 100, "periodSeconds": 15 });
        let pods = json!({ "type": "Pods", "value": 4, "periodSeconds": 15 });
        let up = json!({ "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": [pods, percent] });
        let down = json!({ "selectPolicy": "Max", "policies": [percent] });
        for (direction, rules) in [("scaleUp", up), ("scaleDown", down)] {
            for (field, value) in rules.as_object().into_iter().flatten() {
                default(doc, &["spec", "behavior", direction, field], value.clone());
            }
        }
    }

    fn has_status(&self) -> bool {
        true
    }

    fn prepare_for_create(&self, doc: &mut Json) {
        set(doc, &["status"], json!({ "desiredReplicas": 0 }));
    }

    fn validate(&self, doc: &Json, errors: &mut FieldErrors) {
        let (path, spec) = (FieldPath::new("spec"), doc.get("spec").unwrap_or(&Json::Null));
        let (min, max) = (i64_at(spec, &["minReplicas"]), i64_at(spec, &["maxReplicas"]).unwrap_or(0));
        if let Some(min) = min.filter(|min| *min < 1) {
            errors.invalid(&path.child("minReplicas"), min, "must be greater than or equal to 1");
        }
        let at_max = path.child("maxReplicas");
        if max == 0 {
            errors.required(&at_max, "must be set and greater than 0");
        } else if max < 0 {
            errors.invalid(&at_max, max, "must be greater than or equal to 1");
        }
        if min.is_some_and(|min| max < min) {
            errors.invalid(&at_max, max, "must be greater than or equal to `minReplicas`");
        }
        let target = spec.get("scaleTargetRef").unwrap_or(&Json::Null);
        reference(target, &path.child("scaleTargetRef"), errors);
        let metrics = items_at(spec, &["metrics"]);
        for (index, metric) in metrics.iter().enumerate() {
            one_metric(metric, &path.child("metrics").index(index), errors);
        }
        for direction in ["scaleUp", "scaleDown"] {
            if let Some(rules) = at(spec, &["behavior", direction]) {
                scaling_rules(rules, &path.child("behavior").child(direction), errors);
            }
        }
    }

    fn validate_status(&self, doc: &Json, _old: &Json, errors: &mut FieldErrors) {
        status_counts(doc, &["currentReplicas", "desiredReplicas"], errors);
    }
}

/// A reference by kind, name and version.
fn reference(of: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    for field in ["kind", "name"] {
        match text(of, field) {
            "" => errors.required(&path.child(field), ""),
            value => errors.all_invalid(&path.child(field), value, names::path_segment(value)),
        }
    }
    let version = text(of, "apiVersion");
    if version.matches('/').count() > 1 {
        errors.invalid(&path.child("apiVersion"), version, format!("unexpected GroupVersion string: {version}"));
    }
}

fn one_metric(metric: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric source type");
    }
    if !TYPES.contains(&kind) {
        errors.not_supported(&path.child("type"), kind, TYPES);
    }
    let given: Vec<&str> =
        SOURCES.iter().map(|(field, _)| *field).filter(|field| metric.get(field).is_some()).collect();
    if let Some(first) = given.first() {
        source(first, metric.get(first).unwrap_or(&Json::Null), &path.child(first), errors);
    }
    let expected = SOURCES.iter().find(|(_, of)| *of == kind).map(|(field, _)| *field);
    match expected {
        Some(field) if metric.get(field).is_none() => {
            errors.required(&path.child(field), "must populate information for the given metric source");
        }
        Some(_) => {}
        // Upstream tells of it at both places where it asks.
        None => errors.not_supported(&path.child("type"), kind, TYPES),
    }
    if given.len() != 1 {
        for field in given.iter().filter(|field| Some(**field) != expected) {
            errors.forbidden(&path.child(field), "must populate the given metric source only");
        }
    }
}

fn source(kind: &str, of: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let target = of.get("target").unwrap_or(&Json::Null);
    let at_target = path.child("target");
    if matches!(kind, "object" | "external" | "pods") {
        if kind == "object" {
            reference(of.get("describedObject").unwrap_or(&Json::Null), &path.child("describedObject"), errors);
        }
        let (name, at) = (text(of.get("metric").unwrap_or(&Json::Null), "name"), path.child("metric").child("name"));
        match name {
            "" => errors.required(&at, "must specify a metric name"),
            name => errors.all_invalid(&at, name, names::path_segment(name)),
        }
    } else {
        match text(of, "name") {
            "" => errors.required(&path.child("name"), "must specify a resource name"),
            name if kind == "containerResource" => container_name(name, &path.child("name"), errors),
            _ => {}
        }
        if kind == "containerResource" {
            match text(of, "container") {
                "" => errors.required(&path.child("container"), "must specify a container"),
                name => errors.all_invalid(&path.child("container"), name, names::dns_label(name)),
            }
        }
    }
    metric_target(target, &at_target, errors);
    let has = |field: &str| target.get(field).is_some();
    let average = at_target.child("averageValue");
    match kind {
        "object" if !has("value") && !has("averageValue") => {
            errors.required(&average, "must set either a target value or averageValue");
        }
        "external" if !has("value") && !has("averageValue") => {
            errors.required(&average, "must set either a target value for metric or a per-pod target");
        }
        "external" if has("value") && has("averageValue") => {
            let text = "may not set both a target value for metric and a per-pod target";
            errors.forbidden(&at_target.child("value"), text);
        }
        "pods" if target.get("averageValue").and_then(quantity).is_none_or(|value| value.milli() <= 0) => {
            errors.required(&average, "must specify a positive target averageValue");
        }
        "resource" | "containerResource" => match (has("averageUtilization"), has("averageValue")) {
            (false, false) => errors.required(
                &at_target.child("averageUtilization"),
                "must set either a target raw value or a target utilization",
            ),
            (true, true) => {
                errors.forbidden(&average, "may not set both a target raw value and a target utilization");
            }
            _ => {}
        },
        _ => {}
    }
}

fn metric_target(target: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let kind = text(target, "type");
    if kind.is_empty() {
        errors.required(&path.child("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        errors.invalid(&path.child("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for field in ["value", "averageValue"] {
        let value = target.get(field);
        if value.and_then(quantity).is_some_and(|value| value.milli() <= 0) {
            errors.invalid(&path.child(field), value.cloned().unwrap_or_default(), "must be positive");
        }
    }
    if let Some(percent) = i64_at(target, &["averageUtilization"]).filter(|percent| *percent < 1) {
        errors.invalid(&path.child("averageUtilization"), percent, "must be greater than 0");
    }
}

fn scaling_rules(rules: &Json, path: &FieldPath, errors: &mut FieldErrors) {
    let window = i64_at(rules, &["stabilizationWindowSeconds"]);
    let at_window = path.child("stabilizationWindowSeconds");
    match window {
        Some(secs) if secs < 0 => errors.invalid(&at_window, secs, "must be greater than or equal to zero"),
        Some(secs) if secs > WINDOW_SECS => {
            errors.invalid(&at_window, secs, format!("must be less than or equal to {WINDOW_SECS}"));
        }
        _ => {}
    }
    if let Some(policy) = rules.get("selectPolicy").and_then(Json::as_str)
        && !matches!(policy, "Max" | "Min" | "Disabled")
    {
        errors.not_supported(&path.child("selectPolicy"), policy, &["Disabled", "Max", "Min"]);
    }
    let policies = items_at(rules, &["policies"]);
    let at_policies = path.child("policies");
    if policies.is_empty() {
        errors.required(&at_policies, "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = at_policies.index(index);
        let kind = text(policy, "type");
        if !matches!(kind, "Pods" | "Percent") {
            errors.not_supported(&path.child("type"), kind, &["Percent", "Pods"]);
        }
        let number = |field: &str| i64_at(policy, &[field]).unwrap_or(0);
        for field in ["value", "periodSeconds"] {
            if number(field) <= 0 {
                errors.invalid(&path.child(field), number(field), "must be greater than zero");
            }
        }
        if number("periodSeconds") > PERIOD_SECS {
            let text = format!("must be less than or equal to {PERIOD_SECS}");
            errors.invalid(&path.child("periodSeconds"), number("periodSeconds"), text);
        }
    }
    if let Some(tolerance) = rules.get("tolerance") {
        amount("", tolerance, &path.child("tolerance"), errors);
    }
}
