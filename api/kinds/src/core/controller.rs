//! ReplicationController and PodTemplate.

use super::status_of;
use crate::Kind;
use crate::apps::{CONTAINERS, IMAGES, SELECTOR, TEMPLATE};
use crate::kind::SCALE;
use crate::show::{AGE, NAME, age, column, containers, int, labels, name};
use holdfast_core::json::at;
use holdfast_core::{Json, Timestamp};

/// core/v1 ReplicationController.
pub(crate) const REPLICATION_CONTROLLER: Kind = Kind {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    subresources: &[SCALE, status_of("ReplicationController")],
    schema: "io.k8s.api.core.v1.ReplicationController",
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
    row,
    field_selectors: &["status.replicas"],
    field: |doc, field| match field {
        "status.replicas" => int(doc, &["status", "replicas"]).to_string(),
        _ => String::new(),
    },
    ..Kind::BASE
};

/// core/v1 PodTemplate.
pub(crate) const POD_TEMPLATE: Kind = Kind {
    kind: "PodTemplate",
    plural: "podtemplates",
    singular: "podtemplate",
    schema: "io.k8s.api.core.v1.PodTemplate",
    columns: &[
        NAME,
        column("Containers", "string", "Names of the containers of the template."),
        column("Images", "string", "Images of the containers of the template."),
        column("Pod Labels", "string", "Labels of the pods that are made from it."),
    ],
    row: |doc, _| {
        let (names, images) = containers(doc, &["template", "spec", "containers"]);
        vec![name(doc), names.into(), images.into(), labels(at(doc, &["template", "metadata", "labels"])).into()]
    },
    returns_deleted: true,
    ..Kind::BASE
};

fn row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let (names, images) = containers(doc, TEMPLATE);
    vec![
        name(doc),
        int(doc, &["spec", "replicas"]).into(),
        int(doc, &["status", "replicas"]).into(),
        int(doc, &["status", "readyReplicas"]).into(),
        age(doc, now),
        names.into(),
        images.into(),
        labels(at(doc, &["spec", "selector"])).into(),
    ]
}
