//! OpenAPI of the served kinds: `/openapi/v3` (an index, and a document a group and version) and `/openapi/v2`.
//!
//! Documents are made from the table when first asked for and kept as gzip only: as trees they are tens of
//! megabytes. kubectl reads from them which parameters a server knows (`fieldValidation`), how lists merge, and
//! the text of `kubectl explain`.

mod cache;
mod components;
mod custom;
mod custom_v2;
mod dialect;
mod operations;
mod parameters;
mod paths;

pub use cache::{Document, Packed, openapi_v2, openapi_v2_document, openapi_v2_with, openapi_v3_index};
pub use custom::{CustomDocument, DocumentPart};

use crate::Schema;
use dialect::Dialect;
use holdfast_core::{Json, gvk};
use holdfast_kinds::Kind;
use serde_json::{Map, json};
use std::collections::BTreeSet;

/// The name in OpenAPI of a kind of ours or of its machinery.
pub(crate) fn schema_of(group: &str, version: &str, kind: &str) -> String {
    match holdfast_kinds::by_gvk(group, version, kind) {
        Some(kind) => kind.schema.to_string(),
        None => format!("io.k8s.api.{}.{version}.{kind}", package(group)),
    }
}

/// `rbac.authorization.k8s.io` is `rbac` in names of types.
fn package(group: &str) -> &str {
    match group {
        "" => "core",
        _ => group.split('.').next().unwrap_or(group),
    }
}

/// The path of a group and version: `api/v1`, `apis/apps/v1`.
pub fn path_of(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{}", gvk::api_version(group, version)) }
}

/// Every group and version that is served.
pub fn groups() -> BTreeSet<(&'static str, &'static str)> {
    holdfast_kinds::all().iter().map(|kind| (kind.group, kind.version)).collect()
}

impl Schema {
    /// The OpenAPI v3 document of a group and version; null when none of its kinds is served. Made anew by each
    /// call: servers want [`openapi::document`](document).
    pub fn openapi_v3(&self, group: &str, version: &str) -> Json {
        if !groups().contains(&(group, version)) {
            return Json::Null;
        }
        let kinds = kinds_of(group, version);
        let paths = paths::of(Dialect::V3, &kinds, &[(group, version)]);
        let schemas = components::of(self, Dialect::V3, &paths);
        json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": kubernetes_version()},
            "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": {"BearerToken": security()}},
        })
    }

    /// The OpenAPI v2 document of everything. Made anew by each call: servers want [`openapi_v2_document`].
    pub fn openapi_v2(&self) -> Json {
        let groups: Vec<_> = groups().into_iter().collect();
        let kinds: Vec<&Kind> = holdfast_kinds::all().iter().collect();
        let paths = paths::of(Dialect::V2, &kinds, &groups);
        let definitions = components::of(self, Dialect::V2, &paths);
        json!({
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": kubernetes_version()},
            "paths": paths,
            "definitions": definitions,
            "securityDefinitions": {"BearerToken": security()},
            "security": [{"BearerToken": []}],
        })
    }
}

pub use cache::document;

fn kinds_of(group: &str, version: &str) -> Vec<&'static Kind> {
    holdfast_kinds::all().iter().filter(|kind| kind.group == group && kind.version == version).collect()
}

/// The version of Kubernetes that the documents describe.
fn kubernetes_version() -> &'static str {
    "v1.36.0"
}

fn security() -> Json {
    json!({"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"})
}

/// A JSON object from pairs.
fn object(pairs: impl IntoIterator<Item = (&'static str, Json)>) -> Map<String, Json> {
    pairs.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
}

#[cfg(test)]
mod tests;
