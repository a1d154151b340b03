//! Functions of the specification that are neither arithmetic nor conversions, and what the evaluator knows itself.

use super::{A, Args, B, Library, by_evaluator};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Key, Map, Outcome, Value};

pub(super) fn declare(library: &mut Library) {
    let (list, map) = (Type::list(A), Type::map(A, B));
    let two_bools = [Type::Bool, Type::Bool];
    library.global("_?_:_", "conditional", &[Type::Bool, A, A], A, by_evaluator);
    library.global("_&&_", "logical_and", &two_bools, Type::Bool, by_evaluator);
    library.global("_||_", "logical_or", &two_bools, Type::Bool, by_evaluator);
    library.global("!_", "logical_not", &[Type::Bool], Type::Bool, |args| Ok(Value::Bool(!args.bool(0)?)));
    library.global("@not_strictly_false", "not_strictly_false", &[Type::Bool], Type::Bool, by_evaluator);
    library.global("_==_", "equals", &[A, A], Type::Bool, by_evaluator);
    library.global("_!=_", "not_equals", &[A, A], Type::Bool, by_evaluator);
    library.global("_[_]", "index_list", &[list.clone(), Type::Int], A, by_evaluator);
    library.global("_[_]", "index_map", &[map.clone(), A], B, by_evaluator);
    library.global("@in", "in_list", &[A, list.clone()], Type::Bool, by_evaluator);
    library.global("@in", "in_map", &[A, map.clone()], Type::Bool, by_evaluator);
    for (ty, global, member) in [
        (Type::Bytes, "size_bytes", "bytes_size"),
        (list, "size_list", "list_size"),
        (map.clone(), "size_map", "map_size"),
        (Type::String, "size_string", "string_size"),
    ] {
        library.global("size", global, std::slice::from_ref(&ty), Type::Int, size);
        library.member("size", member, std::slice::from_ref(&ty), Type::Int, size);
    }
    let two_texts = [Type::String, Type::String];
    library.member("contains", "contains_string", &two_texts, Type::Bool, |args| {
        Ok(Value::Bool(args.text(0)?.contains(&**args.text(1)?)))
    });
    library.member("startsWith", "starts_with_string", &two_texts, Type::Bool, |args| {
        Ok(Value::Bool(args.text(0)?.starts_with(&**args.text(1)?)))
    });
    library.member("endsWith", "ends_with_string", &two_texts, Type::Bool, |args| {
        Ok(Value::Bool(args.text(0)?.ends_with(&**args.text(1)?)))
    });
    // What `transformMap` and `transformMapEntry` call.
    let entry = [map.clone(), A, B];
    library.global("cel.@mapInsert", "@mapInsert_map_key_value", &entry, map.clone(), map_insert);
    library.global("cel.@mapInsert", "@mapInsert_map_map", &[map.clone(), map.clone()], map, map_insert);
}

fn size<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let size = match args.value(0)? {
        Value::String(text) => text.char_count(),
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        Value::Object(object) => object.len(),
        _ => return Err(EvalError::no_such_overload()),
    };
    Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

/// Inserts a key with its value, or all entries of a second map. The evaluator does it in place where it can.
fn map_insert<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let Value::Map(map) = args.value(0)? else { return Err(EvalError::no_such_overload()) };
    let mut entries = std::collections::BTreeMap::new();
    for (key, value) in map.entries()? {
        insert(&mut entries, key, value)?;
    }
    for (key, value) in inserted(&args.values[1..])? {
        insert(&mut entries, key, value)?;
    }
    Ok(Value::Map(Map::Made(entries.into())))
}

/// The entries that a call of `cel.@mapInsert` inserts.
pub(crate) fn inserted<'a>(args: &[Value<'a>]) -> Result<Vec<(Value<'a>, Value<'a>)>, EvalError> {
    match args {
        [key, value] => Ok(vec![(key.clone(), value.clone())]),
        [Value::Map(more)] => more.entries(),
        _ => Err(EvalError::no_such_overload()),
    }
}

/// Inserts an entry whose key is not there yet.
pub(crate) fn insert<'a>(
    entries: &mut std::collections::BTreeMap<Key<'a>, Value<'a>>,
    key: Value<'a>,
    value: Value<'a>,
) -> Result<(), EvalError> {
    let found = Key::of(&key).ok_or_else(|| EvalError::new(format!("unsupported key type: {}", key.type_name())))?;
    match entries.entry(found) {
        std::collections::btree_map::Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
        std::collections::btree_map::Entry::Occupied(_) => {
            let key = super::convert::display(&key).unwrap_or_default();
            Err(EvalError::new(format!("insert failed: key {key} already exists")))
        }
    }
}
