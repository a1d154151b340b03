//! metrics.k8s.io: what nodes and pods use, asked of the nodes when somebody wants to know. Nothing of it is kept.

use crate::Kind;
use crate::show::{NAME, column, name, text};
use holdfast_core::json::{items_at, str_at};
use holdfast_core::{Json, Quantity};

/// Name of the group.
pub const GROUP: &str = "metrics.k8s.io";

/// metrics.k8s.io/v1beta1 NodeMetrics.
pub(crate) const NODE_METRICS: Kind = Kind {
    group: GROUP,
    version: "v1beta1",
    kind: "NodeMetrics",
    plural: "nodes",
    singular: "node",
    namespaced: false,
    verbs: &["get", "list"],
    schema: "io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics",
    columns: &[
        NAME,
        column("CPU", "string", "CPU that is used."),
        column("Memory", "string", "Memory that is used, what could be dropped aside."),
        column("Window", "string", "Over what time."),
    ],
    row: |doc, _| row(doc, usage(doc, "cpu"), usage(doc, "memory")),
    ..Kind::BASE
};

/// metrics.k8s.io/v1beta1 PodMetrics.
pub(crate) const POD_METRICS: Kind = Kind {
    kind: "PodMetrics",
    plural: "pods",
    singular: "pod",
    namespaced: true,
    schema: "io.k8s.metrics.pkg.apis.metrics.v1beta1.PodMetrics",
    row: |doc, _| row(doc, total(doc, "cpu"), total(doc, "memory")),
    ..NODE_METRICS
};

fn row(doc: &Json, cpu: String, memory: String) -> Vec<Json> {
    vec![name(doc), cpu.into(), memory.into(), text(doc, &["window"]).into()]
}

fn usage(doc: &Json, resource: &str) -> String {
    text(doc, &["usage", resource]).to_string()
}

/// The sum over the containers of a pod.
fn total(doc: &Json, resource: &str) -> String {
    let of = |container: &Json| str_at(container, &["usage", resource])?.parse::<Quantity>().ok();
    let all = items_at(doc, &["containers"]).iter().filter_map(of);
    all.reduce(Quantity::plus).map(|sum| sum.to_string()).unwrap_or_default()
}
