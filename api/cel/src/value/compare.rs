//! Equality and order of values.
//!
//! Equality is the specification's ("langdef", section "Equality"): numbers of all sorts compare by their value, values
//! of other sorts are never equal, NaN equals nothing. Lists with keys (`x-kubernetes-list-type`) compare as sets.

use super::{Key, List, Map, Object, Value};
use crate::error::EvalError;
use crate::types::ListKeys;
use std::cmp::Ordering;

/// Whether two values are equal.
///
/// # Errors
/// A part of a document is not of its type.
pub(crate) fn equal(one: &Value<'_>, two: &Value<'_>) -> Result<bool, EvalError> {
    Ok(match (one, two) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Uint(a), Value::Uint(b)) => a == b,
        (Value::Double(a), Value::Double(b)) => a == b,
        (Value::String(a), Value::String(b)) | (Value::Type(a), Value::Type(b)) => **a == **b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::List(a), Value::List(b)) => equal_lists(a, b)?,
        (Value::Map(a), Value::Map(b)) => equal_maps(a, b)?,
        (Value::Object(a), Value::Object(b)) => equal_entries(&a.fields()?, b.known_len(), |name| b.get(name))?,
        (Value::Object(a), Value::Map(b)) => equal_entries(&a.fields()?, b.len(), |name| b.get_text(name))?,
        (Value::Map(b), Value::Object(a)) => equal_entries(&a.fields()?, b.len(), |name| b.get_text(name))?,
        (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(a, b)?,
        (Value::Kubernetes(a), Value::Kubernetes(b)) => a == b,
        (a, b) => matches!(compare_numbers(a, b), Some(Some(Ordering::Equal))),
    })
}

/// The order of two numbers of any sort: `None` when one is no number, `Some(None)` for NaN.
fn compare_numbers(one: &Value<'_>, two: &Value<'_>) -> Option<Option<Ordering>> {
    let integer = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    Some(match (one, two) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), b) => super::number::compare_double(*a, integer(b)?),
        (a, Value::Double(b)) => super::number::compare_double(*b, integer(a)?).map(Ordering::reverse),
        (a, b) => Some(integer(a)?.cmp(&integer(b)?)),
    })
}

/// The order of two values of a sort that has one.
pub(crate) fn compare(one: &Value<'_>, two: &Value<'_>) -> Result<Ordering, EvalError> {
    Ok(match (one, two) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::String(a), Value::String(b)) => (**a).cmp(&**b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (a, b) => match compare_numbers(a, b) {
            Some(Some(order)) => order,
            Some(None) => return Err(EvalError::new("NaN values cannot be ordered")),
            None => return Err(EvalError::no_such_overload()),
        },
    })
}

fn equal_lists(one: &List<'_>, two: &List<'_>) -> Result<bool, EvalError> {
    if one.len() != two.len() {
        return Ok(false);
    }
    match one.keyed().or(two.keyed()).map(|ty| &ty.keys) {
        Some(ListKeys::Set) => all(one, |element| contains(two, element)),
        Some(ListKeys::Map(keys)) => all(one, |element| {
            for other in two.iter() {
                let other = other?;
                if same_keys(element, &other, keys)? {
                    return equal(element, &other);
                }
            }
            Ok(false)
        }),
        _ => {
            for (a, b) in one.iter().zip(two.iter()) {
                if !equal(&a?, &b?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

fn all(list: &List<'_>, fits: impl Fn(&Value<'_>) -> Result<bool, EvalError>) -> Result<bool, EvalError> {
    for element in list.iter() {
        if !fits(&element?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether an element of the list equals `value`.
pub(crate) fn contains(list: &List<'_>, value: &Value<'_>) -> Result<bool, EvalError> {
    for element in list.iter() {
        if equal(&element?, value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether two elements of a list of type map have the same keys.
pub(crate) fn same_keys(one: &Value<'_>, two: &Value<'_>, keys: &[Box<str>]) -> Result<bool, EvalError> {
    for key in keys {
        match (property(one, key).transpose()?, property(two, key).transpose()?) {
            (None, None) => {}
            (Some(a), Some(b)) if equal(&a, &b)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

fn property<'a>(value: &Value<'a>, property: &str) -> Option<super::Outcome<'a>> {
    match value {
        Value::Object(object @ Object::Json(..)) => object.get(&crate::names::escape(property)?),
        Value::Object(object) => object.get(property),
        Value::Map(map) => map.get_text(property),
        _ => None,
    }
}

fn equal_maps(one: &Map<'_>, two: &Map<'_>) -> Result<bool, EvalError> {
    if one.len() != two.len() {
        return Ok(false);
    }
    for (key, value) in one.entries()? {
        let other = Key::of(&key).and_then(|key| two.get(&key)).transpose()?;
        if !other.map_or(Ok(false), |other| equal(&value, &other))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn equal_entries<'a>(
    entries: &[(Value<'a>, Value<'a>)],
    other_len: usize,
    other: impl Fn(&str) -> Option<super::Outcome<'a>>,
) -> Result<bool, EvalError> {
    if entries.len() != other_len {
        return Ok(false);
    }
    for (name, value) in entries {
        let Value::String(name) = name else { return Ok(false) };
        let found = other(name).transpose()?;
        if !found.map_or(Ok(false), |found| equal(value, &found))? {
            return Ok(false);
        }
    }
    Ok(true)
}
