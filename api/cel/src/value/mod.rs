//! Values: what variables hold and what evaluation yields.
//!
//! Documents are never copied: a list or object of JSON stays where it is, with its type beside it, and its parts
//! become values when they are looked at.

mod compare;
mod json;
mod list;
mod made;
mod map;
pub(crate) mod number;
mod text;
pub mod time;
pub(crate) mod zones;

pub use list::List;
pub use map::{Key, Map, Object};
pub use text::Text;

pub(crate) use compare::{compare, contains, equal, same_keys};
pub(crate) use json::base64_engine;

use crate::error::EvalError;
use crate::kubernetes::Kubernetes;
use crate::types::Type;
use std::sync::Arc;
use time::Time;

/// A value. It borrows from the documents that were bound and from the program.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// An unsigned integer.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(Text<'a>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A moment.
    Timestamp(Time),
    /// A span of time, in nanoseconds.
    Duration(i64),
    /// A list.
    List(List<'a>),
    /// A map.
    Map(Map<'a>),
    /// An object with named fields.
    Object(Object<'a>),
    /// A value or none.
    Optional(Option<Arc<Value<'a>>>),
    /// A type, by its name.
    Type(Text<'a>),
    /// A value of a Kubernetes library.
    Kubernetes(Arc<Kubernetes>),
}

/// What evaluation of anything gives.
pub(crate) type Outcome<'a> = Result<Value<'a>, EvalError>;

impl<'a> Value<'a> {
    /// Text that is borrowed.
    pub fn text(text: &'a str) -> Value<'a> {
        Value::String(Text::Borrowed(text))
    }

    /// Text that is owned.
    pub(crate) fn owned(text: impl Into<Arc<str>>) -> Value<'a> {
        Value::String(Text::Shared(text.into()))
    }

    pub(crate) fn list(items: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::Made(Arc::new(items), None))
    }

    /// A value, or none, as `oldSelf` is where it is optional.
    pub fn optional(value: Option<Value<'a>>) -> Value<'a> {
        Value::Optional(value.map(Arc::new))
    }

    pub(crate) fn some(value: Value<'a>) -> Value<'a> {
        Value::optional(Some(value))
    }

    pub(crate) fn strings<S: Into<Arc<str>>>(texts: impl IntoIterator<Item = S>) -> Value<'a> {
        Value::list(texts.into_iter().map(Value::owned).collect())
    }

    /// An object that the caller makes, such as `variables` of a policy: fields by their names in expressions. One may
    /// be an error, which only who reads that field gets.
    pub fn object<'n>(
        name: &str,
        fields: impl IntoIterator<Item = (&'n str, Result<Value<'a>, EvalError>)>,
    ) -> Value<'a> {
        let fields = fields.into_iter().map(|(name, value)| (name.into(), value)).collect();
        Value::Object(Object::Made(name.into(), Arc::new(fields)))
    }

    /// The name of its type at evaluation.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => Type::Null.runtime_name(),
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => Type::Timestamp.runtime_name(),
            Value::Duration(_) => Type::Duration.runtime_name(),
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Object(object) => object.type_name(),
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Kubernetes(value) => value.type_name(),
        }
    }

    /// Whether a value of this kind may be meant by `ty`: how an overload is chosen among several.
    pub(crate) fn fits(&self, ty: &Type) -> bool {
        match (ty, self) {
            (Type::Dyn | Type::Param(_) | Type::Error, _)
            | (Type::Null, Value::Null)
            | (Type::Bool, Value::Bool(_))
            | (Type::Int, Value::Int(_))
            | (Type::Uint, Value::Uint(_))
            | (Type::Double, Value::Double(_))
            | (Type::String, Value::String(_))
            | (Type::Bytes, Value::Bytes(_))
            | (Type::Timestamp, Value::Timestamp(_))
            | (Type::Duration, Value::Duration(_))
            | (Type::Type(_), Value::Type(_))
            // Untyped documents are maps, and typed objects can be taken for such.
            | (Type::Map(_), Value::Map(_) | Value::Object(_)) => true,
            (Type::Optional(inner), Value::Optional(value)) => value.as_ref().is_none_or(|v| v.fits(inner)),
            // The first element tells which list is meant; elements that differ fail in the function.
            (Type::List(list), Value::List(values)) => match values.first() {
                Some(Ok(first)) => first.fits(&list.element),
                _ => true,
            },
            (Type::Object(name) | Type::Opaque(name), value) => value.type_name() == &**name,
            _ => false,
        }
    }

    /// What `size()` says, as far as costs need it: 1 for what has no size.
    pub(crate) fn cost_size(&self) -> u64 {
        match self {
            Value::String(text) => text.char_count() as u64,
            Value::Bytes(bytes) => bytes.len() as u64,
            Value::List(list) => list.len() as u64,
            Value::Map(map) => map.len() as u64,
            Value::Object(object) => object.len() as u64,
            Value::Optional(Some(inner)) => inner.cost_size(),
            Value::Kubernetes(value) => value.cost_size(),
            _ => 1,
        }
    }

    /// Takes one off `left` for each part that it has beyond itself, all the way down, until nothing is left: values share
    /// their parts, so that a small one may have very many.
    pub(crate) fn count_parts(&self, left: &mut u64) {
        let parts = |items: &mut dyn Iterator<Item = &Value<'a>>, left: &mut u64| {
            for item in items {
                if *left == 0 {
                    return;
                }
                *left -= 1;
                item.count_parts(left);
            }
        };
        match self {
            Value::List(List::Json(items, ..)) => items.iter().for_each(|item| json::count_parts(item, left)),
            Value::List(List::Made(items, _)) => parts(&mut items.iter(), left),
            Value::Map(Map::Json(properties, ..)) | Value::Object(Object::Json(properties, ..)) => {
                properties.values().for_each(|value| json::count_parts(value, left));
            }
            Value::Map(Map::Made(entries)) => parts(&mut entries.values(), left),
            Value::Object(Object::Made(_, fields)) => parts(&mut fields.values().flatten(), left),
            Value::Optional(Some(inner)) => parts(&mut std::iter::once(&**inner), left),
            _ => {}
        }
    }

    /// Whether it is what its type has for nothing (`optional.ofNonZeroValue`).
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Value::Null => true,
            Value::Bool(value) => !value,
            Value::Int(value) => *value == 0,
            Value::Uint(value) => *value == 0,
            Value::Double(value) => *value == 0.0,
            Value::String(text) => text.is_empty(),
            Value::Bytes(bytes) => bytes.is_empty(),
            Value::Duration(nanos) => *nanos == 0,
            Value::List(list) => list.is_empty(),
            Value::Map(map) => map.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::Optional(value) => value.is_none(),
            Value::Timestamp(time) => *time == Time::ZERO,
            Value::Type(_) | Value::Kubernetes(_) => false,
        }
    }
}
