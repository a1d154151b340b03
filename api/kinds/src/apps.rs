//! apps: Deployment, ReplicaSet, StatefulSet, DaemonSet, ControllerRevision.

use crate::kind::SCALE;
use crate::show::{
    AGE, NAME, NONE, age, column, containers, int, labels, name, selector, selector_or_none, text, wide,
};
use crate::{Column, Kind, Subresource};
use holdfast_core::gvk::parse_api_version;
use holdfast_core::json::{at, bool_at, items_at};
use holdfast_core::{Json, Timestamp};

const fn status_of(kind: &'static str) -> Subresource {
    Subresource::status("apps", kind)
}

/// Names of a template's containers.
pub(crate) const CONTAINERS: Column = wide("Containers", "string", "Names of the containers of the template.");
/// Images of a template's containers.
pub(crate) const IMAGES: Column = wide("Images", "string", "Images of the containers of the template.");
/// The selector of a workload.
pub(crate) const SELECTOR: Column = wide("Selector", "string", "Which pods belong to it.");

/// apps/v1 Deployment.
pub(crate) const DEPLOYMENT: Kind = Kind {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    subresources: &[SCALE, status_of("Deployment")],
    schema: "io.k8s.api.apps.v1.Deployment",
    columns: &[
        NAME,
        column("Ready", "string", "Pods that are ready, of all that are wanted."),
        column("Up-to-date", "integer", "Pods of the current template."),
        column("Available", "integer", "Pods that have been ready for long enough."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    row: deployment_row,
    ..Kind::BASE
};

/// apps/v1 ReplicaSet.
pub(crate) const REPLICA_SET: Kind = Kind {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    subresources: &[SCALE, status_of("ReplicaSet")],
    schema: "io.k8s.api.apps.v1.ReplicaSet",
    columns: &[
        NAME,
        column("Desired", "integer", "Pods that are wanted."),
        column("Current", "integer", "Pods that exist."),
        column("Ready", "integer", "Pods that are ready."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    row: replica_set_row,
    ..Kind::BASE
};

/// apps/v1 StatefulSet.
pub(crate) const STATEFUL_SET: Kind = Kind {
    group: "apps",
    kind: "StatefulSet",
    plural: "statefulsets",
    singular: "statefulset",
    short_names: &["sts"],
    categories: &["all"],
    subresources: &[SCALE, status_of("StatefulSet")],
    schema: "io.k8s.api.apps.v1.StatefulSet",
    columns: &[
        NAME,
        column("Ready", "string", "Pods that are ready, of all that are wanted."),
        AGE,
        CONTAINERS,
        IMAGES,
    ],
    row: stateful_set_row,
    ..Kind::BASE
};

/// apps/v1 DaemonSet.
pub(crate) const DAEMON_SET: Kind = Kind {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    subresources: &[status_of("DaemonSet")],
    schema: "io.k8s.api.apps.v1.DaemonSet",
    columns: &[
        NAME,
        column("Desired", "integer", "Nodes that should run a pod of it."),
        column("Current", "integer", "Nodes that should and do."),
        column("Ready", "integer", "Pods that are ready."),
        column("Up-to-date", "integer", "Pods of the current template."),
        column("Available", "integer", "Pods that have been ready for long enough."),
        column("Node Selector", "string", "Labels of the nodes that run a pod of it."),
        AGE,
        CONTAINERS,
        IMAGES,
        SELECTOR,
    ],
    row: daemon_set_row,
    ..Kind::BASE
};

/// apps/v1 ControllerRevision.
pub(crate) const CONTROLLER_REVISION: Kind = Kind {
    group: "apps",
    kind: "ControllerRevision",
    plural: "controllerrevisions",
    singular: "controllerrevision",
    schema: "io.k8s.api.apps.v1.ControllerRevision",
    columns: &[
        NAME,
        column("Controller", "string", "Whose state it holds."),
        column("Revision", "string", "Its number."),
        AGE,
    ],
    row: |doc, now| vec![name(doc), controller_of(doc).into(), int(doc, &["revision"]).into(), age(doc, now)],
    ..Kind::BASE
};

/// The controller of an object as `<kind>.<group>/<name>`.
fn controller_of(doc: &Json) -> String {
    let owners = items_at(doc, &["metadata", "ownerReferences"]);
    let Some(owner) = owners.iter().find(|owner| bool_at(owner, &["controller"]) == Some(true)) else {
        return NONE.to_string();
    };
    let (kind, name) = (text(owner, &["kind"]).to_lowercase(), text(owner, &["name"]));
    match parse_api_version(text(owner, &["apiVersion"])) {
        (group, _) if !group.is_empty() => format!("{kind}.{}/{name}", group.to_lowercase()),
        _ => format!("{kind}/{name}"),
    }
}

fn stateful_set_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let (names, images) = containers(doc, TEMPLATE);
    let ready = format!("{}/{}", int(doc, &["status", "readyReplicas"]), int(doc, &["spec", "replicas"]));
    vec![name(doc), ready.into(), age(doc, now), names.into(), images.into()]
}

fn daemon_set_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let (names, images) = containers(doc, TEMPLATE);
    let count = |field: &str| Json::from(int(doc, &["status", field]));
    vec![
        name(doc),
        count("desiredNumberScheduled"),
        count("currentNumberScheduled"),
        count("numberReady"),
        count("updatedNumberScheduled"),
        count("numberAvailable"),
        labels(at(doc, &["spec", "template", "spec", "nodeSelector"])).into(),
        age(doc, now),
        names.into(),
        images.into(),
        selector_or_none(at(doc, &["spec", "selector"])).into(),
    ]
}

/// The containers of a workload's template.
pub(crate) const TEMPLATE: &[&str] = &["spec", "template", "spec", "containers"];

fn deployment_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let ready = format!("{}/{}", int(doc, &["status", "readyReplicas"]), int(doc, &["spec", "replicas"]));
    let counts = [
        ready.into(),
        int(doc, &["status", "updatedReplicas"]).into(),
        int(doc, &["status", "availableReplicas"]).into(),
    ];
    template_row(doc, now, counts, selector(at(doc, &["spec", "selector"])))
}

fn replica_set_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let counts = [&["spec", "replicas"], &["status", "replicas"], &["status", "readyReplicas"]];
    let selector = selector_or_none(at(doc, &["spec", "selector"]));
    template_row(doc, now, counts.map(|path| int(doc, path).into()), selector)
}

fn template_row(doc: &Json, now: Timestamp, counts: [Json; 3], selector: String) -> Vec<Json> {
    let (names, images) = containers(doc, TEMPLATE);
    let [a, b, c] = counts;
    vec![name(doc), a, b, c, age(doc, now), names.into(), images.into(), selector.into()]
}
