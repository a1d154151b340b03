//! What differs between two documents, as sets of paths.

use super::element::{Element, same_value};
use super::items::{Listing, items};
use super::set::{Branch, FieldSet};
use super::typing::{Structure, Typing};
use holdfast_core::Json;
use serde_json::Map;
use std::collections::BTreeMap;

/// What a change did. No path is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison<'a> {
    /// Only in the old document.
    pub removed: FieldSet<'a>,
    /// In both, and different.
    pub modified: FieldSet<'a>,
    /// Only in the new document.
    pub added: FieldSet<'a>,
}

impl<'a> Comparison<'a> {
    /// The same without what is in or below `fields`.
    #[must_use]
    pub fn without(self, fields: &FieldSet<'_>) -> Comparison<'a> {
        if fields.is_empty() {
            return self;
        }
        Comparison {
            removed: self.removed.without(fields),
            modified: self.modified.without(fields),
            added: self.added.without(fields),
        }
    }
}

/// Compares two documents of one type.
///
/// # Errors
/// When elements of a list cannot be told apart.
pub fn compare<'a, T: Typing>(place: &T, old: &'a Json, new: &'a Json) -> Result<Comparison<'a>, String> {
    let mut found = Found::default();
    visit(place, Some(old), Some(new), &mut found)?;
    Ok(Comparison { removed: found.removed.below, modified: found.modified.below, added: found.added.below })
}

/// Whether two values of one type are the same once their standing fields are there.
pub fn same<T: Typing>(place: &T, a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => {
            let element = place.element();
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(&element, a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            let standing = place.standing();
            if standing.is_empty() && a.len() != b.len() {
                return false;
            }
            let zero = |name: &str| standing.iter().find(|field| *field.name == *name).map(|field| field.value.json());
            let matches = |name: &String, ours: &Json, others: &Map<String, Json>| {
                let Some(theirs) = others.get(name).or_else(|| zero(name)) else { return false };
                place.below(name).map_or_else(|| same_value(ours, theirs), |child| same(&child.place, ours, theirs))
            };
            a.iter().all(|(name, value)| matches(name, value, b))
                && b.iter().all(|(name, value)| a.contains_key(name) || matches(name, value, a))
        }
        _ => same_value(a, b),
    }
}

/// What was found at a place and below it.
#[derive(Default)]
struct Found<'a> {
    removed: Branch<'a>,
    modified: Branch<'a>,
    added: Branch<'a>,
}

impl<'a> Found<'a> {
    fn push(&mut self, element: Element<'a>, found: Found<'a>) {
        for (ours, theirs) in
            [(&mut self.removed, found.removed), (&mut self.modified, found.modified), (&mut self.added, found.added)]
        {
            if !theirs.is_empty() {
                ours.below.push(element.clone(), theirs);
            }
        }
    }

    fn seal(&mut self) {
        for branch in [&mut self.removed, &mut self.modified, &mut self.added] {
            branch.below.seal();
        }
    }

    /// A value that is compared as one.
    fn leaf<T: Typing>(&mut self, place: &T, old: Option<&Json>, new: Option<&Json>) {
        match (old, new) {
            (None, _) => self.added.is_member = true,
            (_, None) => self.removed.is_member = true,
            (Some(old), Some(new)) => self.modified.is_member |= !same(place, old, new),
        }
    }
}

/// At least one of `old` and `new` is there.
fn visit<'a, T: Typing>(
    place: &T,
    old: Option<&'a Json>,
    new: Option<&'a Json>,
    found: &mut Found<'a>,
) -> Result<(), String> {
    let structure = |value: Option<&Json>| value.map(|value| place.structure(Some(value)));
    let is_leaf = match (structure(old), structure(new)) {
        (Some(before), Some(after)) if before != after => {
            inside(place, before, old, new, found)?;
            inside(place, after, old, new, found)?
        }
        (before, after) => match after.or(before) {
            Some(structure) => inside(place, structure, old, new, found)?,
            None => true,
        },
    };
    if !is_leaf {
        found.added.is_member |= old.is_none();
        found.removed.is_member |= new.is_none();
    }
    found.seal();
    Ok(())
}

/// Compares as this structure; whether the place was compared as one value.
fn inside<'a, T: Typing>(
    place: &T,
    structure: Structure,
    old: Option<&'a Json>,
    new: Option<&'a Json>,
    found: &mut Found<'a>,
) -> Result<bool, String> {
    match structure {
        Structure::Set | Structure::Keyed if !(items(old).is_empty() && items(new).is_empty()) => {
            list(place, structure, items(old), items(new), found)?;
            Ok(false)
        }
        Structure::Map if has_fields(place, old) || has_fields(place, new) => {
            map(place, old, new, found)?;
            Ok(false)
        }
        // Where both sides are empty, `[]`, `{}` and null are different values.
        _ => {
            found.leaf(place, old, new);
            Ok(true)
        }
    }
}

fn has_fields<T: Typing>(place: &T, value: Option<&Json>) -> bool {
    value.and_then(Json::as_object).is_some_and(|map| !map.is_empty() || !place.standing().is_empty())
}

fn map<'a, T: Typing>(
    place: &T,
    old: Option<&'a Json>,
    new: Option<&'a Json>,
    found: &mut Found<'a>,
) -> Result<(), String> {
    let (old, new) = (old.and_then(Json::as_object), new.and_then(Json::as_object));
    let (before, after) = (old.into_iter().flatten(), new.into_iter().flatten());
    let mut names: Vec<&'a str> = before.chain(after).map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let Some(child) = place.below(name) else { continue };
        // A side that has the map has its standing fields, too.
        let standing = || place.standing().iter().find(|field| *field.name == *name).map(|field| field.value.json());
        let side = |map: Option<&'a Map<String, Json>>| map.and_then(|map| map.get(name).or_else(standing));
        let mut below = Found::default();
        visit(&child.place, side(old), side(new), &mut below)?;
        found.push(Element::field(name), below);
    }
    let ((Some(map), None) | (None, Some(map))) = (old, new) else { return Ok(()) };
    // The map comes or goes as a whole, and its standing fields with it.
    for field in place.standing().iter().filter(|field| !map.contains_key(&*field.name)) {
        let Some(child) = place.below(&field.name) else { continue };
        let value = Some(field.value.json());
        let mut below = Found::default();
        visit(&child.place, old.and(value), new.and(value), &mut below)?;
        found.push(Element::field(field.name.to_string()), below);
    }
    Ok(())
}

fn list<'a, T: Typing>(
    place: &T,
    structure: Structure,
    old: &'a [Json],
    new: &'a [Json],
    found: &mut Found<'a>,
) -> Result<(), String> {
    let listing = Listing::new(place, structure);
    let element_place = place.element();
    let mut sides: BTreeMap<Element<'a>, [Vec<&'a Json>; 2]> = BTreeMap::new();
    for (side, list) in [old, new].into_iter().enumerate() {
        for item in list {
            sides.entry(listing.element(item)?).or_default()[side].push(item);
        }
    }
    for (element, [old, new]) in sides {
        let mut below = Found::default();
        match (&old[..], &new[..]) {
            ([] | [_], [] | [_]) => {
                visit(&element_place, old.first().copied(), new.first().copied(), &mut below)?;
            }
            // Elements that stand several times are one value together.
            ([_, _, ..], [_, _, ..]) => {
                let same = old.len() == new.len() && old.iter().zip(&new).all(|(old, new)| same_value(old, new));
                below.modified.is_member = !same;
            }
            ([_, _, ..], single) => {
                if let Some(item) = single.first() {
                    visit(&element_place, None, Some(item), &mut below)?;
                }
                below.removed.is_member = true;
            }
            (single, _) => {
                if let Some(item) = single.first() {
                    visit(&element_place, Some(item), None, &mut below)?;
                }
                below.added.is_member = true;
            }
        }
        found.push(element, below);
    }
    Ok(())
}
