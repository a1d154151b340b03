//! Lists: merged by key or as sets, and put in order.

use super::directives::{Patch, take_patch, without_directives};
use super::{Place, fresh, merge_maps};
use crate::facts::Patching;
use holdfast_core::{Json, Status};
use serde_json::Map;
use std::collections::{BTreeMap, BTreeSet};

/// Merges the list `patch` into `original`, or replaces it where the table says nothing.
pub(super) fn merge(
    element: Place<'_>,
    patching: Patching,
    original: Vec<Json>,
    patch: Vec<Json>,
) -> Result<Vec<Json>, Status> {
    if !patching.merge {
        return Ok(replaced(patch));
    }
    let key = patching.key;
    let before = original.clone();
    let (merged, patched) = if key.is_empty() {
        (union(original, &patch), patch)
    } else {
        match by_key(element, key, original, patch)? {
            Merged::Replaced(list) => return Ok(list),
            Merged::Merged { list, patched } => (list, patched),
        }
    };
    Ok(in_order(merged, &patched, &before, key))
}

/// Merges the list `field` of `patch` into that of `original`, then puts it in the order that the patch asks for.
/// What the order does not name keeps its place among the others as well as it can.
pub(super) fn merge_in_order(
    place: Place<'_>,
    field: &str,
    order: &[Json],
    original: &mut Map<String, Json>,
    patch: &mut Map<String, Json>,
) -> Result<(), Status> {
    let (patching, element) = place.list(field);
    let key = patching.key;
    let before = match original.get(field) {
        Some(Json::Array(items)) => items.clone(),
        _ => Vec::new(),
    };
    let patched = match patch.shift_remove(field) {
        Some(Json::Array(items)) => Some(items),
        // A null deletes the list; anything else is no list: both are left to the merge of the map.
        Some(other) => {
            patch.insert(field.to_string(), other);
            return Ok(());
        }
        None => None,
    };
    if !original.contains_key(field) && patched.is_none() {
        return Ok(());
    }
    let merged = match patched {
        Some(items) => {
            follows(&items, order, key)?;
            merge(element, patching, before.clone(), items)?
        }
        None => before.clone(),
    };
    original.insert(field.to_string(), Json::Array(in_order(merged, order, &before, key)));
    Ok(())
}

/// A list that takes the place of the old one.
fn replaced(patch: Vec<Json>) -> Vec<Json> {
    patch.into_iter().filter_map(fresh).collect()
}

enum Merged {
    /// The patch said `$patch: replace`.
    Replaced(Vec<Json>),
    /// The list, and the elements of the patch that went into it.
    Merged { list: Vec<Json>, patched: Vec<Json> },
}

/// Merges lists of maps by the value of `key`.
fn by_key(element: Place<'_>, key: &str, mut list: Vec<Json>, patch: Vec<Json>) -> Result<Merged, Status> {
    let (mut elements, mut gone, mut replace) = (Vec::new(), BTreeSet::new(), false);
    for item in patch {
        let Json::Object(mut map) = item else {
            return Err(unprocessable(format!("list element types are not identical: {item} is no map")));
        };
        match take_patch(&mut map)? {
            // Such an element is a mark, whatever else stands in it.
            Some(Patch::Replace) => replace = true,
            Some(Patch::Delete) => {
                gone.insert(key_of(&map, key)?.to_string());
            }
            Some(Patch::Merge) | None => elements.push(map),
        }
    }
    if replace {
        return Ok(Merged::Replaced(replaced(elements.into_iter().map(Json::Object).collect())));
    }
    list.retain(|item| !identity(item, key).is_some_and(|identity| gone.contains(&identity)));
    let mut places = Places::of(&list, key);
    let mut patched = Vec::with_capacity(elements.len());
    for map in elements {
        let value = key_of(&map, key)?.clone();
        let identity = value.to_string();
        patched.push(Json::Object(Map::from_iter([(key.to_string(), value)])));
        match places.0.get(&identity).and_then(|at| list.get_mut(*at)) {
            Some(item) => {
                let old = item.as_object_mut().map(std::mem::take).unwrap_or_default();
                *item = Json::Object(merge_maps(element, old, map)?);
            }
            None => {
                places.0.insert(identity, list.len());
                list.push(Json::Object(without_directives(map)));
            }
        }
    }
    Ok(Merged::Merged { list, patched })
}

/// The value that an element of a patch is known by. Null is none: it would be dropped with the other nulls.
fn key_of<'m>(map: &'m Map<String, Json>, key: &str) -> Result<&'m Json, Status> {
    map.get(key).filter(|value| !value.is_null()).ok_or_else(|| no_key(map, key))
}

/// Merges lists of scalars; each value once.
fn union(mut list: Vec<Json>, patch: &[Json]) -> Vec<Json> {
    let mut seen = BTreeSet::new();
    list.extend_from_slice(patch);
    list.retain(|item| seen.insert(item.to_string()));
    list
}

/// Puts what `order` names in that order, and the rest where it best fits the order `before`.
fn in_order(list: Vec<Json>, order: &[Json], before: &[Json], key: &str) -> Vec<Json> {
    let (order, before) = (Places::of(order, key), Places::of(before, key));
    let (mut named, mut rest): (Vec<_>, Vec<_>) = list.into_iter().partition(|item| order.find(item, key).is_some());
    named.sort_by_cached_key(|item| order.find(item, key));
    rest.sort_by_cached_key(|item| before.find(item, key).unwrap_or(usize::MAX));
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    let mut sorted = Vec::new();
    loop {
        let take_rest = match (named.peek(), rest.peek()) {
            (None, None) => return sorted,
            (None, Some(_)) => true,
            (Some(_), None) => false,
            (Some(a), Some(b)) => match (before.find(a, key), before.find(b, key)) {
                (Some(a), Some(b)) => b < a,
                _ => false,
            },
        };
        sorted.extend(if take_rest { rest.next() } else { named.next() });
    }
}

/// What an element is known by: the value of `key`, or the element itself where there is no key.
fn identity(item: &Json, key: &str) -> Option<String> {
    if key.is_empty() { Some(item.to_string()) } else { item.get(key).map(ToString::to_string) }
}

/// Where elements stand in a list. An index, since the client chooses how long its lists are.
struct Places(BTreeMap<String, usize>);

impl Places {
    fn of(list: &[Json], key: &str) -> Places {
        let mut places = BTreeMap::new();
        for (at, item) in list.iter().enumerate() {
            if let Some(identity) = identity(item, key) {
                places.entry(identity).or_insert(at);
            }
        }
        Places(places)
    }

    fn find(&self, item: &Json, key: &str) -> Option<usize> {
        self.0.get(&identity(item, key)?).copied()
    }
}

/// The elements of the patch must stand in the order list, in its order.
fn follows(items: &[Json], order: &[Json], key: &str) -> Result<(), Status> {
    let places = Places::of(order, key);
    let mut last = None;
    for item in items {
        if item.get(super::PATCH).is_some() {
            continue;
        }
        let place = places.find(item, key);
        if place.is_none() || place < last {
            let (items, order) = (Json::from(items), Json::from(order));
            let text = format!("The order in patch list:\n{items}\n doesn't match $setElementOrder list:\n{order}\n");
            return Err(Status::bad_request(text));
        }
        last = place;
    }
    Ok(())
}

fn no_key(map: &Map<String, Json>, key: &str) -> Status {
    unprocessable(format!("map: {} does not contain declared merge key: {key}", Json::Object(map.clone())))
}

fn unprocessable(text: String) -> Status {
    Status::failure(422, holdfast_core::status::Reason::Invalid, text)
}
