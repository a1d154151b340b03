//! Optional values (cel-go's `OptionalTypes`). `or` and `orValue` are the evaluator's: they look at their argument only
//! where they need it.

use super::{A, Args, B, Library, by_evaluator, made_list};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{Outcome, Value};

pub(super) fn declare(library: &mut Library) {
    let (list, map, some) = (Type::list(A), Type::map(A, B), Type::optional(A));
    let some_b = Type::optional(B);
    library.global("optional.of", "optional_of", &[A], some.clone(), |args| Ok(Value::some(args.value(0)?.clone())));
    library.global("optional.ofNonZeroValue", "optional_ofNonZeroValue", &[A], some.clone(), |args| {
        let value = args.value(0)?;
        Ok(if value.is_zero() { Value::Optional(None) } else { Value::some(value.clone()) })
    });
    library.global("optional.none", "optional_none", &[], some.clone(), |_| Ok(Value::Optional(None)));
    library.member("value", "optional_value", std::slice::from_ref(&some), A, |args| match args.value(0)? {
        Value::Optional(Some(value)) => Ok((**value).clone()),
        Value::Optional(None) => Err(EvalError::new("optional.none() dereference")),
        _ => Err(EvalError::no_such_overload()),
    });
    library.member("hasValue", "optional_hasValue", std::slice::from_ref(&some), Type::Bool, |args| {
        match args.value(0)? {
            Value::Optional(value) => Ok(Value::Bool(value.is_some())),
            _ => Err(EvalError::no_such_overload()),
        }
    });
    library.member("or", "optional_or_optional", &[some.clone(), some.clone()], some.clone(), by_evaluator);
    library.member("orValue", "optional_orValue_value", &[some.clone(), A], A, by_evaluator);
    library.global("_[?_]", "list_optindex_optional_int", &[list.clone(), Type::Int], some.clone(), by_evaluator);
    let some_list = Type::optional(list.clone());
    library.global(
        "_[?_]",
        "optional_list_optindex_optional_int",
        &[some_list.clone(), Type::Int],
        some.clone(),
        by_evaluator,
    );
    library.global("_[?_]", "map_optindex_optional_value", &[map.clone(), A], some_b.clone(), by_evaluator);
    let some_map = Type::optional(map);
    library.global(
        "_[?_]",
        "optional_map_optindex_optional_value",
        &[some_map.clone(), A],
        some_b.clone(),
        by_evaluator,
    );
    library.global("_[_]", "optional_list_index_int", &[some_list, Type::Int], some.clone(), by_evaluator);
    library.global("_[_]", "optional_map_index_value", &[some_map, A], some_b, by_evaluator);
    library.member("last", "list_last", std::slice::from_ref(&list), some.clone(), |args| {
        end_of(args.list(0)?.iter().next_back())
    });
    library
        .member("first", "list_first", std::slice::from_ref(&list), some.clone(), |args| end_of(args.list(0)?.first()));
    let somes = Type::list(some);
    library.global("optional.unwrap", "optional_unwrap", std::slice::from_ref(&somes), list.clone(), unwrap);
    library.member("unwrapOpt", "optional_unwrapOpt", &[somes], list, unwrap);
}

fn end_of(element: Option<Outcome<'_>>) -> Outcome<'_> {
    Ok(Value::Optional(element.transpose()?.map(Into::into)))
}

fn unwrap<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let mut kept = Vec::new();
    for element in args.list(0)?.iter() {
        match element? {
            Value::Optional(Some(value)) => kept.push((*value).clone()),
            Value::Optional(None) => {}
            _ => return Err(EvalError::no_such_overload()),
        }
    }
    made_list(kept)
}
