//! `+ - * / %`, negation and order, checked for overflow.

use super::{A, Args, Library};
use crate::error::EvalError;
use crate::types::{ListKeys, Type};
use crate::value::{List, Outcome, Text, Value, compare, equal};
use std::cmp::Ordering;
use std::sync::Arc;

pub(super) fn declare(library: &mut Library) {
    use Type::{Bytes, Double, Duration, Int, String, Timestamp, Uint};
    let list = Type::list(A);
    let mut binary = |function, id, left: &Type, right: &Type, result: &Type, run| {
        library.global(function, id, &[left.clone(), right.clone()], result.clone(), run);
    };
    binary("_+_", "add_bytes", &Bytes, &Bytes, &Bytes, add);
    binary("_+_", "add_double", &Double, &Double, &Double, add);
    binary("_+_", "add_duration_duration", &Duration, &Duration, &Duration, add);
    binary("_+_", "add_duration_timestamp", &Duration, &Timestamp, &Timestamp, add);
    binary("_+_", "add_timestamp_duration", &Timestamp, &Duration, &Timestamp, add);
    binary("_+_", "add_int64", &Int, &Int, &Int, add);
    binary("_+_", "add_list", &list, &list, &list, add);
    binary("_+_", "add_string", &String, &String, &String, add);
    binary("_+_", "add_uint64", &Uint, &Uint, &Uint, add);
    binary("_-_", "subtract_double", &Double, &Double, &Double, subtract);
    binary("_-_", "subtract_duration_duration", &Duration, &Duration, &Duration, subtract);
    binary("_-_", "subtract_int64", &Int, &Int, &Int, subtract);
    binary("_-_", "subtract_timestamp_duration", &Timestamp, &Duration, &Timestamp, subtract);
    binary("_-_", "subtract_timestamp_timestamp", &Timestamp, &Timestamp, &Duration, subtract);
    binary("_-_", "subtract_uint64", &Uint, &Uint, &Uint, subtract);
    binary("_*_", "multiply_double", &Double, &Double, &Double, multiply);
    binary("_*_", "multiply_int64", &Int, &Int, &Int, multiply);
    binary("_*_", "multiply_uint64", &Uint, &Uint, &Uint, multiply);
    binary("_/_", "divide_double", &Double, &Double, &Double, divide);
    binary("_/_", "divide_int64", &Int, &Int, &Int, divide);
    binary("_/_", "divide_uint64", &Uint, &Uint, &Uint, divide);
    binary("_%_", "modulo_int64", &Int, &Int, &Int, modulo);
    binary("_%_", "modulo_uint64", &Uint, &Uint, &Uint, modulo);
    library.global("-_", "negate_double", &[Double], Double, negate);
    library.global("-_", "negate_int64", &[Int], Int, negate);
    for (function, name, run) in [
        ("_<_", "less", less as super::Implementation),
        ("_<=_", "less_equals", less_equals),
        ("_>_", "greater", greater),
        ("_>=_", "greater_equals", greater_equals),
    ] {
        let types = [
            ("bool", Type::Bool),
            ("int64", Int),
            ("uint64", Uint),
            ("double", Double),
            ("string", String),
            ("bytes", Bytes),
            ("timestamp", Timestamp),
            ("duration", Duration),
        ];
        for (suffix, ty) in &types {
            let id = super::id(format!("{name}_{suffix}"));
            library.global(function, id, &[ty.clone(), ty.clone()], Type::Bool, run);
            // Numbers of two sorts compare, too.
            for (other_suffix, other) in &types[1..4] {
                if other != ty && types[1..4].iter().any(|(_, number)| number == ty) {
                    let id = super::id(format!("{name}_{suffix}_{other_suffix}"));
                    library.global(function, id, &[ty.clone(), other.clone()], Type::Bool, run);
                }
            }
        }
    }
}

fn int_overflow() -> EvalError {
    EvalError::new("integer overflow")
}

fn uint_overflow() -> EvalError {
    EvalError::new("unsigned integer overflow")
}

fn duration_overflow() -> EvalError {
    EvalError::new("duration overflow")
}

fn add<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match (args.value(0)?, args.value(1)?) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_add(*b).ok_or_else(int_overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_add(*b).ok_or_else(uint_overflow)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a + b),
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(a.checked_add(*b).ok_or_else(duration_overflow)?),
        (Value::Timestamp(time), Value::Duration(span)) | (Value::Duration(span), Value::Timestamp(time)) => {
            Value::Timestamp(time.plus(*span)?)
        }
        (Value::String(a), Value::String(b)) => concatenate(a, b)?,
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes([&**a, &**b].concat().into()),
        (Value::List(a), Value::List(b)) => Value::List(add_lists(a, b)?),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn concatenate<'a>(a: &Text<'a>, b: &Text<'a>) -> Outcome<'a> {
    let mut text = String::with_capacity(a.len() + b.len());
    text.push_str(a);
    text.push_str(b);
    super::made_text(text)
}

/// One list behind the other; where the first has keys, what both have is there once, as Kubernetes' documentation
/// says ("Equality and concatenation of lists with x-kubernetes-list-type of set or map").
fn add_lists<'a>(one: &List<'a>, two: &List<'a>) -> Result<List<'a>, EvalError> {
    super::made_elements(one.len() + two.len())?;
    let keyed = one.keyed();
    let mut all = one.values()?;
    match keyed.map(|ty| &ty.keys) {
        Some(ListKeys::Set) => {
            for value in two.values()? {
                if !any(&all, |other| equal(other, &value))? {
                    all.push(value);
                }
            }
        }
        Some(ListKeys::Map(keys)) => {
            for value in two.values()? {
                let mut found = None;
                for (index, other) in all.iter().enumerate() {
                    if crate::value::same_keys(other, &value, keys)? {
                        found = Some(index);
                        break;
                    }
                }
                match found {
                    Some(index) => all[index] = value,
                    None => all.push(value),
                }
            }
        }
        _ => all.extend(two.values()?),
    }
    Ok(List::Made(Arc::new(all), keyed))
}

fn any<'a>(values: &[Value<'a>], fits: impl Fn(&Value<'a>) -> Result<bool, EvalError>) -> Result<bool, EvalError> {
    for value in values {
        if fits(value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn subtract<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match (args.value(0)?, args.value(1)?) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_sub(*b).ok_or_else(int_overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_sub(*b).ok_or_else(uint_overflow)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a - b),
        (Value::Duration(a), Value::Duration(b)) => Value::Duration(a.checked_sub(*b).ok_or_else(duration_overflow)?),
        (Value::Timestamp(a), Value::Timestamp(b)) => Value::Duration(a.minus(*b)?),
        (Value::Timestamp(time), Value::Duration(span)) => {
            Value::Timestamp(time.plus(span.checked_neg().ok_or_else(duration_overflow)?)?)
        }
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn multiply<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match (args.value(0)?, args.value(1)?) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_mul(*b).ok_or_else(int_overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a.checked_mul(*b).ok_or_else(uint_overflow)?),
        (Value::Double(a), Value::Double(b)) => Value::Double(a * b),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn divide<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match (args.value(0)?, args.value(1)?) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            return Err(EvalError::new("division by zero"));
        }
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_div(*b).ok_or_else(int_overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a / b),
        (Value::Double(a), Value::Double(b)) => Value::Double(a / b),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn modulo<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match (args.value(0)?, args.value(1)?) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => {
            return Err(EvalError::new("modulus by zero"));
        }
        (Value::Int(a), Value::Int(b)) => Value::Int(a.checked_rem(*b).ok_or_else(int_overflow)?),
        (Value::Uint(a), Value::Uint(b)) => Value::Uint(a % b),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn negate<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(match args.value(0)? {
        Value::Int(value) => Value::Int(value.checked_neg().ok_or_else(int_overflow)?),
        Value::Double(value) => Value::Double(-value),
        _ => return Err(EvalError::no_such_overload()),
    })
}

fn ordered<'a>(args: Args<'_, 'a>, fits: impl Fn(Ordering) -> bool) -> Outcome<'a> {
    Ok(Value::Bool(fits(compare(args.value(0)?, args.value(1)?)?)))
}

fn less<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    ordered(args, Ordering::is_lt)
}

fn less_equals<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    ordered(args, Ordering::is_le)
}

fn greater<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    ordered(args, Ordering::is_gt)
}

fn greater_equals<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    ordered(args, Ordering::is_ge)
}
