//! Structural schemas: what a CustomResourceDefinition says of its objects.
//!
//! A [`Structural`] is read from `openAPIV3Schema` once a version. It drives what the table drives for built-in kinds:
//! unknown fields ([`Structural::prune`]), defaults ([`Structural::default`]), and beyond that the validation of values
//! ([`Structural::validate`]). [`AnyPlace`] is what server-side apply asks. [`check::check`] says whether a schema is structural at all.
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/>)

mod check;
mod costs;
mod expressions;
mod formats;
mod prune;
#[cfg(test)]
mod tests;
mod typing;
mod validate;

pub use check::{check, check_again};
pub use typing::AnyPlace;

use expressions::Checks;
use holdfast_core::json::{bool_at, items_at, str_at};
use holdfast_core::{FieldErrors, FieldPath, Json, Pattern};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How deep a schema may nest: it is walked by recursion.
pub const MAX_DEPTH: usize = 64;

/// The type of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeType {
    /// A map or a struct.
    Object,
    /// A list.
    Array,
    /// Text.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}

impl NodeType {
    fn parse(text: &str) -> Option<NodeType> {
        Some(match text {
            "object" => NodeType::Object,
            "array" => NodeType::Array,
            "string" => NodeType::String,
            "integer" => NodeType::Integer,
            "number" => NodeType::Number,
            "boolean" => NodeType::Boolean,
            _ => return None,
        })
    }

    /// As schemas write it.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeType::Object => "object",
            NodeType::Array => "array",
            NodeType::String => "string",
            NodeType::Integer => "integer",
            NodeType::Number => "number",
            NodeType::Boolean => "boolean",
        }
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodeList {
    /// The list is one value.
    #[default]
    Atomic,
    /// Each value stands once.
    Set,
    /// Elements are told apart by these keys.
    Map(Vec<String>),
}

/// What lies below a node that is not named.
#[derive(Clone, Debug)]
pub enum Additional {
    /// Nothing may.
    None,
    /// Anything may.
    Any,
    /// Values of this schema.
    Values(Box<Structural>),
}

/// A node of a schema.
#[derive(Clone, Debug)]
pub struct Structural {
    /// `None`: int-or-string, or anything.
    pub node_type: Option<NodeType>,
    /// Whether null is a value of it.
    pub nullable: bool,
    /// What a missing value becomes.
    pub default: Option<Json>,
    /// Named fields.
    pub properties: BTreeMap<String, Structural>,
    /// Other fields.
    pub additional: Additional,
    /// Elements of a list.
    pub items: Option<Box<Structural>>,
    /// Fields that are not named stay.
    pub preserve_unknown: bool,
    /// A whole object with `apiVersion`, `kind` and `metadata`.
    pub embedded: bool,
    /// A whole number or text.
    pub int_or_string: bool,
    /// How the elements of a list belong together.
    pub list: NodeList,
    /// Whether an object is one value.
    pub atomic: bool,
    /// Rules for values.
    pub rules: Rules,
    /// Rules in CEL.
    pub(crate) checks: Option<Arc<Checks>>,
}

/// Rules for the value of a node; what `allOf` and its like hold is of the same form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    pub(crate) format: String,
    pub(crate) allowed: Option<Vec<Json>>,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    pub(crate) max_length: Option<u64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) required: Vec<String>,
    pub(crate) all_of: Vec<Nested>,
    pub(crate) any_of: Vec<Nested>,
    pub(crate) one_of: Vec<Nested>,
    pub(crate) not: Option<Box<Nested>>,
}

/// A schema within `allOf`, `anyOf`, `oneOf` or `not`: rules and where they hold, no types of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Nested {
    /// Only with `x-kubernetes-int-or-string` may it name a type.
    pub(crate) node_type: Option<NodeType>,
    pub(crate) rules: Rules,
    pub(crate) properties: BTreeMap<String, Nested>,
    pub(crate) additional: Option<Box<Nested>>,
    pub(crate) items: Option<Box<Nested>>,
}

impl Structural {
    /// Reads an `openAPIV3Schema` that [`check`] found nothing wrong with. What it could not read it reads as "anything".
    pub fn parse(schema: &Json) -> Structural {
        let mut root = Structural::parse_node(schema);
        // Rules that do not compile were refused with the definition.
        expressions::compile_all(&mut root, schema, &FieldPath::default(), None, &mut FieldErrors::new());
        root
    }

    fn parse_node(schema: &Json) -> Structural {
        let flag = |key: &str| bool_at(schema, &[key]).unwrap_or(false);
        let children = |key: &str| schema.get(key).and_then(Json::as_object).into_iter().flatten();
        Structural {
            node_type: str_at(schema, &["type"]).and_then(NodeType::parse),
            nullable: flag("nullable"),
            default: schema.get("default").cloned(),
            properties: children("properties").map(|(name, s)| (name.clone(), Structural::parse_node(s))).collect(),
            additional: match schema.get("additionalProperties") {
                None | Some(Json::Bool(false)) => Additional::None,
                Some(Json::Bool(true)) => Additional::Any,
                Some(values) => Additional::Values(Box::new(Structural::parse_node(values))),
            },
            items: schema.get("items").map(|items| Box::new(Structural::parse_node(items))),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            list: match str_at(schema, &["x-kubernetes-list-type"]) {
                Some("set") => NodeList::Set,
                Some("map") => NodeList::Map(texts(schema, "x-kubernetes-list-map-keys")),
                _ => NodeList::Atomic,
            },
            atomic: str_at(schema, &["x-kubernetes-map-type"]) == Some("atomic"),
            rules: Rules::parse(schema),
            checks: None,
        }
    }
}

impl Structural {
    /// The schema of the field `key`, whether it is named or one of many.
    fn field(&self, key: &str) -> Option<&Structural> {
        self.properties.get(key).or(self.values())
    }

    /// The schema of fields that are not named.
    fn values(&self) -> Option<&Structural> {
        match &self.additional {
            Additional::Values(values) => Some(values),
            Additional::None | Additional::Any => None,
        }
    }

    /// Where the field `key` is: named ones are steps, others keys of a map.
    fn path_of(&self, path: &FieldPath, key: &str) -> FieldPath {
        if self.properties.contains_key(key) { path.child(key) } else { path.key(key) }
    }
}

impl Rules {
    fn parse(schema: &Json) -> Rules {
        let count = |key: &str| schema.get(key).and_then(Json::as_u64);
        let number = |key: &str| schema.get(key).and_then(Json::as_f64);
        let nested = |key: &str| items_at(schema, &[key]).iter().map(Nested::parse).collect();
        Rules {
            format: str_at(schema, &["format"]).unwrap_or_default().to_string(),
            allowed: schema.get("enum").and_then(Json::as_array).cloned(),
            minimum: number("minimum"),
            exclusive_minimum: bool_at(schema, &["exclusiveMinimum"]).unwrap_or(false),
            maximum: number("maximum"),
            exclusive_maximum: bool_at(schema, &["exclusiveMaximum"]).unwrap_or(false),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern: str_at(schema, &["pattern"]).and_then(|text| Pattern::new(text).ok()),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            required: texts(schema, "required"),
            all_of: nested("allOf"),
            any_of: nested("anyOf"),
            one_of: nested("oneOf"),
            not: schema.get("not").map(|not| Box::new(Nested::parse(not))),
        }
    }
}

impl Nested {
    fn parse(schema: &Json) -> Nested {
        let children = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
        let child = |key: &str| schema.get(key).filter(|s| s.is_object()).map(|s| Box::new(Nested::parse(s)));
        Nested {
            node_type: str_at(schema, &["type"]).and_then(NodeType::parse),
            rules: Rules::parse(schema),
            properties: children.map(|(name, s)| (name.clone(), Nested::parse(s))).collect(),
            additional: child("additionalProperties"),
            items: child("items"),
        }
    }
}

fn texts(schema: &Json, key: &str) -> Vec<String> {
    items_at(schema, &[key]).iter().filter_map(Json::as_str).map(str::to_string).collect()
}
