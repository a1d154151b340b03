//! Binding and ComponentStatus: old ways of saying things.

use crate::Kind;
use crate::kind::CREATE;
use crate::show::{NAME, column, name, text};
use holdfast_core::json::{items_at, str_at};
use holdfast_core::{Json, Timestamp};

/// core/v1 Binding: `pods/binding` by an older path.
pub(crate) const BINDING: Kind = Kind {
    kind: "Binding",
    plural: "bindings",
    singular: "binding",
    verbs: CREATE,
    schema: "io.k8s.api.core.v1.Binding",
    ..Kind::BASE
};

/// core/v1 ComponentStatus.
pub(crate) const COMPONENT_STATUS: Kind = Kind {
    kind: "ComponentStatus",
    plural: "componentstatuses",
    singular: "componentstatus",
    short_names: &["cs"],
    namespaced: false,
    verbs: &["get", "list"],
    schema: "io.k8s.api.core.v1.ComponentStatus",
    columns: &[
        NAME,
        column("Status", "string", "Whether it is healthy."),
        column("Message", "string", "What it says."),
        column("Error", "string", "What is wrong."),
    ],
    row,
    ..Kind::BASE
};

fn row(doc: &Json, _: Timestamp) -> Vec<Json> {
    let conditions = items_at(doc, &["conditions"]);
    let healthy = conditions.iter().find(|one| str_at(one, &["type"]) == Some("Healthy"));
    let status = match healthy.map(|condition| text(condition, &["status"])) {
        Some("True") => "Healthy",
        Some(_) => "Unhealthy",
        None => "Unknown",
    };
    let say = |field: &str| healthy.map_or("", |condition| text(condition, &[field]));
    vec![name(doc), status.into(), say("message").into(), say("error").into()]
}
