//! The types of a document: all that its paths reach.

use super::dialect::Dialect;
use super::object;
use super::operations::META;
use crate::apply::Zero;
use crate::facts::{self, ListType};
use crate::table::{Docs, Field, Named, Schema, Shape, Type};
use holdfast_core::Json;
use holdfast_kinds::Kind;
use serde_json::{Map, json};
use std::collections::BTreeMap;

/// The schemas that `paths` reach, by name.
pub(super) fn of(schema: &Schema, dialect: Dialect, paths: &Map<String, Json>) -> Map<String, Json> {
    let mut builder = Builder { schema, dialect, docs: Schema::docs(), kinds: kinds(), done: BTreeMap::new() };
    let mut names = Vec::new();
    for path in paths.values() {
        collect_references(path, &mut names);
    }
    for name in names {
        builder.add(&name);
    }
    builder.done.into_iter().collect()
}

/// Adds the type `name` and all that it reaches.
pub(super) fn add(schema: &Schema, dialect: Dialect, name: &str, to: &mut Map<String, Json>) {
    let mut builder = Builder { schema, dialect, docs: Schema::docs(), kinds: kinds(), done: BTreeMap::new() };
    builder.add(name);
    to.extend(builder.done);
}

fn is_list_of(name: &str, kind: &Kind) -> bool {
    name.strip_suffix("List") == Some(kind.schema)
}

/// Names of types that `value` refers to.
fn collect_references(value: &Json, names: &mut Vec<String>) {
    match value {
        Json::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Json::as_str).and_then(|text| text.rsplit('/').next()) {
                names.push(name.to_string());
            }
            map.values().for_each(|value| collect_references(value, names));
        }
        Json::Array(items) => items.iter().for_each(|item| collect_references(item, names)),
        _ => {}
    }
}

/// Group, version and kind of each type that is a document of its own.
fn kinds() -> BTreeMap<String, (&'static str, &'static str, &'static str)> {
    let mut kinds = BTreeMap::new();
    for kind in holdfast_kinds::all() {
        kinds.insert(kind.schema.to_string(), (kind.group, kind.version, kind.kind));
        for sub in kind.subresources {
            let name = super::schema_of(sub.group, sub.version, sub.kind);
            kinds.insert(name, (sub.group, sub.version, sub.kind));
        }
    }
    for kind in ["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "DeleteOptions", "Status", "WatchEvent"]
    {
        kinds.insert(format!("{META}{kind}"), ("", "v1", kind));
    }
    kinds
}

/// Says how the elements of a list belong together.
fn add_list_type(built: &mut Map<String, Json>, list_type: ListType) {
    let (name, keys) = match list_type {
        ListType::Untyped => return,
        ListType::Atomic => ("atomic", json!(null)),
        ListType::Set => ("set", json!(null)),
        ListType::Map(key) => ("map", json!([key])),
        ListType::Keyed(keys) => ("map", json!(keys)),
    };
    built.insert("x-kubernetes-list-type".into(), name.into());
    if !keys.is_null() {
        built.insert("x-kubernetes-list-map-keys".into(), keys);
    }
}

/// The zero value of what is always there, as upstream shows it of structs and simple values.
fn zero(owner: &Named, field: &Field) -> Option<Json> {
    let standing = owner.standing.iter().find(|standing| standing.name == field.name)?;
    let shown = matches!(
        (standing.value, &field.value),
        (Zero::Struct, _)
            | (Zero::Text, Type::String)
            | (Zero::Bool, Type::Bool)
            | (Zero::Number, Type::Int32 | Type::Int64 | Type::Number)
    );
    shown.then(|| standing.value.json().clone())
}

struct Builder<'a> {
    schema: &'a Schema,
    dialect: Dialect,
    docs: Docs,
    kinds: BTreeMap<String, (&'static str, &'static str, &'static str)>,
    done: BTreeMap<String, Json>,
}

impl Builder<'_> {
    fn add(&mut self, name: &str) {
        if self.done.contains_key(name) {
            return;
        }
        let built = if let Some(named) = self.schema.find(name) {
            self.named(named)
        } else if let Some(kind) = holdfast_kinds::all().iter().find(|kind| is_list_of(name, kind)) {
            self.list(kind)
        } else {
            return;
        };
        let mut references = Vec::new();
        collect_references(&built, &mut references);
        self.done.insert(name.to_string(), built);
        for reference in references {
            self.add(&reference);
        }
    }

    fn doc(&self, name: &str, field: &str) -> Option<&str> {
        self.docs.get(name)?.get(field).map(String::as_str)
    }

    fn named(&self, named: &Named) -> Json {
        let mut built = Map::new();
        if let Some(text) = self.doc(&named.name, "") {
            built.insert("description".into(), text.into());
        }
        match &named.shape {
            Shape::Struct(fields) => {
                let properties: Map<String, Json> =
                    fields.iter().map(|field| (field.name.to_string(), self.field(named, field))).collect();
                let required: Vec<&str> = fields.iter().filter(|f| f.required).map(|f| &*f.name).collect();
                built.insert("type".into(), "object".into());
                built.insert("properties".into(), properties.into());
                if !required.is_empty() {
                    built.insert("required".into(), required.into());
                }
            }
            Shape::Quantity if self.dialect == Dialect::V3 => {
                built.insert("oneOf".into(), json!([{"type": "string"}, {"type": "number"}]));
            }
            Shape::Quantity => {
                built.insert("type".into(), "string".into());
            }
            Shape::IntOrString => {
                built.insert("format".into(), "int-or-string".into());
                match self.dialect {
                    Dialect::V3 => built.insert("oneOf".into(), json!([{"type": "integer"}, {"type": "string"}])),
                    Dialect::V2 => built.insert("type".into(), "string".into()),
                };
            }
            Shape::Time | Shape::MicroTime => {
                built.insert("type".into(), "string".into());
                built.insert("format".into(), "date-time".into());
            }
            Shape::Opaque => {
                built.insert("type".into(), "object".into());
            }
            Shape::AnyJson => {}
        }
        if facts::is_atomic_type(&named.name) {
            built.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if let Some(unions) = facts::unions(&named.name) {
            built.insert("x-kubernetes-unions".into(), unions);
        }
        if let Some((group, version, kind)) = self.kinds.get(&*named.name) {
            let gvk = json!([{"group": group, "version": version, "kind": kind}]);
            built.insert("x-kubernetes-group-version-kind".into(), gvk);
        }
        built.into()
    }

    fn field(&self, owner: &Named, field: &Field) -> Json {
        let mut built = self.value(&field.value);
        let text = self.doc(&owner.name, &field.name);
        // In v3 nothing may stand beside a reference. Upstream shows the zero value of what is no pointer beside it.
        let beside = text.is_some() || field.required || &*field.name == "metadata";
        if let Some(name) = built.get("$ref").cloned().filter(|_| self.dialect == Dialect::V3 && beside) {
            built = object([("allOf", json!([{ "$ref": name }]))]);
        }
        if let Some(text) = text {
            built.insert("description".into(), text.into());
        }
        match facts::default(&owner.name, &field.name) {
            // Upstream's v2 has no defaults.
            Some(default) if self.dialect == Dialect::V3 => built.insert("default".into(), default),
            None if self.dialect == Dialect::V3 => {
                zero(owner, field).and_then(|zero| built.insert("default".into(), zero))
            }
            _ => None,
        };
        let patching = field.patching;
        let strategy = match (patching.merge, patching.retain_keys) {
            (true, true) => "merge,retainKeys",
            (true, false) => "merge",
            (false, true) => "retainKeys",
            (false, false) if patching.replace => "replace",
            (false, false) => "",
        };
        if !strategy.is_empty() {
            built.insert("x-kubernetes-patch-strategy".into(), strategy.into());
        }
        if !patching.key.is_empty() {
            built.insert("x-kubernetes-patch-merge-key".into(), patching.key.into());
        }
        match field.value {
            Type::List(_) => add_list_type(&mut built, facts::list_type(&owner.name, &field.name)),
            Type::Bytes if facts::is_atomic_bytes(&owner.name, &field.name) => {
                add_list_type(&mut built, ListType::Atomic);
            }
            Type::Map(_) if facts::is_atomic_map(&owner.name, &field.name) => {
                built.insert("x-kubernetes-map-type".into(), "atomic".into());
            }
            _ if facts::is_granular(&owner.name, &field.name) => {
                built.insert("x-kubernetes-map-type".into(), "granular".into());
            }
            _ => {}
        }
        built.into()
    }

    fn value(&self, value: &Type) -> Map<String, Json> {
        let simple = |name: &'static str, format: &'static str| {
            let mut built = object([("type", name.into())]);
            if !format.is_empty() {
                built.insert("format".into(), format.into());
            }
            built
        };
        match value {
            Type::String => simple("string", ""),
            Type::Bytes => simple("string", "byte"),
            Type::Bool => simple("boolean", ""),
            Type::Int32 => simple("integer", "int32"),
            Type::Int64 => simple("integer", "int64"),
            Type::Number => simple("number", "double"),
            Type::Any => simple("object", ""),
            Type::Named(at) => match self.dialect.reference(&self.schema.named(*at).name) {
                Json::Object(map) => map,
                _ => Map::new(),
            },
            Type::List(element) => object([("type", "array".into()), ("items", self.value(element).into())]),
            Type::Map(element) => {
                object([("type", "object".into()), ("additionalProperties", self.value(element).into())])
            }
        }
    }

    /// The list of a kind. The table has none: they are all alike.
    fn list(&self, kind: &Kind) -> Json {
        let doc = |field: &str| self.doc(kind.schema, field).unwrap_or_default();
        let metadata = match self.dialect {
            Dialect::V2 => {
                json!({"$ref": format!("#/definitions/{META}ListMeta"), "description": "Metadata of the list."})
            }
            Dialect::V3 => json!({"allOf": [self.dialect.reference(&format!("{META}ListMeta"))],
                "description": "Metadata of the list.", "default": {}}),
        };
        let items = json!({"type": "array", "description": format!("Items of kind {}.", kind.kind),
            "items": self.dialect.reference(kind.schema)});
        json!({
            "description": format!("{0}List is a list of {0}.", kind.kind),
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string", "description": doc("apiVersion")},
                "items": items,
                "kind": {"type": "string", "description": doc("kind")},
                "metadata": metadata,
            },
            "x-kubernetes-group-version-kind":
                [{"group": kind.group, "version": kind.version, "kind": format!("{}List", kind.kind)}],
        })
    }
}
