//! Messages to documents.

use super::MAGIC;
use super::table::{Field, IN_PLACE, Shape, TABLE, Type, UNION};
use super::wire::{Reader, Value};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use holdfast_core::{Json, Timestamp};
use serde_json::Map;
use std::time::Duration;

/// Messages nest at most so deep; built-in kinds stay below 20.
const MAX_DEPTH: usize = 40;

/// Reads an object.
///
/// # Errors
/// What is wrong with the bytes.
pub fn decode(bytes: &[u8]) -> Result<Json, String> {
    envelope(bytes, 0)
}

fn envelope(bytes: &[u8], depth: usize) -> Result<Json, String> {
    let message = bytes
        .strip_prefix(MAGIC)
        .ok_or_else(|| format!("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}"))?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &b""[..]);
    let mut reader = Reader(message);
    while let Some((number, value)) = reader.next()? {
        match number {
            1 => {
                let mut meta = Reader(value.bytes()?);
                while let Some((number, value)) = meta.next()? {
                    match number {
                        1 => api_version = value.text()?.to_string(),
                        2 => kind = value.text()?.to_string(),
                        _ => {}
                    }
                }
            }
            2 => raw = value.bytes()?,
            3 if !value.text()?.is_empty() => return Err("the content encoding is not supported".into()),
            _ => {}
        }
    }
    let index = TABLE.kind(&api_version, &kind).ok_or_else(|| {
        format!("no protobuf description of kind {kind:?} in version {api_version:?} is known; send JSON")
    })?;
    let mut document = Map::new();
    document.insert("apiVersion".into(), api_version.into());
    document.insert("kind".into(), kind.into());
    fill(&mut document, index, raw, depth + 1)?;
    Ok(Json::Object(document))
}

fn fill(into: &mut Map<String, Json>, message: usize, bytes: &[u8], depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("messages nest too deep".into());
    }
    let fields: &[Field] = TABLE.messages.get(message).map_or(&[], |message| message.fields.as_slice());
    let mut reader = Reader(bytes);
    while let Some((number, value)) = reader.next()? {
        // Fields of a later version are dropped, as by any older server.
        let Some(field) = fields.iter().find(|field| field.number == number) else { continue };
        put(into, field, value, depth).map_err(|err| format!("{}: {err}", field.name))?;
    }
    Ok(())
}

fn put(into: &mut Map<String, Json>, field: &Field, value: Value<'_>, depth: usize) -> Result<(), String> {
    match (field.shape, field.value) {
        (Shape::One, Type::Message(message)) if field.name == IN_PLACE => {
            fill(into, message, value.bytes()?, depth + 1)
        }
        (Shape::One, of) => {
            // What Go holds behind a pointer is written only where it is set, to zero maybe. Of bytes nobody tells.
            let set = !field.stands && of != Type::Bytes;
            let keeps_zero = field.keeps_zero || set || matches!(of, Type::Message(_));
            if let Some(json) = read(of, value, depth)?.filter(|json| keeps_zero || !is_zero(json)) {
                into.insert(field.name.into(), json);
            }
            Ok(())
        }
        (Shape::List, of) => {
            let list = into.entry(field.name).or_insert_with(|| Json::Array(Vec::new()));
            if let Some(list) = list.as_array_mut() {
                list.push(read(of, value, depth)?.unwrap_or_default());
            }
            Ok(())
        }
        (Shape::Map, of) => {
            let (mut key, mut held) = (String::new(), None);
            let mut entry = Reader(value.bytes()?);
            while let Some((number, value)) = entry.next()? {
                match number {
                    1 => key = value.text()?.to_string(),
                    2 => held = read(of, value, depth)?,
                    _ => {}
                }
            }
            let map = into.entry(field.name).or_insert_with(|| Json::Object(Map::new()));
            if let Some(map) = map.as_object_mut() {
                map.insert(key, held.unwrap_or_else(|| empty(of)));
            }
            Ok(())
        }
    }
}

fn is_zero(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Bool(value) => !value,
        Json::Number(number) => number.as_f64() == Some(0.0),
        Json::String(text) => text.is_empty(),
        Json::Array(_) | Json::Object(_) => false,
    }
}

/// What a map's entry without a value holds.
fn empty(of: Type) -> Json {
    match of {
        Type::Texts => Json::Array(Vec::new()),
        Type::Message(_) => Json::Object(Map::new()),
        Type::Time | Type::MicroTime => Json::Null,
        _ => "".into(),
    }
}

/// A value; `None` for a time that is not set.
fn read(of: Type, value: Value<'_>, depth: usize) -> Result<Option<Json>, String> {
    Ok(Some(match of {
        Type::Text => value.text()?.into(),
        Type::Bool => (value.number()? != 0).into(),
        Type::Integer => value.number()?.into(),
        Type::Float => match value {
            Value::Fixed64(bits) => f64::from_bits(bits).into(),
            other => return Err(format!("a float was expected, not {other:?}")),
        },
        Type::Bytes => STANDARD.encode(value.bytes()?).into(),
        Type::Time => return Ok(time(value)?.map(|time| time.to_string().into())),
        Type::MicroTime => return Ok(time(value)?.map(|time| time.to_micro_string().into())),
        Type::Quantity => inner(value, 1)?.map_or(Ok("0"), Value::text)?.into(),
        Type::IntOrString => match inner(value, 1)?.map_or(Ok(0), Value::number)? {
            0 => inner(value, 2)?.map_or(Ok(0), Value::number)?.into(),
            _ => inner(value, 3)?.map_or(Ok(""), Value::text)?.into(),
        },
        Type::RawExtension | Type::FieldsV1 => match inner(value, 1)? {
            None => return Ok(None),
            Some(raw) => {
                let raw = raw.bytes()?;
                if raw.is_empty() {
                    return Ok(None);
                }
                if raw.starts_with(MAGIC) { envelope(raw, depth + 1)? } else { json(raw)? }
            }
        },
        Type::Yaml => return Err("text of any value is only written".into()),
        Type::Texts => {
            let mut texts = Vec::new();
            let mut reader = Reader(value.bytes()?);
            while let Some((_, value)) = reader.next()? {
                texts.push(Json::from(value.text()?));
            }
            texts.into()
        }
        Type::Message(message) => {
            let mut document = Map::new();
            fill(&mut document, message, value.bytes()?, depth + 1)?;
            // A message that stands for one of several types is that one's value.
            document.remove(UNION).unwrap_or_else(|| document.into())
        }
    }))
}

fn json(raw: &[u8]) -> Result<Json, String> {
    holdfast_schema::parse_json(raw).map(|(document, _)| document).map_err(|status| status.message().to_string())
}

/// Field `wanted` of a small message.
fn inner<'a>(value: Value<'a>, wanted: u64) -> Result<Option<Value<'a>>, String> {
    let mut reader = Reader(value.bytes()?);
    let mut found = None;
    while let Some((number, value)) = reader.next()? {
        if number == wanted {
            found = Some(value);
        }
    }
    Ok(found)
}

/// Seconds and nanoseconds; an empty message is no time.
fn time(value: Value<'_>) -> Result<Option<Timestamp>, String> {
    let seconds = inner(value, 1)?.map(Value::number).transpose()?;
    let nanos = inner(value, 2)?.map(Value::number).transpose()?.unwrap_or(0);
    let nanos = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    Ok(seconds.map(|seconds| Timestamp::from_secs(seconds).after(nanos)))
}
