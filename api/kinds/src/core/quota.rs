//! LimitRange and ResourceQuota.

use super::status_of;
use crate::Kind;
use crate::show::{AGE, NAME, age, column, name, or, text};
use holdfast_core::json::at;
use holdfast_core::{Json, Timestamp};

/// core/v1 LimitRange.
pub(crate) const LIMIT_RANGE: Kind = Kind {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    schema: "io.k8s.api.core.v1.LimitRange",
    ..Kind::BASE
};

/// core/v1 ResourceQuota.
pub(crate) const RESOURCE_QUOTA: Kind = Kind {
    kind: "ResourceQuota",
    plural: "resourcequotas",
    singular: "resourcequota",
    short_names: &["quota"],
    subresources: &[status_of("ResourceQuota")],
    schema: "io.k8s.api.core.v1.ResourceQuota",
    columns: &[
        NAME,
        column("Request", "string", "What is used of what may be, but for limits."),
        column("Limit", "string", "What is used of the limits that may be set."),
        AGE,
    ],
    row: quota_row,
    returns_deleted: true,
    ..Kind::BASE
};

fn quota_row(doc: &Json, now: Timestamp) -> Vec<Json> {
    let mut names: Vec<&String> =
        at(doc, &["status", "hard"]).and_then(Json::as_object).map(|hard| hard.keys().collect()).unwrap_or_default();
    names.sort();
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for resource in names {
        let amount = |of: &str| or(text(doc, &["status", of, resource]), "0");
        let shown = format!("{resource}: {}/{}", amount("used"), amount("hard"));
        if resource.starts_with("limits.") { limits.push(shown) } else { requests.push(shown) }
    }
    vec![name(doc), requests.join(", ").into(), limits.join(", ").into(), age(doc, now)]
}
