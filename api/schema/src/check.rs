//! A document against its type, as upstream's strict JSON decoder takes it.

use crate::parse::MAX_PROBLEMS;
use crate::table::{Named, Schema, Shape, Type};
use base64::Engine;
use holdfast_core::{Gvk, Json, Quantity, Status, Timestamp};

impl Schema {
    /// Decodes `doc` as the type `schema_name`: drops nulls and unknown fields, writes quantities and times in
    /// their canonical form. Returns the paths of the unknown fields (`spec.foo`, `spec.containers[0].foo`).
    /// What is required is not asked here.
    ///
    /// # Errors
    /// 400 with upstream's text when a value is of another type than the schema says. 500 when there is no such
    /// type. `doc` is then half changed.
    pub fn check(&self, schema_name: &str, doc: &mut Json) -> Result<Vec<String>, Status> {
        let Some(root) = self.find(schema_name) else {
            return Err(Status::internal(format!("no schema {schema_name}")));
        };
        let mut walk = Walk { schema: self, unknown: Vec::new() };
        match walk.named(root, doc, &Path { parent: None, step: Step::Root }) {
            Ok(()) => Ok(walk.unknown),
            Err(err) => Err(cannot_be_handled(&gvk_of(schema_name), &err)),
        }
    }
}

/// 400 for a document that does not decode: `Pod in version "v1" cannot be handled as a Pod: …`.
fn cannot_be_handled(gvk: &Gvk, err: &str) -> Status {
    let Gvk { version, kind, .. } = gvk;
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: {err}"))
}

/// The texts of unknown and duplicate fields, as warnings and strict errors give them.
pub fn strict_texts(unknown: &[String], duplicates: &[String]) -> Vec<String> {
    let duplicates = duplicates.iter().map(|path| format!("duplicate field {path:?}"));
    let unknown = unknown.iter().map(|path| format!("unknown field {path:?}"));
    unknown.chain(duplicates).collect()
}

/// 400 for a document with unknown or duplicate fields under `fieldValidation=Strict`.
pub fn strict_error(gvk: &Gvk, texts: &[String]) -> Status {
    cannot_be_handled(gvk, &format!("strict decoding error: {}", texts.join(", ")))
}

/// Version and kind out of a name such as `io.k8s.api.core.v1.Pod`.
fn gvk_of(schema_name: &str) -> Gvk {
    let mut parts = schema_name.rsplit('.');
    let kind = parts.next().unwrap_or_default().to_string();
    let version = parts.next().unwrap_or_default().to_string();
    Gvk { group: String::new(), version, kind }
}

/// Where the walk is. It is written out only when something is wrong there.
#[derive(Clone, Copy)]
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    /// The key of a map.
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    fn below(&'a self, step: Step<'a>) -> Path<'a> {
        Path { parent: Some(self), step }
    }

    /// `spec.containers[0].image`.
    fn full(&self) -> String {
        let parent = self.parent.map_or_else(String::new, Path::full);
        match self.step {
            Step::Root => parent,
            Step::Index(at) => format!("{parent}[{at}]"),
            Step::Field(name) | Step::Key(name) if parent.is_empty() => name.to_string(),
            Step::Field(name) | Step::Key(name) => format!("{parent}.{name}"),
        }
    }

    /// `spec.containers.image`, as Go's decoder names a place.
    fn fields(&self) -> String {
        let parent = self.parent.map_or_else(String::new, Path::fields);
        match self.step {
            Step::Field(name) if parent.is_empty() => name.to_string(),
            Step::Field(name) => format!("{parent}.{name}"),
            _ => parent,
        }
    }
}

struct Walk<'s> {
    schema: &'s Schema,
    unknown: Vec<String>,
}

impl Walk<'_> {
    fn named(&mut self, named: &Named, value: &mut Json, path: &Path<'_>) -> Result<(), String> {
        match &named.shape {
            Shape::Struct(_) => self.fields(named, value, path),
            Shape::Quantity => quantity(value),
            Shape::IntOrString => match value {
                Json::String(_) => Ok(()),
                Json::Number(n) if n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => Ok(()),
                other => Err(format!("json: cannot unmarshal {} into Go value of type int32", go_value(other, true))),
            },
            Shape::Time => time(value, "2006-01-02T15:04:05Z07:00", |time| time.to_string()),
            Shape::MicroTime => time(value, "2006-01-02T15:04:05.000000Z07:00", Timestamp::to_micro_string),
            Shape::Opaque | Shape::AnyJson => Ok(()),
        }
    }

    fn fields(&mut self, named: &Named, value: &mut Json, path: &Path<'_>) -> Result<(), String> {
        let Json::Object(map) = value else {
            let text = format!("json: cannot unmarshal {} into Go value of type", go_value(value, false));
            return Err(format!("{text} {}", go_name(named)));
        };
        let mut outcome = Ok(());
        // One pass: removing the fields one by one would cost the square of their number, which the client chooses.
        map.retain(|key, value| {
            let below = path.below(Step::Field(key));
            match named.field(key) {
                _ if outcome.is_err() => true,
                None => {
                    if self.unknown.len() < MAX_PROBLEMS {
                        self.unknown.push(below.full());
                    }
                    false
                }
                Some(_) if value.is_null() => false,
                Some(field) => {
                    outcome = self.value(&field.value, value, &below, named);
                    true
                }
            }
        });
        outcome
    }

    /// `owner` is the struct whose field this is.
    fn value(&mut self, expected: &Type, value: &mut Json, path: &Path<'_>, owner: &Named) -> Result<(), String> {
        let fits = match (expected, &mut *value) {
            (Type::Any, _) => true,
            (Type::String, Json::String(_)) => true,
            (Type::Bool, Json::Bool(_)) => true,
            (Type::Int32, Json::Number(number)) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Type::Int64, Json::Number(number)) => number.as_i64().is_some(),
            (Type::Number, Json::Number(_)) => true,
            (Type::Bytes, Json::String(text)) => return base64(text),
            (Type::Named(at), value) => {
                let schema = self.schema;
                let named = schema.named(*at);
                if !matches!(named.shape, Shape::Struct(_)) || value.is_object() {
                    return self.named(named, value, path);
                }
                false
            }
            (Type::List(element), Json::Array(items)) => {
                for (at, item) in items.iter_mut().enumerate() {
                    fill_null(self.schema, element, item);
                    self.value(element, item, &path.below(Step::Index(at)), owner)?;
                }
                true
            }
            (Type::Map(element), Json::Object(map)) => {
                for (key, item) in map.iter_mut() {
                    fill_null(self.schema, element, item);
                    self.value(element, item, &path.below(Step::Key(key)), owner)?;
                }
                true
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.mismatch(expected, value, path, owner)) }
    }

    fn mismatch(&self, expected: &Type, value: &Json, path: &Path<'_>, owner: &Named) -> String {
        let number = matches!(expected, Type::Int32 | Type::Int64);
        let (found, expected) = (go_value(value, number), self.go_type(expected));
        format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {expected}",
            owner.short(),
            path.fields()
        )
    }

    /// What Go calls a type.
    fn go_type(&self, expected: &Type) -> String {
        match expected {
            Type::String => "string".into(),
            Type::Bytes => "[]uint8".into(),
            Type::Bool => "bool".into(),
            Type::Int32 => "int32".into(),
            Type::Int64 => "int64".into(),
            Type::Number => "float64".into(),
            Type::Named(at) => go_name(self.schema.named(*at)),
            Type::List(element) => format!("[]{}", self.go_type(element)),
            Type::Map(element) => format!("map[string]{}", self.go_type(element)),
            Type::Any => "interface {}".into(),
        }
    }
}

/// `v1.Container`.
fn go_name(named: &Named) -> String {
    let version = named.name.rsplit('.').nth(1).unwrap_or_default();
    format!("{version}.{}", named.short())
}

/// What Go's decoder calls a value; numbers that do not fit are quoted.
fn go_value(value: &Json, quote_number: bool) -> String {
    match value {
        Json::Null => "null".into(),
        Json::Bool(_) => "bool".into(),
        Json::Number(number) if quote_number => format!("number {number}"),
        Json::Number(_) => "number".into(),
        Json::String(_) => "string".into(),
        Json::Array(_) => "array".into(),
        Json::Object(_) => "object".into(),
    }
}

/// A null in a list or a map becomes the zero value of its type, as in Go.
fn fill_null(schema: &Schema, element: &Type, value: &mut Json) {
    if value.is_null() {
        *value = match element {
            Type::String | Type::Bytes => "".into(),
            Type::Bool => false.into(),
            Type::Int32 | Type::Int64 | Type::Number => 0.into(),
            Type::Named(at) => match schema.named(*at).shape {
                Shape::Quantity => "0".into(),
                Shape::IntOrString => 0.into(),
                Shape::Struct(_) => Json::Object(serde_json::Map::new()),
                Shape::Time | Shape::MicroTime | Shape::Opaque | Shape::AnyJson => Json::Null,
            },
            Type::List(_) => Json::Array(Vec::new()),
            Type::Map(_) => Json::Object(serde_json::Map::new()),
            Type::Any => Json::Null,
        };
    }
}

fn quantity(value: &mut Json) -> Result<(), String> {
    let text = match &*value {
        Json::String(text) => text.trim().to_string(),
        Json::Number(number) => number.to_string(),
        other => other.to_string(),
    };
    let parsed: Quantity = text.parse().map_err(|err| format!("{err}"))?;
    // Nano, micro and exponents keep their writing: the core type holds thousandths and suffixes only.
    let keep =
        text.ends_with(['n', 'u']) || text.trim_start_matches(['+', '-']).contains(['e', 'E']) && !text.ends_with('E');
    let canonical = if keep && !text.ends_with("Ei") { text } else { parsed.to_string() };
    *value = canonical.into();
    Ok(())
}

fn time(value: &mut Json, layout: &str, write: impl Fn(Timestamp) -> String) -> Result<(), String> {
    let text = match value {
        Json::Null => return Ok(()),
        Json::String(text) => text,
        other => {
            return Err(format!("json: cannot unmarshal {} into Go value of type string", go_value(other, false)));
        }
    };
    match Timestamp::parse(text) {
        Some(time) => {
            *value = write(time).into();
            Ok(())
        }
        None => Err(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\"")),
    }
}

fn base64(text: &mut String) -> Result<(), String> {
    use base64::DecodeError;
    // Go's decoder skips line ends.
    if text.contains(['\r', '\n']) {
        text.retain(|c| !matches!(c, '\r' | '\n'));
    }
    match base64::engine::general_purpose::STANDARD.decode(text.as_bytes()) {
        Ok(_) => Ok(()),
        Err(DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(_) => Err(format!("illegal base64 data at input byte {}", text.len())),
    }
}

#[cfg(test)]
mod tests;
