//! apps: Deployment, ReplicaSet.

use crate::kind::GET_PATCH_UPDATE;
use crate::show::{AGE, NAME, age, column, containers, int, name, selector, wide};
use crate::{Column, Kind, Subresource};
use holdfast_core::json::at;
use holdfast_core::{Json, Timestamp};

const SCALE: Subresource =
    Subresource { name: "scale", group: "autoscaling", version: "v1", kind: "Scale", verbs: GET_PATCH_UPDATE };

const fn status_of(kind: &'static str) -> Subresource {
    Subresource { name: "status", group: "apps", version: "v1", kind, verbs: GET_PATCH_UPDATE }
}

const CONTAINERS: Column = wide("Containers", "string", "Names of the containers of the template.");
const IMAGES: Column = wide("Images", "string", "Images of the containers of the template.");
const SELECTOR: Column = wide("Selector", "string", "Which pods belong to it.");

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

fn deployment_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let ready = format!("{}/{}", int(doc, &["status", "readyReplicas"]), int(doc, &["spec", "replicas"]));
    let counts = [
        ready.into(),
        int(doc, &["status", "updatedReplicas"]).into(),
        int(doc, &["status", "availableReplicas"]).into(),
    ];
    template_row(doc, now, counts)
}

fn replica_set_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let counts = [&["spec", "replicas"], &["status", "replicas"], &["status", "readyReplicas"]];
    template_row(doc, now, counts.map(|path| int(doc, path).into()))
}

fn template_row(doc: &Json, now: Timestamp, counts: [Json; 3]) -> Vec<Json> {
    let (names, images) = containers(doc, &["spec", "template", "spec", "containers"]);
    let [a, b, c] = counts;
    vec![
        name(doc),
        a,
        b,
        c,
        age(doc, now),
        names.into(),
        images.into(),
        selector(at(doc, &["spec", "selector"])).into(),
    ]
}
