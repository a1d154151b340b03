//! Quantities (documentation, section "Kubernetes quantity library").

use super::{Kubernetes, QUANTITY, argument, value};
use crate::error::EvalError;
use crate::functions::{Args, Library};
use crate::types::Type;
use crate::value::{Outcome, Value};
use holdfast_core::Quantity;

pub(super) fn declare(library: &mut Library) {
    let quantity = Type::object(QUANTITY);
    let (one, two) = ([quantity.clone()], [quantity.clone(), quantity.clone()]);
    let with_int = [quantity.clone(), Type::Int];
    library.global("quantity", "string_to_quantity", &[Type::String], quantity.clone(), |args| {
        let parsed: Result<Quantity, _> = args.text(0)?.parse();
        Ok(value(Kubernetes::Quantity(parsed.map_err(|err| EvalError::new(err.to_string()))?)))
    });
    library.global("isQuantity", "is_quantity_string", &[Type::String], Type::Bool, |args| {
        Ok(Value::Bool(args.text(0)?.parse::<Quantity>().is_ok()))
    });
    // The documentation calls it on a quantity, upstream declares it as a function: both work.
    library.global("sign", "quantity_sign", &one, Type::Int, sign);
    library.member("sign", "quantity_sign", &one, Type::Int, sign);
    library.member("isGreaterThan", "quantity_is_greater_than", &two, Type::Bool, |args| {
        Ok(Value::Bool(milli(args, 0)? > milli(args, 1)?))
    });
    library.member("isLessThan", "quantity_is_less_than", &two, Type::Bool, |args| {
        Ok(Value::Bool(milli(args, 0)? < milli(args, 1)?))
    });
    library.member("compareTo", "quantity_compare_to", &two, Type::Int, |args| {
        Ok(Value::Int(milli(args, 0)?.cmp(&milli(args, 1)?) as i64))
    });
    library.member("asApproximateFloat", "quantity_get_float", &one, Type::Double, |args| {
        Ok(Value::Double(milli(args, 0)? as f64 / 1000.0))
    });
    library.member("asInteger", "quantity_get_int", &one, Type::Int, |args| {
        Ok(Value::Int(integer(args)?.ok_or_else(|| EvalError::new("cannot convert value to integer"))?))
    });
    library
        .member("isInteger", "quantity_is_integer", &one, Type::Bool, |args| Ok(Value::Bool(integer(args)?.is_some())));
    library.member("add", "quantity_add", &two, quantity.clone(), |args| sum(args, milli(args, 1)?));
    library.member("add", "quantity_add_int", &with_int, quantity.clone(), |args| {
        sum(args, i128::from(args.int(1)?) * 1000)
    });
    library.member("sub", "quantity_sub", &two, quantity.clone(), |args| sum(args, -milli(args, 1)?));
    library
        .member("sub", "quantity_sub_int", &with_int, quantity, |args| sum(args, -(i128::from(args.int(1)?) * 1000)));
}

fn milli(args: Args<'_, '_>, index: usize) -> Result<i128, EvalError> {
    Ok(argument!(args, index, Quantity)?.exact_milli())
}

fn sign<'a>(args: Args<'_, 'a>) -> Outcome<'a> {
    Ok(Value::Int(milli(args, 0)?.signum() as i64))
}

/// The whole number that it is, if it is one.
fn integer(args: Args<'_, '_>) -> Result<Option<i64>, EvalError> {
    let milli = milli(args, 0)?;
    Ok((milli % 1000 == 0).then(|| i64::try_from(milli / 1000).ok()).flatten())
}

fn sum<'a>(args: Args<'_, 'a>, more: i128) -> Outcome<'a> {
    let quantity = argument!(args, 0, Quantity)?;
    let sum = quantity.exact_milli().checked_add(more).ok_or_else(|| EvalError::new("quantity overflow"))?;
    Ok(value(Kubernetes::Quantity(quantity.with_exact_milli(sum))))
}
