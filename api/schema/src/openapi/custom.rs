//! The OpenAPI v3 document of a group and version that CustomResourceDefinitions made, and what they add to that of v2.

use super::dialect::Dialect;
use super::operations::META;
use super::{Document, components, custom_v2, kubernetes_version, paths, security};
use holdfast_core::Json;
use holdfast_core::json::{object_at, set};
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

    /// Adds its paths and definitions to a document of v2, where they do not stand already.
    pub(super) fn add_to_v2(&self, document: &mut Json) {
        let entries: Vec<&Kind> = self.kinds.iter().map(|(kind, _)| *kind).collect();
        let new = paths::of(Dialect::V2, &entries, &[]);
        let paths = object_at(document, &["paths"]);
        for (path, item) in new {
            paths.entry(path).or_insert(item);
        }
        let definitions = object_at(document, &["definitions"]);
        for (kind, schema) in &self.kinds {
            let given: Json = serde_json::from_str(schema).unwrap_or_default();
            let mut built = custom_v2::converted(&given);
            if built.get("properties").is_some() {
                custom_v2::add_object_fields(&mut built);
            }
            add_kind(&mut built, kind, kind.kind);
            definitions.entry(kind.schema).or_insert(built);
            definitions.entry(format!("{}List", kind.schema)).or_insert_with(|| of_list(Dialect::V2, kind));
        }
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
            schemas.insert(format!("{}List", kind.schema), of_list(Dialect::V3, kind));
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
    add_kind(&mut schema, kind, kind.kind);
    schema
}

/// Says of which kind a type is, and by which fields its objects are selected.
fn add_kind(schema: &mut Json, kind: &Kind, name: &str) {
    let gvk = json!([{"group": kind.group, "version": kind.version, "kind": name}]);
    set(schema, &["x-kubernetes-group-version-kind"], gvk);
    if !kind.field_selectors.is_empty() {
        let fields: Vec<Json> = kind.field_selectors.iter().map(|field| json!({"fieldPath": field})).collect();
        set(schema, &["x-kubernetes-selectable-fields"], fields);
    }
}

fn of_list(dialect: Dialect, kind: &Kind) -> Json {
    let text = |of: &str| json!({"type": "string", "description": of});
    let reference = dialect.reference(&format!("{META}ListMeta"));
    let mut metadata = match dialect {
        Dialect::V2 => reference,
        Dialect::V3 => json!({"allOf": [reference]}),
    };
    set(&mut metadata, &["description"], "Metadata of the list.");
    let mut list = json!({
        "description": format!("{} is a list of {}.", kind.list_kind(), kind.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": text("The version of this form of the list."),
            "kind": text("What the list is of."),
            "metadata": metadata,
            "items": {"type": "array", "description": format!("Items of kind {}.", kind.kind),
                "items": dialect.reference(kind.schema)},
        },
    });
    add_kind(&mut list, kind, &kind.list_kind());
    list
}
