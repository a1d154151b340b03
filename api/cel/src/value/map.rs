//! Maps and objects.

use super::{Outcome, Text, Value};
use crate::error::EvalError;
use crate::names::escape;
use crate::types::{Type, Types};
use holdfast_core::Json;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The key of a map. Integers of both sorts are one key when they are one number.
#[derive(Clone, Debug)]
pub enum Key<'a> {
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// Text.
    String(Text<'a>),
}

impl<'a> Key<'a> {
    /// The key for a value, if it can be one. A double that is a whole number finds that number.
    pub(crate) fn of(value: &Value<'a>) -> Option<Key<'a>> {
        Some(match value {
            Value::Bool(value) => Key::Bool(*value),
            Value::Int(value) => Key::Int(*value),
            Value::Uint(value) => Key::Uint(*value),
            Value::String(text) => Key::String(text.clone()),
            Value::Double(value) => match super::number::whole(*value)? {
                (Some(int), _) => Key::Int(int),
                (None, uint) => Key::Uint(uint?),
            },
            _ => return None,
        })
    }

    pub(crate) fn into_value(self) -> Value<'a> {
        match self {
            Key::Bool(value) => Value::Bool(value),
            Key::Int(value) => Value::Int(value),
            Key::Uint(value) => Value::Uint(value),
            Key::String(text) => Value::String(text),
        }
    }

    fn rank(&self) -> (u8, i128) {
        match self {
            Key::Bool(value) => (0, i128::from(*value)),
            Key::Int(value) => (1, i128::from(*value)),
            Key::Uint(value) => (1, i128::from(*value)),
            Key::String(_) => (2, 0),
        }
    }
}

impl Ord for Key<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Key::String(one), Key::String(two)) => (**one).cmp(&**two),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Key<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Key<'_> {}

/// A map of a document, or made by evaluation.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// Of a document, with the type of its values and where objects in it are known.
    Json(&'a serde_json::Map<String, Json>, &'a Type, &'a Types),
    /// Made by evaluation.
    Made(Arc<BTreeMap<Key<'a>, Value<'a>>>),
}

impl<'a> Map<'a> {
    /// Count of entries.
    pub fn len(&self) -> usize {
        match self {
            Map::Json(properties, ..) => properties.len(),
            Map::Made(entries) => entries.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn get(&self, key: &Key<'_>) -> Option<Outcome<'a>> {
        match (self, key) {
            (Map::Json(properties, ty, types), Key::String(text)) => {
                properties.get(&**text).map(|v| Value::from_json(v, ty, types))
            }
            (Map::Json(..), _) => None,
            (Map::Made(entries), _) => find(entries, key).cloned().map(Ok),
        }
    }

    pub(crate) fn get_text(&self, key: &str) -> Option<Outcome<'a>> {
        self.get(&Key::String(Text::Borrowed(key)))
    }

    pub(crate) fn contains(&self, key: &Key<'_>) -> bool {
        match (self, key) {
            (Map::Json(properties, ..), Key::String(text)) => properties.contains_key(&**text),
            (Map::Json(..), _) => false,
            (Map::Made(entries), _) => find(entries, key).is_some(),
        }
    }

    pub(crate) fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Map::Json(properties, ..) => properties.keys().map(|k| Value::text(k)).collect(),
            Map::Made(entries) => entries.keys().cloned().map(Key::into_value).collect(),
        }
    }

    pub(crate) fn entries(&self) -> Result<Vec<(Value<'a>, Value<'a>)>, EvalError> {
        match self {
            Map::Json(properties, ty, types) => {
                properties.iter().map(|(k, v)| Ok((Value::text(k), Value::from_json(v, ty, types)?))).collect()
            }
            Map::Made(entries) => Ok(entries.iter().map(|(k, v)| (k.clone().into_value(), v.clone())).collect()),
        }
    }
}

/// A lookup whose key lives shorter than those of the map: for so long the map's keys pass for such, too.
fn find<'k, 'a: 'k>(entries: &'k BTreeMap<Key<'a>, Value<'a>>, key: &'k Key<'k>) -> Option<&'k Value<'a>> {
    let entries: &'k BTreeMap<Key<'k>, Value<'a>> = entries;
    entries.get(key)
}

/// An object with named fields.
#[derive(Clone, Debug)]
pub enum Object<'a> {
    /// Of a document, with its type's name, where its fields are known.
    Json(&'a serde_json::Map<String, Json>, &'a str, &'a Types),
    /// Made by the caller: fields by their names in expressions; one may hold an error, which who reads it gets.
    Made(Arc<str>, Arc<BTreeMap<Box<str>, Result<Value<'a>, EvalError>>>),
}

impl<'a> Object<'a> {
    pub(crate) fn type_name(&self) -> &str {
        match self {
            Object::Json(_, name, _) => name,
            Object::Made(name, _) => name,
        }
    }

    /// Count of fields that are set.
    pub fn len(&self) -> usize {
        match self {
            Object::Json(properties, ..) => properties.len(),
            Object::Made(_, fields) => fields.len(),
        }
    }

    /// Count of fields that are set and known to the type.
    pub(crate) fn known_len(&self) -> usize {
        match self {
            Object::Json(properties, object, types) => {
                properties.keys().filter(|property| types.property(object, property).is_some()).count()
            }
            Object::Made(_, fields) => fields.len(),
        }
    }

    /// Whether none is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The field with this name in expressions.
    pub(crate) fn get(&self, name: &str) -> Option<Outcome<'a>> {
        match self {
            Object::Json(properties, object, types) => {
                let field = types.field(object, name)?;
                let value = properties.get(&*field.property)?;
                Some(Value::from_json(value, &field.ty, types))
            }
            Object::Made(_, fields) => fields.get(name).cloned(),
        }
    }

    /// Whether the field is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        match self {
            Object::Json(properties, object, types) => {
                types.field(object, name).is_some_and(|field| properties.contains_key(&*field.property))
            }
            Object::Made(_, fields) => fields.contains_key(name),
        }
    }

    /// All fields that are set and known, by their names in expressions.
    pub(crate) fn fields(&self) -> Result<Vec<(Value<'a>, Value<'a>)>, EvalError> {
        match self {
            Object::Json(properties, object, types) => properties
                .iter()
                .filter_map(|(property, value)| {
                    let field = types.property(object, property)?;
                    let name = match escape(property)? {
                        std::borrow::Cow::Borrowed(name) => Value::text(name),
                        std::borrow::Cow::Owned(name) => Value::owned(name),
                    };
                    Some(Value::from_json(value, &field.ty, types).map(|value| (name, value)))
                })
                .collect(),
            Object::Made(_, fields) => {
                fields.iter().map(|(name, value)| Ok((Value::owned(&**name), value.clone()?))).collect()
            }
        }
    }
}
