//! cel-go's `sets`.

use super::{A, Args, Library};
use crate::error::EvalError;
use crate::types::Type;
use crate::value::{List, Outcome, Value, contains};

pub(super) fn declare(library: &mut Library) {
    let two = [Type::list(A), Type::list(A)];
    library.global("sets.contains", "list_sets_contains_list", &two, Type::Bool, |args| {
        Ok(Value::Bool(contains_all(args.list(0)?, args.list(1)?)?))
    });
    library.global("sets.equivalent", "list_sets_equivalent_list", &two, Type::Bool, |args| {
        let (one, two) = (args.list(0)?, args.list(1)?);
        Ok(Value::Bool(contains_all(one, two)? && contains_all(two, one)?))
    });
    library.global("sets.intersects", "list_sets_intersects_list", &two, Type::Bool, intersects);
}

fn contains_all(list: &List<'_>, part: &List<'_>) -> Result<bool, EvalError> {
    for element in part.iter() {
        if !contains(list, &element?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    let other = args.list(1)?;
    for element in args.list(0)?.iter() {
        if contains(other, &element?)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
