//! The functions: their overloads, and what they do.
//!
//! What is here is what Kubernetes 1.36 enables for new expressions: the standard library, optional values, cel-go's
//! `strings` (version 2), `sets`, `lists` (version 3), two-variable comprehensions, and Kubernetes' own libraries. A
//! function that is not in the table is an undeclared reference.

mod arithmetic;
pub(crate) mod convert;
mod lists;
mod optional;
mod patches;
pub(crate) mod printf;
pub(crate) mod regexes;
mod sets;
pub(crate) mod standard;
mod strings;
mod times;

pub(crate) use patches::{PATCH, is_of_patches};

use crate::error::EvalError;
use crate::types::Type;
use crate::value::{List, Outcome, Text, Value};
use regexes::Pattern;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// One signature of a function.
#[derive(Debug)]
pub(crate) struct Overload {
    /// The function that it is an overload of.
    pub(crate) function: &'static str,
    /// cel-go's name for it, on which costs depend.
    pub(crate) id: &'static str,
    /// Whether it is called on its first argument.
    pub(crate) member: bool,
    /// Types of the arguments. [`Type::Param`] numbers its type parameters from zero.
    pub(crate) params: Vec<Type>,
    /// Type of what it yields.
    pub(crate) result: Type,
    /// What it does.
    pub(crate) implementation: Implementation,
}

/// What a function does.
pub(crate) type Implementation = for<'s, 'a> fn(Args<'s, 'a>) -> Outcome<'a>;

/// The arguments of one call.
#[derive(Clone, Copy)]
pub(crate) struct Args<'s, 'a> {
    pub(crate) values: &'s [Value<'a>],
    /// The second argument compiled, where it is a literal that is a pattern.
    pub(crate) pattern: Option<&'s Pattern>,
}

impl<'s, 'a> Args<'s, 'a> {
    pub(crate) fn len(self) -> usize {
        self.values.len()
    }

    pub(crate) fn value(self, index: usize) -> Result<&'s Value<'a>, EvalError> {
        self.values.get(index).ok_or_else(EvalError::no_such_overload)
    }

    pub(crate) fn text(self, index: usize) -> Result<&'s Text<'a>, EvalError> {
        match self.values.get(index) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    pub(crate) fn int(self, index: usize) -> Result<i64, EvalError> {
        match self.values.get(index) {
            Some(Value::Int(value)) => Ok(*value),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    pub(crate) fn bool(self, index: usize) -> Result<bool, EvalError> {
        match self.values.get(index) {
            Some(Value::Bool(value)) => Ok(*value),
            _ => Err(EvalError::no_such_overload()),
        }
    }

    pub(crate) fn list(self, index: usize) -> Result<&'s List<'a>, EvalError> {
        match self.values.get(index) {
            Some(Value::List(list)) => Ok(list),
            _ => Err(EvalError::no_such_overload()),
        }
    }
}

/// What operators and other functions have that the evaluator knows itself: it is never called.
fn by_evaluator<'a>(_: Args<'_, 'a>) -> Outcome<'a> {
    Err(EvalError::no_such_overload())
}

/// Gathers overloads, functions in any order, overloads in the order in which they are tried.
#[derive(Default)]
pub(crate) struct Library {
    overloads: Vec<Overload>,
}

impl Library {
    /// A function that is called by its name.
    pub(crate) fn global(
        &mut self,
        function: &'static str,
        id: &'static str,
        params: &[Type],
        result: Type,
        implementation: Implementation,
    ) {
        self.overloads.push(Overload { function, id, member: false, params: params.to_vec(), result, implementation });
    }

    /// A function that is called on its first argument.
    pub(crate) fn member(
        &mut self,
        function: &'static str,
        id: &'static str,
        params: &[Type],
        result: Type,
        implementation: Implementation,
    ) {
        self.overloads.push(Overload { function, id, member: true, params: params.to_vec(), result, implementation });
    }
}

/// The first type parameter.
pub(crate) const A: Type = Type::Param(0);
/// The second type parameter.
pub(crate) const B: Type = Type::Param(1);

/// Types that have an order, with cel-go's names for them in the ids of overloads.
pub(crate) const COMPARABLE: &[(Type, &str)] = &[
    (Type::Int, "int"),
    (Type::Uint, "uint"),
    (Type::Double, "double"),
    (Type::Bool, "bool"),
    (Type::Duration, "duration"),
    (Type::Timestamp, "timestamp"),
    (Type::String, "string"),
    (Type::Bytes, "bytes"),
];

/// All overloads, by function.
static TABLE: LazyLock<BTreeMap<&'static str, Vec<Overload>>> = LazyLock::new(|| {
    let mut library = Library::default();
    standard::declare(&mut library);
    arithmetic::declare(&mut library);
    convert::declare(&mut library);
    times::declare(&mut library);
    lists::declare_kubernetes(&mut library);
    optional::declare(&mut library);
    patches::declare(&mut library);
    strings::declare(&mut library);
    sets::declare(&mut library);
    lists::declare(&mut library);
    regexes::declare(&mut library);
    crate::kubernetes::declare(&mut library);
    let mut table: BTreeMap<&'static str, Vec<Overload>> = BTreeMap::new();
    for overload in library.overloads {
        table.entry(overload.function).or_default().push(overload);
    }
    table
});

/// The overloads of a function.
pub(crate) fn overloads(function: &str) -> Option<&'static [Overload]> {
    TABLE.get(function).map(Vec::as_slice)
}

/// Names of types that can be written in expressions, and the types.
pub(crate) fn named_type(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "bytes" => Type::Bytes,
        "double" => Type::Double,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "string" => Type::String,
        "null_type" => Type::Null,
        "list" => Type::list(A),
        "map" => Type::map(A, B),
        "type" => Type::Type(None),
        "optional_type" => Type::optional(A),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        other => crate::kubernetes::named_type(other)?,
    })
}

/// An id of an overload made from a type's name: there are few, and they are made once.
fn id(text: String) -> &'static str {
    static IDS: std::sync::Mutex<BTreeMap<String, &'static str>> = std::sync::Mutex::new(BTreeMap::new());
    let mut ids = IDS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    ids.entry(text.clone()).or_insert_with(|| Box::leak(text.into_boxed_str()))
}

/// Text that a function has made, if it is not too long.
pub(crate) fn made_text<'a>(text: String) -> Outcome<'a> {
    if text.len() > crate::limits::MAX_MADE_BYTES {
        return Err(EvalError::new(format!("string is too long: {} bytes", text.len())));
    }
    Ok(Value::String(Text::Shared(Arc::from(text))))
}

/// A list that a function has made, if it is not too long.
pub(crate) fn made_list(items: Vec<Value<'_>>) -> Outcome<'_> {
    made_elements(items.len())?;
    Ok(Value::list(items))
}

/// Whether a function may make so many elements.
pub(crate) fn made_elements(count: usize) -> Result<(), EvalError> {
    if count > crate::limits::MAX_MADE_ELEMENTS {
        return Err(EvalError::new(format!("list is too long: {count} elements")));
    }
    Ok(())
}
