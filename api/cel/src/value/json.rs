//! Values from documents and back.

use super::{Key, List, Map, Object, Value};
use crate::error::EvalError;
use crate::limits::MAX_MADE_ELEMENTS;
use crate::types::{ListKeys, ListType, Type, Types};
use crate::value::time::{Time, format_duration, parse_duration};
use base64::Engine;
use holdfast_core::Json;

/// What untyped documents are made of.
static DYN: Type = Type::Dyn;
static DYN_LIST: ListType = ListType { element: Type::Dyn, keys: ListKeys::Atomic };

/// Base64 as JSON documents have it.
pub(crate) fn base64_engine() -> base64::engine::GeneralPurpose {
    base64::engine::general_purpose::STANDARD
}

impl<'a> Value<'a> {
    /// A document that has no schema: its whole numbers are integers.
    pub fn untyped(json: &'a Json) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(int) => Value::Int(int),
                None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::text(text),
            Json::Array(items) => Value::List(List::Json(items, &DYN_LIST, &Types::NONE)),
            Json::Object(properties) => Value::Map(Map::Json(properties, &DYN, &Types::NONE)),
        }
    }

    /// A document as a value of a type: a schema's integer is an int, its number a double, text of certain formats a
    /// timestamp, a duration or bytes. `null` is null whatever the type, but none of an optional one.
    ///
    /// # Errors
    /// The document is not of that type.
    pub fn from_json(json: &'a Json, ty: &'a Type, types: &'a Types) -> Result<Value<'a>, EvalError> {
        let wrong = || EvalError::new(format!("invalid data, expected {ty}, got {}", sort(json)));
        Ok(match (ty, json) {
            (Type::Optional(_), Json::Null) => Value::Optional(None),
            (Type::Optional(inner), _) => Value::some(Value::from_json(json, inner, types)?),
            (_, Json::Null) => Value::Null,
            (Type::Dyn, _) => Value::untyped(json),
            (Type::Bool, Json::Bool(value)) => Value::Bool(*value),
            (Type::String, Json::String(text)) => Value::text(text),
            (Type::Int, Json::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Value::Int(int),
                (None, Some(double)) if double.fract() == 0.0 => Value::Int(super::number::double_to_int(double)?),
                _ => return Err(wrong()),
            },
            (Type::Uint, Json::Number(number)) => Value::Uint(number.as_u64().ok_or_else(wrong)?),
            (Type::Double, Json::Number(number)) => Value::Double(number.as_f64().ok_or_else(wrong)?),
            (Type::Bytes, Json::String(text)) => {
                Value::Bytes(base64_engine().decode(text).map_err(|_| wrong())?.into())
            }
            (Type::Timestamp, Json::String(text)) => match Time::parse_date(text) {
                Some(date) => Value::Timestamp(date),
                None => Value::Timestamp(Time::parse(text).map_err(|_| wrong())?),
            },
            (Type::Duration, Json::String(text)) => Value::Duration(parse_duration(text).ok_or_else(wrong)?),
            (Type::List(list), Json::Array(items)) => Value::List(List::Json(items, list, types)),
            (Type::Map(map), Json::Object(properties)) => Value::Map(Map::Json(properties, &map.value, types)),
            (Type::Object(name), Json::Object(properties)) => Value::Object(Object::Json(properties, name, types)),
            _ => return Err(wrong()),
        })
    }

    /// The value as JSON: durations and timestamps as text, bytes in base64, an optional value as what it holds.
    ///
    /// # Errors
    /// It has no form in JSON: a number that is none, a type, a value of a Kubernetes library. It has too many parts.
    pub fn to_json(&self) -> Result<Json, EvalError> {
        let mut left = MAX_MADE_ELEMENTS as u64;
        self.count_parts(&mut left);
        if left == 0 {
            return Err(EvalError::new(format!("the value has more than {MAX_MADE_ELEMENTS} parts")));
        }
        self.converted()
    }

    fn converted(&self) -> Result<Json, EvalError> {
        let wrong = || EvalError::conversion(self.type_name(), "JSON");
        Ok(match self {
            Value::Null | Value::Optional(None) => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Uint(value) => Json::from(*value),
            Value::Double(value) => Json::Number(serde_json::Number::from_f64(*value).ok_or_else(wrong)?),
            Value::String(text) => Json::String(text.to_string()),
            Value::Bytes(bytes) => Json::String(base64_engine().encode(bytes)),
            Value::Timestamp(time) => Json::String(time.to_string()),
            Value::Duration(nanos) => Json::String(format_duration(*nanos)),
            Value::List(List::Json(items, ..)) => Json::Array(items.to_vec()),
            Value::List(list) => Json::Array(list.iter().map(|v| v?.converted()).collect::<Result<_, _>>()?),
            Value::Map(Map::Json(properties, ..)) | Value::Object(Object::Json(properties, ..)) => {
                Json::Object((*properties).clone())
            }
            Value::Map(Map::Made(entries)) => {
                let entry = |(key, value): (&Key<'_>, &Value<'_>)| Ok((key_text(key), value.converted()?));
                Json::Object(entries.iter().map(entry).collect::<Result<_, EvalError>>()?)
            }
            Value::Object(Object::Made(_, fields)) => {
                let entries = fields.iter().map(|(name, value)| Ok((name.to_string(), value.clone()?.converted()?)));
                Json::Object(entries.collect::<Result<_, EvalError>>()?)
            }
            Value::Optional(Some(inner)) => inner.converted()?,
            Value::Type(_) | Value::Kubernetes(_) => return Err(wrong()),
        })
    }
}

/// Takes one off `left` for the document and each of its parts.
pub(super) fn count_parts(json: &Json, left: &mut u64) {
    *left = left.saturating_sub(1);
    match json {
        Json::Array(items) => items.iter().for_each(|item| count_parts(item, left)),
        Json::Object(properties) => properties.values().for_each(|value| count_parts(value, left)),
        _ => {}
    }
}

fn key_text(key: &Key<'_>) -> String {
    match key {
        Key::Bool(value) => value.to_string(),
        Key::Int(value) => value.to_string(),
        Key::Uint(value) => value.to_string(),
        Key::String(text) => (**text).to_string(),
    }
}

fn sort(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "a boolean",
        Json::Number(_) => "a number",
        Json::String(_) => "a string",
        Json::Array(_) => "an array",
        Json::Object(_) => "an object",
    }
}
