//! HorizontalPodAutoscaler as v1 and v2.
//!
//! What v1 has no field for travels in annotations, as upstream writes them, so that a client of v1 that reads,
//! changes and writes loses nothing.

use holdfast_core::Json;
use holdfast_core::json::{at, i64_at, items_at, remove, set, str_at};
use serde_json::{Map, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const TOLERANCES: [&str; 2] =
    ["autoscaling.alpha.kubernetes.io/scale-down-tolerance", "autoscaling.alpha.kubernetes.io/scale-up-tolerance"];

/// What a CPU is used to, in percent of what pods request, when nobody says what should be measured.
const DEFAULT_CPU_PERCENT: i64 = 80;

/// Type of a metric, field of its source.
const SOURCES: &[(&str, &str)] = &[
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
    ("Pods", "pods"),
    ("Object", "object"),
    ("External", "external"),
];

/// Rewrites a v1 document as v2.
pub(crate) fn to_v2(doc: &mut Json) {
    let mut metrics: Vec<Json> = annotated(doc, METRICS).iter().map(|metric| source_to_v2(metric, false)).collect();
    if let Some(percent) = remove(doc, &["spec", "targetCPUUtilizationPercentage"]) {
        metrics.push(cpu(&json!({ "type": "Utilization", "averageUtilization": percent }), "target"));
    }
    if metrics.is_empty() {
        metrics.push(cpu(&json!({ "type": "Utilization", "averageUtilization": DEFAULT_CPU_PERCENT }), "target"));
    }
    if doc.get("spec").is_some() {
        set(doc, &["spec", "metrics"], metrics);
        if let Some(behavior) =
            annotation(doc, BEHAVIOR).map(|value| renamed(&value, lower)).filter(|b| b != &json!({}))
        {
            set(doc, &["spec", "behavior"], behavior);
        }
    }
    let used = remove(doc, &["status", "currentCPUUtilizationPercentage"]);
    let current = annotated(doc, CURRENT_METRICS);
    if !current.is_empty() {
        let current: Vec<Json> = current.iter().map(|metric| source_to_v2(metric, true)).collect();
        set(doc, &["status", "currentMetrics"], current);
    } else if let Some(percent) = used {
        set(doc, &["status", "currentMetrics"], vec![cpu(&json!({ "averageUtilization": percent }), "current")]);
    }
    let conditions = annotated(doc, CONDITIONS);
    if !conditions.is_empty() {
        set(doc, &["status", "conditions"], conditions);
    }
    drop_annotations(doc);
}

/// Rewrites a v2 document as v1.
pub(crate) fn to_v1(doc: &mut Json) {
    drop_annotations(doc);
    let metrics = take_list(doc, &["spec", "metrics"]);
    if let Some(percent) = metrics.iter().find_map(cpu_percent) {
        set(doc, &["spec", "targetCPUUtilizationPercentage"], percent);
    }
    let others = metrics.iter().filter(|metric| cpu_percent(metric).is_none());
    annotate(doc, METRICS, others.map(|metric| source_to_v1(metric, false)).collect());
    if let Some(behavior) = remove(doc, &["spec", "behavior"]) {
        set(doc, &["metadata", "annotations", BEHAVIOR], renamed(&behavior, upper).to_string());
    }
    let current = take_list(doc, &["status", "currentMetrics"]);
    let used = current.iter().rev().find_map(|metric| {
        let is_cpu =
            str_at(metric, &["type"]) == Some("Resource") && str_at(metric, &["resource", "name"]) == Some("cpu");
        i64_at(metric, &["resource", "current", "averageUtilization"]).filter(|_| is_cpu)
    });
    if let Some(percent) = used {
        set(doc, &["status", "currentCPUUtilizationPercentage"], percent);
    }
    annotate(doc, CURRENT_METRICS, current.iter().map(|metric| source_to_v1(metric, true)).collect());
    let conditions = take_list(doc, &["status", "conditions"]);
    annotate(doc, CONDITIONS, conditions);
    if doc.get("status").is_some() {
        // v1 writes the count even when it is zero.
        holdfast_core::json::default(doc, &["status", "currentReplicas"], 0);
    }
}

fn cpu(value: &Json, place: &str) -> Json {
    json!({ "type": "Resource", "resource": { "name": "cpu", place: value } })
}

/// The target of a metric that v1 has a field for.
fn cpu_percent(metric: &Json) -> Option<i64> {
    let is_cpu = str_at(metric, &["type"]) == Some("Resource") && str_at(metric, &["resource", "name"]) == Some("cpu");
    i64_at(metric, &["resource", "target", "averageUtilization"]).filter(|_| is_cpu)
}

fn annotation(doc: &Json, name: &str) -> Option<Json> {
    serde_json::from_str(str_at(doc, &["metadata", "annotations", name])?).ok()
}

fn annotated(doc: &Json, name: &str) -> Vec<Json> {
    match annotation(doc, name) {
        Some(Json::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn annotate(doc: &mut Json, name: &str, items: Vec<Json>) {
    if !items.is_empty() {
        set(doc, &["metadata", "annotations", name], Json::Array(items).to_string());
    }
}

fn drop_annotations(doc: &mut Json) {
    let mut dropped = false;
    for name in [METRICS, BEHAVIOR, CONDITIONS, CURRENT_METRICS].into_iter().chain(TOLERANCES) {
        dropped |= remove(doc, &["metadata", "annotations", name]).is_some();
    }
    if dropped && at(doc, &["metadata", "annotations"]).and_then(Json::as_object).is_some_and(Map::is_empty) {
        remove(doc, &["metadata", "annotations"]);
    }
}

fn take_list(doc: &mut Json, path: &[&str]) -> Vec<Json> {
    let items = items_at(doc, path).to_vec();
    remove(doc, path);
    items
}

/// Moves what `from` has at each field to the field beside it.
fn moved(from: &Json, fields: &[(&str, &str)], to: &mut Json, below: &[&str]) {
    for (old, new) in fields {
        if let Some(value) = from.get(old) {
            let path: Vec<&str> = below.iter().copied().chain([*new]).collect();
            set(to, &path, value.clone());
        }
    }
}

/// The fields of a value in v1 and v2; `kind` is `current` or `target`.
fn values(source: &str, current: bool) -> &'static [(&'static str, &'static str)] {
    match (source, current) {
        ("resource" | "containerResource", false) => {
            &[("targetAverageUtilization", "averageUtilization"), ("targetAverageValue", "averageValue")]
        }
        ("resource" | "containerResource", true) => {
            &[("currentAverageUtilization", "averageUtilization"), ("currentAverageValue", "averageValue")]
        }
        ("pods", false) => &[("targetAverageValue", "averageValue")],
        ("pods", true) => &[("currentAverageValue", "averageValue")],
        ("object", false) => &[("targetValue", "value"), ("averageValue", "averageValue")],
        ("object", true) => &[("currentValue", "value"), ("averageValue", "averageValue")],
        (_, false) => &[("targetValue", "value"), ("targetAverageValue", "averageValue")],
        (_, true) => &[("currentValue", "value"), ("currentAverageValue", "averageValue")],
    }
}

/// The fields of a metric's name in v1 and v2; resources have none.
fn names(source: &str) -> &'static [(&'static str, &'static str)] {
    match source {
        "resource" | "containerResource" => &[],
        "external" => &[("metricName", "name"), ("metricSelector", "selector")],
        _ => &[("metricName", "name"), ("selector", "selector")],
    }
}

fn source_to_v2(metric: &Json, current: bool) -> Json {
    let kind = str_at(metric, &["type"]).unwrap_or_default();
    let mut made = json!({ "type": kind });
    let place = if current { "current" } else { "target" };
    for (_, source) in SOURCES {
        let Some(old) = metric.get(source) else { continue };
        let mut new = json!({});
        moved(old, &[("name", "name"), ("container", "container")], &mut new, &[]);
        moved(old, &[("target", "describedObject")], &mut new, &[]);
        moved(old, names(source), &mut new, &["metric"]);
        moved(old, values(source, current), &mut new, &[place]);
        if !current {
            let averaged = match *source {
                "resource" | "containerResource" if old.get("targetAverageUtilization").is_some() => "Utilization",
                "object" if old.get("averageValue").is_none() => "Value",
                "external" if old.get("targetValue").is_some() => "Value",
                _ => "AverageValue",
            };
            if averaged == "AverageValue" && at(&new, &[place, "value"]) == Some(&json!("0")) {
                remove(&mut new, &[place, "value"]);
            }
            set(&mut new, &[place, "type"], averaged);
        }
        set(&mut made, &[source], new);
    }
    made
}

fn source_to_v1(metric: &Json, current: bool) -> Json {
    let kind = str_at(metric, &["type"]).unwrap_or_default();
    let mut made = json!({ "type": kind });
    let place = if current { "current" } else { "target" };
    for (_, source) in SOURCES {
        let Some(new) = metric.get(source) else { continue };
        let mut old = json!({});
        moved(new, &[("name", "name"), ("container", "container"), ("describedObject", "target")], &mut old, &[]);
        let back = |fields: &[(&'static str, &'static str)]| fields.iter().map(|(a, b)| (*b, *a)).collect::<Vec<_>>();
        moved(new.get("metric").unwrap_or(&Json::Null), &back(names(source)), &mut old, &[]);
        moved(new.get(place).unwrap_or(&Json::Null), &back(values(source, current)), &mut old, &[]);
        // Go writes what is no pointer in v1, set or not.
        let written = match (*source, current) {
            ("resource" | "containerResource" | "pods", true) => "currentAverageValue",
            ("pods", false) => "targetAverageValue",
            ("object", false) => "targetValue",
            ("object" | "external", true) => "currentValue",
            _ => "",
        };
        if !written.is_empty() && old.get(written).is_none() {
            set(&mut old, &[written], "0");
        }
        set(&mut made, &[source], old);
    }
    made
}

/// Upstream writes behaviour with the names of its Go fields.
fn renamed(value: &Json, by: fn(&str) -> String) -> Json {
    match value {
        Json::Object(map) => {
            map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (by(key), renamed(value, by))).collect()
        }
        Json::Array(items) => items.iter().map(|item| renamed(item, by)).collect(),
        scalar => scalar.clone(),
    }
}

fn lower(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

fn upper(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_target_has_a_field_and_the_rest_an_annotation() {
        let v2 = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "metrics": [
            {"type": "Pods", "pods": {"metric": {"name": "hits"}, "target": {"type": "AverageValue", "averageValue": "10"}}},
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}}},
            "status": {"currentReplicas": 1, "desiredReplicas": 2,
                "conditions": [{"type": "AbleToScale", "status": "True"}],
                "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 41, "averageValue": "82m"}}}]}});
        let mut v1 = v2.clone();
        to_v1(&mut v1);
        assert_eq!(v1["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 60}));
        assert_eq!(
            v1["status"],
            json!({"currentReplicas": 1, "desiredReplicas": 2, "currentCPUUtilizationPercentage": 41})
        );
        let annotations = v1["metadata"]["annotations"].clone();
        assert_eq!(annotations[METRICS], r#"[{"type":"Pods","pods":{"metricName":"hits","targetAverageValue":"10"}}]"#);
        assert_eq!(annotations[BEHAVIOR], r#"{"ScaleDown":{"StabilizationWindowSeconds":5}}"#);
        assert_eq!(annotations.as_object().map(Map::len), Some(4));
        to_v2(&mut v1);
        assert_eq!(v1, v2);
    }

    #[test]
    fn without_a_target_it_is_the_cpu() {
        let mut doc = json!({"metadata": {"name": "a"}, "spec": {"maxReplicas": 3}});
        to_v2(&mut doc);
        let target = at(&doc["spec"]["metrics"][0], &["resource", "target"]);
        assert_eq!(target, Some(&json!({"type": "Utilization", "averageUtilization": 80})));
        assert_eq!(doc["metadata"], json!({"name": "a"}));
    }
}
