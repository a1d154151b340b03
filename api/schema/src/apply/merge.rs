//! Merging an applied configuration into an object.

use super::element::Element;
use super::items::Listing;
use super::typing::{Structure, Typing};
use holdfast_core::Json;
use serde_json::Map;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// `live` with everything that `config` says. Nothing is removed. Of elements of a list that both have the order is
/// that of `config`, the others keep their neighbours.
///
/// # Errors
/// When elements of a list cannot be told apart, or stand twice in `config`.
pub fn merge<T: Typing>(place: &T, live: &Json, config: &Json) -> Result<Json, String> {
    let structure = place.structure(Some(config));
    if place.structure(Some(live)) != structure {
        return Ok(config.clone());
    }
    match (structure, live, config) {
        (Structure::Map, Json::Object(live), Json::Object(config)) if !(live.is_empty() && config.is_empty()) => {
            let mut out = Map::with_capacity(live.len().max(config.len()));
            for (key, value) in live {
                let merged = match (config.get(key), place.below(key)) {
                    (Some(config), Some(child)) => merge(&child.place, value, config)?,
                    (Some(config), None) => config.clone(),
                    (None, _) => value.clone(),
                };
                out.insert(key.clone(), merged);
            }
            for (key, value) in config.iter().filter(|(key, _)| !live.contains_key(*key)) {
                out.insert(key.clone(), value.clone());
            }
            Ok(Json::Object(out))
        }
        // Null and nothing leave a map or list that is owned in parts as it is.
        (Structure::Map, Json::Object(map), Json::Null) if !map.is_empty() => Ok(live.clone()),
        (Structure::Set | Structure::Keyed, Json::Array(items), Json::Null) if !items.is_empty() => Ok(live.clone()),
        (Structure::Set | Structure::Keyed, Json::Array(old), Json::Array(new)) if !old.is_empty() => {
            list(place, structure, old, new).map(Json::Array)
        }
        _ => Ok(config.clone()),
    }
}

fn list<T: Typing>(place: &T, structure: Structure, live: &[Json], config: &[Json]) -> Result<Vec<Json>, String> {
    let listing = Listing::new(place, structure);
    let element_place = place.element();
    let elements = |list: &[Json]| list.iter().map(|item| listing.element(item)).collect::<Result<Vec<_>, _>>();
    let (ours, theirs): (Vec<Element<'_>>, Vec<Element<'_>>) = (elements(live)?, elements(config)?);
    let mut wanted: BTreeMap<&Element<'_>, &Json> = BTreeMap::new();
    for (element, item) in theirs.iter().zip(config) {
        if wanted.insert(element, item).is_some() {
            return Err(format!("duplicate entries for key {element}"));
        }
    }
    // What stands twice in `live` merges with nothing: `None`.
    let mut known: BTreeMap<&Element<'_>, Option<&Json>> = BTreeMap::new();
    for (element, item) in ours.iter().zip(live) {
        known.entry(element).and_modify(|item| *item = None).or_insert(Some(item));
    }
    let merged = |element: &Element<'_>, item: &Json| match known.get(element) {
        Some(Some(live)) => merge(&element_place, live, item),
        _ => Ok(item.clone()),
    };

    let mut out = Vec::with_capacity(live.len().max(config.len()));
    let mut done: BTreeSet<&Element<'_>> = BTreeSet::new();
    // Elements of both, in the order of `config`: the first is the one that may be taken next.
    let mut shared: VecDeque<&Element<'_>> = theirs.iter().filter(|element| known.contains_key(element)).collect();
    let (mut at, mut next) = (0, 0);
    while at < ours.len() || next < theirs.len() {
        if at < ours.len() && next < theirs.len() {
            let element = &ours[at];
            if *element == theirs[next] {
                out.push(merged(element, &config[next])?);
                done.insert(element);
                shared.pop_front();
                (at, next) = (at + 1, next + 1);
                continue;
            }
            if wanted.contains_key(element) && shared.front().is_some_and(|first| *first != element) {
                at += 1;
                continue;
            }
        }
        if at < ours.len() {
            let element = &ours[at];
            if !wanted.contains_key(element) {
                out.push(live[at].clone());
                at += 1;
                continue;
            }
            if done.contains(element) {
                at += 1;
            }
        }
        if next < theirs.len() {
            let element = &theirs[next];
            out.push(merged(element, &config[next])?);
            done.insert(element);
            if shared.front() == Some(&element) {
                shared.pop_front();
            }
            next += 1;
        }
    }
    Ok(out)
}
