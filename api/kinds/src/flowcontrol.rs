//! flowcontrol.apiserver.k8s.io: FlowSchema, PriorityLevelConfiguration.

use crate::show::{AGE, NAME, NONE, age, column, int, name, or, text};
use crate::{Kind, Subresource};
use holdfast_core::json::{at, items_at, str_at};
use holdfast_core::{Json, Timestamp};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// flowcontrol.apiserver.k8s.io/v1 FlowSchema.
pub(crate) const FLOW_SCHEMA: Kind = Kind {
    group: GROUP,
    kind: "FlowSchema",
    plural: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    subresources: &[Subresource::status(GROUP, "FlowSchema")],
    schema: "io.k8s.api.flowcontrol.v1.FlowSchema",
    columns: &[
        NAME,
        column("PriorityLevel", "string", "The level of its requests."),
        column("MatchingPrecedence", "string", "Which of several schemas counts: the lowest."),
        column("DistinguisherMethod", "string", "What tells flows apart."),
        AGE,
        column("MissingPL", "string", "Whether the level does not exist."),
    ],
    row: flow_schema_row,
    ..Kind::BASE
};

/// flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration.
pub(crate) const PRIORITY_LEVEL_CONFIGURATION: Kind = Kind {
    group: GROUP,
    kind: "PriorityLevelConfiguration",
    plural: "prioritylevelconfigurations",
    singular: "prioritylevelconfiguration",
    namespaced: false,
    subresources: &[Subresource::status(GROUP, "PriorityLevelConfiguration")],
    schema: "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration",
    columns: &[
        NAME,
        column("Type", "string", "Whether its requests are limited."),
        column("NominalConcurrencyShares", "string", "Its part of the server's seats."),
        column("Queues", "string", "How many queues it has."),
        column("HandSize", "string", "How many queues a flow may use."),
        column("QueueLengthLimit", "string", "How many requests wait in a queue."),
        AGE,
    ],
    row: priority_level_row,
    ..Kind::BASE
};

fn flow_schema_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let conditions = items_at(doc, &["status", "conditions"]);
    let dangling = conditions.iter().find(|one| str_at(one, &["type"]) == Some("Dangling"));
    vec![
        name(doc),
        text(doc, &["spec", "priorityLevelConfiguration", "name"]).into(),
        int(doc, &["spec", "matchingPrecedence"]).into(),
        or(text(doc, &["spec", "distinguisherMethod", "type"]), NONE).into(),
        age(doc, now),
        dangling.map_or("?", |condition| text(condition, &["status"])).into(),
    ]
}

fn priority_level_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let limited = at(doc, &["spec", "limited"]);
    let queuing = limited.and_then(|limited| at(limited, &["limitResponse", "queuing"]));
    let number = |of: Option<&Json>, field: &str| of.map_or_else(|| NONE.into(), |of| Json::from(int(of, &[field])));
    vec![
        name(doc),
        text(doc, &["spec", "type"]).into(),
        number(limited, "nominalConcurrencyShares"),
        number(queuing, "queues"),
        number(queuing, "handSize"),
        number(queuing, "queueLengthLimit"),
        age(doc, now),
    ]
}
