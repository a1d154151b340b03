//! Conversions between types (specification, "langdef", section "List of Standard Definitions").

use super::{A, Args, Library};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::number::{double_to_int, double_to_uint, format_double};
use crate::value::time::{Time, format_duration, parse_duration};
use crate::value::{Outcome, Text, Value};

pub(super) fn declare(library: &mut Library) {
    use Type::{Bool, Bytes, Double, Duration, Int, String, Timestamp, Uint};
    let mut unary = |function, id, from: Type, to: Type, run| library.global(function, id, &[from], to, run);
    unary("type", "type", A, Type::type_of(A), |args| Ok(Value::Type(type_of(args.value(0)?))));
    unary("dyn", "to_dyn", A, Type::Dyn, |args| Ok(args.value(0)?.clone()));
    unary("bool", "bool_to_bool", Bool, Bool, to_bool);
    unary("bool", "string_to_bool", String, Bool, to_bool);
    unary("bytes", "bytes_to_bytes", Bytes, Bytes, to_bytes);
    unary("bytes", "string_to_bytes", String, Bytes, to_bytes);
    unary("double", "double_to_double", Double, Double, to_double);
    unary("double", "int64_to_double", Int, Double, to_double);
    unary("double", "string_to_double", String, Double, to_double);
    unary("double", "uint64_to_double", Uint, Double, to_double);
    unary("duration", "duration_to_duration", Duration, Duration, to_duration);
    unary("duration", "string_to_duration", String, Duration, to_duration);
    unary("int", "int64_to_int64", Int, Int, to_int);
    unary("int", "double_to_int64", Double, Int, to_int);
    unary("int", "duration_to_int64", Duration, Int, to_int);
    unary("int", "string_to_int64", String, Int, to_int);
    unary("int", "timestamp_to_int64", Timestamp, Int, to_int);
    unary("int", "uint64_to_int64", Uint, Int, to_int);
    unary("string", "string_to_string", String, String, to_string);
    unary("string", "bool_to_string", Bool, String, to_string);
    unary("string", "bytes_to_string", Bytes, String, to_string);
    unary("string", "double_to_string", Double, String, to_string);
    unary("string", "duration_to_string", Duration, String, to_string);
    unary("string", "int64_to_string", Int, String, to_string);
    unary("string", "timestamp_to_string", Timestamp, String, to_string);
    unary("string", "uint64_to_string", Uint, String, to_string);
    unary("timestamp", "timestamp_to_timestamp", Timestamp, Timestamp, to_timestamp);
    unary("timestamp", "int64_to_timestamp", Int, Timestamp, to_timestamp);
    unary("timestamp", "string_to_timestamp", String, Timestamp, to_timestamp);
    unary("uint", "uint64_to_uint64", Uint, Uint, to_uint);
    unary("uint", "double_to_uint64", Double, Uint, to_uint);
    unary("uint", "int64_to_uint64", Int, Uint, to_uint);
    unary("uint", "string_to_uint64", String, Uint, to_uint);
}

/// Conversions whose value is computed at compile time when the argument is a literal, and then costs nothing.
pub(crate) fn is_conversion(function: &str) -> bool {
    let names = ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];
    names.contains(&function)
}

fn type_of<'a>(value: &Value<'a>) -> Text<'a> {
    Text::Shared(value.type_name().into())
}

fn wrong(value: &Value<'_>, to: &str) -> EvalError {
    EvalError::conversion(value.type_name(), to)
}

fn to_bool<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let value = args.value(0)?;
    match value {
        Value::Bool(_) => Ok(value.clone()),
        // As Go's ParseBool.
        Value::String(text) => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            _ => Err(wrong(value, "bool")),
        },
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_bytes<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    match args.value(0)? {
        Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
        value @ Value::Bytes(_) => Ok(value.clone()),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_double<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let value = args.value(0)?;
    Ok(Value::Double(match value {
        Value::Double(double) => *double,
        Value::Int(int) => *int as f64,
        Value::Uint(uint) => *uint as f64,
        Value::String(text) => parse_double(text).ok_or_else(|| wrong(value, "double"))?,
        _ => return Err(EvalError::no_such_overload()),
    }))
}

/// As Go's ParseFloat, but for hexadecimal numbers and underscores.
pub(crate) fn parse_double(text: &str) -> Option<f64> {
    let bare = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
    if text.len() - bare.len() > 1 {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // What does not fit is an error there and infinite here.
    (number.is_finite() || matches!(bare.as_str(), "inf" | "infinity" | "nan")).then_some(number)
}

fn to_duration<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let value = args.value(0)?;
    match value {
        Value::Duration(_) => Ok(value.clone()),
        Value::String(text) => {
            let nanos = parse_duration(text).ok_or_else(|| wrong(value, Type::Duration.runtime_name()))?;
            Ok(Value::Duration(nanos))
        }
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_timestamp<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    match args.value(0)? {
        value @ Value::Timestamp(_) => Ok(value.clone()),
        Value::Int(secs) => Ok(Value::Timestamp(Time::from_secs(*secs)?)),
        Value::String(text) => Ok(Value::Timestamp(Time::parse(text)?)),
        _ => Err(EvalError::no_such_overload()),
    }
}

fn to_int<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let value = args.value(0)?;
    Ok(Value::Int(match value {
        Value::Int(int) => *int,
        Value::Uint(uint) => i64::try_from(*uint).map_err(|_| EvalError::new("integer overflow"))?,
        Value::Double(double) => double_to_int(*double)?,
        Value::Duration(nanos) => *nanos,
        Value::Timestamp(time) => time.secs(),
        Value::String(text) => text.parse().map_err(|_| wrong(value, "int"))?,
        _ => return Err(EvalError::no_such_overload()),
    }))
}

fn to_uint<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let value = args.value(0)?;
    Ok(Value::Uint(match value {
        Value::Uint(uint) => *uint,
        Value::Int(int) => u64::try_from(*int).map_err(|_| EvalError::new("unsigned integer overflow"))?,
        Value::Double(double) => double_to_uint(*double)?,
        // Go takes no sign here.
        Value::String(text) if !text.starts_with('+') => text.parse().map_err(|_| wrong(value, "uint"))?,
        Value::String(_) => return Err(wrong(value, "uint")),
        _ => return Err(EvalError::no_such_overload()),
    }))
}

fn to_string<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    match args.value(0)? {
        value @ Value::String(_) => Ok(value.clone()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::owned(text)),
            Err(_) => Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        value => display(value).map(Value::owned).ok_or_else(EvalError::no_such_overload),
    }
}

/// A scalar as `string()` writes it.
pub(crate) fn display(value: &Value<'_>) -> Option<String> {
    Some(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => format_double(*value),
        Value::String(text) | Value::Type(text) => text.to_string(),
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(nanos) => format_duration(*nanos),
        _ => return None,
    })
}
