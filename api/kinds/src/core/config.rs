//! ConfigMap, Secret, ServiceAccount: what pods are given.

use crate::kind::CREATE;
use crate::show::{AGE, AGED_COLUMNS, NAME, age, aged_row, column, name, text};
use crate::{Kind, Subresource};
use holdfast_core::Json;

/// core/v1 ConfigMap.
pub(crate) const CONFIG_MAP: Kind = Kind {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    schema: "io.k8s.api.core.v1.ConfigMap",
    columns: &[NAME, column("Data", "string", "Number of entries."), AGE],
    row: |doc, now| vec![name(doc), entries(doc, &["data", "binaryData"]), age(doc, now)],
    ..Kind::BASE
};

/// core/v1 Secret.
pub(crate) const SECRET: Kind = Kind {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    schema: "io.k8s.api.core.v1.Secret",
    columns: &[
        NAME,
        column("Type", "string", "What the secret is for."),
        column("Data", "string", "Number of entries."),
        AGE,
    ],
    row: |doc, now| vec![name(doc), text(doc, &["type"]).into(), entries(doc, &["data"]), age(doc, now)],
    field_selectors: &["type"],
    field: |doc, field| if field == "type" { text(doc, &["type"]).to_string() } else { String::new() },
    ..Kind::BASE
};

/// core/v1 ServiceAccount.
pub(crate) const SERVICE_ACCOUNT: Kind = Kind {
    kind: "ServiceAccount",
    plural: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    subresources: &[Subresource {
        name: "token",
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
        verbs: CREATE,
    }],
    schema: "io.k8s.api.core.v1.ServiceAccount",
    columns: AGED_COLUMNS,
    row: aged_row,
    returns_deleted: true,
    ..Kind::BASE
};

/// How many entries the maps have together.
fn entries(doc: &Json, maps: &[&str]) -> Json {
    maps.iter().filter_map(|map| doc.get(map)?.as_object()).map(serde_json::Map::len).sum::<usize>().into()
}
