//! Which type fits which, and what variables of inference stand for: the rules of cel-go's checker.

use crate::functions::Overload;
use crate::types::{ListType, MapType, Type};
use std::sync::Arc;

/// What is known of each variable of inference, by its number.
#[derive(Debug, Default)]
pub(super) struct Known {
    bound: Vec<Option<Type>>,
    /// What was bound since the last question, with what was there before: it is taken back where types do not fit.
    trail: Vec<(usize, Option<Type>)>,
}

impl Known {
    pub(super) fn fresh(&mut self) -> Type {
        self.bound.push(None);
        Type::Param(u32::try_from(self.bound.len() - 1).unwrap_or(u32::MAX))
    }

    fn find(&self, number: u32) -> Option<&Type> {
        self.bound.get(number as usize)?.as_ref()
    }

    fn bind(&mut self, number: u32, ty: Type) {
        let number = number as usize;
        if let Some(place) = self.bound.get_mut(number) {
            let before = place.replace(ty);
            self.trail.push((number, before));
        }
    }

    /// Ends a question: what was learnt is kept if types fit.
    fn settle(&mut self, fits: bool) -> bool {
        if fits {
            self.trail.clear();
        }
        while let Some((number, before)) = self.trail.pop() {
            self.bound[number] = before;
        }
        fits
    }

    /// Parameters and result of an overload with variables of its own.
    pub(super) fn instantiate(&mut self, overload: &Overload) -> (Vec<Type>, Type) {
        let base = u32::try_from(self.bound.len()).unwrap_or(u32::MAX);
        let count = overload.params.iter().chain([&overload.result]).map(params_in).max().unwrap_or(0);
        self.bound.resize(self.bound.len() + count as usize, None);
        let renamed = |ty: &Type| map_params(ty, &|number| Some(Type::Param(base + number)));
        (overload.params.iter().map(renamed).collect(), renamed(&overload.result))
    }

    /// The type with variables replaced by what they stand for, and free ones by `dyn` if so wanted.
    pub(super) fn resolve(&self, ty: &Type, free_to_dyn: bool) -> Type {
        map_params(ty, &|number| match self.find(number) {
            Some(bound) => Some(self.resolve(bound, free_to_dyn)),
            None => free_to_dyn.then_some(Type::Dyn),
        })
    }

    /// Whether `one` may stand where `two` is wanted. What was learnt is kept if so.
    pub(super) fn assignable(&mut self, one: &Type, two: &Type) -> bool {
        let fits = self.fits(one, two);
        self.settle(fits)
    }

    pub(super) fn all_assignable(&mut self, ones: &[Type], twos: &[Type]) -> bool {
        let fits = ones.len() == twos.len() && ones.iter().zip(twos).all(|(one, two)| self.fits(one, two));
        self.settle(fits)
    }

    fn fits(&mut self, one: &Type, two: &Type) -> bool {
        if let Type::Param(number) = two {
            match self.substitutes(one, *number) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if let Type::Param(number) = one {
            return self.substitutes(two, *number).0;
        }
        if one.is_dyn_or_error() || two.is_dyn_or_error() {
            return true;
        }
        match (one, two) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::List(a), Type::List(b)) => self.fits(&a.element, &b.element),
            (Type::Map(a), Type::Map(b)) => self.fits(&a.key, &b.key) && self.fits(&a.value, &b.value),
            (Type::Optional(a), Type::Optional(b)) => self.fits(a, b),
            (Type::Type(_), Type::Type(_)) => true,
            (a, b) => a == b,
        }
    }

    /// Whether a type may stand for a variable, and whether the variable stood for something before.
    fn substitutes(&mut self, ty: &Type, number: u32) -> (bool, bool) {
        if *ty == Type::Param(number) {
            return (true, true);
        }
        if let Some(bound) = self.find(number).cloned() {
            if *ty == bound {
                return (true, true);
            }
            if !self.fits(ty, &bound) {
                return (false, true);
            }
            let general = more_general(ty, &bound);
            if !self.occurs(number, &general) {
                self.bind(number, general);
            }
            return (true, true);
        }
        if self.occurs(number, ty) {
            return (false, false);
        }
        self.bind(number, ty.clone());
        (true, false)
    }

    /// Whether the variable is part of the type: it cannot stand for that.
    fn occurs(&self, number: u32, within: &Type) -> bool {
        match within {
            Type::Param(other) if *other == number => true,
            Type::Param(other) => self.find(*other).is_some_and(|bound| self.occurs(number, bound)),
            Type::List(list) => self.occurs(number, &list.element),
            Type::Map(map) => self.occurs(number, &map.key) || self.occurs(number, &map.value),
            Type::Optional(inner) | Type::Type(Some(inner)) => self.occurs(number, inner),
            _ => false,
        }
    }
}

/// Types that `null` fits.
fn nullable(ty: &Type) -> bool {
    matches!(ty, Type::Null | Type::Object(_) | Type::Opaque(_) | Type::Optional(_) | Type::Timestamp | Type::Duration)
}

/// Of two types that fit, the one that says less.
pub(super) fn more_general(one: &Type, two: &Type) -> Type {
    if says_no_more(one, two) { one.clone() } else { two.clone() }
}

fn says_no_more(one: &Type, two: &Type) -> bool {
    match (one, two) {
        (Type::Dyn | Type::Param(_), _) => true,
        (_, Type::Dyn | Type::Param(_)) => false,
        (Type::List(a), Type::List(b)) => says_no_more(&a.element, &b.element),
        (Type::Map(a), Type::Map(b)) => says_no_more(&a.key, &b.key) && says_no_more(&a.value, &b.value),
        (Type::Optional(a), Type::Optional(b)) => says_no_more(a, b),
        (Type::Type(_), Type::Type(_)) => true,
        (a, b) => a == b,
    }
}

/// The type with its variables replaced, where `replace` has something for them.
fn map_params(ty: &Type, replace: &dyn Fn(u32) -> Option<Type>) -> Type {
    match ty {
        Type::Param(number) => replace(*number).unwrap_or_else(|| ty.clone()),
        Type::List(list) => {
            Type::List(Arc::new(ListType { element: map_params(&list.element, replace), keys: list.keys.clone() }))
        }
        Type::Map(map) => {
            Type::Map(Arc::new(MapType { key: map_params(&map.key, replace), value: map_params(&map.value, replace) }))
        }
        Type::Optional(inner) => Type::optional(map_params(inner, replace)),
        Type::Type(Some(inner)) => Type::type_of(map_params(inner, replace)),
        plain => plain.clone(),
    }
}

/// One more than the highest variable in a type.
fn params_in(ty: &Type) -> u32 {
    match ty {
        Type::Param(number) => number + 1,
        Type::List(list) => params_in(&list.element),
        Type::Map(map) => params_in(&map.key).max(params_in(&map.value)),
        Type::Optional(inner) | Type::Type(Some(inner)) => params_in(inner),
        _ => 0,
    }
}
