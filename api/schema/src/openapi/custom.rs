//! The OpenAPI v3 document of a group and version that CustomResourceDefinitions made.

use super::dialect::Dialect;
use super::operations::META;
use super::{Document, components, kubernetes_version, paths, security};
use holdfast_core::Json;
use holdfast_core::json::set;
use holdfast_kinds::Kind;
use serde_json::json;
use std::sync::{Arc, OnceLock};

/// A kind and its `openAPIV3Schema` as JSON.
pub type DocumentPart = (&'static Kind, Arc<str>);

/// A document that is made when it is first wanted.
#[derive(Debug)]
pub struct CustomDocument {
    group: String,
    version: String,
    kinds: Vec<DocumentPart>,
    made: OnceLock<Document>,
}

impl CustomDocument {
    /// Of `kinds`, all of one group and version, each with its `openAPIV3Schema` as JSON.
    pub fn new(group: &str, version: &str, kinds: Vec<DocumentPart>) -> CustomDocument {
        CustomDocument { group: group.into(), version: version.into(), kinds, made: OnceLock::new() }
    }

    /// Whether it is made of the same parts.
    pub fn is_of(&self, kinds: &[DocumentPart]) -> bool {
        let mut pairs = self.kinds.iter().zip(kinds);
        self.kinds.len() == kinds.len() && pairs.all(|(a, b)| std::ptr::eq(a.0, b.0) && a.1 == b.1)
    }

    /// The document.
    pub fn get(&self) -> &Document {
        self.made.get_or_init(|| self.make())
    }

    fn make(&self) -> Document {
        let entries: Vec<&Kind> = self.kinds.iter().map(|(kind, _)| *kind).collect();
        let paths = paths::of(Dialect::V3, &entries, &[(&self.group, &self.version)]);
        let mut schemas = components::of(crate::builtin(), Dialect::V3, &paths);
        for name in ["ObjectMeta", "WatchEvent"] {
            components::add(crate::builtin(), Dialect::V3, &format!("{META}{name}"), &mut schemas);
        }
        for (kind, schema) in &self.kinds {
            schemas.insert(kind.schema.into(), of_object(kind, serde_json::from_str(schema).unwrap_or_default()));
            schemas.insert(format!("{}List", kind.schema), of_list(kind));
        }
        Document::of(&json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes CRD Swagger", "version": kubernetes_version()},
            "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": {"BearerToken": security()}},
        }))
    }
}

/// The schema as it was given, and what every object has.
fn of_object(kind: &Kind, mut schema: Json) -> Json {
    let text = |of: &str| json!({"type": "string", "description": of});
    set(&mut schema, &["properties", "apiVersion"], text("The version of this form of the object."));
    set(&mut schema, &["properties", "kind"], text("What the object is."));
    set(
        &mut schema,
        &["properties", "metadata"],
        json!({"allOf": [Dialect::V3.reference(&format!("{META}ObjectMeta"))],
            "description": "What every object has: name, labels, owners and the like."}),
    );
    set(
        &mut schema,
        &["x-kubernetes-group-version-kind"],
        json!([{"group": kind.group, "version": kind.version, "kind": kind.kind}]),
    );
    schema
}

fn of_list(kind: &Kind) -> Json {
    let text = |of: &str| json!({"type": "string", "description": of});
    json!({
        "description": format!("{} is a list of {}.", kind.list_kind(), kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text("The version of this form of the list."),
            "kind": text("What the list is of."),
            "metadata": {"allOf": [Dialect::V3.reference(&format!("{META}ListMeta"))], "description": "Metadata of the list."},
            "items": {"type": "array", "description": format!("Items of kind {}.", kind.kind),
                "items": Dialect::V3.reference(kind.schema)},
        },
        "x-kubernetes-group-version-kind":
            [{"group": kind.group, "version": kind.version, "kind": kind.list_kind()}],
    })
}
