//! The table: types, their fields, and how lists merge. Immutable once read.

use crate::apply::Standing;
use crate::facts::{self, ListType, Patching};
use holdfast_core::Json;
use std::collections::BTreeMap;

static TYPES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/types.json.zst"));
static DOCS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/docs.json.zst"));

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// Text.
    String,
    /// Text that is base64.
    Bytes,
    /// `true` or `false`.
    Bool,
    /// A whole number of 32 bits.
    Int32,
    /// A whole number of 64 bits.
    Int64,
    /// Any number.
    Number,
    /// A named type, by its place in the table.
    Named(usize),
    /// A list.
    List(Box<Type>),
    /// A map from text.
    Map(Box<Type>),
    /// Anything.
    Any,
}

/// A field of a named type.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: Box<str>,
    pub(crate) value: Type,
    pub(crate) required: bool,
    pub(crate) patching: Patching,
    /// How the elements of a list belong together.
    pub(crate) listing: ListType,
    /// Whether a map is one value.
    pub(crate) is_atomic: bool,
}

/// What a named type is.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Fields, by name.
    Struct(Vec<Field>),
    /// `resource.Quantity`.
    Quantity,
    /// `intstr.IntOrString`.
    IntOrString,
    /// `meta/v1 Time`.
    Time,
    /// `meta/v1 MicroTime`.
    MicroTime,
    /// An object that is kept as it is.
    Opaque,
    /// Any JSON, kept as it is.
    AnyJson,
}

/// A named type.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: Box<str>,
    pub(crate) shape: Shape,
    /// Whether it is one value.
    pub(crate) is_atomic: bool,
    /// Fields that are there even unsaid.
    pub(crate) standing: Vec<Standing>,
}

impl Named {
    /// The last part of the name, as Go calls the type.
    pub(crate) fn short(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or(&self.name)
    }

    /// The field `name`.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        match &self.shape {
            Shape::Struct(fields) => {
                fields.binary_search_by(|field| (*field.name).cmp(name)).ok().map(|at| &fields[at])
            }
            _ => None,
        }
    }
}

/// The schemas of a set of kinds.
#[derive(Debug)]
pub struct Schema {
    types: Vec<Named>,
}

/// Descriptions, by type and field; the type's own under the empty name.
pub(crate) type Docs = BTreeMap<String, BTreeMap<String, String>>;

impl Schema {
    /// The table of the build.
    ///
    /// # Panics
    /// When the bytes that the build put into this program are broken.
    pub(crate) fn embedded() -> Schema {
        match unpack::<BTreeMap<String, Json>>(TYPES) {
            Ok(definitions) => Schema::new(&definitions),
            Err(err) => panic!("the embedded schema table is broken: {err}"),
        }
    }

    /// From JSON schemas by name, in the order of the map.
    fn new(definitions: &BTreeMap<String, Json>) -> Schema {
        let index: BTreeMap<&str, usize> =
            definitions.keys().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
        let mut types: Vec<Named> = definitions
            .iter()
            .map(|(name, schema)| Named {
                name: name.as_str().into(),
                shape: shape(name, schema, &index),
                is_atomic: facts::is_atomic_type(name),
                standing: Vec::new(),
            })
            .collect();
        let standing: Vec<Vec<Standing>> = types.iter().map(|named| standing(&types, named)).collect();
        for (named, standing) in types.iter_mut().zip(standing) {
            named.standing = standing;
        }
        Schema { types }
    }

    /// The descriptions. Large: not to be kept.
    pub(crate) fn docs() -> Docs {
        unpack(DOCS).unwrap_or_default()
    }

    /// Whether there is a type of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Named> {
        self.types.binary_search_by(|named| (*named.name).cmp(name)).ok().map(|at| &self.types[at])
    }

    pub(crate) fn named(&self, at: usize) -> &Named {
        &self.types[at]
    }
}

fn unpack<T: serde::de::DeserializeOwned>(packed: &[u8]) -> Result<T, std::io::Error> {
    Ok(serde_json::from_slice(&zstd::stream::decode_all(packed)?)?)
}

fn shape(name: &str, schema: &Json, index: &BTreeMap<&str, usize>) -> Shape {
    match name {
        QUANTITY => return Shape::Quantity,
        INT_OR_STRING => return Shape::IntOrString,
        TIME => return Shape::Time,
        MICRO_TIME => return Shape::MicroTime,
        _ if facts::is_any_json(name) => return Shape::AnyJson,
        _ => {}
    }
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return Shape::Opaque };
    let required = holdfast_core::json::items_at(schema, &["required"]);
    let mut fields: Vec<Field> = properties
        .iter()
        .map(|(field, value)| Field {
            name: field.as_str().into(),
            value: value_type(value, index),
            required: facts::required(name, field)
                .unwrap_or_else(|| required.iter().any(|entry| entry.as_str() == Some(field))),
            patching: facts::patching(name, field),
            listing: facts::list_type(name, field),
            is_atomic: facts::is_atomic_map(name, field),
        })
        .collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Shape::Struct(fields)
}

/// The fields that a value of this type has even unsaid.
fn standing(types: &[Named], named: &Named) -> Vec<Standing> {
    let Shape::Struct(fields) = &named.shape else { return Vec::new() };
    let zero = |field: &Field| {
        let is_struct = matches!(&field.value, Type::Named(at) if matches!(types[*at].shape, Shape::Struct(_)));
        let value = crate::apply::zero(&named.name, &field.name, &field.value, is_struct, field.required)?;
        Some(Standing { name: field.name.clone(), value })
    };
    fields.iter().filter_map(zero).collect()
}

fn value_type(schema: &Json, index: &BTreeMap<&str, usize>) -> Type {
    let text = |key: &str| schema.get(key).and_then(Json::as_str);
    if let Some(reference) = text("$ref") {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return index.get(name).map_or(Type::Any, |at| Type::Named(*at));
    }
    match (text("type"), text("format")) {
        (Some("string"), Some("byte")) => Type::Bytes,
        (Some("string"), _) => Type::String,
        (Some("boolean"), _) => Type::Bool,
        (Some("integer"), Some("int32")) => Type::Int32,
        (Some("integer"), _) => Type::Int64,
        (Some("number"), _) => Type::Number,
        (Some("array"), _) => {
            Type::List(Box::new(schema.get("items").map_or(Type::Any, |items| value_type(items, index))))
        }
        (Some("object"), _) => match schema.get("additionalProperties") {
            Some(values) => Type::Map(Box::new(value_type(values, index))),
            None => Type::Any,
        },
        _ => Type::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_a_served_kind_is_in_the_table() {
        let schema = crate::builtin();
        for kind in holdfast_kinds::all() {
            assert!(schema.contains(kind.schema), "{kind:?} has no schema {}", kind.schema);
            for sub in kind.subresources {
                let known = schema.contains(&crate::openapi::schema_of(sub.group, sub.version, sub.kind));
                let options = sub.kind.ends_with("Options");
                assert!(known || options, "{kind:?}/{} has no schema of {}", sub.name, sub.kind);
            }
        }
        assert!(!schema.contains("io.k8s.api.core.v1.Nothing"));
    }

    #[test]
    fn every_fact_is_about_a_field_of_the_table() {
        for (name, field) in facts::all() {
            let found = crate::builtin().find(&name).and_then(|named| named.field(field));
            assert!(found.is_some(), "{name} has no field {field}");
        }
    }

    #[test]
    fn no_field_of_the_table_is_of_unknown_type() {
        for named in &crate::builtin().types {
            let Shape::Struct(fields) = &named.shape else { continue };
            for field in fields {
                assert_ne!(field.value, Type::Any, "{}.{}", named.name, field.name);
            }
        }
    }
}
