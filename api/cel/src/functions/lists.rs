//! Kubernetes' list functions, and cel-go's `lists`, version 3.

use super::{A, Args, COMPARABLE, Implementation, Library, id, made_elements, made_list};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{List, Outcome, Value, compare, equal};
use std::cmp::Ordering;

/// Of Kubernetes (documentation, "Common Expression Language in Kubernetes", section "Kubernetes list library").
pub(super) fn declare_kubernetes(library: &mut Library) {
    for (ty, name) in COMPARABLE {
        let list = [Type::list(ty.clone())];
        library.member("isSorted", id(format!("list_{name}_is_sorted_bool")), &list, Type::Bool, is_sorted);
        library.member("max", id(format!("list_{name}_max_{name}")), &list, ty.clone(), |args| {
            best(args, "max", Ordering::Greater)
        });
        library.member("min", id(format!("list_{name}_min_{name}")), &list, ty.clone(), |args| {
            best(args, "min", Ordering::Less)
        });
    }
    for (ty, name, run) in [
        (Type::Int, "int", sum_int as Implementation),
        (Type::Uint, "uint", sum_uint),
        (Type::Double, "double", sum_double),
        (Type::Duration, "duration", sum_duration),
    ] {
        library.member("sum", id(format!("list_{name}_sum_{name}")), &[Type::list(ty.clone())], ty, run);
    }
    library.member("indexOf", "list_a_index_of_int", &[Type::list(A), A], Type::Int, index_of);
    library.member("lastIndexOf", "list_a_last_index_of_int", &[Type::list(A), A], Type::Int, last_index_of);
}

/// Of cel-go.
pub(super) fn declare(library: &mut Library) {
    let list = Type::list(A);
    library.member("slice", "list_slice", &[list.clone(), Type::Int, Type::Int], list.clone(), slice);
    library.member("flatten", "list_flatten", &[Type::list(list.clone())], list.clone(), flatten);
    let of_dyn = Type::list(Type::Dyn);
    library.member("flatten", "list_flatten_int", &[of_dyn.clone(), Type::Int], of_dyn, flatten);
    for (ty, name) in COMPARABLE {
        let typed = Type::list(ty.clone());
        let sort = id(format!("list_{name}_sort"));
        library.member("sort", sort, std::slice::from_ref(&typed), typed.clone(), sort_itself);
        let by = id(format!("list_{name}_sortByAssociatedKeys"));
        library.member("@sortByAssociatedKeys", by, &[list.clone(), typed], list.clone(), sort_by);
    }
    library.global("lists.range", "lists_range", &[Type::Int], Type::list(Type::Int), range);
    library.member("reverse", "list_reverse", std::slice::from_ref(&list), list.clone(), |args| {
        made_list(args.list(0)?.iter().rev().collect::<Result<_, _>>()?)
    });
    library.member("distinct", "list_distinct", std::slice::from_ref(&list), list.clone(), distinct);
}

fn is_sorted<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let mut before: Option<Value<'_>> = None;
    for element in args.list(0)?.iter() {
        let element = element?;
        if before.is_some_and(|before| matches!(compare(&before, &element), Ok(Ordering::Greater))) {
            return Ok(Value::Bool(false));
        }
        before = Some(element);
    }
    Ok(Value::Bool(true))
}

fn best<'a>(args: Args<'_, 'a>, name: &str, wanted: Ordering) -> Outcome<'a> {
    let mut best: Option<Value<'a>> = None;
    for element in args.list(0)?.iter() {
        let element = element?;
        match &best {
            Some(found) if compare(&element, found)? != wanted => {}
            _ => best = Some(element),
        }
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn sum<'a, T>(args: Args<'_, 'a>, zero: T, add: impl Fn(T, Value<'a>) -> Result<T, EvalError>) -> Result<T, EvalError> {
    args.list(0)?.iter().try_fold(zero, |sum, element| add(sum, element?))
}

fn sum_int<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(sum(args, 0, |sum: i64, element| match element {
        Value::Int(value) => sum.checked_add(value).ok_or_else(|| EvalError::new("integer overflow")),
        _ => Err(EvalError::no_such_overload()),
    })?))
}

fn sum_uint<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Uint(sum(args, 0, |sum: u64, element| match element {
        Value::Uint(value) => sum.checked_add(value).ok_or_else(|| EvalError::new("unsigned integer overflow")),
        _ => Err(EvalError::no_such_overload()),
    })?))
}

fn sum_double<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Double(sum(args, 0.0, |sum, element| match element {
        Value::Double(value) => Ok(sum + value),
        _ => Err(EvalError::no_such_overload()),
    })?))
}

fn sum_duration<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Duration(sum(args, 0, |sum: i64, element| match element {
        Value::Duration(value) => sum.checked_add(value).ok_or_else(|| EvalError::new("duration overflow")),
        _ => Err(EvalError::no_such_overload()),
    })?))
}

fn position<'a>(
    wanted: &Value<'a>,
    mut elements: impl Iterator<Item = (usize, Outcome<'a>)>,
) -> Result<Value<'a>, EvalError> {
    let found = elements.find_map(|(index, element)| match element.and_then(|e| equal(&e, wanted)) {
        Ok(false) => None,
        Ok(true) => Some(Ok(index)),
        Err(err) => Some(Err(err)),
    });
    Ok(Value::Int(found.transpose()?.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)))
}

fn index_of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    position(args.value(1)?, args.list(0)?.iter().enumerate())
}

fn last_index_of<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let list = args.list(0)?;
    position(args.value(1)?, (0..list.len()).rev().zip(list.iter().rev()))
}

fn slice<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let (list, start, end) = (args.list(0)?, args.int(1)?, args.int(2)?);
    let wrong = |why: &str| EvalError::new(format!("cannot slice({start}, {end}), {why}"));
    let (Ok(first), Ok(last)) = (usize::try_from(start), usize::try_from(end)) else {
        return Err(wrong("negative indexes not supported"));
    };
    if first > last {
        return Err(wrong("start index must be less than or equal to end index"));
    }
    if last > list.len() {
        return Err(wrong(&format!("list is length {}", list.len())));
    }
    made_list(list.iter().skip(first).take(last - first).collect::<Result<_, _>>()?)
}

fn flatten<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let levels = if args.len() > 1 { args.int(1)? } else { 1 };
    if levels < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flatten_into(args.list(0)?, levels, &mut out)?;
    made_list(out)
}

/// Values nest no deeper than expressions and documents may, so this may recurse.
fn flatten_into<'a>(list: &List<'a>, levels: i64, out: &mut Vec<Value<'a>>) -> Result<(), EvalError> {
    for element in list.iter() {
        match element? {
            Value::List(inner) if levels > 0 => flatten_into(&inner, levels - 1, out)?,
            other => out.push(other),
        }
        made_elements(out.len())?;
    }
    Ok(())
}

fn sort_itself<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let list = args.list(0)?;
    sorted(list, list)
}

fn sort_by<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    sorted(args.list(0)?, args.list(1)?)
}

fn sorted<'a>(list: &List<'a>, keys: &List<'a>) -> Outcome<'a> {
    let (count, key_count) = (list.len(), keys.len());
    if count != key_count {
        return Err(EvalError::new(format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {count} and \
             {key_count} elements respectively"
        )));
    }
    let mut pairs = keys.values()?.into_iter().zip(list.values()?).collect::<Vec<_>>();
    if let Some((first, _)) = pairs.first() {
        if compare(first, first).is_err() && !matches!(first, Value::Double(_)) {
            return Err(EvalError::new("list elements must be comparable"));
        }
        if pairs.iter().any(|(key, _)| key.type_name() != first.type_name()) {
            return Err(EvalError::new("list elements must have the same type"));
        }
    }
    // NaN, which has no order, must not make the order of the others inconsistent: it goes last.
    let rank = |value: &Value<'_>| matches!(value, Value::Double(double) if double.is_nan());
    pairs.sort_by(|(a, _), (b, _)| rank(a).cmp(&rank(b)).then_with(|| compare(a, b).unwrap_or(Ordering::Equal)));
    made_list(pairs.into_iter().map(|(_, value)| value).collect())
}

fn range<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let count = usize::try_from(args.int(0)?).unwrap_or(0);
    made_elements(count)?;
    made_list((0..count as i64).map(Value::Int).collect())
}

/// The first of each. What it costs grows with the square of the list, as what it does.
fn distinct<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let mut kept: Vec<Value<'a>> = Vec::new();
    for element in args.list(0)?.iter() {
        let element = element?;
        let mut seen = false;
        for other in &kept {
            seen = equal(other, &element)?;
            if seen {
                break;
            }
        }
        if !seen {
            kept.push(element);
        }
    }
    made_list(kept)
}
