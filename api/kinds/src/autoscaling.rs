//! autoscaling: HorizontalPodAutoscaler in both versions. Objects are stored as v2.

use crate::convert::hpa;
use crate::show::{AGE, NAME, NONE, UNKNOWN, UNSET, age, column, int, name, scalar, text};
use crate::{Column, Kind, Subresource};
use holdfast_core::json::{at, i64_at, items_at};
use holdfast_core::{Json, Timestamp};

const COMMON: Kind = Kind {
    group: "autoscaling",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    columns: COLUMNS,
    ..Kind::BASE
};

/// autoscaling/v1 HorizontalPodAutoscaler.
pub(crate) const V1: Kind = Kind {
    subresources: &[Subresource::status("autoscaling", "HorizontalPodAutoscaler")],
    schema: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
    row: |doc, now| {
        let mut doc = doc.clone();
        hpa::to_v2(&mut doc);
        row(&doc, now)
    },
    ..COMMON
};

/// autoscaling/v2 HorizontalPodAutoscaler.
pub(crate) const V2: Kind = Kind {
    version: "v2",
    subresources: &[Subresource { version: "v2", ..Subresource::status("autoscaling", "HorizontalPodAutoscaler") }],
    schema: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    row,
    ..COMMON
};

const COLUMNS: &[Column] = &[
    NAME,
    column("Reference", "string", "Whose pods it counts."),
    column("Targets", "string", "What is measured, and what it should be."),
    column("MinPods", "string", "How few pods there may be."),
    column("MaxPods", "string", "How many pods there may be."),
    column("Replicas", "string", "How many pods there are."),
    AGE,
];

fn row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let target = at(doc, &["spec", "scaleTargetRef"]).unwrap_or(&Json::Null);
    let min = i64_at(doc, &["spec", "minReplicas"]).map_or_else(|| UNSET.to_string(), |number| number.to_string());
    vec![
        name(doc),
        format!("{}/{}", text(target, &["kind"]), text(target, &["name"])).into(),
        metrics(items_at(doc, &["spec", "metrics"]), items_at(doc, &["status", "currentMetrics"])).into(),
        min.into(),
        int(doc, &["spec", "maxReplicas"]).into(),
        int(doc, &["status", "currentReplicas"]).into(),
        age(doc, now),
    ]
}

/// At most two metrics, each as `current/target`.
fn metrics(wanted: &[Json], found: &[Json]) -> String {
    const SHOWN: usize = 2;
    if wanted.is_empty() {
        return NONE.to_string();
    }
    let shown = wanted.iter().enumerate().take(SHOWN).map(|(index, metric)| one(metric, found.get(index)));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match wanted.len() {
        n if n > SHOWN => format!("{shown} + {} more...", n - SHOWN),
        _ => shown,
    }
}

fn one(metric: &Json, found: Option<&Json>) -> String {
    let source = match text(metric, &["type"]) {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return "<unknown type>".to_string(),
    };
    let target = |field: &str| at(metric, &[source, "target", field]);
    let current = |field: &str| scalar(found.and_then(|found| at(found, &[source, "current", field])), UNKNOWN);
    let percent = |value: Option<i64>, none: &str| value.map_or_else(|| none.to_string(), |value| format!("{value}%"));
    let average = target("averageValue").map(|wanted| (current("averageValue"), scalar(Some(wanted), "")));
    match (source, average) {
        ("external" | "object", Some((now, wanted))) => format!("{now}/{wanted} (avg)"),
        ("external" | "object", None) => format!("{}/{}", current("value"), scalar(target("value"), "0")),
        ("pods", average) => {
            let (now, wanted) = average.unwrap_or_else(|| (current("averageValue"), "0".to_string()));
            format!("{now}/{wanted}")
        }
        (_, Some((now, wanted))) => format!("{}: {now}/{wanted}", text(metric, &[source, "name"])),
        (_, None) => {
            let now = found.and_then(|found| i64_at(found, &[source, "current", "averageUtilization"]));
            let wanted = i64_at(metric, &[source, "target", "averageUtilization"]);
            let name = text(metric, &[source, "name"]);
            format!("{name}: {}/{}", percent(now, UNKNOWN), percent(wanted, "<auto>"))
        }
    }
}
