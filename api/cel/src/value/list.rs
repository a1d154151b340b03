//! Lists.

use super::{Outcome, Value};
use crate::error::EvalError;
use crate::types::{ListKeys, ListType, Types};
use holdfast_core::Json;
use std::sync::Arc;

/// A list of a document, or made by evaluation.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// Of a document, with its type and where objects in it are known.
    Json(&'a [Json], &'a ListType, &'a Types),
    /// Made by evaluation, with the type of the list that it came from, if that had keys.
    Made(Arc<Vec<Value<'a>>>, Option<&'a ListType>),
}

impl<'a> List<'a> {
    /// Count of elements.
    pub fn len(&self) -> usize {
        match self {
            List::Json(items, ..) => items.len(),
            List::Made(items, _) => items.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, if there is one.
    pub(crate) fn get(&self, index: usize) -> Option<Outcome<'a>> {
        match self {
            List::Json(items, ty, types) => items.get(index).map(|item| Value::from_json(item, &ty.element, types)),
            List::Made(items, _) => items.get(index).cloned().map(Ok),
        }
    }

    pub(crate) fn first(&self) -> Option<Outcome<'a>> {
        self.get(0)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Outcome<'a>> + '_ {
        (0..self.len()).map(|index| self.get(index).unwrap_or(Ok(Value::Null)))
    }

    /// All elements.
    pub(crate) fn values(&self) -> Result<Vec<Value<'a>>, EvalError> {
        match self {
            List::Json(..) => self.iter().collect(),
            List::Made(items, _) => Ok(items.to_vec()),
        }
    }

    /// The type with keys, if the list has one.
    pub(crate) fn keyed(&self) -> Option<&'a ListType> {
        let ty = match self {
            List::Json(_, ty, _) => Some(*ty),
            List::Made(_, ty) => *ty,
        };
        ty.filter(|ty| ty.keys != ListKeys::Atomic)
    }
}
